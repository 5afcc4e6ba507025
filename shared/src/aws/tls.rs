//! TLS to AWS. A new session exchanges keys with X25519 and ML-KEM-768 together, which a quantum computer does not break. A connection that resumes a
//! session mixes the secret of that session into its own (RFC 8446, section 2.2), so its fresh exchange needs X25519 alone, at a third of the cost. If
//! the server does not take the ticket, the connection has the protection of X25519 alone, and nothing resumes its session.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Cause;
use crate::lock::Lock;

/// Cheap to clone. All clones share their sessions.
#[derive(Clone)]
pub(super) struct Tls {
    /// For a new session.
    new: Arc<ClientConfig>,
    /// For a connection with a ticket: without ML-KEM-768, or a server that prefers it would ask for it, at the cost of a round trip.
    resuming: Arc<ClientConfig>,
    sessions: Arc<ClientSessionMemoryCache>,
}

/// Sessions of 32 servers: the cache counts eight tickets for each.
const SESSIONS: usize = 32 * 8;

impl Tls {
    pub fn new(roots: RootCertStore) -> Result<Self, Cause> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // Prefer the suite whose hash runs in CPU hardware. With the other one, a handshake's key schedule costs more than its key
        // exchange.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let mut classical = provider.clone();
        classical.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
        // The usual verifier, and one for both: rustls resumes a session only under the verifier that saw its certificates. Without roots there
        // is none: no server is trusted, and endpoints without TLS need none.
        let verifier = match roots.is_empty() {
            true => None,
            false => Some(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider.clone())).build()?),
        };
        let config = |provider: CryptoProvider| {
            let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
            let config = match &verifier {
                Some(verifier) => config.dangerous().with_custom_certificate_verifier(verifier.clone()),
                None => config.with_root_certificates(RootCertStore::empty()),
            };
            Ok::<_, rustls::Error>(config.with_no_client_auth())
        };
        let (new, mut resuming) = (config(provider)?, config(classical)?);
        resuming.client_auth_cert_resolver = new.client_auth_cert_resolver.clone();
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        Ok(Tls { new: Arc::new(new), resuming: Arc::new(resuming), sessions })
    }

    pub async fn connect(&self, server: ServerName<'static>, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let ticket = self.sessions.take_tls13_ticket(&server);
        let sessions = Arc::new(Sessions {
            resumes: ticket.is_some(),
            refused: AtomicBool::new(false),
            ticket: Lock::new(ticket),
            kept: self.sessions.clone(),
        });
        let mut config = if sessions.resumes { (*self.resuming).clone() } else { (*self.new).clone() };
        config.resumption = Resumption::store(sessions.clone());
        let stream = TlsConnector::from(Arc::new(config)).connect(server, socket).await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        // Tickets come after the handshake.
        sessions.refused.store(sessions.resumes && !resumed, Ordering::Relaxed);
        Ok(stream)
    }
}

/// The sessions as one connection sees them: it has its own ticket, or none.
#[derive(Debug)]
struct Sessions {
    resumes: bool,
    /// The server did not take the ticket: this session is not post-quantum, so it is not kept.
    refused: AtomicBool,
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
        self.kept.kx_hint(server)
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
        if !self.refused.load(Ordering::Relaxed) {
            self.kept.insert_tls13_ticket(server, value);
        }
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.ticket.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const NEW: (HandshakeKind, NamedGroup) = (HandshakeKind::Full, NamedGroup::X25519MLKEM768);
    const RESUMED: (HandshakeKind, NamedGroup) = (HandshakeKind::Resumed, NamedGroup::X25519);
    const REFUSED: (HandshakeKind, NamedGroup) = (HandshakeKind::Full, NamedGroup::X25519);

    #[tokio::test]
    async fn a_session_is_post_quantum_and_what_resumes_it_exchanges_x25519_alone() {
        assert_eq!(seen(&[0, 0, 0]).await, [NEW, RESUMED, RESUMED]);
    }

    #[tokio::test]
    async fn a_session_whose_ticket_was_refused_is_not_resumed() {
        assert_eq!(seen(&[0, 1, 1, 1]).await, [NEW, REFUSED, NEW, RESUMED]);
    }

    /// How connections come about, one after another, to servers of one name: 0 and 1 do not take the tickets of one another.
    async fn seen(servers: &[usize]) -> Vec<(HandshakeKind, NamedGroup)> {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let acceptor = || {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let mut server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
            server.send_tls13_tickets = 1;
            TlsAcceptor::from(Arc::new(server))
        };
        let acceptors = [acceptor(), acceptor()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async {
            for server in servers {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = acceptors[*server].accept(socket).await.unwrap();
                stream.write_all(b"x").await.unwrap();
                let _ = stream.read(&mut [0]).await;
            }
        };
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let tls = Tls::new(roots).unwrap();
        let connecting = async {
            let mut seen = vec![];
            for _ in servers {
                let socket = TcpStream::connect(address).await.unwrap();
                let mut stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
                // The ticket comes before what the server writes.
                stream.read_exact(&mut [0]).await.unwrap();
                let connection = stream.get_ref().1;
                seen.push((connection.handshake_kind().unwrap(), connection.negotiated_key_exchange_group().unwrap().name()));
            }
            seen
        };
        tokio::join!(connecting, serving).0
    }
}
