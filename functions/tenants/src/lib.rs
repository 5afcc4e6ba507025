//! Tenants by slug with their domains (F1), the current tenant with its settings, audit log and export (F3).

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Tenants;

impl Routes for Tenants {
    fn declare(_routes: &mut impl Registry) {}
}
