//! `/trash`: deleted records, for 30 days (contract §6). They are restored at `/{resource}/{id}/restore`.

use salvo::prelude::handler;
use salvo::{Router, Writer as _};
use serde::Serialize;

use super::error::ApiResult;
use super::protected::TenantCtx;
use super::query::Query;
use super::respond::PageBody;
use super::router::RouterExt as _;
use crate::domain::{Resource, TenantId, Timestamp};
use crate::store::trash::{self, Deleted, DeletedAt};

pub(super) fn routes() -> Router {
    Router::with_path("trash").read(list_trash)
}

/// A deleted record as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeletedOut {
    resource_type: String,
    resource_id: String,
    tenant_id: TenantId,
    label: String,
    customer_id: String,
    owner_id: String,
    deleted_at: Timestamp,
    deleted_with: Option<String>,
}

#[handler]
async fn list_trash(ctx: TenantCtx, mut query: Query) -> ApiResult<PageBody<DeletedOut>> {
    let resource =
        query.choice("resourceType", "customer, contact, opportunity, follow_up", Resource::from_stem)?;
    let (request, list) =
        query.page(ctx.tenant(), &[("deletedAt", DeletedAt)], "deletedAt (- = descending)")?;
    query.finish()?;
    let now = ctx.now();
    let page = ctx.read(async move |db| trash::list(db, resource, now, &request, list).await).await?;
    let tenant = ctx.tenant();
    Ok(PageBody(page.map(|deleted| {
        let Deleted { id, resource, label, customer_id, owner_id, deleted_at, deleted_with } = deleted;
        DeletedOut {
            resource_type: resource,
            resource_id: id,
            tenant_id: tenant.clone(),
            label,
            customer_id: customer_id.unwrap_or_default(),
            owner_id,
            deleted_at,
            deleted_with,
        }
    })))
}
