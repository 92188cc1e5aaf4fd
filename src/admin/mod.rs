//! The operators' router: one set of routes over what `tenancy` does to tenants, on a Unix socket in the data root, and on TCP
//! only where that is asked for. Never on the public port.
//!
//! Whoever may enter the data root (mode 0700) may use the socket (mode 0600). On TCP a service token is asked for, of role
//! `admin` and bound to no tenant. Every change leaves two entries in the operators' log: that it begins, and how it ended.

mod backups;
mod client;
mod desk;
mod error;
mod explain;
mod fleet;
mod server;
mod stream;
mod tenants;

use salvo::{Router, Service};

pub use self::client::{Admin, AdminError, Lines, Step};
pub use self::desk::{Desk, Via};
pub use self::server::{AdminServer, SOCKET};

/// The service over a desk.
fn service(desk: Desk) -> Service {
    let routes = Router::new()
        .hoop(desk)
        .push(Router::with_path("tenants").get(tenants::list).push(tenants::routes()))
        .push(Router::with_path("trash").get(tenants::trash))
        .push(Router::with_path("copies").post(backups::copy))
        .push(Router::with_path("backups").get(backups::list).post(backups::back_up))
        .push(Router::with_path("checks").post(fleet::check))
        .push(Router::with_path("drills").post(fleet::drill))
        .push(Router::with_path("catalog/rebuild").post(fleet::rebuild_catalog))
        .push(Router::with_path("freeze").post(fleet::freeze).delete(fleet::thaw))
        .push(Router::with_path("doctor").get(fleet::doctor))
        .push(Router::with_path("log").get(fleet::log).push(Router::with_path("verify").get(fleet::verify)))
        .push(Router::with_path("requests/{id}").get(explain::explain));
    Service::new(routes)
}
