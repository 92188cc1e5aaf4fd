//! What a person says of events that nobody could apply.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, TestApp};

async fn send(service: &Client, event: Value) -> String {
    let received = service.send(Method::POST, "/events", Some(event.to_string())).await.expect(202).json();
    received["state"].as_str().expect("a state").to_owned()
}

fn contract(id: &str, data: &Value) -> Value {
    json!({"eventId": id, "eventType": "erp.contract.signed", "timestamp": "2026-03-02T00:00:00Z", "data": data})
}

#[tokio::test]
async fn a_person_says_which_deal_a_contract_means() {
    let app = TestApp::start().await;
    let (client, service) = (app.tenant("acme"), app.service("acme"));
    let customer = client.create_customer("华为").await;
    let mut deals = Vec::new();
    for title in ["A", "B"] {
        let deal = json!({"customerId": customer, "title": title, "amountCents": 1});
        deals.push(client.post("/opportunities", &deal).await.expect(201).json()["opportunityId"].clone());
    }
    let state = send(
        &service,
        contract("e-1", &json!({"contractId": "1", "customerId": customer, "amountCents": 7})),
    )
    .await;
    assert_eq!(state, "needs_review");

    let resolve = "/events/inbox/e-1/resolve";
    let nothing = service.post(resolve, &json!({})).await.expect_error(400, "VALIDATION_FAILED");
    assert_eq!(nothing.json()["errors"][0]["field"], "opportunityId");
    let nobody = service.post(resolve, &json!({"opportunityId": "nobody"})).await;
    nobody.expect_error(400, "BUSINESS_RULE_VIOLATION");
    let unsure = service.post(resolve, &json!({"customerId": customer})).await;
    unsure.expect_error(400, "BUSINESS_RULE_VIOLATION");
    let resolved = service.post(resolve, &json!({"opportunityId": deals[1]})).await.expect(200).json();

    assert_eq!((&resolved["state"], &resolved["resourceId"]), (&json!("resolved"), &deals[1]));
    let deal = client.get(&format!("/opportunities/{}", deals[1].as_str().expect("an id"))).await.json();
    assert_eq!((&deal["status"], &deal["amountCents"]), (&json!(2), &json!(7)));
    service.post(resolve, &json!({"action": "dismiss"})).await.expect_error(409, "STATE_CONFLICT");
    service
        .post("/events/inbox/e-9/resolve", &json!({"action": "dismiss"}))
        .await
        .expect_error(404, "NOT_FOUND");
    service.send(Method::POST, "/events/inbox/e-1/retry", None).await.expect_error(409, "STATE_CONFLICT");
}

#[tokio::test]
async fn a_person_says_that_a_contract_without_a_deal_makes_one_or_means_nothing() {
    let app = TestApp::start().await;
    let (client, service) = (app.tenant("acme"), app.service("acme"));
    let customer = client.create_customer("华为").await;
    let data =
        |id: &str| json!({"contractId": id, "contractNo": "HT-1", "customerId": customer, "amountCents": 7});
    for id in ["1", "2"] {
        assert_eq!(send(&service, contract(&format!("e-{id}"), &data(id))).await, "needs_review");
    }
    let made =
        service.post("/events/inbox/e-1/resolve", &json!({"action": "create"})).await.expect(200).json();
    let deal = client.get(&format!("/opportunities/{}", made["resourceId"].as_str().expect("an id"))).await;
    let deal = deal.expect(200).json();
    assert_eq!(
        (&deal["title"], &deal["status"], &deal["amountCents"]),
        (&json!("合同 HT-1"), &json!(2), &json!(7))
    );

    let dismissed =
        service.post("/events/inbox/e-2/resolve", &json!({"action": "dismiss"})).await.expect(200).json();
    assert_eq!((&dismissed["state"], &dismissed["reason"]), (&json!("resolved"), &json!("dismissed")));
    assert_eq!(client.get("/opportunities").await.json()["total"], 1);
}

#[tokio::test]
async fn an_event_can_be_tried_again_when_what_was_in_its_way_is_gone() {
    let app = TestApp::start().await;
    let (client, service) = (app.tenant("acme"), app.service("acme"));
    let customer = client.create_customer("华为").await;
    let path = format!("/customers/{customer}");
    client.delete(&path).await.expect(204);
    let task = json!({"eventId": "t:1", "eventType": "oa.task.completed", "data": {"taskId": "1", "title": "盖章", "customerId": customer}});
    assert_eq!(send(&service, task).await, "needs_review");
    let retry = || service.send(Method::POST, "/events/inbox/t:1/retry", None);
    assert_eq!(retry().await.expect(200).json()["state"], "needs_review");

    client.send(Method::POST, &format!("{path}/restore"), None).await.expect(200);

    let applied = retry().await.expect(200).json();
    assert_eq!(applied["state"], "applied");
    assert_eq!(client.get("/follow-ups").await.json()["data"][0]["followUpId"], applied["resourceId"]);
}

#[tokio::test]
async fn a_task_can_be_given_to_a_customer_and_makes_no_deal() {
    let app = TestApp::start().await;
    let (client, service) = (app.tenant("acme"), app.service("acme"));
    let customer = client.create_customer("华为").await;
    let task = json!({"eventId": "t-1", "eventType": "oa.task.completed", "data": {"taskId": "1", "customerId": "unknown"}});
    assert_eq!(send(&service, task).await, "needs_review");
    let resolve = "/events/inbox/t-1/resolve";
    service.post(resolve, &json!({"action": "create"})).await.expect_error(400, "VALIDATION_FAILED");
    let resolved = service.post(resolve, &json!({"customerId": customer})).await.expect(200).json();
    assert_eq!(resolved["state"], "resolved");
    assert_eq!(client.get("/follow-ups").await.json()["data"][0]["customerId"], customer);
}

#[tokio::test]
async fn nobody_sees_or_decides_on_another_tenants_events() {
    let app = TestApp::start().await;
    let customer = app.tenant("acme").create_customer("华为").await;
    let acme = app.service("acme");
    assert_eq!(
        send(&acme, contract("e-1", &json!({"contractId": "1", "customerId": customer}))).await,
        "needs_review"
    );
    app.tenant("globex").create_customer("B").await;
    let globex = app.service("globex");
    assert_eq!(globex.get("/events/inbox").await.expect(200).json()["total"], 0);
    let dismiss = json!({"action": "dismiss"});
    globex.post("/events/inbox/e-1/resolve", &dismiss).await.expect_error(404, "NOT_FOUND");
    let of_acme = acme.get("/events/outbox").await.expect(200).json()["data"][0]["eventId"].clone();
    let retry = format!("/events/outbox/{}/retry", of_acme.as_str().expect("an id"));
    globex.send(Method::POST, &retry, None).await.expect_error(404, "NOT_FOUND");
}
