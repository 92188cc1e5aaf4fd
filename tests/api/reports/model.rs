//! Reports and lists agree with each other, and with sums made here of deals taken at random.

use std::collections::BTreeMap;

use crm_cell::domain::weigh;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{deal, report};
use crate::support::TestApp;

/// What a deal is created with.
#[derive(Debug, Clone)]
struct Deal {
    stage: i64,
    amount: i64,
    percent: Option<i64>,
    currency: &'static str,
}

fn deals() -> impl Strategy<Value = Deal> {
    let amount = prop_oneof![0..1000_i64, 0..=1_000_000_000_000_000_i64];
    let currency = prop_oneof![3 => Just("CNY"), 1 => Just("USD"), 1 => Just("JPY")];
    (1..=6_i64, amount, prop::option::of(0..=100_i64), currency)
        .prop_map(|(stage, amount, percent, currency)| Deal { stage, amount, percent, currency })
}

impl Deal {
    fn fields(&self) -> Value {
        let mut fields = json!({"stage": self.stage, "amountCents": self.amount, "currency": self.currency});
        if let Some(percent) = self.percent {
            fields["probabilityPct"] = json!(percent);
        }
        fields
    }

    fn weighted(&self) -> i64 {
        let of_stage = [10, 20, 40, 60, 100, 0][usize::try_from(self.stage - 1).expect("a stage")];
        weigh(self.amount, self.percent.unwrap_or(of_stage))
    }
}

/// Count, amount and weight by currency.
fn model<'a>(deals: impl Iterator<Item = &'a Deal>) -> BTreeMap<&'static str, [i64; 3]> {
    let mut sums = BTreeMap::new();
    for deal in deals {
        let sum: &mut [i64; 3] = sums.entry(deal.currency).or_default();
        *sum = [sum[0] + 1, sum[1] + deal.amount, sum[2] + deal.weighted()];
    }
    sums
}

fn by_currency(sums: &BTreeMap<&str, [i64; 3]>, weighted: bool) -> Value {
    let object = |(currency, [count, amount, weight]): (&&str, &[i64; 3])| {
        let mut object = json!({"currency": currency, "count": count, "totalAmountCents": amount});
        if weighted {
            object["weightedCents"] = json!(weight);
        }
        object
    };
    sums.iter().map(object).collect()
}

#[tokio::test]
async fn reports_lists_and_a_model_agree_on_deals_taken_at_random() {
    let app = TestApp::start().await;
    let mut runner = TestRunner::deterministic();
    for round in 0..4 {
        let client = app.tenant(&format!("t{round}"));
        let customer = client.create_customer("华为").await;
        let deals = prop::collection::vec(deals(), 20..60).new_tree(&mut runner).expect("deals").current();
        for taken in &deals {
            deal(&client, &customer, taken.fields()).await;
        }

        let funnel = report(&client, "/reports/funnel").await;
        let forecast = report(&client, "/reports/sales-forecast").await;
        assert_eq!(forecast, report(&client, "/pipeline/summary").await);
        let open_funnel = report(&client, "/pipeline/funnel").await;
        for stage in 1..=6_i64 {
            let sums = model(deals.iter().filter(|deal| deal.stage == stage));
            let at = usize::try_from(stage - 1).expect("a stage");
            let count: i64 = sums.values().map(|[count, ..]| count).sum();
            assert_eq!(funnel["data"][at]["count"], count, "{deals:?}");
            assert_eq!(funnel["data"][at]["byCurrency"], by_currency(&sums, false), "{deals:?}");
            let of_default = sums.get("CNY").copied().unwrap_or_default();
            assert_eq!(funnel["data"][at]["totalAmountCents"], of_default[1]);
            let list = client.get(&format!("/opportunities?stage={stage}&pageSize=500")).await.json();
            assert_eq!(list["total"], count);
            if stage <= 4 {
                assert_eq!(forecast["byStage"][at]["byCurrency"], by_currency(&sums, true), "{deals:?}");
                assert_eq!(forecast["byStage"][at]["weightedCents"], of_default[2]);
                assert_eq!(open_funnel["stages"][at], funnel["data"][at]);
                let rows = list["data"].as_array().expect("rows").iter();
                let cny = rows.filter(|row| row["currency"] == "CNY");
                let listed: i64 = cny.map(|row| row["weightedCents"].as_i64().expect("an integer")).sum();
                assert_eq!(listed, of_default[2], "{deals:?}");
            }
        }
        let all = model(deals.iter());
        let open = model(deals.iter().filter(|deal| deal.stage <= 4));
        assert_eq!(funnel["byCurrency"], by_currency(&all, false));
        assert_eq!(forecast["byCurrency"], by_currency(&open, true));
        assert_eq!(forecast["totalWeightedCents"], open.get("CNY").map_or(0, |sums| sums[2]));
        assert_eq!(open_funnel["byCurrency"], by_currency(&open, false));
        assert_eq!(open_funnel["totalCount"], open.values().map(|sums| sums[0]).sum::<i64>());
        let rate = report(&client, "/opportunities/win-rate").await;
        let of_stage = |stage| deals.iter().filter(|deal| deal.stage == stage).count();
        assert_eq!((&rate["wonCount"], &rate["lostCount"]), (&json!(of_stage(5)), &json!(of_stage(6))));
    }
    app.stop().await;
}
