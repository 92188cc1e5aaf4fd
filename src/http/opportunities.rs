//! `/opportunities` (contract §6).

use chrono::NaiveDate;
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
use crate::domain::{
    Currency, DealStatus, NewOpportunity, Opportunity, OpportunityFields, OpportunityPatch, Resource, Stage,
    Standing, TenantId, Timestamp,
};
use crate::store::opportunities::{self, OpportunityFilter, OpportunityKey};
use crate::store::trash;

const COLLECTION: &str = "opportunities";
const SORT_KEYS: [(&str, OpportunityKey); 4] = [
    ("createdAt", OpportunityKey::CreatedAt),
    ("updatedAt", OpportunityKey::UpdatedAt),
    ("amountCents", OpportunityKey::AmountCents),
    ("expectedCloseDate", OpportunityKey::ExpectedCloseDate),
];
const SORT_KEYS_TEXT: &str = "createdAt, updatedAt, amountCents, expectedCloseDate (≤ 3, - = descending)";

/// The routes of the resource; `restore` is an action, which needs no request id.
pub(super) fn routes() -> Router {
    let record =
        Router::with_path("{id}").read(get_opportunity).patch(update_opportunity).delete(delete_opportunity);
    let resource =
        Router::new().hoop(Payload::RESOURCE).read(list_opportunities).post(create_opportunity).push(record);
    let restore = Router::with_path("{id}/restore").hoop(Payload::ACTION).post(restore_opportunity);
    Router::with_path(COLLECTION).push(resource).push(restore)
}

/// An opportunity as clients see it: the origin's keys first and in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OpportunityOut {
    opportunity_id: String,
    tenant_id: TenantId,
    customer_id: String,
    title: String,
    amount_cents: i64,
    currency: &'static str,
    stage: i64,
    status: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
    owner_id: String,
    probability_pct: i64,
    weighted_cents: i64,
    expected_close_date: Option<NaiveDate>,
    closed_at: Option<Timestamp>,
    lost_reason: Option<String>,
    stage_name: &'static str,
    version: i64,
}

impl OpportunityOut {
    fn new(opportunity: Opportunity, view: &View) -> Self {
        let weighted_cents = opportunity.weighted_cents();
        let Opportunity {
            id,
            customer_id,
            title,
            amount_cents,
            currency,
            standing,
            expected_close_date,
            owner_id,
            version,
            created_at,
            updated_at,
        } = opportunity;
        let Standing { stage, last_open_stage: _, probability_pct, closed_at, lost_reason } = standing;
        Self {
            opportunity_id: id,
            tenant_id: view.tenant.clone(),
            customer_id,
            title,
            amount_cents,
            currency: currency.code(),
            stage: stage.code(),
            status: stage.status().code(),
            created_at,
            updated_at,
            owner_id,
            probability_pct,
            weighted_cents,
            expected_close_date,
            closed_at,
            lost_reason,
            stage_name: stage.name(),
            version,
        }
    }
}

impl BodyType for OpportunityFields {
    const READ_ONLY: &'static [&'static str] = &[
        "opportunityId",
        "tenantId",
        "createdAt",
        "updatedAt",
        "weightedCents",
        "closedAt",
        "stageName",
        "version",
    ];
}

#[handler]
async fn list_opportunities(ctx: TenantCtx, mut query: Query) -> ApiResult<PageBody<OpportunityOut>> {
    let filter = filter(&mut query)?;
    let (request, list) = query.page(ctx.tenant(), &SORT_KEYS, SORT_KEYS_TEXT)?;
    query.finish()?;
    let page = ctx.read(async move |db| opportunities::list(db, &filter, &request, list).await).await?;
    let view = ctx.view();
    Ok(PageBody(page.map(|opportunity| OpportunityOut::new(opportunity, &view))))
}

#[handler]
async fn create_opportunity(ctx: TenantCtx, body: Body<OpportunityFields>) -> ApiResult<Replied> {
    let view = ctx.view();
    let new = NewOpportunity::check(body.0, ctx.user())?;
    ctx.write_child(Resource::Customer, async move |tx| {
        let opportunity = OpportunityOut::new(opportunities::insert(tx, new).await?, &view);
        Reply::created(COLLECTION, &opportunity.opportunity_id, opportunity.version, &opportunity)
    })
    .await
}

#[handler]
async fn get_opportunity(ctx: TenantCtx, id: RecordId) -> ApiResult<Single<OpportunityOut>> {
    let opportunity: Opportunity = ctx.get(id).await?;
    Ok(Single { version: opportunity.version, body: OpportunityOut::new(opportunity, &ctx.view()) })
}

#[handler]
async fn update_opportunity(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
    body: Body<OpportunityFields>,
) -> ApiResult<Replied> {
    let view = ctx.view();
    let patch = OpportunityPatch::check(body.0, ctx.patch_checker())?;
    ctx.write_existing(Resource::Opportunity, async move |tx| {
        let opportunity =
            OpportunityOut::new(opportunities::update(tx, &id.0, expected.0, patch).await?, &view);
        Reply::changed(opportunity.version, &opportunity)
    })
    .await
}

#[handler]
async fn delete_opportunity(ctx: TenantCtx, id: RecordId, expected: Expected) -> ApiResult<Replied> {
    ctx.write_existing(Resource::Opportunity, async move |tx| {
        opportunities::delete(tx, &id.0, expected.0).await?;
        Ok(Reply::no_content())
    })
    .await
}

#[handler]
async fn restore_opportunity(ctx: TenantCtx, id: RecordId) -> ApiResult<Replied> {
    let view = ctx.view();
    ctx.write_existing(Resource::Opportunity, async move |tx| {
        let opportunity: Opportunity = trash::restore(tx, &id.0).await?;
        let opportunity = OpportunityOut::new(opportunity, &view);
        Reply::changed(opportunity.version, &opportunity)
    })
    .await
}

fn filter(query: &mut Query) -> ApiResult<OpportunityFilter> {
    let day = |text: &str| text.parse::<NaiveDate>().ok().map(|day| day.to_string());
    Ok(OpportunityFilter {
        id: query.text("opportunityId"),
        customer_id: query.text("customerId"),
        owner_id: query.text("ownerId"),
        stage: query.choice("stage", "1, 2, 3, 4, 5, 6", |code| Stage::from_code(code.parse().ok()?))?,
        status: query.choice("status", "1, 2, 3", |code| DealStatus::from_code(code.parse().ok()?))?,
        currency: query.choice("currency", "ISO 4217 (CNY, USD, …)", Currency::parse)?,
        close_from: query.choice("expectedCloseFrom", "YYYY-MM-DD", day)?,
        close_to: query.choice("expectedCloseTo", "YYYY-MM-DD", day)?,
        created_from: query.moment("createdFrom")?,
        created_to: query.moment("createdTo")?,
        updated_from: query.moment("updatedFrom")?,
        updated_to: query.moment("updatedTo")?,
    })
}
