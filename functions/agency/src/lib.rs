//! Subaccounts of an agency, and what it sees of them (F4).

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Agency;

impl Routes for Agency {
    fn declare(_routes: &mut impl Registry) {}
}
