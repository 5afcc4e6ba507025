//! A mail of a campaign that somebody has sent to a colleague, to see it. It is nobody's place in the campaign, and counts for nothing but the month.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::campaign::CampaignId;
use crate::lead::LeadId;
use shared::id;
use shared::model::user::Email;
use shared::store::{InWorkspace, Record};

id!(/// A test mail.
    TestMailId = "test", in_workspace);

/// `test-mails` / `<id>`: for a day. The stream brings it to the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestMail {
    pub id: TestMailId,
    pub campaign: CampaignId,
    pub step: u32,
    /// Whose values it shows. `None`: those of an example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead: Option<LeadId>,
    pub to: Email,
    /// A worker gives it to the carrier, or has. It is not sent again: whoever misses it asks for another one.
    pub is_taken: bool,
    pub created_at: Timestamp,
    pub version: u64,
}

impl TestMail {
    /// Addresses of one request.
    pub const MOST: usize = 5;
    const KEPT: SignedDuration = SignedDuration::from_hours(24);

    pub fn new(id: TestMailId, campaign: CampaignId, step: u32, lead: Option<LeadId>, to: Email, now: Timestamp) -> Self {
        TestMail { id, campaign, step, lead, to, is_taken: false, created_at: now, version: 1 }
    }

    pub fn taken(&self) -> Self {
        TestMail { is_taken: true, version: self.version + 1, ..self.clone() }
    }

    /// The carrier did not take it, and may later.
    pub fn returned(&self) -> Self {
        TestMail { is_taken: false, version: self.version + 1, ..self.clone() }
    }
}

impl Record for TestMail {
    type Scope = InWorkspace;
    type Id = TestMailId;
    const TYPE: &'static str = "test_mail";
    const COLLECTION: &'static str = "test-mails";
    const MAILS_AUDITED: bool = false;
    const EXPORTED: bool = false;

    fn id(&self) -> TestMailId {
        self.id
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.created_at + TestMail::KEPT)
    }
}

/// A job: a test mail shall go.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct SendTest {
    pub test: TestMailId,
}
