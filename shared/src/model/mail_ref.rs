//! Which mail of a campaign something is about: the token in its links, and the tags under which a carrier reports about it. Both are signed and
//! name nobody: the address in a link to unsubscribe is sealed. The tenant that they name is one that we wrote, so it can be believed. It knows no store.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::{MAC_LENGTH, Random, RootKey, SealingKey, SigningKey};
use crate::ids::{TenantId, Uuid, WorkspaceTag};
use crate::model::user::Email;

/// A mail of a campaign: which step went to which lead. Campaign and lead lie in the same workspace of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MailRef {
    tenant: TenantId,
    campaign: Uuid,
    lead: Uuid,
    step: u32,
}

/// What links and tags are made with: both keys of one secret.
pub struct MailKeys {
    pub signing: SigningKey,
    pub sealing: SealingKey,
}

impl MailKeys {
    pub fn of(root: &RootKey) -> Self {
        MailKeys { signing: root.signing("mail-refs"), sealing: root.sealing("mail-refs addresses") }
    }
}

/// What a link is for. A token for one is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    Unsubscribe,
    Open,
    Click,
}

/// What a link's token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailLink {
    pub mail: MailRef,
    /// The address that the mail went to: the lead may be gone, or have another one since. Only links to unsubscribe have it.
    pub to: Option<Email>,
    /// Where a click leads. Only links to click have it.
    pub url: Option<String>,
}

/// The first byte of what is signed as tags. No link has it.
const TAGS: u8 = b't';
const LONGEST_URL: usize = 2000;
/// An id of the workspace without the workspace's tag, with which it ends.
const OWN: usize = 10;
/// Kind, tenant, campaign, lead, workspace tag, step.
const LENGTH: usize = 1 + 16 + OWN + OWN + 6 + 4;

impl LinkKind {
    pub const ALL: [LinkKind; 3] = [LinkKind::Unsubscribe, LinkKind::Open, LinkKind::Click];

    fn byte(self) -> u8 {
        match self {
            LinkKind::Unsubscribe => b'u',
            LinkKind::Open => b'o',
            LinkKind::Click => b'c',
        }
    }
}

impl MailRef {
    /// `None` if campaign and lead lie in different workspaces.
    pub fn new(tenant: TenantId, campaign: impl Into<Uuid>, lead: impl Into<Uuid>, step: u32) -> Option<Self> {
        let (campaign, lead) = (campaign.into(), lead.into());
        let one_workspace = campaign.as_bytes()[OWN..] == lead.as_bytes()[OWN..];
        one_workspace.then_some(MailRef { tenant, campaign, lead, step })
    }

    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub fn workspace(&self) -> WorkspaceTag {
        WorkspaceTag::of(self.lead)
    }

    pub fn campaign(&self) -> Uuid {
        self.campaign
    }

    pub fn lead(&self) -> Uuid {
        self.lead
    }

    pub fn step(&self) -> u32 {
        self.step
    }

    /// For a link that ends mails to the lead and to the address that the mail goes to. It never expires, and does not show the address, because links
    /// stand in logs of others. The address is bound to the mail.
    pub fn unsubscribe_token(&self, to: &Email, keys: &MailKeys, random: &Random) -> String {
        let mut text = self.bytes(LinkKind::Unsubscribe.byte()).to_vec();
        let sealed = keys.sealing.seal_bytes(to.as_str().as_bytes(), &text, random);
        text.extend(sealed);
        token(text, &keys.signing)
    }

    /// For the image that shows when the mail is opened.
    pub fn open_token(&self, key: &SigningKey) -> String {
        token(self.bytes(LinkKind::Open.byte()).to_vec(), key)
    }

    /// For a link of the mail. `None` for what is not followed: other schemes than http and https, more than 2,000 bytes, text that is no URL.
    pub fn click_token(&self, url: &str, key: &SigningKey) -> Option<String> {
        let mut text = self.bytes(LinkKind::Click.byte()).to_vec();
        text.extend_from_slice(followed(url)?.as_bytes());
        Some(token(text, key))
    }

    /// What a token says that we signed for this kind of link.
    pub fn read(kind: LinkKind, text: &str, keys: &MailKeys) -> Option<MailLink> {
        const LONGEST: usize = (LENGTH + LONGEST_URL + MAC_LENGTH).div_ceil(3) * 4;
        if text.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, mac) = bytes.split_last_chunk::<MAC_LENGTH>()?;
        let (fixed, rest) = signed.split_first_chunk::<LENGTH>()?;
        if fixed[0] != kind.byte() || !keys.signing.is_mac(signed, mac) {
            return None;
        }
        let mail = Self::of_bytes(fixed)?;
        match kind {
            LinkKind::Click => Some(MailLink { mail, to: None, url: Some(followed(std::str::from_utf8(rest).ok()?)?) }),
            LinkKind::Unsubscribe => {
                let to = Email::parse(&String::from_utf8(keys.sealing.open_bytes(rest, fixed)?).ok()?)?;
                Some(MailLink { mail, to: Some(to), url: None })
            }
            LinkKind::Open => rest.is_empty().then_some(MailLink { mail, to: None, url: None }),
        }
    }

    /// For the carrier, which reports with them. Names and values are within what SES takes.
    pub fn tags(&self, key: &SigningKey) -> Vec<(&'static str, String)> {
        let signature = URL_SAFE_NO_PAD.encode(key.mac(&self.bytes(TAGS)));
        vec![
            ("t", self.tenant.to_string()),
            ("c", self.campaign.to_string()),
            ("l", self.lead.to_string()),
            ("s", self.step.to_string()),
            ("sig", signature),
        ]
    }

    /// The mail that tags are about, if we signed them. A carrier adds tags of its own.
    pub fn of_tags(tags: &BTreeMap<String, String>, key: &SigningKey) -> Option<Self> {
        let uuid = |name: &str| crate::ids::parse_uuid(tags.get(name)?);
        let step = tags.get("s")?.parse().ok()?;
        let mail = MailRef::new(TenantId::parse(tags.get("t")?)?, uuid("c")?, uuid("l")?, step)?;
        let given = URL_SAFE_NO_PAD.decode(tags.get("sig")?).ok()?;
        // Only as we write them, so that a mail has one set of tags.
        let ours = mail.tags(key).iter().all(|(name, value)| *name == "sig" || tags.get(*name) == Some(value));
        (ours && key.is_mac(&mail.bytes(TAGS), given.as_slice().try_into().ok()?)).then_some(mail)
    }

    fn bytes(&self, kind: u8) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let parts: [&[u8]; 6] = [
            &[kind],
            self.tenant.as_bytes(),
            &self.campaign.as_bytes()[..OWN],
            &self.lead.as_bytes()[..OWN],
            &self.lead.as_bytes()[OWN..],
            &self.step.to_be_bytes(),
        ];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    fn of_bytes(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (tenant, rest) = bytes[1..].split_first_chunk::<16>()?;
        let (campaign, rest) = rest.split_first_chunk::<OWN>()?;
        let (lead, rest) = rest.split_first_chunk::<OWN>()?;
        let (tag, rest) = rest.split_first_chunk::<6>()?;
        let step = u32::from_be_bytes(rest.try_into().ok()?);
        let id = |own: &[u8; OWN]| {
            let mut id = [0; 16];
            id[..OWN].copy_from_slice(own);
            id[OWN..].copy_from_slice(tag);
            Uuid::from_bytes(id)
        };
        MailRef::new(TenantId::of_bytes(*tenant), id(campaign), id(lead), step)
    }
}

fn token(mut text: Vec<u8>, key: &SigningKey) -> String {
    let mac = key.mac(&text);
    text.extend_from_slice(&mac);
    URL_SAFE_NO_PAD.encode(text)
}

/// The URL as a header carries it: in a parser's normal form, in which nothing ends a line.
fn followed(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    let url = String::from(url);
    (text.len() <= LONGEST_URL && url.len() <= LONGEST_URL).then_some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> MailKeys {
        MailKeys::of(&RootKey::new(&[b'k'; 64]))
    }

    fn jane() -> Email {
        Email::parse("Jane@example.com").expect("an address")
    }

    fn mail(tenant: u128, campaign: u128, lead: u128, step: u32) -> MailRef {
        let tag = 0x0123_4567_89AB;
        let within = |id: u128| Uuid::from_u128(id << 48 | tag);
        MailRef::new(TenantId::of_bytes(tenant.to_be_bytes()), within(campaign), within(lead), step).expect("one workspace")
    }

    fn tokens(mail: &MailRef, url: &str, keys: &MailKeys) -> [(LinkKind, String); 3] {
        [
            (LinkKind::Unsubscribe, mail.unsubscribe_token(&jane(), keys, &Random::seeded(1))),
            (LinkKind::Open, mail.open_token(&keys.signing)),
            (LinkKind::Click, mail.click_token(url, &keys.signing).expect("a URL")),
        ]
    }

    fn as_map(tags: Vec<(&'static str, String)>) -> BTreeMap<String, String> {
        tags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    proptest! {
        #[test]
        fn what_is_signed_reads_back_and_for_its_kind_alone(
            tenant: u128, campaign: u128, lead: u128, step: u32, path in "[a-z0-9/?=&%~.\u{e4}\u{20ac}-]{0,300}",
        ) {
            let (keys, mail, url) = (keys(), mail(tenant, campaign, lead, step), format!("https://example.com/{path}"));
            for (kind, token) in tokens(&mail, &url, &keys) {
                for asked in LinkKind::ALL {
                    let read = MailRef::read(asked, &token, &keys);
                    let to = (kind == LinkKind::Unsubscribe).then(jane);
                    let url = (kind == LinkKind::Click).then(|| url::Url::parse(&url).unwrap().to_string());
                    prop_assert_eq!(read, (asked == kind).then_some(MailLink { mail, to, url }));
                }
            }
            let tags = mail.tags(&keys.signing);
            for (name, value) in &tags {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                prop_assert!(value.len() <= 256 && value.bytes().all(fits) && name.bytes().all(fits), "{} {}", name, value);
            }
            prop_assert_eq!(MailRef::of_tags(&as_map(tags), &keys.signing), Some(mail));
        }

        #[test]
        fn nothing_else_is_a_token(text in "[A-Za-z0-9_-]{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for text in [text, URL_SAFE_NO_PAD.encode(bytes)] {
                for kind in LinkKind::ALL {
                    prop_assert_eq!(MailRef::read(kind, &text, &keys()), None);
                }
            }
        }
    }

    /// Every bit of many tokens, as they are written and as they are signed.
    #[test]
    fn every_flipped_bit_of_a_token_is_refused() {
        let (keys, mut flips) = (keys(), 0);
        for round in 0..40_u32 {
            let mail = mail(u128::from(round) * 7919, 3, 5, round);
            for (kind, token) in tokens(&mail, "https://example.com/a?b=c", &keys) {
                for bit in 0..token.len() * 8 {
                    let mut altered = token.clone().into_bytes();
                    altered[bit / 8] ^= 1 << (bit % 8);
                    let Ok(altered) = String::from_utf8(altered) else { continue };
                    assert!(LinkKind::ALL.iter().all(|kind| MailRef::read(*kind, &altered, &keys).is_none()), "{altered}");
                    flips += 1;
                }
                let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
                for bit in 0..bytes.len() * 8 {
                    let mut altered = bytes.clone();
                    altered[bit / 8] ^= 1 << (bit % 8);
                    assert!(LinkKind::ALL.iter().all(|kind| MailRef::read(*kind, &URL_SAFE_NO_PAD.encode(&altered), &keys).is_none()));
                    flips += 1;
                }
                assert!(MailRef::read(kind, &token, &keys).is_some());
                for length in 0..token.len() {
                    assert!(MailRef::read(kind, &token[..length], &keys).is_none());
                }
            }
        }
        assert!(flips > 100_000, "{flips}");
    }

    #[test]
    fn every_changed_character_of_a_tag_is_refused() {
        let (key, mail) = (keys().signing, mail(1, 2, 3, 4));
        let tags = mail.tags(&key);
        for (name, value) in &tags {
            let mut missing = as_map(tags.clone());
            missing.remove(*name);
            assert_eq!(MailRef::of_tags(&missing, &key), None, "{name}");
            for bit in 0..value.len() * 8 {
                let mut altered = value.clone().into_bytes();
                altered[bit / 8] ^= 1 << (bit % 8);
                let Ok(altered) = String::from_utf8(altered) else { continue };
                let mut with = as_map(tags.clone());
                with.insert((*name).to_owned(), altered.clone());
                assert_eq!(MailRef::of_tags(&with, &key), None, "{name} {altered}");
            }
        }
        let mut more = as_map(tags);
        more.insert("ses:caller-identity".into(), "tenantry".into());
        assert_eq!(MailRef::of_tags(&more, &key), Some(mail));
        more.insert("s".into(), "04".into());
        assert_eq!(MailRef::of_tags(&more, &key), None);
    }

    /// What is signed for one use cannot be put together to something for another, nor with another key.
    #[test]
    fn a_signature_is_for_one_use() {
        let (keys, mail) = (keys(), mail(1, 2, 3, 4));
        let key = &keys.signing;
        let root = |letter: u8| RootKey::new(&[letter; 64]);
        let with_its_signature = MailKeys { signing: root(b'k').signing("links"), ..MailKeys::of(&root(b'k')) };
        for other in [with_its_signature, MailKeys::of(&root(b'o'))] {
            for (kind, token) in tokens(&mail, "https://example.com/", &other) {
                assert_eq!(MailRef::read(kind, &token, &keys), None);
            }
            assert_eq!(MailRef::of_tags(&as_map(mail.tags(&other.signing)), key), None);
        }
        let signature = URL_SAFE_NO_PAD.decode(&as_map(mail.tags(key))["sig"]).unwrap();
        for kind in LinkKind::ALL {
            for first in [kind.byte(), TAGS] {
                let forged = [&mail.bytes(first)[..], &signature].concat();
                assert_eq!(MailRef::read(kind, &URL_SAFE_NO_PAD.encode(forged), &keys), None);
            }
            let mac = URL_SAFE_NO_PAD.encode(key.mac(&mail.bytes(kind.byte())));
            let mut tags = as_map(mail.tags(key));
            tags.insert("sig".into(), mac);
            assert_eq!(MailRef::of_tags(&tags, key), None);
        }
        // Not even a token that we signed with something behind it.
        let mut longer = mail.bytes(LinkKind::Open.byte()).to_vec();
        longer.push(0);
        assert_eq!(MailRef::read(LinkKind::Open, &token(longer, key), &keys), None);
    }

    /// A link to unsubscribe shows no address, and that of another mail cannot be put into it: not by who has the MAC alone, either.
    #[test]
    fn the_address_in_a_link_is_sealed_for_its_mail() {
        let (keys, own) = (keys(), mail(1, 2, 3, 4));
        let made = own.unsubscribe_token(&jane(), &keys, &Random::seeded(1));
        let bytes = URL_SAFE_NO_PAD.decode(&made).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).to_lowercase().contains("jane") && !made.to_lowercase().contains("jane"));
        assert_ne!(made, own.unsubscribe_token(&jane(), &keys, &Random::seeded(2)), "nobody sees that two mails went to one address");
        for other in [mail(9, 2, 3, 4), mail(1, 9, 3, 4), mail(1, 2, 9, 4), mail(1, 2, 3, 9)] {
            let theirs = URL_SAFE_NO_PAD.decode(other.unsubscribe_token(&jane(), &keys, &Random::seeded(1))).unwrap();
            let (sealed, mac) = theirs[LENGTH..].split_at(theirs.len() - LENGTH - MAC_LENGTH);
            let fixed = &bytes[..LENGTH];
            for spliced in [[fixed, sealed, mac].concat(), [fixed, sealed, &bytes[bytes.len() - MAC_LENGTH..]].concat()] {
                assert_eq!(MailRef::read(LinkKind::Unsubscribe, &URL_SAFE_NO_PAD.encode(spliced), &keys), None);
            }
            assert_eq!(MailRef::read(LinkKind::Unsubscribe, &token([fixed, sealed].concat(), &keys.signing), &keys), None);
        }
        // One without an address is none, nor is one with what is no address.
        assert_eq!(MailRef::read(LinkKind::Unsubscribe, &token(bytes[..LENGTH].to_vec(), &keys.signing), &keys), None);
        let sealed = keys.sealing.seal_bytes(b"nobody", &bytes[..LENGTH], &Random::seeded(1));
        assert_eq!(MailRef::read(LinkKind::Unsubscribe, &token([&bytes[..LENGTH], &sealed].concat(), &keys.signing), &keys), None);
    }

    #[test]
    fn only_web_addresses_are_followed() {
        let (keys, mail) = (keys(), mail(1, 2, 3, 4));
        let key = &keys.signing;
        for url in ["http://example.com", "HTTPS://example.com/a b", "https://example.com/\u{e4}", "https://ex\u{e4}mple.com/#x"] {
            let token = mail.click_token(url, key).expect(url);
            let read = MailRef::read(LinkKind::Click, &token, &keys).and_then(|link| link.url).expect(url);
            assert!(read.starts_with("http") && read.bytes().all(|byte| byte.is_ascii_graphic()), "{read}");
        }
        for url in [
            "",
            "/a",
            "//example.com",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://example.com",
            "mailto:a@b.example",
            "https://",
            "http:",
        ] {
            assert_eq!(mail.click_token(url, key), None, "{url}");
            // Nor if we had signed it.
            let signed = token([&mail.bytes(LinkKind::Click.byte())[..], url.as_bytes()].concat(), key);
            assert_eq!(MailRef::read(LinkKind::Click, &signed, &keys), None, "{url}");
        }
        let long = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
        let longest = mail.click_token(&long(2000), key).expect("2,000 bytes");
        assert_eq!(MailRef::read(LinkKind::Click, &longest, &keys).and_then(|link| link.url), Some(long(2000)));
        assert_eq!(mail.click_token(&long(2001), key), None);
        // What grows beyond it in normal form.
        assert_eq!(mail.click_token(&format!("https://example.com/{}", "\u{e4}".repeat(700)), key), None);
    }

    #[test]
    fn campaign_and_lead_lie_in_one_workspace() {
        let tenant = TenantId::of_bytes([1; 16]);
        assert!(MailRef::new(tenant, Uuid::from_u128(1), Uuid::from_u128(2), 0).is_none());
        let mail = mail(1, 2, 3, 4);
        assert_eq!(mail.workspace().to_string(), "0123456789ab");
        assert_eq!(mail.open_token(&keys().signing).len(), 84);
    }
}
