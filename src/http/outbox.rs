//! `/events/outbox`: events that go out, for those who see to it that they arrive (contract §10).

use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::body::{Body, BodyType};
use super::conditions::{EVENT, EventId};
use super::error::ApiResult;
use super::payload::Payload;
use super::protected::TenantCtx;
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::{Accepted, Acted, PageBody, Replied, Reply};
use super::router::RouterExt as _;
use crate::domain::{Allowed, FieldRule, ReplayFields, TenantId, Timestamp, Violation};
use crate::store::outbox::{self, OutboxEvent, OutboxFilter, OutboxKey};
use crate::tenancy::StoreError;

const WORDS: &[&str] = &["pending", "delivered", "unpublished"];

/// The routes below `/events`.
pub(super) fn routes() -> Router {
    let event =
        Router::with_path(EVENT).push(Router::with_path("retry").hoop(Payload::ACTION).post(retry_delivery));
    Router::with_path("outbox")
        .read(list_outbox)
        .push(Router::with_path("replay").hoop(Payload::ACTION).post(replay_events))
        .push(event)
}

/// An event that goes out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = OutboxEvent))]
struct OutboxEventOut {
    event_id: String,
    tenant_id: TenantId,
    event_type: String,
    resource_id: String,
    state: String,
    attempts: i64,
    failure: Option<String>,
    occurred_at: Timestamp,
    retry_at: Option<Timestamp>,
    trace_id: Option<String>,
}

impl OutboxEventOut {
    fn new(event: OutboxEvent, tenant: &TenantId) -> Self {
        let OutboxEvent { event_id, kind, record_id, trace_id, at, state, attempts, not_before, failure } =
            event;
        Self {
            event_id,
            tenant_id: tenant.clone(),
            event_type: kind,
            resource_id: record_id,
            state,
            attempts,
            failure,
            occurred_at: at,
            retry_at: not_before,
            trace_id,
        }
    }
}

/// How many events are to go out once more.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = Replayed))]
struct ReplayedOut {
    replayed: u64,
}

impl BodyType for ReplayFields {
    const NAME: &'static str = "Replay";
    const READ_ONLY: &'static [&'static str] = &[];
    const IS_OF_ACTION: bool = true;

    fn rules() -> Vec<FieldRule> {
        Self::rules()
    }
}

impl ListFilter for OutboxFilter {
    type Key = OutboxKey;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[("occurredAt", OutboxKey)];

    fn read(query: &mut Query) -> ApiResult<Self> {
        let word = |word: &str| WORDS.iter().find(|known| **known == word).copied();
        Ok(Self {
            state: query.choice("state", Allowed::Words(WORDS), word)?,
            kind: query.text("eventType"),
            record_id: query.text("resourceId"),
            from: query.moment("from")?,
            to: query.moment("to")?,
        })
    }
}

/// Lists events that go out.
#[endpoint(tags("events"))]
async fn list_outbox(ctx: TenantCtx, query: ListQuery<OutboxFilter>) -> ApiResult<PageBody<OutboxEventOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| outbox::list(db, &filter, &page, hash).await).await?;
    Ok(PageBody(page.map(|event| OutboxEventOut::new(event, ctx.tenant()))))
}

/// Offers an event to the bus now that it refused before.
#[endpoint(tags("events"))]
async fn retry_delivery(ctx: TenantCtx, id: EventId) -> ApiResult<Replied<Acted<OutboxEventOut>>> {
    let (state, tenant) = (ctx.state().clone(), ctx.tenant().clone());
    let shown = tenant.clone();
    let replied = ctx
        .write_to_event(async move |tx| {
            Reply::acted(&OutboxEventOut::new(outbox::retry(tx, &id.0).await?, &shown))
        })
        .await?;
    state.tenants.event_work().nudge(&tenant);
    Ok(replied)
}

/// Delivers events once more, or for the first time if there was no bus when they happened.
#[endpoint(tags("events"))]
async fn replay_events(
    ctx: TenantCtx,
    body: Body<ReplayFields>,
) -> ApiResult<Replied<Accepted<ReplayedOut>>> {
    let what = body.0.check(ctx.time_zone())?;
    let (state, tenant) = (ctx.state().clone(), ctx.tenant().clone());
    let has_bus = state.tenants.event_work().publishes();
    let replied = ctx
        .write_to_event(async move |tx| {
            if !has_bus {
                return Err(StoreError::Violation(Violation::NoBus));
            }
            let replayed = outbox::replay(tx, &what).await?;
            Reply::accepted(&ReplayedOut { replayed })
        })
        .await?;
    state.tenants.event_work().nudge(&tenant);
    Ok(replied)
}
