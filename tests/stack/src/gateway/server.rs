//! The listening side. Connections that are too slow are closed, and requests that hyper refuses get an answer in our form.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, Sleep},
};

use super::{Gateway, new_request_id, refusal::Refusal};

/// The most open connections. Further ones wait until one closes, and no client can delay that for long.
const CONNECTIONS: usize = 1_024;

/// More than the limit for headers, so that the refusal can be in our form.
const BUFFER: usize = 256 * 1024;

/// With the limit for bytes, there cannot be more headers.
const HEADERS: usize = 4_096;

pub async fn serve(gateway: Gateway, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    loop {
        let Ok(connection) = connections.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The connection was closed again, or no file descriptor is left. The next one may work.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let gateway = gateway.clone();
        tokio::spawn(async move {
            // It does not matter how a connection ends.
            let _ = connection_of(gateway, stream, peer, port).await;
            drop(connection);
        });
    }
}

async fn connection_of(gateway: Gateway, stream: TcpStream, peer: SocketAddr, port: u16) -> Result<(), hyper::Error> {
    // An answer is one write, so waiting for more data would only cost time.
    let _ = stream.set_nodelay(true);
    let timeout = gateway.limits().client;
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let gateway = gateway.clone();
        async move { Ok::<_, std::convert::Infallible>(gateway.answer(request, peer.ip(), port).await.map(Full::new)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .writev(false)
        .serve_connection(TokioIo::new(GuardedStream::new(stream, timeout)), service)
        .await
}

/// A stream that ends if the peer reads nothing for too long, and that replaces hyper's empty refusals by ours.
struct GuardedStream<S> {
    stream: S,
    timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// The bytes to send instead of hyper's, and how many were sent.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S> GuardedStream<S> {
    fn new(stream: S, timeout: Duration) -> GuardedStream<S> {
        GuardedStream { stream, timeout, stalled: None, instead: None }
    }
}

impl<S: AsyncWrite + Unpin> GuardedStream<S> {
    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                self.stalled = None;
                Poll::Ready(written)
            }
            Poll::Pending => {
                let timeout = self.timeout;
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
                ready!(stalled.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            match ours_instead(bytes) {
                Some(ours) => this.instead = Some((ours, 0)),
                None => return this.write(context, bytes),
            }
        }
        while let Some((ours, sent)) = this.instead.take() {
            match this.write(context, &ours[sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) if sent + more < ours.len() => this.instead = Some((ours, sent + more)),
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(bytes.len())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.instead = Some((ours, sent));
                    return Poll::Pending;
                }
            }
        }
        Poll::Pending
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// hyper answers requests that it cannot read with only a status. All answers of the gateway have a request id.
fn ours_instead(bytes: &[u8]) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let (status, message) = match status {
        b"400" => (400, "this is not a request of HTTP/1.1 that can be read"),
        b"414" => (414, "the path is too long"),
        b"431" => (431, "the headers are larger than 10 KB"),
        b"505" => (505, "HTTP/1.1 is spoken here"),
        _ => return None,
    };
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes, |end| &bytes[..end]);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.contains("\r\nx-request-id:") {
        return None;
    }
    let status = http::StatusCode::from_u16(status).ok()?;
    let response = Refusal::bad(status, message).hanging_up().answer(&new_request_id(), &http::HeaderMap::new());
    let mut ours = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", response.body().len()).into_bytes();
    for (name, value) in response.headers() {
        ours.extend_from_slice(name.as_str().as_bytes());
        ours.extend_from_slice(b": ");
        ours.extend_from_slice(value.as_bytes());
        ours.extend_from_slice(b"\r\n");
    }
    ours.extend_from_slice(b"\r\n");
    ours.extend_from_slice(response.body());
    Some(ours)
}
