//! `/follow-ups` (contract §6).

use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::body::{Body, BodyType, MergePatch};
use super::conditions::{Expected, RecordId, of_record};
use super::error::ApiResult;
use super::export;
use super::payload::Payload;
use super::protected::{TenantCtx, View};
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::respond::{Changed, Created, NoContent, PageBody, Replied, Reply, Restored, Single};
use super::router::RouterExt as _;
use crate::domain::{
    FieldRule, FollowUp, FollowUpFields, FollowUpPatch, NewFollowUp, Resource, TenantId, Timestamp,
};
use crate::store::follow_ups::{self, FollowUpFilter, FollowUpKey};
use crate::store::trash;

const COLLECTION: &str = "follow-ups";

/// The routes of the resource; `restore` is an action, which needs no request id.
pub(super) fn routes() -> Router {
    let record = of_record().read(get_follow_up).patch(update_follow_up).delete(delete_follow_up);
    let export = Router::with_path("export").read(export::follow_ups_export);
    let resource =
        Router::new().hoop(Payload::RESOURCE).read(list_follow_ups).post(create_follow_up).push(record);
    let restore = of_record().path("restore").hoop(Payload::ACTION).post(restore_follow_up);
    Router::with_path(COLLECTION).push(resource).push(export).push(restore)
}

/// A follow-up; its ids are `""` where it has none.
// The origin's keys first and in its order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = FollowUp))]
pub(super) struct FollowUpOut {
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
    pub(super) fn new(follow_up: FollowUp, view: &View) -> Self {
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
    const NAME: &'static str = "FollowUp";
    const READ_ONLY: &'static [&'static str] =
        &["followUpId", "tenantId", "createdAt", "updatedAt", "version"];

    fn rules() -> Vec<FieldRule> {
        Self::rules()
    }
}

/// Lists follow-ups.
#[endpoint(tags("follow-ups"))]
async fn list_follow_ups(
    ctx: TenantCtx,
    query: ListQuery<FollowUpFilter>,
) -> ApiResult<PageBody<FollowUpOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| follow_ups::list(db, &filter, &page, hash).await).await?;
    let view = ctx.view();
    Ok(PageBody(page.map(|follow_up| FollowUpOut::new(follow_up, &view))))
}

/// Creates a follow-up.
#[endpoint(tags("follow-ups"))]
async fn create_follow_up(
    ctx: TenantCtx,
    body: Body<FollowUpFields>,
) -> ApiResult<Replied<Created<FollowUpOut>>> {
    let view = ctx.view();
    let new = NewFollowUp::check(body.0, ctx.user(), ctx.time_zone())?;
    ctx.write(async move |tx| {
        let follow_up = FollowUpOut::new(follow_ups::insert(tx, new).await?, &view);
        Reply::created(COLLECTION, &follow_up.follow_up_id, follow_up.version, &follow_up)
    })
    .await
}

/// Gets a follow-up.
#[endpoint(tags("follow-ups"))]
async fn get_follow_up(ctx: TenantCtx, id: RecordId) -> ApiResult<Single<FollowUpOut>> {
    let follow_up: FollowUp = ctx.get(id).await?;
    Ok(Single { version: follow_up.version, body: FollowUpOut::new(follow_up, &ctx.view()) })
}

/// Changes a follow-up.
#[endpoint(tags("follow-ups"))]
async fn update_follow_up(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
    body: MergePatch<FollowUpFields>,
) -> ApiResult<Replied<Changed<FollowUpOut>>> {
    let view = ctx.view();
    let patch = FollowUpPatch::check(body.0, ctx.patch_checker(), ctx.time_zone())?;
    ctx.write_existing(Resource::FollowUp, async move |tx| {
        let follow_up = FollowUpOut::new(follow_ups::update(tx, &id.0, expected.0, patch).await?, &view);
        Reply::changed(follow_up.version, &follow_up)
    })
    .await
}

/// Puts a follow-up into the trash.
#[endpoint(tags("follow-ups"))]
async fn delete_follow_up(ctx: TenantCtx, id: RecordId, expected: Expected) -> ApiResult<Replied<NoContent>> {
    ctx.write_existing(Resource::FollowUp, async move |tx| {
        follow_ups::delete(tx, &id.0, expected.0.version).await?;
        Ok(Reply::no_content())
    })
    .await
}

/// Takes a follow-up out of the trash.
#[endpoint(tags("follow-ups"))]
async fn restore_follow_up(ctx: TenantCtx, id: RecordId) -> ApiResult<Replied<Restored<FollowUpOut>>> {
    let view = ctx.view();
    ctx.write_existing(Resource::FollowUp, async move |tx| {
        let follow_up: FollowUp = trash::restore(tx, &id.0).await?;
        let follow_up = FollowUpOut::new(follow_up, &view);
        Reply::restored(follow_up.version, &follow_up)
    })
    .await
}

impl ListFilter for FollowUpFilter {
    type Key = FollowUpKey;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[
        ("createdAt", FollowUpKey::CreatedAt),
        ("updatedAt", FollowUpKey::UpdatedAt),
        ("occurredAt", FollowUpKey::OccurredAt),
    ];

    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self {
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
}
