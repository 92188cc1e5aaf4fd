//! Follow-ups over HTTP (contract §6).

use serde_json::{Value, json};

use crate::support::TestApp;

#[tokio::test]
async fn a_follow_up_may_stand_alone() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");

    let follow_up = client.post("/follow-ups", &json!({"content": "打电话"})).await.expect(201).json();

    for (field, value) in [
        ("customerId", json!("")),
        ("opportunityId", json!("")),
        ("contactId", json!("")),
        ("followUpType", json!("call")),
        ("nextFollowUpAt", json!(null)),
        ("occurredAt", follow_up["createdAt"].clone()),
    ] {
        assert_eq!(follow_up[field], value, "{field}");
    }
    let refused =
        client.post("/follow-ups", &json!({"content": " "})).await.expect_error(400, "VALIDATION_FAILED");
    assert_eq!(refused.json()["errors"][0]["field"], "content");
    app.stop().await;
}

#[tokio::test]
async fn types_are_known_words_or_words_of_any_script() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (given, stored) in [("", "call"), ("拜访", "拜访"), ("on-site_2", "on-site_2"), ("wechat", "wechat")]
    {
        let body = json!({"content": "x", "followUpType": given});
        assert_eq!(client.post("/follow-ups", &body).await.expect(201).json()["followUpType"], stored);
    }
    for given in ["a b", "a/b", &"x".repeat(33)] {
        let body = json!({"content": "x", "followUpType": given});
        client.post("/follow-ups", &body).await.expect_error(400, "VALIDATION_FAILED");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_opportunity_brings_its_customer_and_disagreeing_ids_are_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let (one, two) = (client.create_customer("one").await, client.create_customer("two").await);
    let deal =
        client.post("/opportunities", &json!({"customerId": one, "title": "t"})).await.expect(201).json();
    let deal = &deal["opportunityId"];

    let filled =
        client.post("/follow-ups", &json!({"opportunityId": deal, "content": "x"})).await.expect(201).json();
    assert_eq!(filled["customerId"], one);
    let disagreeing = json!({"opportunityId": deal, "customerId": two, "content": "x"});
    client.post("/follow-ups", &disagreeing).await.expect_error(400, "VALIDATION_FAILED");
    for (field, message) in
        [("customerId", "客户不存在"), ("opportunityId", "商机不存在"), ("contactId", "联系人不存在")]
    {
        let ghost = json!({field: "ghost", "content": "x"});
        let refused = client.post("/follow-ups", &ghost).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
        assert_eq!(refused.json()["message"], message);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_customer_shows_its_latest_and_its_next_follow_up_without_a_new_version() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let dates = async || -> (Value, Value, Value) {
        let shown = client.get(&format!("/customers/{customer}")).await.expect(200).json();
        (shown["lastFollowUpAt"].clone(), shown["nextFollowUpAt"].clone(), shown["version"].clone())
    };
    let follow_up = |at: &str, next: &str| json!({"customerId": customer, "content": "x", "occurredAt": at, "nextFollowUpAt": next});

    let late = client
        .post("/follow-ups", &follow_up("2026-01-02T08:00:00+08:00", "2999-01-01T00:00:00Z"))
        .await
        .expect(201)
        .json();
    client.post("/follow-ups", &follow_up("2026-01-01T00:00:00Z", "2998-01-01T00:00:00Z")).await.expect(201);
    assert_eq!(
        dates().await,
        (json!("2026-01-02T00:00:00.000Z"), json!("2998-01-01T00:00:00.000Z"), json!(1))
    );
    client.delete(&format!("/follow-ups/{}", late["followUpId"].as_str().expect("an id"))).await.expect(204);
    assert_eq!(dates().await.0, "2026-01-01T00:00:00.000Z");
    app.stop().await;
}
