//! `/audit-logs`: who changed what (contract §9).

use salvo::prelude::handler;
use salvo::{Router, Writer as _};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::ApiResult;
use super::protected::TenantCtx;
use super::query::Query;
use super::respond::PageBody;
use super::router::RouterExt as _;
use crate::domain::{TenantId, Timestamp};
use crate::store::audit::{self, AuditEntry, AuditFilter, Sequence};

pub(super) fn routes() -> Router {
    Router::with_path("audit-logs").read(list_audit_logs)
}

/// One change as clients see it: the origin's keys first and in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditLogOut {
    log_id: String,
    tenant_id: TenantId,
    user_id: String,
    operation_type: String,
    resource_type: String,
    resource_id: String,
    trace_id: String,
    occurred_at: Timestamp,
    changes: Box<RawValue>,
}

#[handler]
async fn list_audit_logs(ctx: TenantCtx, mut query: Query) -> ApiResult<PageBody<AuditLogOut>> {
    ctx.require_manager()?;
    let filter = AuditFilter {
        resource: query.text("resourceType"),
        record_id: query.text("resourceId"),
        actor: query.text("userId"),
        from: query.moment("from")?,
        to: query.moment("to")?,
    };
    let (request, list) =
        query.page(ctx.tenant(), &[("occurredAt", Sequence)], "occurredAt (- = descending)")?;
    query.finish()?;
    let page = ctx.read(async move |db| audit::list(db, &filter, &request, list).await).await?;
    let tenant = ctx.tenant();
    Ok(PageBody(page.map(|entry| {
        let AuditEntry { id, actor, action, resource, record_id, trace_id, at, changes } = entry;
        AuditLogOut {
            log_id: id,
            tenant_id: tenant.clone(),
            user_id: actor,
            operation_type: action,
            resource_type: resource,
            resource_id: record_id,
            trace_id: trace_id.unwrap_or_default(),
            occurred_at: at,
            changes,
        }
    })))
}
