//! The bucket in which Amazon SES stores mails as they came, with all their headers and attachments.

use shared::Result;
use shared::aws::Aws;
use shared::aws::objects::{Object, Objects};
use shared::config::{ConfigError, Variables};

pub struct Mails {
    objects: Objects,
    bucket: String,
}

impl Mails {
    pub fn read(variables: Variables, bucket: String) -> Result<Self, ConfigError> {
        Ok(Mails { objects: Objects::of(Aws::read(variables)?, &bucket), bucket })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// `None` of a mail that is gone or larger than what is read: trying again would not help. Any other failure may pass.
    pub async fn fetch(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.objects.get(key, received::RAW).await? {
            Object::Found(raw) => return Ok(Some(raw)),
            Object::Gone => tracing::warn!(key, "the mail is not in the bucket any more"),
            Object::TooLarge => tracing::warn!(key, "a mail is too large to be read"),
        }
        Ok(None)
    }
}
