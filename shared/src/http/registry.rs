//! Where routes are declared. A function's `routes` names each route once. A `Registry` uses the declarations: the router serves them, and
//! the catalogue is for tests and the API reference. Function binaries contain only the router.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodFilter, on};
use http::Method;

use crate::error::Error;
use crate::http::endpoint::Handler;
use crate::http::serve;
use crate::tenancy::App;

/// Takes declarations of routes: `routes.get("/api/v1/projects", "listProjects", "List projects", project::list)`.
pub trait Registry: Sized {
    /// `id` is the route's name in generated clients: a verb and the resource, `listProjects`.
    fn route<T: 'static, H: Handler<T>>(&mut self, method: Method, path: &'static str, id: &'static str, summary: &'static str, handler: H);

    /// The resource of the following routes.
    fn tag(&mut self, _name: &'static str, _description: &'static str) {}

    /// A status that the previous route can answer, in addition to those that follow from its handler's signature.
    fn may(&mut self, _status: u16) {}

    fn get<T: 'static, H: Handler<T>>(&mut self, path: &'static str, id: &'static str, summary: &'static str, handler: H) {
        self.route(Method::GET, path, id, summary, handler);
    }

    fn post<T: 'static, H: Handler<T>>(&mut self, path: &'static str, id: &'static str, summary: &'static str, handler: H) {
        self.route(Method::POST, path, id, summary, handler);
    }

    fn put<T: 'static, H: Handler<T>>(&mut self, path: &'static str, id: &'static str, summary: &'static str, handler: H) {
        self.route(Method::PUT, path, id, summary, handler);
    }

    fn patch<T: 'static, H: Handler<T>>(&mut self, path: &'static str, id: &'static str, summary: &'static str, handler: H) {
        self.route(Method::PATCH, path, id, summary, handler);
    }

    fn delete<T: 'static, H: Handler<T>>(&mut self, path: &'static str, id: &'static str, summary: &'static str, handler: H) {
        self.route(Method::DELETE, path, id, summary, handler);
    }
}

/// The routes of one function: `fn routes(routes: &mut impl Registry)`, as a value.
pub trait Routes {
    fn declare(routes: &mut impl Registry);
}

/// The axum router that serves `R`.
pub fn router<R: Routes>(app: App) -> Router {
    let mut serving = Serving { app: app.clone(), router: Router::new() };
    R::declare(&mut serving);
    let missing = move |request: Request| serve::refuse(app.clone(), request, Error::NotFound);
    let wrong_method = {
        let app = serving.app.clone();
        move |request: Request| serve::refuse(app.clone(), request, Error::MethodNotAllowed)
    };
    serving.router.fallback(missing).method_not_allowed_fallback(wrong_method)
}

struct Serving {
    app: App,
    router: Router,
}

impl Registry for Serving {
    fn route<T: 'static, H: Handler<T>>(
        &mut self,
        method: Method,
        path: &'static str,
        _id: &'static str,
        _summary: &'static str,
        handler: H,
    ) {
        let filter = MethodFilter::try_from(method).expect("routes are declared with known methods");
        let app = self.app.clone();
        let handler: Arc<dyn serve::Call> = Arc::new(serve::Erased::<H, T>(handler, PhantomData));
        self.serve(filter, app, path, handler);
    }
}

impl Serving {
    fn serve(&mut self, filter: MethodFilter, app: App, path: &'static str, handler: Arc<dyn serve::Call>) {
        let serve = move |request: Request| {
            let (app, handler) = (app.clone(), handler.clone());
            async move { serve::serve(app, path, request, &*handler).await }
        };
        self.router = std::mem::take(&mut self.router).route(path, on(filter, serve));
    }
}
