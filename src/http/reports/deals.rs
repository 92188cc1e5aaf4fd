//! Reports on deals.

use salvo::Writer as _;
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::{AmountOut, BarOut, Cents, WeightedOut, narrow, percent};
use crate::domain::{Pipeline, Stage, Timestamp, Totals, WinRate};
use crate::http::error::ApiResult;
use crate::http::protected::TenantCtx;
use crate::http::query::{ListFilter as _, Parameters, Query, QueryOf};
use crate::http::respond::Found;
use crate::store::opportunities::OpportunityFilter;
use crate::store::reports;

/// Days that a win rate looks back, unless it is told.
const PERIOD_DAYS: u32 = 90;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The filters of `/opportunities`.
struct Deals(OpportunityFilter);

impl Parameters for Deals {
    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self(OpportunityFilter::read(query)?))
    }
}

/// The same, and the days on which deals were created.
struct DealsOfDays(OpportunityFilter);

impl Parameters for DealsOfDays {
    fn read(query: &mut Query) -> ApiResult<Self> {
        let mut filter = OpportunityFilter::read(query)?;
        narrow(&mut filter.created_from, &mut filter.created_to, query.days("startDate", "endDate")?);
        Ok(Self(filter))
    }
}

/// The same, and how many days back deals may have been closed.
struct DealsOfPeriod {
    filter: OpportunityFilter,
    days: u32,
}

impl Parameters for DealsOfPeriod {
    fn read(query: &mut Query) -> ApiResult<Self> {
        let days = query.number("periodDays", 1..=36_500)?.unwrap_or(PERIOD_DAYS);
        Ok(Self { filter: OpportunityFilter::read(query)?, days })
    }
}

/// Deals by stage, open and closed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = FunnelReport))]
struct FunnelOut {
    data: Vec<FunnelStageOut>,
    by_currency: Vec<AmountOut>,
}

/// The deals at a stage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = FunnelStage))]
struct FunnelStageOut {
    stage: i64,
    stage_name: &'static str,
    status: i64,
    count: u64,
    total_amount_cents: Cents,
    by_currency: Vec<AmountOut>,
}

impl FunnelStageOut {
    fn all(pipeline: &Pipeline) -> Vec<Self> {
        let stage = |(stage, totals): &(Stage, Totals)| Self {
            stage: stage.code(),
            stage_name: stage.name(),
            status: stage.status().code(),
            count: totals.count(),
            total_amount_cents: Cents(totals.default_currency().amount),
            by_currency: AmountOut::all(totals),
        };
        pipeline.stages().iter().map(stage).collect()
    }
}

/// Counts and adds up deals by stage, open and closed.
#[endpoint(tags("reports"))]
pub(super) async fn funnel(ctx: TenantCtx, query: QueryOf<Deals>) -> ApiResult<Found<FunnelOut>> {
    let filter = query.0.0;
    let pipeline = ctx.report(async move |db| reports::pipeline(db, &filter).await).await?;
    let by_currency = AmountOut::all(&pipeline.total());
    Ok(Found(FunnelOut { data: FunnelStageOut::all(&pipeline), by_currency }))
}

/// Open deals by stage, weighted by how likely they are won.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = ForecastReport))]
struct ForecastOut {
    by_stage: Vec<ForecastStageOut>,
    total_weighted_cents: Cents,
    by_currency: Vec<WeightedOut>,
}

/// The open deals at a stage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = ForecastStage))]
struct ForecastStageOut {
    stage: i64,
    stage_name: &'static str,
    count: u64,
    total_amount_cents: Cents,
    weighted_cents: Cents,
    by_currency: Vec<WeightedOut>,
}

impl ForecastOut {
    fn new(pipeline: &Pipeline) -> Self {
        let stage = |(stage, totals): &(Stage, Totals)| ForecastStageOut {
            stage: stage.code(),
            stage_name: stage.name(),
            count: totals.count(),
            total_amount_cents: Cents(totals.default_currency().amount),
            weighted_cents: Cents(totals.default_currency().weighted),
            by_currency: WeightedOut::all(totals),
        };
        let total = pipeline.total();
        Self {
            by_stage: pipeline.stages().iter().map(stage).collect(),
            total_weighted_cents: Cents(total.default_currency().weighted),
            by_currency: WeightedOut::all(&total),
        }
    }
}

async fn forecast(ctx: &TenantCtx, deals: Deals) -> ApiResult<Found<ForecastOut>> {
    let pipeline = ctx.report(async move |db| reports::open_pipeline(db, &deals.0).await).await?;
    Ok(Found(ForecastOut::new(&pipeline)))
}

/// Weighs open deals by stage.
#[endpoint(tags("reports"))]
pub(super) async fn sales_forecast(ctx: TenantCtx, query: QueryOf<Deals>) -> ApiResult<Found<ForecastOut>> {
    forecast(&ctx, query.0).await
}

/// Weighs open deals by stage, as `/reports/sales-forecast` does.
#[endpoint(tags("reports"))]
pub(super) async fn opportunities_forecast(
    ctx: TenantCtx,
    query: QueryOf<Deals>,
) -> ApiResult<Found<ForecastOut>> {
    forecast(&ctx, query.0).await
}

/// Weighs open deals by stage, as `/reports/sales-forecast` does.
#[endpoint(tags("reports"))]
pub(super) async fn pipeline_summary(ctx: TenantCtx, query: QueryOf<Deals>) -> ApiResult<Found<ForecastOut>> {
    forecast(&ctx, query.0).await
}

/// Open deals by stage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = PipelineFunnel))]
struct PipelineFunnelOut {
    stages: Vec<FunnelStageOut>,
    total_count: u64,
    by_currency: Vec<AmountOut>,
}

/// Counts and adds up open deals by stage.
#[endpoint(tags("reports"))]
pub(super) async fn pipeline_funnel(
    ctx: TenantCtx,
    query: QueryOf<Deals>,
) -> ApiResult<Found<PipelineFunnelOut>> {
    let filter = query.0.0;
    let pipeline = ctx.report(async move |db| reports::open_pipeline(db, &filter).await).await?;
    let total = pipeline.total();
    Ok(Found(PipelineFunnelOut {
        stages: FunnelStageOut::all(&pipeline),
        total_count: total.count(),
        by_currency: AmountOut::all(&total),
    }))
}

/// How often deals were won.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = WinRate))]
struct WinRateOut {
    period_days: u32,
    won_count: u64,
    lost_count: u64,
    /// With one decimal, rounded half up; 0 if no deal was closed.
    win_rate_pct: f64,
}

/// Counts the deals that were won and lost of late.
#[endpoint(tags("reports"))]
pub(super) async fn win_rate(ctx: TenantCtx, query: QueryOf<DealsOfPeriod>) -> ApiResult<Found<WinRateOut>> {
    let DealsOfPeriod { filter, days } = query.0;
    let since = Timestamp::from_millis(ctx.now().millis() - i64::from(days) * DAY_MS);
    let rate = ctx.report(async move |db| reports::win_rate(db, &filter, since).await).await?;
    let (WinRate { won, lost }, win_rate_pct) = (rate, percent(rate));
    Ok(Found(WinRateOut { period_days: days, won_count: won, lost_count: lost, win_rate_pct }))
}

/// Deals by stage, as a chart.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = SalesFunnel))]
struct SalesFunnelOut {
    series: Vec<BarOut>,
    dimensions: [&'static str; 1],
    metrics: [&'static str; 2],
    rows: Vec<SalesFunnelRow>,
    by_currency: Vec<AmountOut>,
}

/// The deals at a stage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = SalesFunnelRow))]
struct SalesFunnelRow {
    stage: i64,
    stage_name: &'static str,
    count: u64,
    total_amount_cents: Cents,
}

/// Shows the deals that were created on some days by stage.
#[endpoint(tags("reports"))]
pub(super) async fn sales_funnel(
    ctx: TenantCtx,
    query: QueryOf<DealsOfDays>,
) -> ApiResult<Found<SalesFunnelOut>> {
    let filter = query.0.0;
    let pipeline = ctx.report(async move |db| reports::pipeline(db, &filter).await).await?;
    let stages = pipeline.stages().iter();
    let bar =
        |(stage, totals): &(Stage, Totals)| BarOut { name: stage.name().to_owned(), value: totals.count() };
    let row = |(stage, totals): &(Stage, Totals)| SalesFunnelRow {
        stage: stage.code(),
        stage_name: stage.name(),
        count: totals.count(),
        total_amount_cents: Cents(totals.default_currency().amount),
    };
    Ok(Found(SalesFunnelOut {
        series: stages.clone().map(bar).collect(),
        dimensions: ["stageName"],
        metrics: ["count", "totalAmountCents"],
        rows: stages.map(row).collect(),
        by_currency: AmountOut::all(&pipeline.total()),
    }))
}
