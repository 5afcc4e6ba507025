//! Where mails come in: the addresses of a workspace, and what the address that a mail was sent to says. An address that we wrote for an answer is signed, so
//! it says whom the answer is from and what it is about. It knows no store.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use crate::crypto::{Random, SigningKey};
use crate::ids::{Segment, TenantId, Uuid, WorkspaceId, WorkspaceTag, stored};
use crate::store::entity::{Collection, Entity, InDirectory, InTenant, Key};
use crate::store::page::List;

/// The address of a workspace: 64 random bits, written as 16 hex digits. It is no secret, for whoever gets a mail has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InboundId([u8; 8]);

/// `inbound` / `<id>`: whose address it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    pub id: InboundId,
    #[serde(with = "stored")]
    pub(crate) tenant: TenantId,
    pub workspace_id: WorkspaceId,
}

/// `inbound-addresses` / `<workspace>`: the address of a workspace, for whoever writes it into a mail. It is made with the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundAddress {
    pub id: InboundId,
    pub workspace_id: WorkspaceId,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    Campaign(Uuid),
    Thread(Uuid),
    /// No answer: the lead wants no more mails of the campaign's sender.
    Unsubscribing(Uuid),
}

/// Whom a mail is from that came to an address of ours, and what it is about. The ids are without their workspace, which the directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyRef {
    pub inbound: InboundId,
    kind: u8,
    lead: [u8; OWN],
    about: [u8; OWN],
}

/// What the address of a mail that came in says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// To the workspace, whatever it is about.
    Workspace(InboundId),
    /// To an address that we wrote.
    Reply(ReplyRef),
}

/// An id of the workspace without the workspace's tag, with which it ends.
const OWN: usize = 10;
/// Of a MAC. An address has 64 characters before the @ and no room for more: whoever guesses has one chance in 2^56 with each mail.
const MAC: usize = 7;
const LENGTH: usize = 8 + OWN + OWN + MAC;
const CAMPAIGN: u8 = b'c';
const THREAD: u8 = b't';
const UNSUBSCRIBING: u8 = b'u';
const REPLY: &str = "reply+";
const UNSUBSCRIBE: &str = "unsub+";
const WORKSPACE: &str = "inbox-";
/// The first bytes of what is signed, which no link of a mail begins with.
const PURPOSE: &[u8] = b"reply";

impl InboundId {
    pub fn new(random: &Random) -> Self {
        InboundId(random.bytes())
    }

    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(|id| InboundId(id.to_be_bytes()))
    }
}

impl fmt::Display for InboundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl Segment for InboundId {}

impl TryFrom<String> for InboundId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        InboundId::parse(&text).ok_or("not the address of a workspace")
    }
}

impl From<InboundId> for String {
    fn from(id: InboundId) -> String {
        id.to_string()
    }
}

impl Inbound {
    pub fn new(address: &InboundAddress, tenant: TenantId) -> Self {
        Inbound { id: address.id, tenant, workspace_id: address.workspace_id }
    }

    pub fn key_of(id: InboundId) -> Key<Self> {
        Key::new(&Collection::of::<Inbound>(), id)
    }
}

impl InboundAddress {
    pub fn key_of(workspace: WorkspaceTag) -> Key<Self> {
        Key::new(&Collection::of::<InboundAddress>(), workspace)
    }

    pub fn all() -> List<Self> {
        List::new(Collection::of::<InboundAddress>(), "")
    }
}

impl ReplyRef {
    /// `lead` is nil where a stranger writes.
    pub fn new(inbound: InboundId, lead: impl Into<Uuid>, about: About) -> Self {
        let (kind, id) = match about {
            About::Campaign(id) => (CAMPAIGN, id),
            About::Thread(id) => (THREAD, id),
            About::Unsubscribing(id) => (UNSUBSCRIBING, id),
        };
        ReplyRef { inbound, kind, lead: own(lead.into()), about: own(id) }
    }

    /// `None`: a stranger's. In the workspace whose address it is.
    pub fn lead(&self, workspace: WorkspaceTag) -> Option<Uuid> {
        (self.lead != [0; OWN]).then(|| within(self.lead, workspace))
    }

    /// In the workspace whose address it is.
    pub fn about(&self, workspace: WorkspaceTag) -> About {
        let id = within(self.about, workspace);
        match self.kind {
            THREAD => About::Thread(id),
            UNSUBSCRIBING => About::Unsubscribing(id),
            _ => About::Campaign(id),
        }
    }

    /// Letters and digits that mean the same in any case, because some programs change it.
    pub fn address(&self, domain: &str, key: &SigningKey) -> String {
        let prefix = if self.kind == UNSUBSCRIBING { UNSUBSCRIBE } else { REPLY };
        let bytes = [&self.inbound.0[..], &self.lead, &self.about, &self.mac(key)].concat();
        format!("{prefix}{}@{domain}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    fn read(kinds: &[u8], text: &str, key: &SigningKey) -> Option<Self> {
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
        let bytes: [u8; LENGTH] = bytes.try_into().ok()?;
        let (inbound, rest) = bytes.split_first_chunk::<8>()?;
        let (lead, rest) = rest.split_first_chunk::<OWN>()?;
        let (about, mac) = rest.split_first_chunk::<OWN>()?;
        let of = |kind: &u8| ReplyRef { inbound: InboundId(*inbound), kind: *kind, lead: *lead, about: *about };
        kinds.iter().map(of).find(|found| crate::crypto::same(&found.mac(key), mac))
    }

    fn mac(&self, key: &SigningKey) -> [u8; MAC] {
        let signed = [PURPOSE, &[self.kind], &self.inbound.0, &self.lead, &self.about].concat();
        let mut mac = [0; MAC];
        mac.copy_from_slice(&key.mac(&signed)[..MAC]);
        mac
    }
}

impl Addressed {
    /// `None`: it is no address of ours, or one that we did not write.
    pub fn read(address: &str, domain: &str, key: &SigningKey) -> Option<Self> {
        let (local, host) = address.rsplit_once('@')?;
        if !host.trim_end_matches('.').eq_ignore_ascii_case(domain) || !local.is_ascii() {
            return None;
        }
        let local = local.to_ascii_lowercase();
        if let Some(text) = local.strip_prefix(REPLY) {
            return ReplyRef::read(&[CAMPAIGN, THREAD], text, key).map(Addressed::Reply);
        }
        if let Some(text) = local.strip_prefix(UNSUBSCRIBE) {
            return ReplyRef::read(&[UNSUBSCRIBING], text, key).map(Addressed::Reply);
        }
        InboundId::parse(local.strip_prefix(WORKSPACE)?).map(Addressed::Workspace)
    }

    /// Whether it is the address for those who want no more mails.
    pub fn unsubscribes(&self) -> bool {
        matches!(self, Addressed::Reply(reply) if reply.kind == UNSUBSCRIBING)
    }

    pub fn inbound(&self) -> InboundId {
        match self {
            Addressed::Workspace(id) => *id,
            Addressed::Reply(reply) => reply.inbound,
        }
    }
}

fn own(id: Uuid) -> [u8; OWN] {
    let mut own = [0; OWN];
    own.copy_from_slice(&id.as_bytes()[..OWN]);
    own
}

fn within(own: [u8; OWN], workspace: WorkspaceTag) -> Uuid {
    let mut id = [0; 16];
    id[..OWN].copy_from_slice(&own);
    crate::ids::ending_in(Uuid::from_bytes(id), workspace)
}

impl Entity for Inbound {
    type Scope = InDirectory;
    const TYPE: &'static str = "inbound";
    const COLLECTION: &'static str = "inbound";

    fn key(&self) -> Key<Self> {
        Inbound::key_of(self.id)
    }
}

impl Entity for InboundAddress {
    type Scope = InTenant;
    const TYPE: &'static str = "inbound_address";
    const COLLECTION: &'static str = "inbound-addresses";
    const AUDITED: bool = false;
    /// Another deployment receives mails elsewhere.
    const EXPORTED: bool = false;

    fn key(&self) -> Key<Self> {
        InboundAddress::key_of(self.workspace_id.tag())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::RootKey;
    use crate::ids::in_workspace;

    const DOMAIN: &str = "in.example.com";

    fn key(letter: u8) -> SigningKey {
        RootKey::new(&[letter; 64]).signing("mail-refs")
    }

    fn workspace(seed: u64) -> (WorkspaceTag, Random) {
        let random = Random::seeded(seed);
        (WorkspaceId::new(Timestamp::UNIX_EPOCH, &random).tag(), random)
    }

    fn replies(seed: u64) -> [ReplyRef; 4] {
        let (tag, random) = workspace(seed);
        let id = || in_workspace(tag, Timestamp::UNIX_EPOCH, &random);
        let inbound = InboundId::new(&random);
        [
            ReplyRef::new(inbound, id(), About::Campaign(id())),
            ReplyRef::new(inbound, id(), About::Thread(id())),
            ReplyRef::new(inbound, Uuid::nil(), About::Thread(id())),
            ReplyRef::new(inbound, id(), About::Unsubscribing(id())),
        ]
    }

    #[test]
    fn an_address_says_what_it_was_written_for_in_any_case() {
        let (tag, random) = workspace(1);
        let id = || in_workspace(tag, Timestamp::UNIX_EPOCH, &random);
        let (inbound, lead) = (InboundId::new(&random), id());
        for about in [About::Campaign(id()), About::Thread(id()), About::Unsubscribing(id())] {
            let reply = ReplyRef::new(inbound, lead, about);
            let address = reply.address(DOMAIN, &key(b'k'));
            assert!(address.split_once('@').is_some_and(|(local, _)| local.len() <= 64), "{address}");
            for written in [address.clone(), address.to_ascii_uppercase(), format!("{address}.")] {
                let read = Addressed::read(&written, DOMAIN, &key(b'k'));
                assert_eq!(read, Some(Addressed::Reply(reply)), "{written}");
            }
            assert_eq!((reply.lead(tag), reply.about(tag)), (Some(lead), about));
        }
        assert_eq!(replies(1)[2].lead(tag), None);
        let address = format!("inbox-{inbound}@{DOMAIN}");
        assert_eq!(Addressed::read(&address, DOMAIN, &key(b'k')), Some(Addressed::Workspace(inbound)));
    }

    /// Nobody can make one of another's, of another use, or of another deployment.
    #[test]
    fn every_changed_character_of_an_address_is_refused() {
        for reply in (0..8).flat_map(replies) {
            let address = reply.address(DOMAIN, &key(b'k'));
            assert_eq!(Addressed::read(&address, DOMAIN, &key(b'o')), None);
            let (local, _) = address.split_once('@').unwrap();
            let (prefix, text) = local.split_at(6);
            for at in 0..text.len() {
                for letter in "abcdefghijklmnopqrstuvwxyz234567".bytes().filter(|letter| *letter != text.as_bytes()[at]) {
                    let mut altered = text.as_bytes().to_vec();
                    altered[at] = letter;
                    let altered = format!("{prefix}{}@{DOMAIN}", String::from_utf8(altered).unwrap());
                    assert_eq!(Addressed::read(&altered, DOMAIN, &key(b'k')), None, "{altered}");
                }
            }
            let other = if prefix == REPLY { UNSUBSCRIBE } else { REPLY };
            assert_eq!(Addressed::read(&format!("{other}{text}@{DOMAIN}"), DOMAIN, &key(b'k')), None);
        }
    }

    /// A lead of one address with the workspace of another.
    #[test]
    fn parts_of_two_addresses_make_none() {
        let [mine, theirs] = [1, 2].map(|seed| replies(seed)[0]);
        let mixed = ReplyRef { inbound: theirs.inbound, ..mine };
        let bytes = [&mixed.inbound.0[..], &mixed.lead, &mixed.about, &mine.mac(&key(b'k'))].concat();
        let address = format!("{REPLY}{}@{DOMAIN}", BASE32_NOPAD.encode(&bytes));
        assert_eq!(Addressed::read(&address, DOMAIN, &key(b'k')), None);
        assert!(Addressed::read(&mixed.address(DOMAIN, &key(b'k')), DOMAIN, &key(b'k')).is_some(), "only the signature was missing");
    }

    proptest! {
        #[test]
        fn nothing_else_is_an_address(text in "(reply\\+|unsub\\+|inbox-|)[a-z2-7A-Z+=]{0,70}(@in.example.com|@example.com|)") {
            prop_assert_eq!(Addressed::read(&text, DOMAIN, &key(b'k')), None);
        }
    }
}
