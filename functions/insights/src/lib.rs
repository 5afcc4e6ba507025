//! What a tenant uses: edge metering, usage, analytics and logs (F1), billing usage (F4), cost.

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Insights;

impl Routes for Insights {
    fn declare(_routes: &mut impl Registry) {}
}
