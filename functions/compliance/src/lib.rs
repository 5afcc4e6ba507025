//! Who must not be written to and who agreed to be (F4): opt-outs by phone number, and consent in chains that show when somebody changed them.

mod anchor;
mod checking;
mod consent;
mod consent_export;
mod consent_import;
mod opt_out;
mod redacting;
mod rules;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Compliance;

/// The same routes under another path: consent lies under `/v1/compliance`, and some look for opt-outs there too.
macro_rules! opt_outs {
    ($routes:ident, $path:literal, $called:literal) => {
        $routes.get($path, concat!("list", $called, "s"), "List opt-outs", opt_out::list);
        $routes.post($path, concat!("create", $called), "Opt a phone number out", opt_out::create);
        $routes.get(concat!($path, "/{phone}"), concat!("get", $called), "Read the opt-out of a phone number", opt_out::show);
        $routes.delete(
            concat!($path, "/{phone}"),
            concat!("end", $called),
            "Let a phone number get messages again, on evidence of consent",
            opt_out::opt_in,
        );
        $routes.post(concat!($path, "/{phone}/opt-in"), concat!("optIn", $called), "The same", opt_out::opt_in);
        $routes.post(
            concat!($path, "/{phone}/dismiss"),
            concat!("dismiss", $called),
            "Decide that a suspected opt-out is none",
            opt_out::dismiss,
        );
    };
}

impl Routes for Compliance {
    fn declare(routes: &mut impl Registry) {
        routes.tag("opt-outs", "Phone numbers that get no messages.");
        opt_outs!(routes, "/v1/opt-outs", "OptOut");
        opt_outs!(routes, "/v1/compliance/opt-outs", "ComplianceOptOut");
        routes.tag("consent", "What people allowed and took back: a chain of entries for each phone number, which only grows.");
        routes.get("/v1/compliance/consent", "listConsents", "List consent records", consent::list);
        routes.post("/v1/compliance/consent", "recordConsent", "Record a consent", consent::create);
        routes.post("/v1/compliance/consent/import", "importConsents", "Record up to 500 consents", consent_import::import);
        routes.get("/v1/compliance/consent/export", "exportConsents", "Export consent records", consent_export::export);
        routes.get("/v1/compliance/consent/verify", "verifyConsents", "Verify the chains of consent", checking::verify);
        routes.get("/v1/compliance/consent/proof", "proveConsent", "What proves the consent of a phone number", checking::proof);
        routes.get("/v1/compliance/consent/anchors", "listConsentAnchors", "List anchors of consent", anchor::list);
        routes.post(
            "/v1/compliance/consent/redact",
            "redactConsents",
            "Forget the evidence of up to 100 consent records",
            redacting::redact,
        );
        routes.get("/v1/compliance/consent/{id}", "getConsent", "Read a consent record", consent::show);
        routes.post("/v1/compliance/consent/{id}/revoke", "revokeConsent", "Record that a consent was taken back", consent::revoke);
    }
}
