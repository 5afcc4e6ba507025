//! API keys of a tenant, in the shapes of F3 and F4.

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Keys;

impl Routes for Keys {
    fn declare(_routes: &mut impl Registry) {}
}
