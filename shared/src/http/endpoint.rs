//! A handler is an async function. Its first parameter is a door, and the others are arguments. The order of a request is defined here:
//! credential, then what is read with it, then the door, then path, query and body, then the handler.

use std::future::Future;

use http::header::{HeaderValue, LINK};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::error::Result;
use crate::http::answer::{Answer, Listing, ListingRequest, NoContent, Nothing, ResponseBody, response_of};
use crate::http::catalogue::{Operation, Shape};
use crate::http::family::Family;
use crate::http::idempotency::{self, LateRecording};
use crate::http::paging;
use crate::tenancy::doors::Door;
use crate::tenancy::{Entered, Incoming, Wants};

/// What a handler can take after its door.
pub trait Argument: Sized + Send {
    /// Whether it records the answer for its `Idempotency-Key`, so that no other code has to.
    const RECORDS: bool = false;

    /// Records to read together with the door's own, so that they need no extra round trip.
    fn wants(_incoming: &Incoming, _wants: &mut Wants) {}

    fn take(incoming: &Incoming, entered: &Entered) -> impl Future<Output = Result<Self>> + Send;

    fn describe(operation: &mut Operation);
}

/// What a handler can return.
pub trait Reply: Send {
    fn response(self, incoming: &Incoming) -> Response<ResponseBody>;

    fn describe(operation: &mut Operation);
}

/// An async function that is a route's handler. Implemented for functions of a door and up to four arguments.
pub trait Handler<T>: Clone + Send + Sync + 'static {
    fn call(&self, incoming: &Incoming) -> impl Future<Output = Result<Response<ResponseBody>>> + Send;

    fn describe(&self, operation: &mut Operation);
}

impl<T: Serialize + utoipa::ToSchema + Send, const STATUS: u16, const TAGGED: bool> Reply for Answer<T, STATUS, TAGGED> {
    fn response(self, incoming: &Incoming) -> Response<ResponseBody> {
        let mut response = response_of(&self.render(Family::of(incoming.route)));
        let link = self.next.as_deref().and_then(|cursor| next_link(incoming, cursor));
        response.headers_mut().extend(link.map(|link| (LINK, link)));
        response
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<T>(STATUS, Shape::One);
        if TAGGED {
            operation.tagged();
        }
    }
}

/// One of two answers of a route: what is asked for decides which.
pub enum Either<A, B> {
    First(A),
    Second(B),
}

impl<A: Reply, B: Reply> Reply for Either<A, B> {
    fn response(self, incoming: &Incoming) -> Response<ResponseBody> {
        match self {
            Either::First(answer) => answer.response(incoming),
            Either::Second(answer) => answer.response(incoming),
        }
    }

    fn describe(operation: &mut Operation) {
        let mut other = operation.clone();
        B::describe(&mut other);
        A::describe(operation);
        operation.or = Some(other.into());
    }
}

impl Reply for NoContent {
    fn response(self, _incoming: &Incoming) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<Nothing>(204, Shape::Empty);
    }
}

impl<T: Serialize + utoipa::ToSchema + Send> Reply for Listing<T> {
    fn response(self, incoming: &Incoming) -> Response<ResponseBody> {
        let filters = repeated(incoming, |name| name == "per_page" || !paging::is_position(name));
        let app = &incoming.app;
        let seal = |page: &paging::PageRequest, next: &crate::store::page::Position| match app.keys().cursors() {
            Ok(cursors) => page.seal(next, cursors, app.random()),
            Err(_) => String::new(),
        };
        Listing::response(&self, &ListingRequest { path: &incoming.path, filters, seal: &seal })
    }

    fn describe(operation: &mut Operation) {
        operation.answers::<T>(200, Shape::Many);
    }
}

/// The link to the next page of the same request.
pub(crate) fn next_link(incoming: &Incoming, cursor: &str) -> Option<HeaderValue> {
    let filters = repeated(incoming, |name| name != "cursor");
    let separator = if filters.is_empty() { "" } else { "&" };
    HeaderValue::from_str(&format!("<{}?{filters}{separator}cursor={cursor}>; rel=\"next\"", incoming.path)).ok()
}

/// Parameters of the request that a link repeats, percent-encoded, in the order of their names.
fn repeated(incoming: &Incoming, kept: impl Fn(&str) -> bool) -> String {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    for (name, value) in incoming.query.iter().filter(|(name, _)| kept(name)) {
        parameters.append_pair(name, value);
    }
    parameters.finish()
}

macro_rules! handlers {
    ($($argument:ident),*) => {
        impl<F, Fut, D, R, $($argument,)*> Handler<(D, $($argument,)*)> for F
        where
            F: Fn(D, $($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Result<R>> + Send,
            D: Door,
            R: Reply,
            $($argument: Argument,)*
        {
            #[allow(non_snake_case, unused_mut, reason = "one expansion has no arguments")]
            async fn call(&self, incoming: &Incoming) -> Result<Response<ResponseBody>> {
                let mut wants = Wants::default();
                $($argument::wants(incoming, &mut wants);)*
                let afterwards = idempotency::is_recorded_afterwards(incoming, D::REPEATABLE $(|| $argument::RECORDS)*);
                if afterwards {
                    idempotency::want(incoming, &mut wants);
                }
                let (door, entered) = D::enter(incoming, wants).await?;
                if !D::IGNORES_QUERY {
                    incoming.readable()?;
                }
                let afterwards = if afterwards { Some(Box::pin(LateRecording::of(incoming, &entered)).await?) } else { None };
                $(let $argument = $argument::take(incoming, &entered).await?;)*
                drop(entered);
                // Boxed, so that the stack frame of one handler is not part of every other.
                let response = Box::pin(self(door, $($argument),*)).await?.response(incoming);
                match afterwards {
                    Some(afterwards) => Ok(Box::pin(afterwards.record(response)).await),
                    None => Ok(response),
                }
            }

            fn describe(&self, operation: &mut Operation) {
                operation.access(D::ACCESS);
                operation.idempotent &= !D::REPEATABLE;
                $($argument::describe(operation);)*
                R::describe(operation);
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A, B);
handlers!(A, B, C);
handlers!(A, B, C, E);
