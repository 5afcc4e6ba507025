//! The HTTP client under the AWS SDK: HTTP/1.1, TLS by rustls, and connections that are kept for each host. No AWS endpoint that we call
//! speaks HTTP/2, and nothing here uses a proxy. The SDK's own client supports both, and it was a tenth of every binary and of the CPU time
//! at start.
//!
//! Only the call that uses a connection drives it, so no task is left after an answer. A dead connection in the pool is noticed when it is
//! used again. The request is then sent on a new connection, unless part of it was already sent.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::aws::tls::Tls;
use crate::error::Cause;
use crate::lock::{Guard, Lock};

/// Cheap to clone. All clones share their connections.
#[derive(Clone)]
pub struct Https(Arc<Inner>);

/// No connection came about, so nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("no connection")]
pub struct Unreachable(#[source] Cause);

impl Unreachable {
    /// Whether it is what an error comes from.
    pub fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Unreachable>())
    }
}

/// No answer of AWS that we ask for is longer: a page of a list has at most 1 MB, a batch 16 MB, a mail 25 MB.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// After a longer silence the connection has probably been closed, so a new one is safer.
const KEPT: Duration = Duration::from_secs(60);
const MOST_KEPT: usize = 64;
const OPEN_SPARE_TIMEOUT: Duration = Duration::from_secs(1);

struct Inner {
    tls: Tls,
    idle: Lock<HashMap<Host, Vec<Idle>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Host {
    scheme: Scheme,
    authority: Authority,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

struct Connection {
    sender: http1::SendRequest<SdkBody>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, SdkBody>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Https {
    /// Trusts only these roots: certificates in DER, and those in a PEM file.
    pub fn trusting(der: &[&'static [u8]], pem: &[u8]) -> Result<Self, Cause> {
        let mut roots = RootCertStore::empty();
        for certificate in der {
            roots.add(CertificateDer::from(*certificate))?;
        }
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".into());
        }
        Self::with(roots)
    }

    /// Trusts the certificates of the machine.
    pub fn native() -> Result<Self, Cause> {
        let mut roots = RootCertStore::empty();
        // A machine's store may contain certificates that we cannot use. The others are added.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with(roots)
    }

    fn with(roots: RootCertStore) -> Result<Self, Cause> {
        Ok(Https(Arc::new(Inner { tls: Tls::new(roots)?, idle: Lock::default() })))
    }

    /// The same trust with separate connections.
    pub fn with_own_connections(&self) -> Self {
        Https(Arc::new(Inner { tls: self.0.tls.clone(), idle: Lock::default() }))
    }

    /// In the form that the SDK takes.
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Sends one request and reads the whole answer. `connect` limits the time for opening a new connection.
    pub async fn send(&self, request: HttpRequest, connect: Option<Duration>) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let (host, mut request) = addressed(request).map_err(ConnectorError::user)?;
        while let Some(connection) = self.idle(&host) {
            match self.exchange(&host, connection, request).await {
                Ok(answer) => return answered(answer),
                Err((error, None)) => return Err(error),
                // The other side closed it before anything was sent.
                Err((_, Some(unsent))) => request = unsent,
            }
        }
        let connection = self.open(&host, connect).await?;
        self.exchange(&host, connection, request).await.map_err(|(error, _)| error).and_then(answered)
    }

    /// Opens this many more connections to every host that already has one, for calls that are made in parallel. They resume the TLS
    /// session of the first connection, so no certificates are exchanged.
    pub async fn open_spare(&self, more: usize) {
        let hosts: Vec<Host> = self.lock().keys().cloned().collect();
        let wanted = hosts.iter().flat_map(|host| std::iter::repeat_n(host, more));
        // A connection that cannot be opened now is opened when it is needed.
        join_all(wanted.map(async |host| {
            if let Ok(connection) = self.open(host, Some(OPEN_SPARE_TIMEOUT)).await {
                self.keep(host, connection);
            }
        }))
        .await;
    }

    async fn open(&self, host: &Host, limit: Option<Duration>) -> Result<Connection, ConnectorError> {
        let opening = self.connect(host);
        let opened = match limit {
            Some(limit) => timeout(limit, opening).await.map_err(|elapsed| ConnectorError::timeout(Unreachable(elapsed.into()).into()))?,
            None => opening.await,
        };
        opened.map_err(|cause| ConnectorError::io(Unreachable(cause).into()))
    }

    async fn connect(&self, host: &Host) -> Result<Connection, Cause> {
        let name = host.authority.host().trim_start_matches('[').trim_end_matches(']');
        let secure = host.scheme == Scheme::HTTPS;
        let port = host.authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let socket = TcpStream::connect((name, port)).await?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> =
            if secure { Box::new(self.0.tls.connect(ServerName::try_from(name.to_owned())?, socket).await?) } else { Box::new(socket) };
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Connection { sender, driver: Some(driver) })
    }

    /// The error contains the request if no part of it was sent.
    async fn exchange(
        &self,
        host: &Host,
        mut connection: Connection,
        request: Request<SdkBody>,
    ) -> Result<Response<Bytes>, (ConnectorError, Option<Request<SdkBody>>)> {
        let Connection { sender, driver } = &mut connection;
        let answer = sender.try_send_request(request);
        let exchange = async {
            let answer = answer.await.map_err(|mut failed| {
                let unsent = failed.take_message();
                (classified(failed.into_error()), unsent)
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => (classified(*error), None),
                Err(error) => (ConnectorError::other(error, None), None),
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer = driven(driver, exchange).await?;
        // Ready for the next request, unless the other side closes the connection.
        let open = driven(driver, sender.ready()).await.is_ok();
        if open {
            self.keep(host, connection);
        }
        Ok(answer)
    }

    fn idle(&self, host: &Host) -> Option<Connection> {
        let mut idle = self.lock();
        let kept = idle.get_mut(host)?;
        // The connection that was used last is the most likely to be open. If it is too old, so are all others.
        let last = kept.pop()?;
        if last.since.elapsed() > KEPT {
            kept.clear();
            return None;
        }
        Some(last.connection)
    }

    fn keep(&self, host: &Host, connection: Connection) {
        let mut idle = self.lock();
        let kept = idle.entry(host.clone()).or_default();
        if kept.len() < MOST_KEPT {
            kept.push(Idle { connection, since: Instant::now() });
        }
    }

    fn lock(&self) -> Guard<'_, HashMap<Host, Vec<Idle>>> {
        self.0.idle.lock()
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Https")
    }
}

impl HttpClient for Https {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let (connect, read) = (settings.connect_timeout(), settings.read_timeout());
        SharedHttpConnector::new(Timed { https: self.clone(), connect, read })
    }
}

/// The client with the time limits of one service.
#[derive(Debug)]
struct Timed {
    https: Https,
    connect: Option<Duration>,
    read: Option<Duration>,
}

impl HttpConnector for Timed {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (https, connect, read) = (self.https.clone(), self.connect, self.read);
        HttpConnectorFuture::new(async move {
            let sending = https.send(request, connect);
            match read {
                Some(read) => timeout(read, sending).await.map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?,
                None => sending.await,
            }
        })
    }
}

/// Where a request goes, and the request in HTTP/1.1 form: only the path in its first line, the host in a header.
fn addressed(mut request: Request<SdkBody>) -> Result<(Host, Request<SdkBody>), Cause> {
    let parts = std::mem::take(request.uri_mut()).into_parts();
    let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err("a request without a host".into()) };
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    *request.uri_mut() = Uri::from(parts.path_and_query.unwrap_or(PathAndQuery::from_static("/")));
    Ok((Host { scheme, authority }, request))
}

fn answered(answer: Response<Bytes>) -> Result<HttpResponse, ConnectorError> {
    HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|error| ConnectorError::other(error.into(), None))
}

/// Awaits `work` while driving the connection it needs.
async fn driven<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        // Twice, because the connection may already have the body that the head of the answer makes the work ask for.
        for _ in 0..2 {
            if let Some(driving) = driver
                && Pin::new(driving).poll(context).is_ready()
            {
                // Dropping the driver drops the request that was not sent, and the work gets an error.
                *driver = None;
            }
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}

/// What the SDK may try again: failures of the network, but not failures caused by the request.
fn classified(error: hyper::Error) -> ConnectorError {
    let by_network = std::error::Error::source(&error).is_some_and(|cause| cause.is::<std::io::Error>());
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_user() {
        ConnectorError::user(error.into())
    } else if error.is_closed() || error.is_canceled() || by_network {
        ConnectorError::io(error.into())
    } else if error.is_incomplete_message() {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    } else {
        ConnectorError::other(error.into(), None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use super::*;

    /// What a server does with one connection: the bytes to answer for each request, then it closes the connection.
    type Connections = Vec<Vec<&'static str>>;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const LAST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\nok";

    /// Returns the heads of all requests, by connection.
    fn serving(connections: Connections) -> (String, JoinHandle<Vec<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/place?of=it", listener.local_addr().unwrap());
        let serve = |mut stream: TcpStream, answers: Vec<&str>| -> Vec<String> {
            let answer = |text: &&str| {
                let head = head(&mut stream);
                let _ = stream.write_all(text.as_bytes());
                head
            };
            answers.iter().map(answer).collect()
        };
        let accept = move || {
            let accepted = connections.into_iter().map(|answers| (listener.accept().unwrap().0, answers));
            let serving: Vec<_> = accepted.map(|(stream, answers)| std::thread::spawn(move || serve(stream, answers))).collect();
            serving.into_iter().map(|served| served.join().unwrap()).collect()
        };
        (url, std::thread::spawn(accept))
    }

    fn head(stream: &mut TcpStream) -> String {
        let (mut read, mut byte) = (vec![], [0]);
        while !read.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            read.push(byte[0]);
        }
        String::from_utf8(read).unwrap()
    }

    fn client() -> Https {
        Https::with(RootCertStore::empty()).unwrap()
    }

    async fn get(https: &Https, url: &str) -> Result<String, ConnectorError> {
        let answer = https.send(HttpRequest::get(url).unwrap(), Some(Duration::from_secs(5))).await?;
        Ok(String::from_utf8(answer.body().bytes().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_one_after_another_share_a_connection() {
        let (url, served) = serving(vec![vec![OK; 5]]);
        let https = client();
        for _ in 0..5 {
            assert_eq!(get(&https, &url).await.unwrap(), "ok");
        }
        let heads = served.join().unwrap().concat();
        assert_eq!(heads.len(), 5);
        let authority = url.trim_start_matches("http://").trim_end_matches("/place?of=it");
        assert!(heads[0].starts_with("GET /place?of=it HTTP/1.1\r\n"), "{}", heads[0]);
        assert!(heads[0].contains(&format!("\r\nhost: {authority}\r\n")), "{}", heads[0]);
    }

    #[tokio::test]
    async fn a_connection_closed_in_the_pool_costs_no_request() {
        let (url, served) = serving(vec![vec![OK, OK], vec![LAST], vec![OK]]);
        let https = client();
        for _ in 0..4 {
            assert_eq!(get(&https, &url).await.unwrap(), "ok");
            // The other side has closed the connection by now.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(served.join().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    }

    #[tokio::test]
    async fn requests_at_once_have_connections_of_their_own_and_spare_ones_are_opened_beforehand() {
        let (url, served) = serving(vec![vec![OK, LAST], vec![LAST], vec![LAST]]);
        let https = client();
        get(&https, &url).await.unwrap();
        https.open_spare(2).await;
        assert_eq!(https.lock().values().next().unwrap().len(), 3);
        let answers = join_all((0..3).map(|_| get(&https, &url))).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == "ok"));
        assert_eq!(https.lock().values().next().unwrap().len(), 0);
        assert_eq!(served.join().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = get(&client(), &format!("http://{free}/")).await.unwrap_err();
        assert!(refused.is_io() && std::error::Error::source(&refused).is_some_and(|cause| cause.is::<Unreachable>()), "{refused:?}");

        let (url, served) = serving(vec![vec![CUT]]);
        let cut = get(&client(), &url).await.unwrap_err();
        assert!(!cut.is_user() && !std::error::Error::source(&cut).is_some_and(|cause| cause.is::<Unreachable>()), "{cut:?}");
        served.join().unwrap();

        // A server that accepts and says nothing, called over TLS.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let request = HttpRequest::get(format!("https://{}/", silent.local_addr().unwrap())).unwrap();
        let slow = client().send(request, Some(Duration::from_millis(50))).await.unwrap_err();
        assert!(slow.is_timeout(), "{slow:?}");
    }
}
