//! Reports that count records by the values of a field.

use salvo::Writer as _;
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{BarOut, narrow};
use crate::domain::{Allowed, Groups};
use crate::http::error::ApiResult;
use crate::http::openapi::AnyObject;
use crate::http::protected::TenantCtx;
use crate::http::query::{ListFilter as _, Parameters, Query, QueryOf};
use crate::http::respond::Found;
use crate::store::customers::CustomerFilter;
use crate::store::follow_ups::FollowUpFilter;
use crate::store::reports::{self, CustomerDimension};

/// What records without a value are called.
const BLANK: &str = "未填写";
/// What the records with the rarer values are called together.
const OTHERS: &str = "其他";
const DIMENSIONS: &[(&str, CustomerDimension)] = &[
    ("level", CustomerDimension::Level),
    ("source", CustomerDimension::Source),
    ("industry", CustomerDimension::Industry),
    ("region", CustomerDimension::Region),
    ("lifecycle", CustomerDimension::Lifecycle),
    ("owner", CustomerDimension::Owner),
];
const DIMENSION_WORDS: Allowed =
    Allowed::Words(&["level", "source", "industry", "region", "lifecycle", "owner"]);

/// The filters of `/customers`, the days on which customers were created, and what to count them by.
struct CustomersBy {
    filter: CustomerFilter,
    dimension: (&'static str, CustomerDimension),
}

impl Parameters for CustomersBy {
    fn read(query: &mut Query) -> ApiResult<Self> {
        let known = |word: &str| DIMENSIONS.iter().find(|(name, _)| *name == word).copied();
        let dimension = query.choice("dimension", DIMENSION_WORDS, known)?;
        let mut filter = CustomerFilter::read(query)?;
        narrow(&mut filter.created_from, &mut filter.created_to, query.days("startDate", "endDate")?);
        Ok(Self { filter, dimension: dimension.unwrap_or(("level", CustomerDimension::Level)) })
    }
}

/// The filters of `/follow-ups`.
struct FollowUps(FollowUpFilter);

impl Parameters for FollowUps {
    fn read(query: &mut Query) -> ApiResult<Self> {
        Ok(Self(FollowUpFilter::read(query)?))
    }
}

/// Customers by a field, as a chart.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = CustomerAnalysis))]
struct CustomerAnalysisOut {
    series: Vec<BarOut>,
    dimensions: [&'static str; 1],
    metrics: [&'static str; 1],
    /// Each has the keys of `dimensions` and `metrics`.
    #[salvo(schema(value_type = Vec<AnyObject>))]
    rows: Vec<Map<String, Value>>,
}

/// Names for the groups, the commonest first.
fn bars(groups: Groups) -> Vec<BarOut> {
    let Groups { named, others } = groups;
    let named = named.into_iter().map(|(name, value)| (name.unwrap_or_else(|| BLANK.to_owned()), value));
    let others = (others > 0).then(|| (OTHERS.to_owned(), others));
    named.chain(others).map(|(name, value)| BarOut { name, value }).collect()
}

/// Counts the customers that were created on some days by a field.
#[endpoint(tags("reports"))]
pub(super) async fn customer_analysis(
    ctx: TenantCtx,
    query: QueryOf<CustomersBy>,
) -> ApiResult<Found<CustomerAnalysisOut>> {
    let CustomersBy { filter, dimension: (name, dimension) } = query.0;
    let groups = ctx.report(async move |db| reports::customers_by(db, dimension, &filter).await).await?;
    let series = bars(groups);
    let row = |bar: &BarOut| {
        let columns = [(name.to_owned(), json!(bar.name)), ("count".to_owned(), json!(bar.value))];
        Map::from_iter(columns)
    };
    let rows = series.iter().map(row).collect();
    Ok(Found(CustomerAnalysisOut { series, dimensions: [name], metrics: ["count"], rows }))
}

/// Follow-ups by type.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = ActivityStats))]
struct ActivityStatsOut {
    data: Vec<ActivityOut>,
}

/// The follow-ups of a type.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = Activity))]
struct ActivityOut {
    activity_type: String,
    count: u64,
}

/// Counts follow-ups by type.
#[endpoint(tags("reports"))]
pub(super) async fn activity_stats(
    ctx: TenantCtx,
    query: QueryOf<FollowUps>,
) -> ApiResult<Found<ActivityStatsOut>> {
    let filter = query.0.0;
    let groups = ctx.report(async move |db| reports::follow_ups_by_type(db, &filter).await).await?;
    let activity = |bar: BarOut| ActivityOut { activity_type: bar.name, count: bar.value };
    Ok(Found(ActivityStatsOut { data: bars(groups).into_iter().map(activity).collect() }))
}
