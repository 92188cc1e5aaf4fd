//! Reports on deals.

use std::time::Duration;

use serde_json::{Value, json};

use super::{column, deal, report};
use crate::support::{Setup, TestApp, clock_at, db_execute, token_with};

const ALL: [&str; 6] = [
    "/reports/funnel",
    "/reports/sales-forecast",
    "/opportunities/forecast",
    "/pipeline/summary",
    "/pipeline/funnel",
    "/reports/sales-funnel",
];

#[tokio::test]
async fn a_funnel_has_every_stage_with_its_deals_and_sums() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    for fields in [
        json!({"amountCents": 100}),
        json!({"amountCents": 25, "stage": 2}),
        json!({"amountCents": 7, "stage": 2, "currency": "USD"}),
        json!({"amountCents": 1000, "stage": 5}),
        json!({"amountCents": 1, "stage": 6}),
    ] {
        deal(&client, &customer, fields).await;
    }

    let funnel = report(&client, "/reports/funnel").await;

    let none: [Value; 0] = [];
    let cny = |count: u64, cents: u64| json!({"currency": "CNY", "count": count, "totalAmountCents": cents});
    let usd = json!({"currency": "USD", "count": 1, "totalAmountCents": 7});
    let stage = |stage: i64, name: &str, status: i64, count: u64, cents: u64, by_currency: Value| {
        json!({
            "stage": stage, "stageName": name, "status": status, "count": count, "totalAmountCents": cents,
            "byCurrency": by_currency,
        })
    };
    let expected = json!({
        "data": [
            stage(1, "初步接洽", 1, 1, 100, json!([cny(1, 100)])),
            stage(2, "需求分析", 1, 2, 25, json!([cny(1, 25), usd])),
            stage(3, "方案报价", 1, 0, 0, json!(none)),
            stage(4, "商务谈判", 1, 0, 0, json!(none)),
            stage(5, "赢单", 2, 1, 1000, json!([cny(1, 1000)])),
            stage(6, "输单", 3, 1, 1, json!([cny(1, 1)])),
        ],
        "byCurrency": [cny(4, 1126), usd],
    });
    assert_eq!(funnel, expected);
    let keys = r#"{"data":[{"stage":1,"stageName":"初步接洽","status":1,"count":1,"totalAmountCents":100,"#;
    let text = client.get("/reports/funnel").await.text;
    assert!(text.starts_with(keys), "the origin's keys first: {text}");
    app.stop().await;
}

#[tokio::test]
async fn a_forecast_weighs_each_open_deal_rounds_it_and_then_adds() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    for fields in [
        json!({"amountCents": 5}), // 0.5 each: half up
        json!({"amountCents": 5}),
        json!({"amountCents": 4}), // 0.4
        json!({"amountCents": 1000, "stage": 4, "probabilityPct": 33}),
        json!({"amountCents": 200, "stage": 4, "currency": "JPY"}),
        json!({"amountCents": 999, "stage": 5}),
        json!({"amountCents": 999, "stage": 6}),
    ] {
        deal(&client, &customer, fields).await;
    }

    let forecast = report(&client, "/reports/sales-forecast").await;

    let weighted = |currency: &str, count: u64, cents: u64, weighted: u64| json!({"currency": currency, "count": count, "totalAmountCents": cents, "weightedCents": weighted});
    let stage = |stage: i64, name: &str, figures: [u64; 3], by_currency: Value| {
        json!({
            "stage": stage, "stageName": name, "count": figures[0], "totalAmountCents": figures[1],
            "weightedCents": figures[2], "byCurrency": by_currency,
        })
    };
    let expected = json!({
        "byStage": [
            stage(1, "初步接洽", [3, 14, 2], json!([weighted("CNY", 3, 14, 2)])),
            stage(2, "需求分析", [0, 0, 0], json!([])),
            stage(3, "方案报价", [0, 0, 0], json!([])),
            stage(4, "商务谈判", [2, 1000, 330], json!([weighted("CNY", 1, 1000, 330), weighted("JPY", 1, 200, 120)])),
        ],
        "totalWeightedCents": 332,
        "byCurrency": [weighted("CNY", 4, 1014, 332), weighted("JPY", 1, 200, 120)],
    });
    assert_eq!(forecast, expected);
    for path in ["/opportunities/forecast", "/pipeline/summary"] {
        assert_eq!(report(&client, path).await, expected, "{path}");
    }
    let funnel = report(&client, "/pipeline/funnel").await;
    assert_eq!(column(&funnel["stages"], "stage"), [1, 2, 3, 4]);
    assert_eq!(column(&funnel["stages"], "count"), [3, 0, 0, 2]);
    assert_eq!(column(&funnel["stages"], "totalAmountCents"), [14, 0, 0, 1000]);
    assert_eq!(funnel["totalCount"], 5);
    assert_eq!(column(&funnel["byCurrency"], "totalAmountCents"), [1014, 200]);
    app.stop().await;
}

#[tokio::test]
async fn an_empty_tenant_has_every_stage_with_zeros_and_is_not_created() {
    let app = TestApp::start().await;
    let client = app.tenant("nobody");
    for (path, stages, count) in [
        ("/reports/funnel", "data", 6),
        ("/reports/sales-forecast", "byStage", 4),
        ("/opportunities/forecast", "byStage", 4),
        ("/pipeline/summary", "byStage", 4),
        ("/pipeline/funnel", "stages", 4),
        ("/reports/sales-funnel", "rows", 6),
    ] {
        let empty = report(&client, path).await;
        assert_eq!(column(&empty[stages], "count"), vec![&json!(0); count], "{path}");
        assert_eq!(column(&empty[stages], "totalAmountCents"), vec![&json!(0); count], "{path}");
        assert_eq!(empty["byCurrency"], json!([]), "{path}");
    }
    assert_eq!(report(&client, "/reports/sales-forecast").await["totalWeightedCents"], 0);
    assert_eq!(report(&client, "/pipeline/funnel").await["totalCount"], 0);
    let rate = json!({"periodDays": 90, "wonCount": 0, "lostCount": 0, "winRatePct": 0.0});
    assert_eq!(report(&client, "/opportunities/win-rate").await, rate);
    assert_eq!(std::fs::read_dir(app.tenants()).expect("a directory").count(), 0);
    app.stop().await;
}

#[tokio::test]
async fn sums_of_the_greatest_amounts_are_right_digit_by_digit() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("华为").await;
    let directory = app.stop().await;
    // More than 64 bits hold, signed or not.
    let deals = "insert into opportunities (id, customer_id, title, amount_cents, stage, probability_pct, owner_id, \
        created_at, updated_at) with recursive n(n) as (select 1 union all select n + 1 from n where n < 20000) \
        select 'd' || n, (select id from customers), 't', 1000000000000000, 4, 99, 'tester', n, n from n";
    db_execute(directory.path(), "acme", deals).await;

    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    for path in ALL {
        let text = client.get(path).await.expect(200).text;
        assert!(
            text.contains(r#""totalAmountCents":20000000000000000000,"#)
                || text.contains(r#""totalAmountCents":20000000000000000000}"#),
            "{path}: {text}"
        );
    }
    let forecast = client.get("/reports/sales-forecast").await.text;
    assert!(forecast.contains(r#""totalWeightedCents":19800000000000000000,"#), "{forecast}");
    app.stop().await;
}

#[tokio::test]
async fn a_win_rate_looks_back_so_many_days_from_now() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let day = Duration::from_secs(24 * 60 * 60);
    deal(&client, &customer, json!({"stage": 5})).await;
    clock.advance(day);
    deal(&client, &customer, json!({"stage": 6})).await;
    let open = deal(&client, &customer, json!({})).await;
    clock.advance(day * 89);
    let reopened = deal(&client, &customer, json!({"stage": 5})).await;
    client.patch(&format!("/opportunities/{reopened}"), &json!({"status": 1})).await.expect(200);

    let rate = async |query: &str| {
        let rate = report(&client, &format!("/opportunities/win-rate{query}")).await;
        json!([rate["periodDays"], rate["wonCount"], rate["lostCount"], rate["winRatePct"]])
    };
    assert_eq!(rate("").await, json!([90, 1, 1, 50.0]), "closed 90 days ago to the millisecond");
    assert_eq!(rate("?periodDays=89").await, json!([89, 0, 1, 0.0]));
    assert_eq!(rate("?periodDays=1").await, json!([1, 0, 0, 0.0]));
    client.patch(&format!("/opportunities/{open}"), &json!({"stage": 5})).await.expect(200);
    assert_eq!(rate("?periodDays=90").await, json!([90, 2, 1, 66.7]));
    assert_eq!(rate("?periodDays=36500&stage=6").await, json!([36500, 0, 1, 0.0]));
    for wrong in ["0", "36501", "-1", "x", "1.5"] {
        let answer = client.get(&format!("/opportunities/win-rate?periodDays={wrong}")).await;
        answer.expect_error(400, "BAD_REQUEST");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_sales_funnel_has_whole_days_of_the_configured_zone_the_last_one_included() {
    let clock = clock_at("2026-11-21T15:59:59.999Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    deal(&client, &customer, json!({"amountCents": 1})).await; // the last millisecond of the 21st in Shanghai
    clock.advance(Duration::from_millis(1));
    deal(&client, &customer, json!({"amountCents": 10, "stage": 3})).await; // the first of the 22nd

    let count = async |query: &str| {
        let funnel = report(&client, &format!("/reports/sales-funnel?{query}")).await;
        let values =
            column(&funnel["series"], "value").into_iter().map(|value| value.as_u64().expect("a count"));
        values.sum::<u64>()
    };
    for (query, deals) in [
        ("", 2),
        ("startDate=2026-11-22", 1),
        ("endDate=2026-11-21", 1),
        ("startDate=2026-11-21&endDate=2026-11-22", 2),
        ("startDate=2026-11-22&endDate=2026-11-22", 1),
        ("startDate=2026-11-22&endDate=2026-11-21", 0),
        ("startDate=2026-11-21&createdFrom=2026-11-22", 1),
        ("startDate=0001-01-02&endDate=9999-12-31", 2),
        ("startDate=2026-11-22&stage=1", 0),
    ] {
        assert_eq!(count(query).await, deals, "{query}");
    }
    for wrong in ["2026-11-22T00:00:00Z", "22.11.2026", "2026-02-30", "2026-1-1", "+12026-01-01"] {
        let answer = client.get(&format!("/reports/sales-funnel?startDate={wrong}")).await;
        answer.expect_error(400, "VALIDATION_FAILED");
    }
    let funnel = report(&client, "/reports/sales-funnel?startDate=2026-11-22").await;
    assert_eq!(funnel["series"][2], json!({"name": "方案报价", "value": 1}));
    assert_eq!(funnel["dimensions"], json!(["stageName"]));
    assert_eq!(funnel["metrics"], json!(["count", "totalAmountCents"]));
    let row = json!({"stage": 3, "stageName": "方案报价", "count": 1, "totalAmountCents": 10});
    assert_eq!(funnel["rows"][2], row);
    app.stop().await;
}

#[tokio::test]
async fn reports_keep_to_the_tenant_the_scope_and_the_filters_and_leave_the_trash_out() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    deal(&client, &customer, json!({"amountCents": 1})).await;
    deal(&client, &customer, json!({"amountCents": 10, "ownerId": "li"})).await;
    let gone = deal(&client, &customer, json!({"amountCents": 100})).await;
    client.delete(&format!("/opportunities/{gone}")).await.expect(204);
    let claims = json!({"sub": "li", "tenantId": "acme", "dataScope": "self", "exp": 4_000_000_000_u64});
    let li = app.anonymous().with_token(&token_with(&claims));
    let other = app.tenant("other");
    other.create_customer("中兴").await;

    for path in ALL {
        let sum = async |client: &crate::support::Client, query: &str| {
            let answer = report(client, &format!("{path}{query}")).await;
            answer["byCurrency"][0]["totalAmountCents"].clone()
        };
        assert_eq!(sum(&client, "").await, 11, "{path}");
        assert_eq!(sum(&li, "").await, 10, "{path}");
        assert_eq!(sum(&li, "?scope=all").await, 10, "{path}");
        assert_eq!(sum(&client, "?scope=self").await, 1, "{path}");
        assert_eq!(sum(&client, "?ownerId=li").await, 10, "{path}");
        assert_eq!(sum(&client, &format!("?customerId={customer}&currency=cny")).await, 11, "{path}");
        assert_eq!(sum(&client, "?customerId=unknown").await, Value::Null, "{path}");
        assert_eq!(sum(&other, "").await, Value::Null, "{path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn what_stands_in_the_place_of_an_id_is_no_record() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for path in ["/opportunities/forecast", "/opportunities/win-rate"] {
        let answer = client.patch(path, &json!({"title": "t"})).await;
        assert_eq!(answer.expect_error(405, "METHOD_NOT_ALLOWED").header("Allow"), "GET, HEAD");
        client.delete(path).await.expect_error(405, "METHOD_NOT_ALLOWED");
    }
    client.get("/customers/forecast").await.expect_error(404, "NOT_FOUND");
    app.stop().await;
}
