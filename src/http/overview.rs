//! `/customers/{id}/360`: a customer with what hangs on it (contract §9).

use salvo::Writer as _;
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;
use serde_json::{Map, Value};

use super::conditions::RecordId;
use super::contacts::ContactOut;
use super::customers::CustomerOut;
use super::error::{ApiError, ApiResult};
use super::follow_ups::FollowUpOut;
use super::openapi::AnyObject;
use super::opportunities::OpportunityOut;
use super::protected::TenantCtx;
use super::reports::{AmountOut, WeightedOut, percent};
use super::respond::Found;
use crate::domain::{DealStatus, Pipeline, Resource, Timestamp, Totals, WinRate};
use crate::store::overview::{self, Overview};

/// A customer with its latest contacts, opportunities and follow-ups, at most 100 of each.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = CustomerOverview))]
pub(super) struct OverviewOut {
    customer: CustomerOut,
    contacts: Vec<ContactOut>,
    opportunities: Vec<OpportunityOut>,
    follow_ups: Vec<FollowUpOut>,
    /// Empty: nothing relates customers to each other yet.
    #[salvo(schema(value_type = Vec<AnyObject>))]
    relationships: [Map<String, Value>; 0],
    stats: StatsOut,
}

/// What all of a customer's records come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = CustomerStats))]
struct StatsOut {
    contact_count: u64,
    opportunity_count: u64,
    follow_up_count: u64,
    open_count: u64,
    won_count: u64,
    lost_count: u64,
    /// Of the deals that were closed, with one decimal; 0 if none was.
    win_rate_pct: f64,
    open_by_currency: Vec<WeightedOut>,
    won_by_currency: Vec<AmountOut>,
    last_follow_up_at: Option<Timestamp>,
    next_follow_up_at: Option<Timestamp>,
}

impl StatsOut {
    fn new(overview: &Overview) -> Self {
        let of = |status| of_status(&overview.pipeline, status);
        let [open, won, lost] = [DealStatus::Open, DealStatus::Won, DealStatus::Lost].map(of);
        Self {
            contact_count: overview.contact_count,
            opportunity_count: overview.pipeline.total().count(),
            follow_up_count: overview.follow_up_count,
            open_count: open.count(),
            won_count: won.count(),
            lost_count: lost.count(),
            win_rate_pct: percent(WinRate { won: won.count(), lost: lost.count() }),
            open_by_currency: WeightedOut::all(&open),
            won_by_currency: AmountOut::all(&won),
            last_follow_up_at: overview.customer.last_follow_up_at,
            next_follow_up_at: overview.customer.next_follow_up_at,
        }
    }
}

/// What the deals of a status come to.
fn of_status(pipeline: &Pipeline, status: DealStatus) -> Totals {
    let mut all = Totals::default();
    let stages = pipeline.stages().iter().filter(|(stage, _)| stage.status() == status);
    for (currency, tally) in stages.flat_map(|(_, totals)| totals.by_currency()) {
        all.add(currency, tally);
    }
    all
}

/// Gets a customer with what hangs on it.
#[endpoint(tags("customers"))]
pub(super) async fn overview_customer(ctx: TenantCtx, id: RecordId) -> ApiResult<Found<OverviewOut>> {
    let overview = ctx.read(async move |db| overview::customer(db, &id.0).await).await?;
    let overview = overview.ok_or_else(|| ApiError::not_found(Resource::Customer))?;
    let (view, stats) = (ctx.view(), StatsOut::new(&overview));
    let Overview { customer, contacts, opportunities, follow_ups, .. } = overview;
    Ok(Found(OverviewOut {
        customer: CustomerOut::new(customer, &view),
        contacts: contacts.into_iter().map(|contact| ContactOut::new(contact, &view)).collect(),
        opportunities: opportunities.into_iter().map(|deal| OpportunityOut::new(deal, &view)).collect(),
        follow_ups: follow_ups.into_iter().map(|follow_up| FollowUpOut::new(follow_up, &view)).collect(),
        relationships: [],
        stats,
    }))
}
