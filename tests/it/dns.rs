//! DNS servers on loopback that answer as a test tells them. Names that were not set do not exist.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, LazyLock};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use shared::lock::Lock;

/// What a server does when asked for the records of a name.
#[derive(Clone)]
enum Says {
    Cname(String),
    Texts(Vec<String>),
    /// No answer.
    Silence,
    /// SERVFAIL.
    Failure,
}

type Zone = HashMap<(String, RecordType), Says>;

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    zone: Arc<Lock<Zone>>,
    asked: Arc<Lock<Vec<String>>>,
}

/// A server with an empty zone.
pub fn empty() -> SocketAddr {
    static EMPTY: LazyLock<Server> = LazyLock::new(Server::start);
    EMPTY.address
}

impl Server {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let server = Server { address: socket.local_addr().expect("an address"), zone: Arc::default(), asked: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if let Some(answer) = serving.answer(&packet[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        server
    }

    fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let request = Message::from_vec(packet).ok()?;
        let query = request.queries.first()?.clone();
        let name = query.name().to_lowercase().to_ascii().trim_end_matches('.').to_owned();
        self.asked.lock().push(format!("{} {name}", query.query_type()));
        let mut answer = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let record = |data| Record::from_rdata(query.name().clone(), 60, data);
        match self.zone.lock().get(&(name, query.query_type())).cloned() {
            Some(Says::Cname(to)) => {
                let to = Name::from_ascii(format!("{to}.")).expect("a name");
                answer.add_answer(record(RData::CNAME(CNAME(to))));
            }
            Some(Says::Texts(texts)) => {
                answer.add_answers(texts.into_iter().map(|text| record(RData::TXT(TXT::new(vec![text])))));
            }
            Some(Says::Silence) => return None,
            Some(Says::Failure) => answer.metadata.response_code = ResponseCode::ServFail,
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer.to_vec().ok()
    }

    pub fn cname(&self, name: &str, to: &str) {
        self.set(name, RecordType::CNAME, Says::Cname(to.into()));
    }

    /// Adds a text to the existing ones.
    pub fn text(&self, name: &str, text: &str) {
        let mut zone = self.zone.lock();
        match zone.entry((name.into(), RecordType::TXT)).or_insert(Says::Texts(vec![])) {
            Says::Texts(texts) if texts.iter().any(|known| known == text) => {}
            Says::Texts(texts) => texts.push(text.into()),
            other => *other = Says::Texts(vec![text.into()]),
        }
    }

    pub fn silent(&self, name: &str) {
        self.set(name, RecordType::CNAME, Says::Silence);
    }

    pub fn failing(&self, name: &str) {
        self.set(name, RecordType::CNAME, Says::Failure);
    }

    pub fn forget(&self, name: &str) {
        self.zone.lock().retain(|(known, _), _| known != name);
    }

    /// How often a question was asked, such as `CNAME cdn.acme.com`.
    pub fn asked(&self, question: &str) -> usize {
        self.asked.lock().iter().filter(|asked| *asked == question).count()
    }

    fn set(&self, name: &str, kind: RecordType, says: Says) {
        self.zone.lock().insert((name.into(), kind), says);
    }
}
