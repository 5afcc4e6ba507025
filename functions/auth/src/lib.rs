//! People and their access: signing in and out, registering, passwords, demos, members and invitations of a tenant, public keys.

mod demo;
mod invitation;
mod jwks;
mod member;
mod password;
mod registration;
mod samples;
mod session;
mod silencing;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Auth;

impl Routes for Auth {
    fn declare(routes: &mut impl Registry) {
        routes.tag("sessions", "Signing in and out, and the sessions that are open.");
        routes.post("/api/v1/auth/login", "login", "Log in", session::login);
        routes.may(403);
        routes.post("/api/v1/auth/logout", "logout", "Log out", session::logout);
        routes.get("/api/v1/auth/me", "getCurrentUser", "Read the signed-in user", session::me);
        routes.get("/api/v1/auth/sessions", "listSessions", "List your sessions", session::list);
        routes.delete("/api/v1/auth/sessions", "endOtherSessions", "End your other sessions", session::end_others);
        routes.delete("/api/v1/auth/sessions/{id}", "endSession", "End one of your sessions", session::end);
        routes.tag("accounts", "Registering, proving an e-mail address, and new passwords.");
        routes.post("/api/v1/auth/register", "register", "Register with a new tenant", registration::register);
        routes.post("/api/v1/auth/verify-email", "verifyEmail", "Verify an e-mail address", registration::verify_email);
        routes.post("/api/v1/auth/forgot-password", "forgotPassword", "Ask for a password reset", password::forgot);
        routes.post("/api/v1/auth/reset-password", "resetPassword", "Set a new password", password::reset);
        routes.post("/api/v1/auth/accept-invitation", "acceptInvitation", "Accept an invitation", invitation::accept);
        routes.may(403);
        routes.tag("demos", "Tenants to try things in, which expire.");
        routes.post("/api/v1/demo", "createDemo", "Create a demo tenant", demo::create);
        routes.may(403);
        routes.tag("members", "Who belongs to the tenant, and with which role.");
        routes.get("/api/v1/tenant/members", "listMembers", "List members", member::list);
        routes.put("/api/v1/tenant/members/{id}", "updateMember", "Change a member's role", member::update);
        routes.delete("/api/v1/tenant/members/{id}", "removeMember", "Remove a member", member::remove);
        routes.tag("invitations", "Inviting somebody into the tenant.");
        routes.get("/api/v1/tenant/invitations", "listInvitations", "List open invitations", invitation::list);
        routes.post("/api/v1/tenant/invitations", "createInvitation", "Invite somebody", invitation::create);
        routes.delete("/api/v1/tenant/invitations/{id}", "revokeInvitation", "Revoke an invitation", invitation::revoke);
        routes.tag("public keys", "What session tokens verify with.");
        routes.get("/.well-known/jwks.json", "getPublicKeys", "Read the public session keys", jwks::show);
    }
}
