//! Row scope: a caller confined to their own rows sees and changes no others (contract §5).

use serde_json::{Value, json};

use crate::support::{Client, TestApp, token, token_with};

fn caller(app: &TestApp, user: &str, scope: Option<&str>) -> Client {
    let claims = json!({"sub": user, "tenantId": "acme", "dataScope": scope.unwrap_or("all"), "exp": 4_000_000_000_u64});
    app.anonymous().with_token(&token_with(&claims))
}

async fn new(client: &Client, path: &str, field: &str, body: Value) -> String {
    client.post(path, &body).await.expect(201).json()[field].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn others_rows_are_neither_seen_nor_changed() {
    let app = TestApp::start().await;
    let (zhang, li) = (caller(&app, "zhang", None), caller(&app, "li", Some("self")));
    let customer = new(&zhang, "/customers", "customerId", json!({"name": "华为"})).await;
    let contact = new(&zhang, "/contacts", "contactId", json!({"customerId": customer, "name": "a"})).await;
    let deal =
        new(&zhang, "/opportunities", "opportunityId", json!({"customerId": customer, "title": "t"})).await;
    let follow_up =
        new(&zhang, "/follow-ups", "followUpId", json!({"customerId": customer, "content": "c"})).await;

    for path in [
        format!("/customers/{customer}"),
        format!("/contacts/{contact}"),
        format!("/opportunities/{deal}"),
        format!("/follow-ups/{follow_up}"),
    ] {
        li.get(&path).await.expect_error(404, "NOT_FOUND");
        li.patch(&path, &json!({"ownerId": "li"})).await.expect_error(404, "NOT_FOUND");
        li.delete(&path).await.expect_error(404, "NOT_FOUND");
        zhang.get(&path).await.expect(200);
    }
    for path in ["/customers", "/contacts", "/opportunities", "/follow-ups"] {
        assert_eq!(li.get(path).await.expect(200).json()["total"], 0, "{path}");
        assert_eq!(zhang.get(path).await.expect(200).json()["total"], 1, "{path}");
    }
    let contact = json!({"customerId": customer, "name": "b"});
    li.post("/contacts", &contact).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
    zhang.delete(&format!("/customers/{customer}")).await.expect(204);
    assert_eq!(li.get("/trash").await.expect(200).json()["total"], 0);
    li.post(&format!("/customers/{customer}/restore"), &json!({})).await.expect_error(404, "NOT_FOUND");
    app.stop().await;
}

#[tokio::test]
async fn what_hangs_on_an_own_record_is_ones_own_too() {
    let app = TestApp::start().await;
    let (zhang, li) = (caller(&app, "zhang", None), caller(&app, "li", Some("self")));
    let customer = new(&li, "/customers", "customerId", json!({"name": "华为"})).await;
    let contact = json!({"customerId": customer, "name": "a", "ownerId": "zhang"});
    let contact = new(&zhang, "/contacts", "contactId", contact).await;
    let follow_up =
        new(&zhang, "/follow-ups", "followUpId", json!({"customerId": customer, "content": "c"})).await;

    li.get(&format!("/contacts/{contact}")).await.expect(200);
    li.patch(&format!("/contacts/{contact}"), &json!({"title": "CTO"})).await.expect(200);
    li.get(&format!("/follow-ups/{follow_up}")).await.expect(200);
    assert_eq!(li.get("/contacts").await.json()["total"], 1);
    assert_eq!(li.get("/follow-ups").await.json()["total"], 1);
    app.stop().await;
}

#[tokio::test]
async fn a_confined_caller_gives_no_record_away_and_learns_of_no_other() {
    let app = TestApp::start().await;
    let (zhang, li) = (caller(&app, "zhang", None), caller(&app, "li", Some("self")));
    new(&zhang, "/customers", "customerId", json!({"name": "华为"})).await;

    li.post("/customers", &json!({"name": "中兴", "ownerId": "zhang"})).await.expect_error(403, "FORBIDDEN");
    let own = new(&li, "/customers", "customerId", json!({"name": "中兴"})).await;
    li.patch(&format!("/customers/{own}"), &json!({"ownerId": "zhang"})).await.expect_error(403, "FORBIDDEN");
    let taken =
        li.post("/customers", &json!({"name": "华为"})).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
    assert_eq!(taken.json().get("existing"), None);
    app.stop().await;
}

#[tokio::test]
async fn the_request_can_only_narrow() {
    let app = TestApp::start().await;
    let (zhang, li) = (caller(&app, "zhang", None), caller(&app, "li", Some("self")));
    new(&zhang, "/customers", "customerId", json!({"name": "华为"})).await;
    new(&li, "/customers", "customerId", json!({"name": "中兴"})).await;

    let total =
        async |client: &Client, path: &str| client.get(path).await.expect(200).json()["total"].clone();
    assert_eq!(total(&zhang, "/customers").await, 2);
    assert_eq!(total(&zhang, "/customers?scope=self").await, 1);
    assert_eq!(total(&zhang.clone().with("X-Data-Scope", "self"), "/customers").await, 1);
    assert_eq!(total(&li, "/customers?scope=all").await, 1);
    assert_eq!(total(&li.clone().with("X-Data-Scope", "all"), "/customers").await, 1);
    zhang.get("/customers?scope=team").await.expect_error(400, "BAD_REQUEST");
    app.stop().await;
}

#[tokio::test]
async fn of_several_scopes_the_narrowest_counts_in_whatever_order_they_come() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("A").await;
    let stranger = format!("Bearer {}", token("acme", "somebody else"));
    let total = async |headers: &[&str], target: &str| {
        let wire = app.wire("GET", target).header("Authorization", &stranger).header("X-Tenant-Id", "acme");
        let wire = headers.iter().fold(wire, |wire, scope| wire.header("X-Data-Scope", scope));
        wire.send().await.expect(200).json()["total"].clone()
    };
    assert_eq!(total(&["all"], "/customers").await, 1);
    for headers in [&["all", "self"][..], &["self", "all"], &["self"], &["", "self"]] {
        assert_eq!(total(headers, "/customers").await, 0, "{headers:?}");
    }
    assert_eq!(total(&["all"], "/customers?scope=self").await, 0);
}
