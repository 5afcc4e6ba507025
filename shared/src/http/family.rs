//! The five API documents that Tenantry unites, and pages beside them. The path says which one a route belongs to, and so the shape of its answers.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// F0, `/api/v1/tenant`: `{success, data[, pagination]}`.
    Engagement,
    /// F1, `/api/tenants`, and `/api/usage` of its edge.
    Tenants,
    /// F2, `/api/v1/{auth,demo,projects,tasks}`: `{success, message, data}`, lists `{data, links, meta}`; validation answers 422.
    Projects,
    /// F3, `/api/tenant`, `/api/tenant-setting`, `/api/tenant-api-key`: bare objects.
    Current,
    /// F4, `/v1`: `{data}`.
    Messaging,
    /// `/e`: links of mails. Whoever follows one is shown a page.
    Links,
}

impl Family {
    pub fn of(path: &str) -> Self {
        let under = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if under("/api/v1/tenant") {
            Family::Engagement
        } else if under("/api/tenants") || under("/api/usage") {
            Family::Tenants
        } else if under("/api/tenant") || under("/api/tenant-setting") || under("/api/tenant-api-key") {
            Family::Current
        } else if under("/v1") {
            Family::Messaging
        } else if under("/e") {
            Family::Links
        } else {
            Family::Projects
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_family() {
        for (path, family) in [
            ("/api/v1/tenant/members", Family::Engagement),
            ("/api/v1/tenants", Family::Projects),
            ("/api/v1/projects", Family::Projects),
            ("/api/tenants/acme", Family::Tenants),
            ("/api/usage/ingest", Family::Tenants),
            ("/api/tenant", Family::Current),
            ("/v1/messages", Family::Messaging),
            ("/e/u/token", Family::Links),
            ("/eu", Family::Projects),
            ("/anything", Family::Projects),
        ] {
            assert_eq!(Family::of(path), family, "{path}");
        }
    }
}
