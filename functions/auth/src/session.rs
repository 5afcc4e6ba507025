//! Signing in and out, and what people see of themselves.

use jiff::SignedDuration;
use serde::Serialize;
use shared::accounts::AddressRecords;
use shared::error::StoredAnswer;
use shared::http::answer::{Answer, Listing, Nothing};
use shared::http::arguments::{NoFilters, OwnUser, Pages, path_id};
use shared::http::form::{Fields, Form, KnownAddress, Name, Password};
use shared::http::idempotency::Proven;
use shared::http::{Argument, Operation};
use shared::ids::{PathId, SessionId, UserId};
use shared::model::demo::DemoClaim;
use shared::model::member::Member;
use shared::model::session::Session;
use shared::model::time::{Printed, with_offset};
use shared::model::user::{Email, User};
use shared::store::{Direction, Window};
use shared::tenancy::doors::{SignedIn, Viewer, Visitor};
use shared::tenancy::{Entered, Incoming, Role, conflict, credential};
use shared::{Error, Result};

use crate::password::{self, Matches};

pub struct Credentials {
    email: Email,
    password: String,
    device_name: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Login)]
pub struct LoginView {
    user: UserView,
    /// Presented as `Authorization: Bearer <token>`.
    token: String,
    token_type: &'static str,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub struct UserView {
    /// The member number within the tenant; null without a tenant.
    id: Option<u64>,
    name: String,
    email: Email,
    email_verified_at: Option<Printed>,
    is_tenant_owner: bool,
    created_at: Printed,
    updated_at: Printed,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    id: SessionId,
    device_name: String,
    /// The session that asks.
    is_current: bool,
    created_at: Printed,
    expires_at: Printed,
}

/// The order is part of the contract: validate, verify the password, system administrator, unverified, tenant. A repeat with the same
/// `Idempotency-Key` proves the password again, and gets the same session while that exists.
pub async fn login(door: Visitor, once: Proven<Credentials>) -> Result<Answer<LoginView>> {
    let Proven { body: Credentials { email, password, device_name }, ticket, earlier } = once;
    let familiarity = door.admit_login(&email).await?;
    let (user, demo) = authenticated(&door, &email, password.clone()).await?;
    if user.system_admin {
        return Err(Error::Forbidden("System administrators cannot use the tenant API.".into()));
    }
    if user.verified_at.is_none() {
        return Err(not_verified());
    }
    let place = door.acting_tenant(&user).await?;
    let is_first = earlier.is_none();
    if let Some(earlier) = earlier
        && stands(&door, &earlier, &user).await?
    {
        return Err(Error::Replayed(Box::new(earlier)));
    }
    let session = Session {
        id: SessionId::new(door.app.random()),
        user: user.id,
        tenant: place.as_ref().map(|(tenant, _)| tenant.id),
        device_name,
        created_at: door.now(),
        expires_at: door.now() + SignedDuration::from_hours(24 * door.app.config().session_days),
    };
    let token = credential::issue(&door.app, &session).await?;
    let view = UserView::of(&user, place.as_ref().map(|(_, member)| member));
    let answer = Answer::new("Login successful", LoginView { user: view, token, token_type: "Bearer" });
    let familiar = door.remembered(&email, &familiarity).filter(|_| demo.is_none() && user.is_proven());
    let remembering = async {
        let transaction = door.directory.transaction();
        let transaction = familiar.iter().try_fold(transaction, |transaction, familiar| transaction.put(&door.directory, familiar))?;
        transaction.commit().await
    };
    let opening = async {
        let recorded = door.directory.transaction();
        // If the first session has ended, its record stays and this login is not recorded.
        let recorded = if is_first { ticket.record_open(recorded, &door.directory, &answer)? } else { recorded };
        if recorded.is_empty() {
            return door.directory.create(&session, || Error::Conflict("Try again.".into())).await;
        }
        recorded.create(&door.directory, &session, conflict("Try again."))?.commit().await
    };
    let (opened, remembered) = tokio::join!(opening, remembering);
    opened.and(remembered)?;
    // A reset or a proof of the address ends the sessions that it finds after its write. A login that it did not find sees that write here,
    // and ends its own session.
    if !still_opens(&door, &user, demo.as_ref(), password).await? {
        door.directory.delete(&Session::key_of(user.id, session.id)).await?;
        return Err(wrong_credentials());
    }
    Ok(answer)
}

/// Whether the session of an earlier login still exists.
async fn stands(door: &Visitor, earlier: &StoredAnswer, user: &User) -> Result<bool> {
    let answer: serde_json::Value = serde_json::from_str(&earlier.body).unwrap_or_default();
    match answer["data"]["token"].as_str().and_then(credential::session_in) {
        Some(session) => Ok(door.directory.find(&Session::key_of(user.id, session)).await?.is_some()),
        None => Ok(false),
    }
}

/// Ends the session of the request.
pub async fn logout(door: SignedIn) -> Result<Answer<Nothing>> {
    let session = door.session.ok_or(Error::Forbidden("This session is your identity provider's: sign out there.".into()))?;
    door.directory.delete(&Session::key_of(door.user, session)).await?;
    Ok(Answer::done("Logged out successfully"))
}

pub async fn me(door: Viewer, user: OwnUser) -> Result<Answer<UserView>> {
    Ok(Answer::new("Success", UserView::of(&user.0, Some(&door.member))))
}

/// Newest first.
pub async fn list(door: SignedIn, asked: Pages<NoFilters>) -> Result<Listing<SessionView>> {
    let sessions = door.directory.all(&Session::of_user(door.user)).await?;
    let mut window = Window::new(asked.page.span(), Direction::Descending)?;
    for session in &sessions {
        window.add(session.created_at, session.id.to_string());
    }
    let (ids, next, total) = window.finish();
    let find = |id: String| sessions.iter().find(|session| session.id.to_string() == id);
    let items = ids.into_iter().filter_map(find).map(|session| SessionView::of(session, door.session)).collect();
    Ok(Listing { items, total, page: asked.page, next })
}

pub async fn end(door: SignedIn, session: OwnSession) -> Result<Answer<Nothing>> {
    let was_there = door.directory.delete(&Session::key_of(door.user, session.0)).await?;
    if was_there { Ok(Answer::done("Session ended successfully")) } else { Err(Error::NotFound) }
}

pub async fn end_others(door: SignedIn) -> Result<Answer<Nothing>> {
    for session in door.directory.all(&Session::of_user(door.user)).await? {
        if Some(session.id) != door.session {
            door.directory.delete(&Session::key_of(door.user, session.id)).await?;
        }
    }
    Ok(Answer::done("Other sessions ended successfully"))
}

/// The user with this address and password, and the demo if it was the demo's password. Known or not, it takes two reads and one
/// verification, and a failure is counted in the same way. The passwords of demos and registrations are recognised by their marks, which
/// need no verification.
async fn authenticated(door: &Visitor, email: &Email, password: String) -> Result<(User, Option<DemoClaim>)> {
    let address = AddressRecords::read(&door.directory, email).await?;
    let demo = address.demo_opened_by(&password).cloned();
    let account = demo.as_ref().map(|demo| demo.user).or_else(|| address.account());
    let user = door.directory.find(&User::key_of(account.unwrap_or_else(|| UserId::new(door.now(), door.app.random())))).await?;
    let hash = user.as_ref().and_then(|user| user.password.clone());
    let matches = password::verify(password.clone(), hash).await?;
    let user = match (user, matches) {
        (Some(user), _) if demo.is_some() => return Ok((user, demo)),
        (Some(user), Matches::Yes) => user,
        (Some(user), Matches::Outdated) => {
            let renewed = user.rehashed(password::hash(&door.app, password).await?, door.now());
            // Somebody else changed the user in the meantime. The next login renews the hash.
            if door.directory.replace_if(&renewed, &user).await? { renewed } else { user }
        }
        _ => {
            let key = door.app.keys().links()?;
            if address.registrations().iter().any(|registration| registration.was_made_with(&password, key)) {
                return Err(not_verified());
            }
            door.failed(email).await?;
            return Err(wrong_credentials());
        }
    };
    Ok((user, None))
}

/// Whether the credentials that opened the session are unchanged.
async fn still_opens(door: &Visitor, user: &User, demo: Option<&DemoClaim>, password: String) -> Result<bool> {
    if let Some(demo) = demo {
        return Ok(door.directory.find_expired_too(&DemoClaim::key_of(&demo.email, demo.tenant)).await?.is_some());
    }
    let Some(now) = door.directory.find(&User::key_of(user.id)).await? else { return Ok(false) };
    Ok(now.password == user.password || password::verify(password, now.password).await? != Matches::No)
}

fn not_verified() -> Error {
    Error::Forbidden("Your email address is not verified.".into())
}

fn wrong_credentials() -> Error {
    Error::field("email", "These credentials do not match our records.")
}

impl UserView {
    pub(crate) fn of(user: &User, member: Option<&Member>) -> Self {
        UserView {
            id: member.map(|member| member.number),
            name: user.name.clone(),
            email: user.email.clone(),
            email_verified_at: user.verified_at.map(with_offset),
            is_tenant_owner: member.is_some_and(|member| member.role == Role::Owner),
            created_at: with_offset(user.created_at),
            updated_at: with_offset(user.updated_at),
        }
    }
}

impl SessionView {
    fn of(session: &Session, current: Option<SessionId>) -> Self {
        SessionView {
            id: session.id,
            device_name: session.device_name.clone(),
            is_current: Some(session.id) == current,
            created_at: with_offset(session.created_at),
            expires_at: with_offset(session.expires_at),
        }
    }
}

impl Form for Credentials {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let email = fields.required("email", KnownAddress);
        let password = fields.required("password", Password { min: 1 });
        let device_name = fields.optional("device_name", Name { max: 255 }).unwrap_or_else(|| "api-token".to_owned());
        Some(Credentials { email: email?, password: password?, device_name })
    }
}

/// The id in a path of the person's own things (sessions).
pub struct OwnSession(pub SessionId);

impl Argument for OwnSession {
    async fn take(incoming: &Incoming, _entered: &Entered) -> Result<Self> {
        path_id(incoming).map(OwnSession)
    }

    fn describe(operation: &mut Operation) {
        operation.names(SessionId::schema());
    }
}
