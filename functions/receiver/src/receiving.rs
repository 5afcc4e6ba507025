//! What follows from a mail that came in.

use shared::Result;
use shared::tenancy::jobs::WorkContext;

use crate::{Receipt, Receiver};

impl Receiver {
    /// Nothing of its addresses, subject or text is logged.
    pub async fn receive(&self, _context: &WorkContext, receipt: &Receipt, raw: &[u8]) -> Result<()> {
        tracing::info!(mail = %receipt.message_id, recipients = receipt.recipients.len(), bytes = raw.len(), "a mail came in");
        Ok(())
    }
}
