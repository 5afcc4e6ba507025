//! AWS JSON calls over blocking TLS connections, signed by hand (Signature Version 4).
use std::{
    env,
    fmt::Write as _,
    io::Write as _,
    net::TcpStream,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ring::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{Outcome, runtime::Message};

#[derive(Clone, Copy)]
pub enum Service {
    DynamoDb,
    SecretsManager,
}

pub struct Aws {
    tls: Arc<ClientConfig>,
    region: String,
    access_key: String,
    secret_key: String,
    session_token: String,
}

pub struct Connection {
    stream: rustls::StreamOwned<ClientConnection, TcpStream>,
    host: String,
    service: Service,
    message: Message,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::DynamoDb => "dynamodb",
            Service::SecretsManager => "secretsmanager",
        }
    }

    fn endpoint(self) -> &'static str {
        match self {
            Service::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Service::SecretsManager => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        }
    }
}

impl Aws {
    pub fn from_environment() -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(env::var("TRUST_ROOTS")?)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            region: env::var("AWS_REGION")?,
            access_key: env::var("AWS_ACCESS_KEY_ID")?,
            secret_key: env::var("AWS_SECRET_ACCESS_KEY")?,
            session_token: env::var("AWS_SESSION_TOKEN")?,
        })
    }

    pub fn open(&self, service: Service) -> Outcome<Connection> {
        let endpoint = env::var(service.endpoint())?;
        let host = endpoint.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let socket = TcpStream::connect(&host)?;
        socket.set_nodelay(true)?;
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned();
        let session = ClientConnection::new(self.tls.clone(), ServerName::try_from(name)?)?;
        Ok(Connection { stream: rustls::StreamOwned::new(session, socket), host, service, message: Message::default() })
    }

    pub fn send(&self, connection: &mut Connection, target: &str, body: &str) -> Outcome<()> {
        let (date, time) = timestamp(epoch_seconds());
        let service = connection.service.name();
        let (host, token) = (&connection.host, &self.session_token);
        let signed = "host;x-amz-date;x-amz-security-token;x-amz-target";
        let canonical = format!(
            "POST\n/\n\nhost:{host}\nx-amz-date:{time}\nx-amz-security-token:{token}\nx-amz-target:{target}\n\n{signed}\n{}",
            hex(digest(&SHA256, body.as_bytes()).as_ref())
        );
        let scope = format!("{date}/{}/{service}/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
        let mut key = hmac::Key::new(HMAC_SHA256, format!("AWS4{}", self.secret_key).as_bytes());
        for part in [date.as_str(), &self.region, service, "aws4_request"] {
            key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        let version = if service == "dynamodb" { "1.0" } else { "1.1" };
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-amz-json-{version}\r\ncontent-length: {}\r\nx-amz-date: {time}\r\nx-amz-security-token: {token}\r\nx-amz-target: {target}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\r\n{body}",
            body.len(),
            self.access_key
        );
        connection.stream.write_all(request.as_bytes())?;
        Ok(())
    }
}

impl Connection {
    /// Sends the first handshake message without waiting for the answer.
    pub fn greet(&mut self) -> Outcome<()> {
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut self.stream.sock)?;
        }
        Ok(())
    }

    pub fn finish_handshake(&mut self) -> Outcome<()> {
        while self.stream.conn.is_handshaking() {
            self.stream.conn.complete_io(&mut self.stream.sock)?;
        }
        Ok(())
    }

    pub fn receive(&mut self) -> Outcome<&[u8]> {
        self.message.read(&mut self.stream)?;
        match self.message.status() {
            "200" => Ok(self.message.body()),
            status => Err(format!("status {status}: {}", String::from_utf8_lossy(self.message.body())).into()),
        }
    }
}

pub fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|age| age.as_secs()).unwrap_or_default()
}

/// `YYYYMMDD` and `YYYYMMDDThhmmssZ` of a moment (days to a civil date after Howard Hinnant).
fn timestamp(seconds: u64) -> (String, String) {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let date = format!("{year:04}{month:02}{day:02}");
    let clock = seconds % 86_400;
    let time = format!("{date}T{:02}{:02}{:02}Z", clock / 3_600, clock / 60 % 60, clock % 60);
    (date, time)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
