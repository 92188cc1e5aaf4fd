//! `/requests/{id}`: what became of one request.

use salvo::http::Request;
use salvo::{Depot, handler};
use serde::Deserialize;
use serde_json::{Value, json};

use super::desk::{self, Desk, query};
use super::error::{Answer, Refusal};
use crate::domain::TenantId;
use crate::http::Answered;
use crate::store::explain::{Left, left_by};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    /// In this tenant's file.
    tenant: Option<TenantId>,
    /// In every tenant's file, if the cell does not remember whose it was.
    #[serde(default)]
    all: bool,
}

#[handler]
pub(super) async fn explain(request: &mut Request, depot: &mut Depot) -> Result<Answer, Refusal> {
    let (desk, _) = Desk::of(depot)?;
    let id: String = request.param("id").unwrap_or_default();
    let Where { tenant, all } = query(request)?;
    desk.tenants.check_known(tenant.as_slice())?;
    let answered = desk.cell.as_ref().map(|cell| cell.recent.find(&id)).unwrap_or_default();
    let mut tenants: Vec<TenantId> = tenant.into_iter().collect();
    if tenants.is_empty() {
        tenants.extend(answered.iter().filter_map(|one| Some(one.caller.as_ref()?.tenant.clone())));
        tenants.sort();
        tenants.dedup();
    }
    if tenants.is_empty() && all {
        tenants = desk.tenants.all();
    }
    if tenants.is_empty() && answered.is_empty() {
        return Err(Refusal::not_found(format!(
            "{id} is none of the last requests that the cell remembers: name its tenant (--tenant), or look into \
             every tenant's journal (--all)"
        )));
    }
    let mut found = Vec::new();
    for tenant in tenants {
        let wanted = id.clone();
        match desk.tenants.read_books(&tenant, async move |read| left_by(read, &wanted).await).await {
            Ok(left) => found.extend(shown(&tenant, &left)),
            Err(error) => found.push(json!({ "tenant": tenant, "error": Refusal::from(error).message() })),
        }
    }
    if found.is_empty() && answered.is_empty() {
        return Err(Refusal::not_found(format!("no journal names the request {id}: it changed nothing")));
    }
    let answered: Vec<&Answered> = answered.iter().collect();
    desk::answer(&json!({ "requestId": id, "answered": answered, "left": found }))
}

/// What it left in a tenant's file, if it left anything.
fn shown(tenant: &TenantId, left: &Left) -> Option<Value> {
    (left.journal.get() != "[]")
        .then(|| json!({ "tenant": tenant, "journal": &left.journal, "events": &left.events }))
}
