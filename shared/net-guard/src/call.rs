//! The call itself. The name is resolved for this one call, each of its addresses is judged, and one of those is dialled: no other code looks the name
//! up again in between. Nothing that the other side says makes us call anybody else, and no more of it is read than is kept.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Host;

use crate::target::{Guard, Refused, Target};

/// From the question for the name to the last byte that is read.
const WHOLE: Duration = Duration::from_secs(15);
/// For one of several addresses, so that a dead one leaves time for the others.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of one name that are dialled, all of them judged.
const DIALLED: usize = 4;
/// A name with more is no endpoint.
const MOST_ADDRESSES: usize = 64;
/// Of the head of an answer, and of its body: what comes after is not read.
const HEAD: usize = 16 * 1024;
const BODY: usize = 16 * 1024;
/// Of the body, as text.
const KEPT: usize = 2 * 1024;
/// Of a header that is kept.
const VALUE: usize = 256;
const KEPT_HEADERS: [&str; 5] = ["content-type", "retry-after", "server", "webhook-delivery", "date"];

/// Looks names up.
pub trait Resolve: Send + Sync {
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// As the machine does.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Makes calls. Cheap to clone; the clones share no connection.
#[derive(Clone)]
pub struct Caller<R> {
    guard: Guard,
    resolver: R,
    tls: Arc<ClientConfig>,
    whole: Duration,
}

/// What somebody answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The beginning of the body; what is no UTF-8 is replaced.
    pub text: String,
    /// Of `content-type`, `date`, `retry-after`, `server` and `webhook-delivery` those that came, in the order of the names.
    pub headers: Vec<(String, String)>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The URL, or an address of its host, may not be called. Nobody was.
    Guard(Refused),
    /// The name has no address.
    Dns,
    /// No address took the connection.
    Refused,
    /// The certificate is not that of the name, or not valid.
    Tls,
    /// Not within 15 seconds.
    Timeout,
    /// The connection ended, or what came is no HTTP.
    Broken,
}

pub type Outcome = Result<Answer, Failure>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Caller<SystemResolver> {
    /// Trusts the certificates of the machine.
    pub fn new(guard: Guard) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        // A machine's store may have certificates that we cannot use. The others are added.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(rustls::Error::General("the machine trusts no certificates".into()));
        }
        Caller::with(guard, SystemResolver, roots)
    }
}

impl<R: Resolve> Caller<R> {
    pub fn with(guard: Guard, resolver: R, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        // No endpoint is known again by its session.
        tls.resumption = Resumption::disabled();
        Ok(Caller { guard, resolver, tls: Arc::new(tls), whole: WHOLE })
    }

    /// Another limit for the whole of a call.
    pub fn within(self, whole: Duration) -> Self {
        Caller { whole, ..self }
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// One request, and the beginning of its answer. `headers` are all that is said beside the host, the length and the encoding.
    pub async fn call(&self, method: Method, url: &str, headers: &HeaderMap, body: Bytes) -> Outcome {
        let calling = async {
            let target = self.guard.judge(url).map_err(Failure::Guard)?;
            let addresses = self.addresses(&target).await?;
            let socket = self.dial(&addresses, target.port).await?;
            let stream = self.secured(&target, socket).await?;
            exchange(stream, request(method, &target, headers, body).ok_or(Failure::Guard(Refused::Shape))?).await
        };
        timeout(self.whole, calling).await.unwrap_or(Err(Failure::Timeout))
    }

    /// All of them are judged before one is dialled: a name that is in part inside is none of the public internet.
    async fn addresses(&self, target: &Target) -> Result<Vec<IpAddr>, Failure> {
        let addresses = match target.url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => self.resolver.resolve(name).await.map_err(|_| Failure::Dns)?,
            None => vec![],
        };
        if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
            return Err(Failure::Dns);
        }
        if addresses.iter().all(|address| self.guard.may_dial(target, *address)) {
            Ok(addresses)
        } else {
            Err(Failure::Guard(Refused::Address))
        }
    }

    async fn dial(&self, addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
        for address in addresses.iter().take(DIALLED) {
            let Ok(Ok(socket)) = timeout(CONNECT, TcpStream::connect(SocketAddr::new(*address, port))).await else { continue };
            // Whoever answers is whom we judged.
            if socket.peer_addr().is_ok_and(|peer| peer.ip().to_canonical() == address.to_canonical()) {
                return Ok(socket);
            }
        }
        Err(Failure::Refused)
    }

    async fn secured(&self, target: &Target, socket: TcpStream) -> Result<Box<dyn Stream>, Failure> {
        if target.url.scheme() == "http" {
            return Ok(Box::new(socket));
        }
        let name = match target.url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|_| Failure::Tls)?,
            Some(Host::Ipv4(address)) => IpAddr::V4(address).into(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).into(),
            None => return Err(Failure::Tls),
        };
        let connected = TlsConnector::from(self.tls.clone()).connect(name, socket).await;
        connected.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(|_| Failure::Tls)
    }
}

/// In the form of HTTP/1.1: only the path in the first line, the host in a header. `None`: the URL has what a header cannot have.
fn request(method: Method, target: &Target, headers: &HeaderMap, body: Bytes) -> Option<Request<Full<Bytes>>> {
    let url = &target.url;
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.host_str()?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let length = body.len();
    let mut request = Request::builder().method(method).uri(path).body(Full::new(body)).ok()?;
    let all = request.headers_mut();
    all.extend(headers.clone());
    all.insert(HOST, HeaderValue::from_str(&authority).ok()?);
    all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    all.insert(CONNECTION, HeaderValue::from_static("close"));
    all.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Some(request)
}

async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> Outcome {
    let handshake = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| Failure::Broken)?;
    let mut exchange = pin!(async {
        let answer = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
        let (head, mut body) = answer.into_parts();
        let mut read: Vec<u8> = vec![];
        while read.len() < BODY {
            match body.frame().await {
                Some(Ok(frame)) => read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
                // What came before the connection broke is an answer: its status was there.
                Some(Err(_)) | None => break,
            }
        }
        Ok(Answer { status: head.status.as_u16(), text: text_of(&read), headers: kept(&head.headers) })
    });
    // The connection is driven here, and dropped with what is left of the answer.
    tokio::select! {
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

fn text_of(read: &[u8]) -> String {
    let text = String::from_utf8_lossy(read);
    let end = text.floor_char_boundary(KEPT);
    text[..end].to_owned()
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = KEPT_HEADERS
        .iter()
        .filter_map(|name| Some((*name, headers.get(*name)?.to_str().ok()?)))
        .map(|(name, value)| (name.to_owned(), value[..value.floor_char_boundary(VALUE)].to_owned()))
        .collect();
    kept.sort();
    kept
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rcgen::generate_simple_self_signed;
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::allowed::Allowed;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Answers what it is told, another answer each time, and then the last one again.
    struct Told {
        answers: Vec<Vec<IpAddr>>,
        asked: AtomicUsize,
    }

    impl Told {
        fn once(addresses: &[IpAddr]) -> Self {
            Told { answers: vec![addresses.to_vec()], asked: AtomicUsize::new(0) }
        }
    }

    impl Resolve for Told {
        async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            let turn = self.asked.fetch_add(1, Ordering::SeqCst);
            Ok(self.answers[turn.min(self.answers.len() - 1)].clone())
        }
    }

    fn caller<R: Resolve>(allowed: &str, resolver: R, roots: RootCertStore) -> Caller<R> {
        let guard = Guard::new(Allowed::parse(allowed).unwrap(), &[]);
        Caller::with(guard, resolver, roots).unwrap().within(Duration::from_secs(2))
    }

    async fn post<R: Resolve>(caller: &Caller<R>, url: &str) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
        caller.call(Method::POST, url, &headers, Bytes::from_static(b"{}")).await
    }

    /// Serves one connection: gives the head and body of the request after the answer was written, or as much of it as was taken.
    async fn serve(listener: &TcpListener, answer: &[u8]) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut read = vec![];
        while !read.ends_with(b"{}") && socket.read_buf(&mut read).await.unwrap() > 0 {}
        let _ = socket.write_all(answer).await;
        String::from_utf8(read).unwrap()
    }

    async fn plain(answer: &[u8]) -> (Outcome, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let caller = caller(&format!("127.0.0.1:{port}"), SystemResolver, RootCertStore::empty());
        let url = format!("http://127.0.0.1:{port}/hook?a=1");
        tokio::join!(post(&caller, &url), serve(&listener, answer))
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_far_as_it_matters() {
        let (answer, request) =
            plain(b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\nset-cookie: a=b\r\nserver: x\r\ncontent-length: 2\r\n\r\nno").await;
        let headers = [("retry-after", "7"), ("server", "x")].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(answer, Ok(Answer { status: 503, text: "no".into(), headers }));
        assert!(request.starts_with("POST /hook?a=1 HTTP/1.1\r\n"), "{request}");
        for line in ["webhook-id: evt_1", "accept-encoding: identity", "connection: close", "content-length: 2"] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{line}: {request}");
        }
        assert!(request.contains("\r\nhost: 127.0.0.1:"), "{request}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_that_leads_nowhere() {
        let (answer, _) = plain(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(answer, Ok(Answer { status: 302, text: String::new(), headers: vec![] }));
    }

    #[tokio::test]
    async fn an_endless_answer_is_read_to_a_measure() {
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "ä".repeat(4 * 1024 * 1024).into_bytes()].concat();
        let (answer, _) = plain(&endless).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.text.len()), (200, KEPT));
        let heads = [b"HTTP/1.1 200 OK\r\n".to_vec(), "x: y\r\n".repeat(1024 * 1024).into_bytes()].concat();
        assert_eq!(plain(&heads).await.0, Err(Failure::Broken));
    }

    #[tokio::test]
    async fn what_never_comes_ends_with_the_time() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let caller = caller(&format!("127.0.0.1:{port}"), SystemResolver, RootCertStore::empty()).within(Duration::from_millis(100));
        assert_eq!(post(&caller, &format!("http://127.0.0.1:{port}/")).await, Err(Failure::Timeout));
        // Its head came at once, and its body drips.
        let dripping = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while socket.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        drop(listener.accept().await.unwrap());
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(tokio::join!(post(&caller, &url), dripping).0, Err(Failure::Timeout));
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_nobody_known() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let listed = format!("example.com:{free}");
        let caller_of = |addresses: &[IpAddr]| caller(&listed, Told::once(addresses), RootCertStore::empty());
        let url = format!("https://example.com:{free}/");
        assert_eq!(post(&caller_of(&[LOCAL]), &url).await, Err(Failure::Refused));
        assert_eq!(post(&caller_of(&[]), &url).await, Err(Failure::Dns));
        assert_eq!(post(&caller_of(&[LOCAL; 65]), &url).await, Err(Failure::Dns));
    }

    #[tokio::test]
    async fn the_certificate_is_that_of_the_name() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let listed = format!("hooks.example.com:{port},other.example.com:{port}");
        let (trusting, doubting) =
            (caller(&listed, Told::once(&[LOCAL]), roots), caller(&listed, Told::once(&[LOCAL]), RootCertStore::empty()));
        let serving = async {
            for _ in 0..3 {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut read = vec![];
                while !read.ends_with(b"{}") && stream.read_buf(&mut read).await.is_ok_and(|more| more > 0) {}
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        };
        let calling = async {
            let url = |host: &str| format!("https://{host}.example.com:{port}/");
            (post(&trusting, &url("hooks")).await, post(&trusting, &url("other")).await, post(&doubting, &url("hooks")).await)
        };
        let ((right, wrong, unknown), ()) = tokio::join!(calling, serving);
        assert_eq!(right.map(|answer| answer.status), Ok(204));
        assert_eq!((wrong, unknown), (Err(Failure::Tls), Err(Failure::Tls)));
    }

    /// The name is public when the URL is judged, and inside when it is called: at once, in part, or in another spelling.
    #[tokio::test]
    async fn a_name_that_moves_inside_is_never_dialled() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let connections = AtomicUsize::new(0);
        let counting = async {
            loop {
                let _ = listener.accept().await;
                connections.fetch_add(1, Ordering::SeqCst);
            }
        };
        let public: IpAddr = "93.184.215.14".parse().unwrap();
        let inside = [
            LOCAL,
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
            "10.0.0.1".parse().unwrap(),
            "169.254.169.254".parse().unwrap(),
            "0.0.0.0".parse().unwrap(),
            "::".parse().unwrap(),
            "fd00:ec2::254".parse().unwrap(),
            "64:ff9b::7f00:1".parse().unwrap(),
            "2002:7f00:1::".parse().unwrap(),
        ];
        let rebinding = async {
            for round in 0..1_000 {
                let moved = inside[round % inside.len()];
                let answer = match round % 3 {
                    0 => vec![moved],
                    1 => vec![public, moved],
                    _ => vec![moved, public],
                };
                let resolver = Told { answers: vec![answer, vec![public]], asked: AtomicUsize::new(0) };
                let caller = caller("", resolver, RootCertStore::empty());
                let called = post(&caller, "https://rebind.example.com/").await;
                assert_eq!(called, Err(Failure::Guard(Refused::Address)), "{round}: {moved}");
                assert_eq!(caller.resolver.asked.load(Ordering::SeqCst), 1, "a name is asked for once");
            }
        };
        tokio::select! {
            () = rebinding => {},
            () = counting => {},
        }
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }
}
