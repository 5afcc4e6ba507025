//! Text that is stored sealed, bound to the tenant and to what it is: moved to another place, it does not open.

use serde::{Deserialize, Serialize};

use crate::crypto::{Random, SealingKey};
use crate::tenancy::TenantId;

/// `v1.` names the key, so that another can follow; then what it made of the text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

/// Even sealed, it stays out of logs.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

impl Sealed {
    const VERSION: &'static str = "v1.";

    /// `what` says which text of the tenant it is.
    pub fn seal(text: &str, tenant: TenantId, what: &str, key: &SealingKey, random: &Random) -> Self {
        Sealed(format!("{}{}", Sealed::VERSION, key.seal(text.as_bytes(), &bound(tenant, what), random)))
    }

    /// `None` for what this key did not seal for exactly this place.
    pub fn open(&self, tenant: TenantId, what: &str, key: &SealingKey) -> Option<String> {
        let text = key.open(self.0.strip_prefix(Sealed::VERSION)?, &bound(tenant, what))?;
        String::from_utf8(text).ok()
    }
}

/// A tenant's id has one length: no other pair gives the same text.
fn bound(tenant: TenantId, what: &str) -> String {
    format!("{tenant}/{what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RootKey;
    use crate::tenancy::stored;

    #[derive(Deserialize)]
    struct Stored(#[serde(with = "stored")] TenantId);

    fn tenant(first: char) -> TenantId {
        serde_json::from_value::<Stored>(serde_json::json!(format!("{first}50e8400-e29b-41d4-a716-446655440000"))).unwrap().0
    }

    #[test]
    fn a_sealed_text_opens_for_its_tenant_and_place_alone() {
        let (key, random) = (RootKey::new(&[7; 32]).sealing("settings"), Random::seeded(1));
        let sealed = Sealed::seal("swordfish", tenant('5'), "name", &key, &random);
        assert!(sealed.0.starts_with("v1.") && !sealed.0.contains("swordfish"));
        assert_eq!(sealed.open(tenant('5'), "name", &key).as_deref(), Some("swordfish"));
        assert_eq!(sealed.open(tenant('6'), "name", &key), None);
        assert_eq!(sealed.open(tenant('5'), "another", &key), None);
        assert_eq!(sealed.open(tenant('5'), "name", &RootKey::new(&[8; 32]).sealing("settings")), None);
        assert_eq!(Sealed(sealed.0.replacen("v1", "v2", 1)).open(tenant('5'), "name", &key), None);
    }
}
