//! What the forms and handlers of this function have in common.

use std::net::IpAddr;

use records::consent::{ConsentFact, ConsentType};
use records::standing::Recorder;
use serde_json::{Value, json};
use shared::http::form::{Fields, Form, Moment, Name, OneOf, PhoneNumberText, Raw, Rule, Text, Texts};
use shared::model::phone_number::PhoneNumber;
use shared::model::web;
use shared::store::Position;
use shared::tenancy::App;
use shared::tenancy::doors::Tenanted;
use shared::{Error, Result};

/// How many records one call looks at where a filter turns them down. Such a page may be short.
pub const JUDGED: usize = 5_000;

pub const CONSENT_TYPE: OneOf<ConsentType> = OneOf { words: ConsentType::WORDS, parse: ConsentType::parse };

const METADATA: Texts =
    Texts { most: ConsentFact::METADATA, each: ConsentFact::METADATA_VALUE, bytes: ConsentFact::METADATA_BYTES, clears: false };

/// Names the caller as entries name them. Like the audit log, it does not name the agency.
pub fn recorded_by<R>(door: &Tenanted<R>) -> String {
    match &door.key {
        _ if door.delegated => "platform".to_owned(),
        Some(key) => key.id.prefixed(),
        None => format!("member:{}", door.member.number),
    }
}

pub fn recorder<R>(door: &Tenanted<R>) -> Recorder<'_> {
    Recorder {
        tenant: door.store.tenant_id().to_string(),
        by: recorded_by(door),
        now: door.now(),
        random: door.store.random(),
        import: None,
    }
}

/// A place in an export or a check, for the caller to come back with. It holds for the same question only.
pub fn sealed(app: &App, question: &str, place: Option<&Position>) -> Result<Option<String>> {
    let seal = |place: &Position| {
        let bytes = serde_json::to_vec(place).map_err(|error| Error::internal("sealing a cursor", error))?;
        Ok(app.keys().cursors()?.seal(&bytes, question, app.random()))
    };
    place.map(seal).transpose()
}

pub fn opened(app: &App, question: &str, cursor: Option<&String>) -> Result<Option<Position>> {
    let Some(cursor) = cursor else { return Ok(None) };
    let place = app.keys().cursors()?.open(cursor, question).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    place.map(Some).ok_or_else(|| Error::BadRequest("The cursor does not belong to this request.".into()))
}

/// What somebody says of a consent.
#[derive(Clone)]
pub struct Said(pub ConsentFact);

/// The same, with the number that it is about.
#[derive(Clone)]
pub struct NewConsent {
    pub phone_number: PhoneNumber,
    pub fact: ConsentFact,
}

impl Form for Said {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let consent_type = fields.required("consent_type", CONSENT_TYPE);
        let source = fields.required("consent_source", Name { max: ConsentFact::WORD });
        let text_version = fields.optional("consent_text_version", Name { max: ConsentFact::WORD });
        let text = fields.optional("consent_text", Text::up_to(ConsentFact::TEXT));
        let ip = fields.optional("ip_address", Address);
        let user_agent = fields.optional("user_agent", Text::up_to(ConsentFact::USER_AGENT));
        let url = fields.optional("evidence_url", WebUrl);
        let consented_at = fields.optional("consented_at", Moment);
        let metadata = fields.optional("metadata", METADATA).unwrap_or_default();
        let (consent_type, source) = (Some(consent_type?), Some(source?));
        Some(Said(ConsentFact { consent_type, source, text_version, consented_at, message_id: None, text, ip, user_agent, url, metadata }))
    }
}

impl Form for NewConsent {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let phone_number = fields.required("phone_number", PhoneNumberText);
        let said = Said::read(fields);
        Some(NewConsent { phone_number: phone_number?, fact: said?.0 })
    }
}

/// An IPv4 or IPv6 address, in its normal form.
struct Address;

impl Rule for Address {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let address = raw.text().and_then(|text| text.parse::<IpAddr>().ok());
        address.map(|address| address.to_string()).ok_or_else(|| "must be an IPv4 or IPv6 address".into())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "maxLength": 45, "example": "203.0.113.9"})
    }
}

/// Of a web page, in the normal form of a URL parser.
struct WebUrl;

impl Rule for WebUrl {
    type Value = String;

    fn check(&self, raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text().filter(|text| text.len() <= ConsentFact::URL);
        let url = text.and_then(|text| web::url(text, &["https", "http"], false).ok()).filter(|url| url.len() <= ConsentFact::URL);
        url.ok_or_else(|| format!("must be a URL of at most {} characters that begins with https:// or http://", ConsentFact::URL))
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "uri", "maxLength": ConsentFact::URL, "example": "https://example.com/signup"})
    }
}
