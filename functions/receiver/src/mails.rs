//! The bucket in which Amazon SES stores mails as they came, with all their headers and attachments.

use aws_sdk_s3::Client;
use shared::aws::Aws;
use shared::config::{ConfigError, Variables};
use shared::{Error, Result};

/// What Amazon SES stores at most.
const AT_MOST: i64 = 40 * 1024 * 1024;

pub struct Mails {
    client: Client,
    bucket: String,
}

impl Mails {
    pub fn read(variables: Variables, bucket: String) -> Result<Self, ConfigError> {
        let aws = Aws::read(variables)?;
        // A host name for each bucket is for addresses of AWS alone.
        let has_own_endpoint = aws.common("S3").endpoint.is_some();
        Ok(Mails { client: shared::client!(aws, "S3", aws_sdk_s3, force_path_style(has_own_endpoint)), bucket })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// `None` of a mail that is gone or that Amazon SES would not have stored: trying again would not help. Any other failure may pass.
    pub async fn fetch(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let fetched = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(fetched) => fetched,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                tracing::warn!(key, "the mail is not in the bucket any more");
                return Ok(None);
            }
            Err(error) => return Err(Error::Unavailable { doing: "fetching a mail", cause: error.into() }),
        };
        if fetched.content_length().is_some_and(|length| length > AT_MOST) {
            tracing::warn!(key, "an object is larger than any mail");
            return Ok(None);
        }
        let body = fetched.body.collect().await.map_err(|error| Error::Unavailable { doing: "fetching a mail", cause: error.into() })?;
        Ok(Some(body.to_vec()))
    }
}
