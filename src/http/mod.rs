//! HTTP: the route table, and the hoops in their one order.
//!
//! Every request passes `edge`; those of the protected branch then `protected` (identity, tenant) and, where they
//! write, `payload` (media type, size, request id, JSON). Handlers see a `TenantCtx` and a parsed body, and make one call.

mod audit_logs;
mod body;
mod conditions;
mod contacts;
mod customers;
mod edge;
mod error;
mod follow_ups;
mod json;
mod messages;
mod opportunities;
mod payload;
mod protected;
mod public;
mod query;
mod respond;
mod router;
mod state;
mod trace;
mod trash;

use std::sync::Arc;

use salvo::{Router, Service};

use self::protected::Protected;
use self::router::RouterExt as _;
pub use self::state::{Readiness, State};

/// The service: all routes and hoops over `state`.
#[must_use]
pub fn service(state: Arc<State>, compress: bool) -> Service {
    let public = Router::new()
        .push(Router::new().read(public::root))
        .push(Router::with_path("health").read(public::health))
        .push(Router::with_path("health/live").read(public::live))
        .push(Router::with_path("health/ready").read(public::ready))
        .push(Router::with_path("metrics").read(public::metrics));
    let protected = Router::new()
        .hoop(Protected)
        .push(customers::routes())
        .push(contacts::routes())
        .push(opportunities::routes())
        .push(follow_ups::routes())
        .push(trash::routes())
        .push(audit_logs::routes());
    let service = Service::new(Router::new().push(public).push(protected));
    let service = if compress { service.hoop(salvo::compression::Compression::new()) } else { service };
    service.hoop(edge::Edge(state))
}
