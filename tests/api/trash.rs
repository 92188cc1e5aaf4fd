//! Deletion, its cascade, the trash and the way back (contract §6); the audit log of all of it (§9).

use serde_json::{Value, json};

use crate::support::{Client, TestApp, token_with};

struct Family {
    customer: String,
    contact: String,
    deal: String,
    follow_up: String,
}

async fn family(client: &Client, name: &str) -> Family {
    let id = |answer: Value, field: &str| answer[field].as_str().expect("an id").to_owned();
    let customer = client.create_customer(name).await;
    let of = |fields: Value| {
        let mut body = json!({"customerId": customer});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        body
    };
    let contact =
        client.post("/contacts", &of(json!({"name": "a", "isPrimary": true}))).await.expect(201).json();
    let deal = client.post("/opportunities", &of(json!({"title": "t"}))).await.expect(201).json();
    let follow_up = client.post("/follow-ups", &of(json!({"content": "c"}))).await.expect(201).json();
    Family {
        contact: id(contact, "contactId"),
        deal: id(deal, "opportunityId"),
        follow_up: id(follow_up, "followUpId"),
        customer,
    }
}

impl Family {
    fn paths(&self) -> [String; 4] {
        [
            format!("/customers/{}", self.customer),
            format!("/contacts/{}", self.contact),
            format!("/opportunities/{}", self.deal),
            format!("/follow-ups/{}", self.follow_up),
        ]
    }
}

#[tokio::test]
async fn deleting_a_customer_takes_its_records_along_and_restoring_it_brings_them_back() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let family = family(&client, "华为").await;
    let stays = self::family(&client, "中兴").await;

    client.delete(&family.paths()[0]).await.expect(204);

    for path in family.paths() {
        client.get(&path).await.expect_error(404, "NOT_FOUND");
    }
    for path in stays.paths() {
        client.get(&path).await.expect(200);
    }
    let trash = client.get("/trash").await.expect(200).json();
    assert_eq!(trash["total"], 4);
    assert_eq!(client.get("/trash?resourceType=contact").await.json()["data"][0]["label"], "a");
    let child = format!("{}/restore", family.paths()[1]);
    client.post(&child, &json!({})).await.expect_error(409, "STATE_CONFLICT");
    let back = client.post(&format!("{}/restore", family.paths()[0]), &json!({})).await.expect(200).json();
    assert_eq!((&back["name"], &back["version"]), (&json!("华为"), &json!(3)));
    for path in family.paths() {
        client.get(&path).await.expect(200);
    }
    assert_eq!(client.get("/trash").await.json()["total"], 0);
    app.stop().await;
}

#[tokio::test]
async fn what_was_deleted_before_its_customer_stays_in_the_trash() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let family = family(&client, "华为").await;
    client.delete(&family.paths()[2]).await.expect(204);
    client.delete(&family.paths()[0]).await.expect(204);

    client.post(&format!("{}/restore", family.paths()[0]), &json!({})).await.expect(200);

    client.get(&family.paths()[2]).await.expect_error(404, "NOT_FOUND");
    client.get(&family.paths()[1]).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_name_taken_meanwhile_keeps_the_old_customer_in_the_trash() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let old = client.create_customer("华为").await;
    client.delete(&format!("/customers/{old}")).await.expect(204);
    let new = client.create_customer("华为").await;

    let refused = client
        .post(&format!("/customers/{old}/restore"), &json!({}))
        .await
        .expect_error(409, "STATE_CONFLICT");

    assert_eq!(refused.json()["existing"]["customerId"], new);
    client.get(&format!("/customers/{new}")).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn an_action_needs_neither_a_body_nor_a_request_id() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("华为").await;
    client.delete(&format!("/customers/{id}")).await.expect(204);
    client.send(reqwest::Method::POST, &format!("/customers/{id}/restore"), None).await.expect(200);
    client
        .send(reqwest::Method::POST, &format!("/customers/{id}/restore"), None)
        .await
        .expect_error(404, "NOT_FOUND");
    app.stop().await;
}

#[tokio::test]
async fn every_write_is_in_the_audit_log_for_managers_only() {
    let app = TestApp::start().await;
    let boss = json!({"sub": "boss", "tenantId": "acme", "role": "manager", "exp": 4_000_000_000_u64});
    let boss = app.anonymous().with_token(&token_with(&boss));
    app.tenant("acme").get("/audit-logs").await.expect_error(403, "FORBIDDEN");
    let body = json!({"name": "华为", "contactPhone": "13812345678"});
    let id = boss.post("/customers", &body).await.expect(201).json()["customerId"].clone();
    boss.patch(&format!("/customers/{}", id.as_str().expect("an id")), &json!({"level": "A"}))
        .await
        .expect(200);

    let log = boss.get("/audit-logs").await.expect(200).json();

    assert_eq!(log["total"], 2);
    let (update, create) = (&log["data"][0], &log["data"][1]);
    assert_eq!(
        (&update["operationType"], &update["changes"]),
        (&json!("customer.update"), &json!({"level": [null, "A"]}))
    );
    assert_eq!(create["changes"]["contactPhone"], json!([null, "138****5678"]));
    assert_eq!((&create["userId"], &create["resourceId"]), (&json!("boss"), &id));
    assert_eq!(boss.get("/audit-logs?userId=nobody").await.json()["total"], 0);
    let first = boss.get("/audit-logs?pageSize=1").await.json();
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    let second = boss.get(&format!("/audit-logs?pageSize=1&cursor={cursor}")).await.expect(200).json();
    assert_eq!(second["data"][0]["operationType"], "customer.create");
    app.stop().await;
}
