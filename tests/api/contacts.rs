//! Contacts over HTTP (contract §6).

use serde_json::json;

use crate::support::{TestApp, token_with};

#[tokio::test]
async fn a_contact_is_created_read_changed_and_deleted() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;

    let created = client
        .post(
            "/contacts",
            &json!({"customerId": customer, "name": "李雷", "phone": "13812345678", "title": "CTO"}),
        )
        .await
        .expect(201);
    let contact = created.json();
    let id = contact["contactId"].as_str().expect("an id");
    assert_eq!(created.header("Location"), format!("contacts/{id}"));
    assert_eq!(contact["phone"], "138****5678");
    assert_eq!(contact["isPrimary"], false);
    assert_eq!(contact["email"], "");
    assert_eq!(contact["version"], 1);

    let path = format!("/contacts/{id}");
    assert_eq!(client.get(&path).await.expect(200).json(), contact);
    let changed = client.patch(&path, &json!({"title": null, "name": "韩梅梅"})).await.expect(200).json();
    assert_eq!(
        (&changed["name"], &changed["title"], &changed["version"]),
        (&json!("韩梅梅"), &json!(null), &json!(2))
    );
    client.delete(&path).await.expect(204);
    client.delete(&path).await.expect_error(404, "NOT_FOUND");
    client.get(&path).await.expect_error(404, "NOT_FOUND");
    app.stop().await;
}

#[tokio::test]
async fn a_contact_needs_a_customer_that_exists_and_keeps_it() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let nobody = json!({"customerId": "nobody", "name": "a"});
    let refused = client.post("/contacts", &nobody).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
    assert_eq!(refused.json()["message"], "客户不存在");
    let missing = client.post("/contacts", &json!({})).await.expect_error(400, "VALIDATION_FAILED").json();
    let fields: Vec<_> =
        missing["errors"].as_array().expect("errors").iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["customerId", "name"]);

    let (one, two) = (client.create_customer("one").await, client.create_customer("two").await);
    let contact = client.post("/contacts", &json!({"customerId": one, "name": "a"})).await.expect(201).json();
    let path = format!("/contacts/{}", contact["contactId"].as_str().expect("an id"));
    client.patch(&path, &json!({"customerId": two})).await.expect_error(400, "VALIDATION_FAILED");
    client.patch(&path, &contact).await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn setting_a_primary_contact_demotes_the_other() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let new = |name: &str| json!({"customerId": customer, "name": name, "isPrimary": true});
    let first = client.post("/contacts", &new("a")).await.expect(201).json()["contactId"].clone();
    let second = client.post("/contacts", &new("b")).await.expect(201).json()["contactId"].clone();

    let list =
        client.get(&format!("/contacts?customerId={customer}&isPrimary=true")).await.expect(200).json();
    assert_eq!((&list["total"], &list["data"][0]["contactId"]), (&json!(1), &second));
    let demoted =
        client.get(&format!("/contacts/{}", first.as_str().expect("an id"))).await.expect(200).json();
    assert_eq!((&demoted["isPrimary"], &demoted["version"]), (&json!(false), &json!(2)));
    app.stop().await;
}

#[tokio::test]
async fn a_contact_of_an_unknown_tenant_creates_nothing() {
    let app = TestApp::start().await;
    let contact = json!({"customerId": "nobody", "name": "a"});
    app.tenant("acme").post("/contacts", &contact).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
    assert!(crate::support::files(&app.tenants()).is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_restored_contact_that_is_primary_no_more_says_so_in_the_audit_log() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("A").await;
    let create = async |name: &str| {
        let body = json!({"customerId": customer, "name": name, "isPrimary": true});
        let contact = client.post("/contacts", &body).await.expect(201).json();
        format!("/contacts/{}", contact["contactId"].as_str().expect("an id"))
    };
    let first = create("李雷").await;
    client.delete(&first).await.expect(204);
    create("韩梅梅").await;

    let restored = client.post(&format!("{first}/restore"), &json!({})).await.expect(200).json();

    assert_eq!((&restored["isPrimary"], &restored["version"]), (&json!(false), &json!(3)));
    let manager = json!({"sub": "m", "tenantId": "acme", "role": "manager", "exp": 4_000_000_000_u64});
    let manager = client.clone().with_token(&token_with(&manager));
    let log = manager.get("/audit-logs?pageSize=1").await.expect(200).json();
    assert_eq!(log["data"][0]["operationType"], "contact.restore");
    assert_eq!(log["data"][0]["changes"], json!({"isPrimary": [true, false]}));
    // What was altered meanwhile is a conflict for who has seen the first version.
    let stale = client.patch(&first, &json!({"baseVersion": 1, "isPrimary": true})).await;
    stale.expect_error(409, "FIELD_CONFLICT");
}
