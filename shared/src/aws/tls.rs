//! TLS to AWS. A new session exchanges keys with X25519 and ML-KEM-768 together, which a quantum computer does not break. A connection that resumes a
//! session mixes the secret of that session into its own (RFC 8446, section 2.2), so its fresh exchange needs X25519 alone, at a third of the cost. If
//! the server does not take the ticket, the connection has the protection of X25519.

use std::io;
use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Cause;
use crate::lock::Lock;

/// Cheap to clone. All clones share their sessions.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Servers whose sessions are kept: one for each AWS service, and some to spare.
const SERVERS: usize = 32;

impl Tls {
    pub fn new(roots: RootCertStore) -> Result<Self, Cause> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // Prefer the suite whose hash runs in CPU hardware. With the other one, a handshake's key schedule costs more than its key
        // exchange.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Tls { config: Arc::new(config), sessions: Arc::new(ClientSessionMemoryCache::new(SERVERS)) })
    }

    pub async fn connect(&self, server: ServerName<'static>, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let ticket = self.sessions.take_tls13_ticket(&server);
        let mut config = (*self.config).clone();
        config.resumption =
            Resumption::store(Arc::new(Sessions { resumes: ticket.is_some(), ticket: Lock::new(ticket), kept: self.sessions.clone() }));
        TlsConnector::from(Arc::new(config)).connect(server, socket).await
    }
}

/// The sessions as one connection sees them: it has its own ticket, or none.
#[derive(Debug)]
struct Sessions {
    resumes: bool,
    ticket: Lock<Option<Tls13ClientSessionValue>>,
    kept: Arc<ClientSessionMemoryCache>,
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        if !self.resumes {
            self.kept.set_kx_hint(server, group);
        }
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        if self.resumes { Some(NamedGroup::X25519) } else { self.kept.kx_hint(server) }
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.kept.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.ticket.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{HandshakeKind, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[tokio::test]
    async fn a_session_is_post_quantum_and_what_resumes_it_exchanges_x25519_alone() {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        server.send_tls13_tickets = 1;
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(socket).await.unwrap();
                stream.write_all(b"x").await.unwrap();
                let _ = stream.read(&mut [0]).await;
            }
        };
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let tls = Tls::new(roots).unwrap();
        let connecting = async {
            let mut seen = vec![];
            for _ in 0..3 {
                let socket = TcpStream::connect(address).await.unwrap();
                let mut stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
                // The ticket comes before what the server writes.
                stream.read_exact(&mut [0]).await.unwrap();
                let connection = stream.get_ref().1;
                seen.push((connection.handshake_kind().unwrap(), connection.negotiated_key_exchange_group().unwrap().name()));
            }
            // Without a ticket left, it is a new session again.
            while tls.sessions.take_tls13_ticket(&ServerName::try_from("localhost").unwrap()).is_some() {}
            let socket = TcpStream::connect(address).await.unwrap();
            let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
            seen.push((stream.get_ref().1.handshake_kind().unwrap(), stream.get_ref().1.negotiated_key_exchange_group().unwrap().name()));
            seen
        };
        let seen = tokio::select! { seen = connecting => seen, () = serving => unreachable!() };
        let (new, resumed) = ((HandshakeKind::Full, NamedGroup::X25519MLKEM768), (HandshakeKind::Resumed, NamedGroup::X25519));
        assert_eq!(seen, [new, resumed, resumed, new]);
    }
}
