//! Randomness, hashes and encryption, all from aws-lc, the only crypto library in the tree. Keys are derived from the root secret by HKDF,
//! each with its own name, so a key for one purpose reveals nothing about another.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;

use crate::ids::TenantId;
use crate::lock::Lock;

/// Where random bytes come from: the system, or a seed in tests.
pub struct Random(Option<Lock<(u64, u64)>>);

impl Random {
    pub fn system() -> Self {
        Random(None)
    }

    /// Repeatable bytes for tests. Functions never use it.
    pub fn seeded(seed: u64) -> Self {
        Random(Some(Lock::new((seed, 0))))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            None => rand::fill(&mut bytes).expect("the system's random source answers"),
            Some(state) => {
                let mut state = state.lock();
                for chunk in bytes.chunks_mut(32) {
                    state.1 += 1;
                    let block = digest::digest(&digest::SHA256, format!("{}:{}", state.0, state.1).as_bytes());
                    chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// `length` characters of `alphabet`, each equally likely.
    pub fn text(&self, alphabet: &[u8], length: usize) -> String {
        let fair = 256 - 256 % alphabet.len();
        let mut text = String::with_capacity(length);
        while text.len() < length {
            for byte in self.bytes::<32>() {
                if usize::from(byte) < fair && text.len() < length {
                    text.push(char::from(alphabet[usize::from(byte) % alphabet.len()]));
                }
            }
        }
        text
    }

    /// A number from 0 to 1, for jitter.
    pub fn fraction(&self) -> f64 {
        f64::from(u32::from_be_bytes(self.bytes())) / f64::from(u32::MAX)
    }
}

/// A secret of the deployment from which keys are derived.
pub struct RootKey(hkdf::Prk);

/// Encrypts small texts for our own use (cursors, stored answers, addresses in links) with AES-256-GCM. The purpose is bound in as associated data.
pub struct SealingKey(LessSafeKey);

/// Encrypts values that tenants entrust to us. Each tenant has its own keys, derived from a version of the vault's secret. The tenant, the
/// field and the version are bound in, so an encrypted value cannot be opened in another place. Stored as `<version>.<sealed>`.
pub struct Vault(BTreeMap<u32, RootKey>);

/// The bytes of a MAC that stands in a binary form: half of HMAC-SHA-256, which is still beyond guessing.
pub const MAC_LENGTH: usize = 16;

/// Signs small texts for our own use (links in mails, demo passwords) with HMAC-SHA-256.
pub struct SigningKey(hmac::Key);

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl RootKey {
    pub fn new(secret: &[u8]) -> Self {
        RootKey(hkdf::Salt::new(hkdf::HKDF_SHA256, b"tenantry").extract(secret))
    }

    pub fn sealing(&self, purpose: &str) -> SealingKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.derive(purpose)).expect("the derived key has the cipher's length");
        SealingKey(LessSafeKey::new(key))
    }

    pub fn signing(&self, purpose: &str) -> SigningKey {
        SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &self.derive(purpose)))
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut key = [0; 32];
        self.0
            .expand(&[purpose.as_bytes()], Length(key.len()))
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes are within what HKDF gives");
        key
    }
}

impl SealingKey {
    pub fn seal(&self, text: &[u8], bound_to: &str, random: &Random) -> String {
        URL_SAFE_NO_PAD.encode(self.seal_bytes(text, bound_to.as_bytes(), random))
    }

    /// `None` for anything that this key did not seal for exactly this use.
    pub fn open(&self, sealed: &str, bound_to: &str) -> Option<Vec<u8>> {
        self.open_bytes(&URL_SAFE_NO_PAD.decode(sealed).ok()?, bound_to.as_bytes())
    }

    /// For a part of a binary form.
    pub fn seal_bytes(&self, text: &[u8], bound_to: &[u8], random: &Random) -> Vec<u8> {
        let nonce: [u8; 12] = random.bytes();
        let mut sealed = text.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), &mut sealed)
            .expect("a short text can be sealed");
        [&nonce[..], &sealed].concat()
    }

    /// The same as `open`.
    pub fn open_bytes(&self, sealed: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(12)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let text = self.0.open_in_place(nonce, Aad::from(bound_to), &mut sealed).ok()?;
        Some(text.to_vec())
    }
}

impl Vault {
    /// The vault's secret in all its versions. New values are sealed with the highest version.
    pub fn new(versions: BTreeMap<u32, RootKey>) -> Self {
        Vault(versions)
    }

    pub fn newest(&self) -> u32 {
        self.0.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// The version that a value was sealed with.
    pub fn version_of(sealed: &str) -> Option<u32> {
        sealed.split_once('.')?.0.parse().ok()
    }

    pub fn seal(&self, tenant: TenantId, field: &str, text: &str, random: &Random) -> String {
        let (version, root) = self.0.last_key_value().expect("the vault has a secret");
        let sealed = Vault::key(root, tenant).seal(text.as_bytes(), &Vault::place(tenant, field, *version), random);
        format!("{version}.{sealed}")
    }

    /// `None` for a value of another tenant, field or version, or of a version that we no longer have.
    pub fn open(&self, tenant: TenantId, field: &str, sealed: &str) -> Option<String> {
        let version = Vault::version_of(sealed)?;
        let (_, sealed) = sealed.split_once('.')?;
        let bytes = Vault::key(self.0.get(&version)?, tenant).open(sealed, &Vault::place(tenant, field, version))?;
        String::from_utf8(bytes).ok()
    }

    fn key(root: &RootKey, tenant: TenantId) -> SealingKey {
        root.sealing(&format!("tenant {tenant}"))
    }

    fn place(tenant: TenantId, field: &str, version: u32) -> String {
        format!("{tenant}#{field}#{version}")
    }
}

impl SigningKey {
    /// 43 characters of base64url.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, text.as_bytes()))
    }

    /// Compares in constant time.
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| hmac::verify(&self.0, text.as_bytes(), &signature).is_ok())
    }

    /// For a compact form, where every byte counts.
    pub fn mac(&self, bytes: &[u8]) -> [u8; MAC_LENGTH] {
        let whole = hmac::sign(&self.0, bytes);
        let mut mac = [0; MAC_LENGTH];
        mac.copy_from_slice(&whole.as_ref()[..MAC_LENGTH]);
        mac
    }

    /// Compares in constant time.
    pub fn is_mac(&self, bytes: &[u8], mac: &[u8; MAC_LENGTH]) -> bool {
        same(&self.mac(bytes), mac)
    }
}

/// HMAC-SHA-256 over parts one after the other, with a key that somebody else has too.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

/// SHA-256 over parts with their lengths, in base64url. Two different lists of parts never have the same input.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    URL_SAFE_NO_PAD.encode(context.finish())
}

/// SHA-256 over parts, one right after the other. For forms that others check with their own tools; the parts must be framed already.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The same in lower-case hex.
pub fn sha256_hex(parts: &[&[u8]]) -> String {
    HEXLOWER.encode(&sha256(parts))
}

/// Compares in constant time.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_text_opens_only_where_it_was_meant() {
        let key = RootKey::new(b"a root secret of a deployment, 32 bytes or more").sealing("cursor");
        let sealed = key.seal(b"position", "tenant a", &Random::system());
        assert_eq!(key.open(&sealed, "tenant a").as_deref(), Some(&b"position"[..]));
        assert_eq!(key.open(&sealed, "tenant b"), None);
        assert_eq!(key.open("", "tenant a"), None);
        let other = RootKey::new(b"a root secret of a deployment, 32 bytes or more").sealing("answer");
        assert_eq!(other.open(&sealed, "tenant a"), None);
    }

    #[test]
    fn what_a_tenant_entrusts_opens_for_its_tenant_and_field_alone() {
        let root = |letter: u8| RootKey::new(&[letter; 64]);
        let tenant = |text| crate::ids::tenant_id_for_tests(text);
        let (mine, other) = (tenant("550e8400-e29b-41d4-a716-446655440000"), tenant("650e8400-e29b-41d4-a716-446655440000"));
        let first = Vault::new(BTreeMap::from([(1, root(b'a'))]));
        let sealed = first.seal(mine, "api_token", "secret", &Random::system());
        assert_eq!(Vault::version_of(&sealed), Some(1));
        assert_eq!(first.open(mine, "api_token", &sealed).as_deref(), Some("secret"));
        assert_eq!(first.open(other, "api_token", &sealed), None);
        assert_eq!(first.open(mine, "other", &sealed), None);
        // With a second version, the old value still opens, and new values are sealed with the newest version.
        let both = Vault::new(BTreeMap::from([(1, root(b'a')), (2, root(b'b'))]));
        assert_eq!((both.newest(), both.open(mine, "api_token", &sealed).as_deref()), (2, Some("secret")));
        let newer = both.seal(mine, "api_token", "secret", &Random::system());
        assert_eq!((Vault::version_of(&newer), first.open(mine, "api_token", &newer)), (Some(2), None));
        assert_eq!(both.open(mine, "api_token", &newer.replacen("2.", "1.", 1)), None);
    }

    #[test]
    fn a_plain_hash_is_that_of_the_whole() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((sha256_hex(&[b"abc"]).as_str(), sha256_hex(&[b"ab", b"", b"c"]).as_str()), (abc, abc));
    }

    #[test]
    fn hashes_frame_their_parts() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
