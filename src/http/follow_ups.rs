//! `/follow-ups` (contract §6).

use salvo::prelude::handler;
use salvo::{Router, Writer as _};
use serde::Serialize;

use super::body::{Body, BodyType};
use super::conditions::{Expected, RecordId};
use super::error::ApiResult;
use super::payload::Payload;
use super::protected::{TenantCtx, View};
use super::query::Query;
use super::respond::{PageBody, Replied, Reply, Single};
use super::router::RouterExt as _;
use crate::domain::{FollowUp, FollowUpFields, FollowUpPatch, NewFollowUp, Resource, TenantId, Timestamp};
use crate::store::follow_ups::{self, FollowUpFilter, FollowUpKey};
use crate::store::trash;

const COLLECTION: &str = "follow-ups";
const SORT_KEYS: [(&str, FollowUpKey); 3] = [
    ("createdAt", FollowUpKey::CreatedAt),
    ("updatedAt", FollowUpKey::UpdatedAt),
    ("occurredAt", FollowUpKey::OccurredAt),
];
const SORT_KEYS_TEXT: &str = "createdAt, updatedAt, occurredAt (≤ 3, - = descending)";

/// The routes of the resource; `restore` is an action, which needs no request id.
pub(super) fn routes() -> Router {
    let record =
        Router::with_path("{id}").read(get_follow_up).patch(update_follow_up).delete(delete_follow_up);
    let resource =
        Router::new().hoop(Payload::RESOURCE).read(list_follow_ups).post(create_follow_up).push(record);
    let restore = Router::with_path("{id}/restore").hoop(Payload::ACTION).post(restore_follow_up);
    Router::with_path(COLLECTION).push(resource).push(restore)
}

/// A follow-up as clients see it: the origin's keys first and in its order; its ids are `""` when absent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FollowUpOut {
    follow_up_id: String,
    tenant_id: TenantId,
    customer_id: String,
    opportunity_id: String,
    contact_id: String,
    content: String,
    follow_up_type: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    occurred_at: Timestamp,
    next_follow_up_at: Option<Timestamp>,
    owner_id: String,
    version: i64,
}

impl FollowUpOut {
    fn new(follow_up: FollowUp, view: &View) -> Self {
        let FollowUp {
            id,
            customer_id,
            opportunity_id,
            contact_id,
            content,
            follow_up_type,
            occurred_at,
            next_follow_up_at,
            owner_id,
            version,
            created_at,
            updated_at,
        } = follow_up;
        Self {
            follow_up_id: id,
            tenant_id: view.tenant.clone(),
            customer_id: customer_id.unwrap_or_default(),
            opportunity_id: opportunity_id.unwrap_or_default(),
            contact_id: contact_id.unwrap_or_default(),
            content,
            follow_up_type,
            created_at,
            updated_at,
            occurred_at,
            next_follow_up_at,
            owner_id,
            version,
        }
    }
}

impl BodyType for FollowUpFields {
    const READ_ONLY: &'static [&'static str] =
        &["followUpId", "tenantId", "createdAt", "updatedAt", "version"];
}

#[handler]
async fn list_follow_ups(ctx: TenantCtx, mut query: Query) -> ApiResult<PageBody<FollowUpOut>> {
    let filter = filter(&mut query)?;
    let (request, list) = query.page(ctx.tenant(), &SORT_KEYS, SORT_KEYS_TEXT)?;
    query.finish()?;
    let page = ctx.read(async move |db| follow_ups::list(db, &filter, &request, list).await).await?;
    let view = ctx.view();
    Ok(PageBody(page.map(|follow_up| FollowUpOut::new(follow_up, &view))))
}

#[handler]
async fn create_follow_up(ctx: TenantCtx, body: Body<FollowUpFields>) -> ApiResult<Replied> {
    let view = ctx.view();
    let new = NewFollowUp::check(body.0, ctx.user(), ctx.time_zone())?;
    ctx.write(async move |tx| {
        let follow_up = FollowUpOut::new(follow_ups::insert(tx, new).await?, &view);
        Reply::created(COLLECTION, &follow_up.follow_up_id, follow_up.version, &follow_up)
    })
    .await
}

#[handler]
async fn get_follow_up(ctx: TenantCtx, id: RecordId) -> ApiResult<Single<FollowUpOut>> {
    let follow_up: FollowUp = ctx.get(id).await?;
    Ok(Single { version: follow_up.version, body: FollowUpOut::new(follow_up, &ctx.view()) })
}

#[handler]
async fn update_follow_up(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
    body: Body<FollowUpFields>,
) -> ApiResult<Replied> {
    let view = ctx.view();
    let patch = FollowUpPatch::check(body.0, ctx.patch_checker(), ctx.time_zone())?;
    ctx.write_existing(Resource::FollowUp, async move |tx| {
        let follow_up = FollowUpOut::new(follow_ups::update(tx, &id.0, expected.0, patch).await?, &view);
        Reply::changed(follow_up.version, &follow_up)
    })
    .await
}

#[handler]
async fn delete_follow_up(ctx: TenantCtx, id: RecordId, expected: Expected) -> ApiResult<Replied> {
    ctx.write_existing(Resource::FollowUp, async move |tx| {
        follow_ups::delete(tx, &id.0, expected.0).await?;
        Ok(Reply::no_content())
    })
    .await
}

#[handler]
async fn restore_follow_up(ctx: TenantCtx, id: RecordId) -> ApiResult<Replied> {
    let view = ctx.view();
    ctx.write_existing(Resource::FollowUp, async move |tx| {
        let follow_up: FollowUp = trash::restore(tx, &id.0).await?;
        let follow_up = FollowUpOut::new(follow_up, &view);
        Reply::changed(follow_up.version, &follow_up)
    })
    .await
}

fn filter(query: &mut Query) -> ApiResult<FollowUpFilter> {
    Ok(FollowUpFilter {
        id: query.text("followUpId"),
        customer_id: query.text("customerId"),
        opportunity_id: query.text("opportunityId"),
        contact_id: query.text("contactId"),
        owner_id: query.text("ownerId"),
        follow_up_type: query.text("followUpType"),
        occurred_from: query.moment("occurredFrom")?,
        occurred_to: query.moment("occurredTo")?,
        created_from: query.moment("createdFrom")?,
        created_to: query.moment("createdTo")?,
        updated_from: query.moment("updatedFrom")?,
        updated_to: query.moment("updatedTo")?,
    })
}
