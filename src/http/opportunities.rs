//! `/opportunities` (contract §6).

use chrono::NaiveDate;
use salvo::{Router, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::body::{Body, BodyType, MergePatch};
use super::conditions::{Expected, RecordId, of_record};
use super::error::ApiResult;
use super::export;
use super::import;
use super::openapi::Date;
use super::payload::Payload;
use super::protected::{TenantCtx, View};
use super::query::{ListFilter, ListQuery, ListRequest, Query};
use super::reports;
use super::respond::{Changed, Created, NoContent, PageBody, Replied, Reply, Restored, Single};
use super::router::RouterExt as _;
use crate::domain::{
    Allowed, Currency, DealStatus, FieldRule, NewOpportunity, Opportunity, OpportunityFields,
    OpportunityPatch, Resource, Stage, Standing, TenantId, Timestamp,
};
use crate::store::opportunities::{self, OpportunityFilter, OpportunityKey};
use crate::store::trash;

const COLLECTION: &str = "opportunities";

/// The routes of the resource; `restore` is an action, which needs no request id.
pub(super) fn routes() -> Router {
    let record = of_record().read(get_opportunity).patch(update_opportunity).delete(delete_opportunity);
    let export = Router::with_path("export").read(export::opportunities_export);
    let resource =
        Router::new().hoop(Payload::RESOURCE).read(list_opportunities).post(create_opportunity).push(record);
    let restore = of_record().path("restore").hoop(Payload::ACTION).post(restore_opportunity);
    Router::with_path(COLLECTION)
        .push(resource)
        .push(export)
        .push(import::of_opportunities())
        .push(restore)
        .push(reports::routes_of_opportunities())
}

/// An opportunity.
// The origin's keys first and in its order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = Opportunity))]
pub(super) struct OpportunityOut {
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
    #[salvo(schema(value_type = Option<Date>))]
    expected_close_date: Option<NaiveDate>,
    closed_at: Option<Timestamp>,
    lost_reason: Option<String>,
    stage_name: &'static str,
    version: i64,
}

impl OpportunityOut {
    pub(super) fn new(opportunity: Opportunity, view: &View) -> Self {
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
    const NAME: &'static str = "Opportunity";
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

    fn rules() -> Vec<FieldRule> {
        Self::rules()
    }
}

/// Lists opportunities.
#[endpoint(tags("opportunities"))]
async fn list_opportunities(
    ctx: TenantCtx,
    query: ListQuery<OpportunityFilter>,
) -> ApiResult<PageBody<OpportunityOut>> {
    let ListRequest { filter, page, hash } = query.of(ctx.tenant())?;
    let page = ctx.read(async move |db| opportunities::list(db, &filter, &page, hash).await).await?;
    let view = ctx.view();
    Ok(PageBody(page.map(|opportunity| OpportunityOut::new(opportunity, &view))))
}

/// Creates an opportunity.
#[endpoint(tags("opportunities"))]
async fn create_opportunity(
    ctx: TenantCtx,
    body: Body<OpportunityFields>,
) -> ApiResult<Replied<Created<OpportunityOut>>> {
    let view = ctx.view();
    let new = NewOpportunity::check(body.0, ctx.user())?;
    ctx.write_child(Resource::Customer, async move |tx| {
        let opportunity = OpportunityOut::new(opportunities::insert(tx, new).await?, &view);
        Reply::created(COLLECTION, &opportunity.opportunity_id, opportunity.version, &opportunity)
    })
    .await
}

/// Gets an opportunity.
#[endpoint(tags("opportunities"))]
async fn get_opportunity(ctx: TenantCtx, id: RecordId) -> ApiResult<Single<OpportunityOut>> {
    let opportunity: Opportunity = ctx.get(id).await?;
    Ok(Single { version: opportunity.version, body: OpportunityOut::new(opportunity, &ctx.view()) })
}

/// Changes an opportunity.
#[endpoint(tags("opportunities"))]
async fn update_opportunity(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
    body: MergePatch<OpportunityFields>,
) -> ApiResult<Replied<Changed<OpportunityOut>>> {
    let view = ctx.view();
    let patch = OpportunityPatch::check(body.0, ctx.patch_checker())?;
    ctx.write_existing(Resource::Opportunity, async move |tx| {
        let opportunity =
            OpportunityOut::new(opportunities::update(tx, &id.0, expected.0, patch).await?, &view);
        Reply::changed(opportunity.version, &opportunity)
    })
    .await
}

/// Puts an opportunity into the trash.
#[endpoint(tags("opportunities"))]
async fn delete_opportunity(
    ctx: TenantCtx,
    id: RecordId,
    expected: Expected,
) -> ApiResult<Replied<NoContent>> {
    ctx.write_existing(Resource::Opportunity, async move |tx| {
        opportunities::delete(tx, &id.0, expected.0.version).await?;
        Ok(Reply::no_content())
    })
    .await
}

/// Takes an opportunity out of the trash.
#[endpoint(tags("opportunities"))]
async fn restore_opportunity(ctx: TenantCtx, id: RecordId) -> ApiResult<Replied<Restored<OpportunityOut>>> {
    let view = ctx.view();
    ctx.write_existing(Resource::Opportunity, async move |tx| {
        let opportunity: Opportunity = trash::restore(tx, &id.0).await?;
        let opportunity = OpportunityOut::new(opportunity, &view);
        Reply::restored(opportunity.version, &opportunity)
    })
    .await
}

impl ListFilter for OpportunityFilter {
    type Key = OpportunityKey;
    const SORT_KEYS: &'static [(&'static str, Self::Key)] = &[
        ("createdAt", OpportunityKey::CreatedAt),
        ("updatedAt", OpportunityKey::UpdatedAt),
        ("amountCents", OpportunityKey::AmountCents),
        ("expectedCloseDate", OpportunityKey::ExpectedCloseDate),
    ];

    fn read(query: &mut Query) -> ApiResult<Self> {
        let day = |text: &str| text.parse::<NaiveDate>().ok().map(|day| day.to_string());
        Ok(Self {
            id: query.text("opportunityId"),
            customer_id: query.text("customerId"),
            owner_id: query.text("ownerId"),
            stage: query.choice("stage", Stage::ALLOWED, |code| Stage::from_code(code.parse().ok()?))?,
            status: query
                .choice("status", DealStatus::ALLOWED, |code| DealStatus::from_code(code.parse().ok()?))?,
            currency: query.choice("currency", Allowed::CURRENCY, Currency::parse)?,
            close_from: query.choice("expectedCloseFrom", Allowed::DATE, day)?,
            close_to: query.choice("expectedCloseTo", Allowed::DATE, day)?,
            keyword: query.keyword()?,
            created_from: query.moment("createdFrom")?,
            created_to: query.moment("createdTo")?,
            updated_from: query.moment("updatedFrom")?,
            updated_to: query.moment("updatedTo")?,
        })
    }
}
