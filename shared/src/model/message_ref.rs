//! Which message a report of a carrier is about: the reference that we send along with it. It is signed, so the tenant that it names can be believed, and
//! whoever reports needs no record of ours. It knows no store.

use crate::crypto::SigningKey;
use crate::ids::{TenantId, Uuid, parse_uuid};

/// A message to a phone, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef {
    pub(crate) tenant: TenantId,
    message: Uuid,
}

impl MessageRef {
    pub fn new(tenant: TenantId, message: impl Into<Uuid>) -> Self {
        MessageRef { tenant, message: message.into() }
    }

    pub fn message(&self) -> Uuid {
        self.message
    }

    /// `<tenant>.<message>.<MAC>`, 117 letters.
    pub fn text(&self, key: &SigningKey) -> String {
        let named = self.named();
        format!("{named}.{}", key.sign(&named))
    }

    /// `None`: it is none of ours.
    pub fn read(text: &str, key: &SigningKey) -> Option<Self> {
        let (named, mac) = text.rsplit_once('.')?;
        if !key.verifies(named, mac) {
            return None;
        }
        let (tenant, message) = named.split_once('.')?;
        Some(MessageRef { tenant: TenantId::parse(tenant)?, message: parse_uuid(message)? })
    }

    fn named(&self) -> String {
        format!("{}.{}", self.tenant, self.message.as_hyphenated())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RootKey;
    use crate::ids::tenant_id_for_tests;

    #[test]
    fn a_reference_is_read_only_as_it_was_written() {
        let key = RootKey::new(b"a root secret of a deployment, 32 bytes or more").signing("message references");
        let tenant = tenant_id_for_tests("550e8400-e29b-41d4-a716-446655440000");
        let reference = MessageRef::new(tenant, Uuid::from_u128(7));
        let text = reference.text(&key);
        assert_eq!((MessageRef::read(&text, &key), text.len()), (Some(reference), 117));
        let other = RootKey::new(b"another root secret of a deployment, 32 bytes").signing("message references");
        assert_eq!(MessageRef::read(&text, &other), None);
        for wrong in
            [text.replace("550e", "650e"), text.replace("0007", "0008"), text[..100].to_owned(), String::new(), ".".into(), "..".into()]
        {
            assert_eq!(MessageRef::read(&wrong, &key), None, "{wrong}");
        }
    }
}
