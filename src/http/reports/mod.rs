//! What the platform's screens ask of many records together (contract §9).
//!
//! Every report takes the filters of the list of its records, and keeps to the caller's rows. Where there is room for one
//! figure it is that of the default currency; `byCurrency` has all.

mod deals;
mod groups;

use salvo::Router;
use salvo_oapi::{BasicType, Components, Object, RefOr, Schema, ToSchema};
use serde::Serialize;

use super::router::RouterExt as _;
use crate::domain::{Tally, Timestamp, Totals, WinRate};

/// The routes that are not below a resource.
pub(super) fn routes() -> Router {
    let reports = Router::with_path("reports")
        .push(Router::with_path("funnel").read(deals::funnel))
        .push(Router::with_path("sales-forecast").read(deals::sales_forecast))
        .push(Router::with_path("sales-funnel").read(deals::sales_funnel))
        .push(Router::with_path("customer-analysis").read(groups::customer_analysis))
        .push(Router::with_path("activity-stats").read(groups::activity_stats));
    let pipeline = Router::with_path("pipeline")
        .push(Router::with_path("summary").read(deals::pipeline_summary))
        .push(Router::with_path("funnel").read(deals::pipeline_funnel));
    Router::new().push(reports).push(pipeline)
}

/// The routes below `/opportunities`.
pub(super) fn routes_of_opportunities() -> Router {
    Router::new()
        .push(Router::with_path("forecast").read(deals::opportunities_forecast))
        .push(Router::with_path("win-rate").read(deals::win_rate))
}

/// A sum of minor units, of any size.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cents(i128);

impl ToSchema for Cents {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        let digits = "Minor units. Very many deals come to more than a 64-bit number holds.";
        Object::with_type(BasicType::Integer).minimum(0).description(digits).into()
    }
}

/// What deals in one currency come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = Amount))]
pub(super) struct AmountOut {
    currency: String,
    count: u64,
    total_amount_cents: Cents,
}

impl AmountOut {
    pub(super) fn all(totals: &Totals) -> Vec<Self> {
        let amount = |(currency, tally): (&str, Tally)| Self {
            currency: currency.to_owned(),
            count: tally.count,
            total_amount_cents: Cents(tally.amount),
        };
        totals.by_currency().map(amount).collect()
    }
}

/// What open deals in one currency come to, and count for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = WeightedAmount))]
pub(super) struct WeightedOut {
    currency: String,
    count: u64,
    total_amount_cents: Cents,
    weighted_cents: Cents,
}

impl WeightedOut {
    pub(super) fn all(totals: &Totals) -> Vec<Self> {
        let weighted = |(currency, tally): (&str, Tally)| Self {
            currency: currency.to_owned(),
            count: tally.count,
            total_amount_cents: Cents(tally.amount),
            weighted_cents: Cents(tally.weighted),
        };
        totals.by_currency().map(weighted).collect()
    }
}

/// One bar of a chart.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = Bar))]
struct BarOut {
    name: String,
    value: u64,
}

/// A rate in percent, with one decimal.
pub(super) fn percent(rate: WinRate) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
    let permille = rate.permille() as f64;
    permille / 10.0
}

/// Narrows a range of moments, half-open, to another.
fn narrow(
    from: &mut Option<Timestamp>,
    to: &mut Option<Timestamp>,
    (other_from, other_to): (Option<Timestamp>, Option<Timestamp>),
) {
    *from = [*from, other_from].into_iter().flatten().max();
    *to = [*to, other_to].into_iter().flatten().min();
}
