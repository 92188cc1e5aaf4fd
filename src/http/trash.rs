//! `/trash`: deleted records, for 30 days (contract §6). They are restored at `/{resource}/{id}/restore`.

use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::error::ApiResult;
use super::protected::TenantCtx;
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::PageBody;
use super::router::RouterExt as _;
use crate::domain::{Resource, TenantId, Timestamp};
use crate::store::trash::{self, Deleted, DeletedAt};

pub(super) fn routes() -> Router {
    Router::with_path("trash").read(list_trash)
}

/// A deleted record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = Deleted))]
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

/// Which deleted records are wanted.
#[derive(Debug)]
struct TrashFilter(Option<Resource>);

impl ListFilter for TrashFilter {
    type Key = DeletedAt;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[("deletedAt", DeletedAt)];

    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self(query.choice("resourceType", Resource::STEMS, Resource::from_stem)?))
    }
}

/// Lists deleted records.
#[endpoint(tags("trash"))]
async fn list_trash(ctx: TenantCtx, query: ListQuery<TrashFilter>) -> ApiResult<PageBody<DeletedOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let now = ctx.now();
    let page = ctx.read(async move |db| trash::list(db, filter.0, now, &page, hash).await).await?;
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
