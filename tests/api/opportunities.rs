//! Opportunities over HTTP (contract §6). What moves do is proven in `domain::stage`; here, that the API says so.

use serde_json::{Value, json};

use crate::support::{Client, TestApp};

async fn deal(client: &Client, fields: Value) -> Value {
    let mut body = json!({"title": "5G 基站"});
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    client.post("/opportunities", &body).await.expect(201).json()
}

fn path(deal: &Value) -> String {
    format!("/opportunities/{}", deal["opportunityId"].as_str().expect("an id"))
}

#[tokio::test]
async fn defaults_and_derived_fields_are_the_contracts() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;

    let deal =
        deal(&client, json!({"customerId": customer, "amountCents": 125, "expectedCloseDate": "2026-12-31"}))
            .await;

    for (field, value) in [
        ("currency", json!("CNY")),
        ("stage", json!(1)),
        ("status", json!(1)),
        ("stageName", json!("初步接洽")),
        ("probabilityPct", json!(10)),
        ("weightedCents", json!(13)),
        ("expectedCloseDate", json!("2026-12-31")),
        ("closedAt", json!(null)),
        ("lostReason", json!(null)),
    ] {
        assert_eq!(deal[field], value, "{field}");
    }
    assert_eq!(client.get(&path(&deal)).await.expect(200).json(), deal);
    app.stop().await;
}

#[tokio::test]
async fn a_range_of_close_dates_has_its_start_and_not_its_end_nor_deals_without_a_date() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    for date in [json!(null), json!("2026-01-31"), json!("2026-02-01"), json!("2026-03-01")] {
        deal(&client, json!({"customerId": customer, "expectedCloseDate": date})).await;
    }
    for (query, dates) in [
        ("expectedCloseFrom=2026-02-01", vec!["2026-02-01", "2026-03-01"]),
        ("expectedCloseTo=2026-03-01", vec!["2026-01-31", "2026-02-01"]),
        ("expectedCloseFrom=2026-02-01&expectedCloseTo=2026-03-01", vec!["2026-02-01"]),
    ] {
        let list =
            client.get(&format!("/opportunities?sort=expectedCloseDate&{query}")).await.expect(200).json();
        let found: Vec<_> =
            list["data"].as_array().expect("rows").iter().map(|deal| &deal["expectedCloseDate"]).collect();
        assert_eq!(found, dates, "{query}");
        assert_eq!(list["total"], dates.len(), "{query}");
    }
    app.stop().await;
}

#[tokio::test]
async fn stage_and_status_move_together() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let deal = deal(&client, json!({"customerId": customer, "stage": 3})).await;
    let path = path(&deal);

    let lost = client.patch(&path, &json!({"status": 3, "lostReason": "价格"})).await.expect(200).json();
    assert_eq!(
        (&lost["stage"], &lost["probabilityPct"], &lost["lostReason"]),
        (&json!(6), &json!(0), &json!("价格"))
    );
    assert!(lost["closedAt"].is_string());
    let open = client.patch(&path, &json!({"status": 1})).await.expect(200).json();
    assert_eq!(
        (&open["stage"], &open["closedAt"], &open["lostReason"]),
        (&json!(3), &json!(null), &json!(null))
    );
    client.patch(&path, &json!({"status": 2, "stage": 1})).await.expect_error(400, "VALIDATION_FAILED");
    let won = client.patch(&path, &json!({"stage": 5})).await.expect(200).json();
    assert_eq!((&won["status"], &won["stageName"]), (&json!(2), &json!("赢单")));
    let same = client.patch(&path, &won).await.expect(200).json();
    assert_eq!(same["version"], won["version"]);
    app.stop().await;
}

#[tokio::test]
async fn amounts_currencies_and_dates_have_their_bounds() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let new = |field: &str, value: Value| json!({"customerId": customer, "title": "t", field: value});
    for (field, value) in [
        ("amountCents", json!(-1)),
        ("amountCents", json!(1_000_000_000_000_001_i64)),
        ("amountCents", json!(1.5)),
        ("amountCents", json!("100")),
        ("currency", json!("RMB")),
        ("stage", json!(7)),
        ("status", json!(0)),
        ("probabilityPct", json!(101)),
        ("expectedCloseDate", json!("2026-02-30")),
        ("expectedCloseDate", json!("2026-12-31T00:00:00Z")),
        ("title", json!("")),
        ("title", json!("x".repeat(501))),
    ] {
        client
            .post("/opportunities", &new(field, value.clone()))
            .await
            .expect_error(400, "VALIDATION_FAILED");
    }
    for (field, value, stored) in [
        ("amountCents", json!(1_000_000_000_000_000_i64), json!(1_000_000_000_000_000_i64)),
        ("amountCents", json!(100.0), json!(100)),
        ("currency", json!("usd"), json!("USD")),
        ("currency", json!(""), json!("CNY")),
        ("probabilityPct", json!(0), json!(0)),
    ] {
        let created = client.post("/opportunities", &new(field, value)).await.expect(201).json();
        assert_eq!(created[field], stored, "{field}");
    }
    app.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_by_stage_status_customer_and_currency() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let (one, two) = (client.create_customer("one").await, client.create_customer("two").await);
    deal(&client, json!({"customerId": one, "stage": 2, "currency": "USD"})).await;
    deal(&client, json!({"customerId": one, "stage": 5})).await;
    deal(&client, json!({"customerId": two, "stage": 2})).await;
    for (query, total) in [
        ("stage=2", 2),
        ("status=2", 1),
        ("status=1", 2),
        (&format!("customerId={one}"), 2),
        (&format!("customerId={one}&stage=2"), 1),
        ("currency=usd", 1),
    ] {
        let list = client.get(&format!("/opportunities?{query}")).await.expect(200).json();
        assert_eq!(list["total"], total, "{query}");
    }
    client.get("/opportunities?stage=7").await.expect_error(400, "VALIDATION_FAILED");
    app.stop().await;
}
