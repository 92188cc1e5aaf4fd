//! `/audit-logs`: who changed what (contract §9).

use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::ApiResult;
use super::openapi::AnyObject;
use super::protected::{Manager, TenantCtx};
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::PageBody;
use super::router::RouterExt as _;
use crate::domain::{TenantId, Timestamp};
use crate::store::audit::{self, AuditEntry, AuditFilter, Sequence};

pub(super) fn routes() -> Router {
    Router::with_path("audit-logs").read(list_audit_logs)
}

/// One change of a record.
// The origin's keys first and in its order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = AuditLog))]
struct AuditLogOut {
    log_id: String,
    tenant_id: TenantId,
    user_id: String,
    operation_type: String,
    resource_type: String,
    resource_id: String,
    trace_id: String,
    occurred_at: Timestamp,
    #[salvo(schema(value_type = AnyObject))]
    changes: Box<RawValue>,
}

impl ListFilter for AuditFilter {
    type Key = Sequence;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[("occurredAt", Sequence)];

    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self {
            resource: query.text("resourceType"),
            record_id: query.text("resourceId"),
            actor: query.text("userId"),
            from: query.moment("from")?,
            to: query.moment("to")?,
        })
    }
}

/// Lists who changed what.
#[endpoint(tags("audit-logs"))]
async fn list_audit_logs(
    _caller: Manager,
    ctx: TenantCtx,
    query: ListQuery<AuditFilter>,
) -> ApiResult<PageBody<AuditLogOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| audit::list(db, &filter, &page, hash).await).await?;
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
