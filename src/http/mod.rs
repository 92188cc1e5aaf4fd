//! HTTP: the route table, and the hoops in their one order.
//!
//! Every request passes `edge` and, where the gateway signs, `signature`; those of the protected branch then `protected` (identity, tenant) and, where they
//! write, `payload` (media type, size, request id, JSON). Handlers see a `TenantCtx` and a parsed body, and make one call.

mod audit_logs;
mod body;
mod bytes;
mod conditions;
mod contacts;
mod customers;
mod docs;
mod edge;
mod error;
mod events;
mod export;
mod follow_ups;
mod import;
mod json;
mod messages;
mod openapi;
mod opportunities;
mod outbox;
mod overview;
mod payload;
mod protected;
mod public;
mod query;
mod recent;
mod reports;
mod respond;
mod router;
mod signature;
mod state;
mod trace;
mod trash;

use std::sync::Arc;

use salvo::{Router, Service};
use serde_json::Value;

pub use self::bytes::BodyRoom;
use self::protected::Protected;
pub use self::recent::{Answered, Caller, Recent};
use self::router::RouterExt as _;
use self::signature::Signed;
pub use self::state::{Readiness, State};

/// The service: all routes and hoops over `state`.
#[must_use]
pub fn service(state: Arc<State>, compress: bool) -> Service {
    let service = Service::new(routes(state.identity.gateway().is_some()));
    let service = if compress { service.hoop(salvo::compression::Compression::new()) } else { service };
    service.hoop(edge::Edge(state))
}

/// The API document, OpenAPI 3.1.
#[must_use]
pub fn document() -> &'static Value {
    &openapi::DOCUMENT
}

/// The route table. `signed`: requests must come from the gateway, except those that ask how the cell is.
fn routes(signed: bool) -> Router {
    let branch = || if signed { Router::new().hoop(Signed) } else { Router::new() };
    let health = Router::with_path("health")
        .read(public::health)
        .push(Router::with_path("live").read(public::live))
        .push(Router::with_path("ready").read(public::ready));
    let public = branch()
        .push(Router::new().read(public::root))
        .push(Router::with_path("metrics").read(public::metrics))
        .push(Router::with_path("openapi.json").read(public::openapi))
        .push(Router::with_path("docs").read(public::docs));
    let protected = branch()
        .hoop(Protected)
        .push(customers::routes())
        .push(contacts::routes())
        .push(opportunities::routes())
        .push(follow_ups::routes())
        .push(trash::routes())
        .push(audit_logs::routes())
        .push(reports::routes())
        .push(export::routes())
        .push(events::routes());
    // In the order in which paths are compared: what is asked for most comes first.
    Router::new().push(protected).push(health).push(public)
}
