//! Who people are: signing in and out, registering, passwords, demos, members and invitations of a tenant, public keys.

mod demo;
mod invitation;
mod jwks;
mod member;
mod password;
mod registration;
mod session;
mod silencing;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Auth;

impl Routes for Auth {
    fn declare(routes: &mut impl Registry) {
        routes.post("/api/v1/auth/login", "Log in", session::login);
        routes.post("/api/v1/auth/logout", "Log out", session::logout);
        routes.get("/api/v1/auth/me", "Read the signed-in user", session::me);
        routes.get("/api/v1/auth/sessions", "List your sessions", session::list);
        routes.delete("/api/v1/auth/sessions", "End your other sessions", session::end_others);
        routes.delete("/api/v1/auth/sessions/{id}", "End one of your sessions", session::end);
        routes.post("/api/v1/auth/register", "Register with a new tenant", registration::register);
        routes.post("/api/v1/auth/verify-email", "Verify an e-mail address", registration::verify_email);
        routes.post("/api/v1/auth/forgot-password", "Ask for a password reset", password::forgot);
        routes.post("/api/v1/auth/reset-password", "Set a new password", password::reset);
        routes.post("/api/v1/auth/accept-invitation", "Accept an invitation", invitation::accept);
        routes.post("/api/v1/demo", "Create a demo tenant", demo::create);
        routes.get("/api/v1/tenant/members", "List members", member::list);
        routes.put("/api/v1/tenant/members/{id}", "Change a member's role", member::update);
        routes.delete("/api/v1/tenant/members/{id}", "Remove a member", member::remove);
        routes.get("/api/v1/tenant/invitations", "List open invitations", invitation::list);
        routes.post("/api/v1/tenant/invitations", "Invite somebody", invitation::create);
        routes.delete("/api/v1/tenant/invitations/{id}", "Revoke an invitation", invitation::revoke);
        routes.get("/.well-known/jwks.json", "Read the public session keys", jwks::show);
    }
}
