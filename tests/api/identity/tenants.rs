//! Which tenant a request is about, and who may be there.

use reqwest::Method;
use serde_json::json;

use super::{assert_unauthorized, jwt};
use crate::support::{Setup, TestApp, files, tenants_in};

#[tokio::test]
async fn a_bound_caller_is_in_its_tenant_with_and_without_the_header() {
    let app = TestApp::start().await;
    for claim in ["tenantId", "tenant_id", "tid"] {
        let client = app.anonymous().with_token(&jwt(json!({ claim: "acme" })));
        let created = client.post("/customers", &json!({ "name": claim })).await.expect(201);
        assert_eq!(created.json()["tenantId"], "acme");
        let named = client.clone().with_tenant("acme").get("/customers").await.expect(200);
        assert_eq!(named.json()["data"][0]["name"], claim);
    }
    assert_eq!(app.figure("identity_unbound").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_configured_claim_names_the_tenant_too() {
    let app = Setup::default().with("CRM_JWT_TENANT_CLAIM", "organization").start().await;
    let client = app.anonymous().with_token(&jwt(json!({"organization": "acme"})));

    client.get("/customers").await.expect(200);

    let other = client.clone().with_tenant("other").get("/customers").await;
    other.expect_error(403, "TENANT_MISMATCH");
    let torn = app.anonymous().with_token(&jwt(json!({"organization": "acme", "tenantId": "other"})));
    assert_unauthorized(torn.get("/customers").await);
}

#[tokio::test]
async fn a_bound_caller_that_names_another_tenant_is_refused_before_any_file_is_touched() {
    let app = TestApp::start().await;
    let id = app.tenant("victim").create_customer("A").await;
    let directory = app.stop().await; // the victim's file is closed
    let app = Setup::default().over(&directory).start().await;
    let before = files(&app.tenants());
    for victim in ["victim", "unheard-of", "Acme", "acme.", "default"] {
        let client = app.tenant("acme").with_tenant(victim);
        let code = if victim == "acme." { (400, "INVALID_TENANT_ID") } else { (403, "TENANT_MISMATCH") };
        let path = format!("/customers/{id}");
        for answer in [
            client.get("/customers").await,
            client.get(&path).await,
            client.post("/customers", &json!({"name": "B"})).await,
            client.patch(&path, &json!({"level": "Z"})).await,
            client.delete(&path).await,
        ] {
            answer.expect_error(code.0, code.1);
        }
        client.send(Method::HEAD, "/customers", None).await.expect(code.0);
    }

    assert_eq!(app.figure("tenant_opens").await, 0);
    assert_eq!(files(&app.tenants()), before);
    assert_eq!(before, ["victim.db"]);
}

#[tokio::test]
async fn a_caller_of_several_tenants_says_which_one() {
    let app = TestApp::start().await;
    let client = app.anonymous().with_token(&jwt(json!({"tenantId": ["acme", "globex"]})));
    for tenant in ["acme", "globex"] {
        let created = client.clone().with_tenant(tenant).post("/customers", &json!({"name": "A"})).await;
        assert_eq!(created.expect(201).json()["tenantId"], tenant);
    }
    for client in [client.clone(), client.clone().with_tenant("initech")] {
        client.get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    }
}

#[tokio::test]
async fn an_unbound_caller_is_where_its_header_says_or_in_the_default_tenant() {
    let app = TestApp::start().await;
    let named = Setup::default().with("DEFAULT_TENANT_ID", "head-office").start().await;
    let unbound = jwt(json!({}));
    let create = async |app: &TestApp, tenant: &str| {
        let client = app.anonymous().with_token(&unbound).with_tenant(tenant);
        client.post("/customers", &json!({"name": "A"})).await.expect(201).json()["tenantId"].clone()
    };

    assert_eq!(create(&app, "acme").await, "acme");
    assert_eq!(create(&app, "").await, "default");
    assert_eq!(create(&named, "").await, "head-office");

    assert_eq!(app.figure("identity_unbound").await, 2, "they are counted");
}

#[tokio::test]
async fn a_strict_cell_admits_bound_callers_only() {
    let app = Setup::default().with("CRM_TENANT_BINDING", "strict").start().await;
    let unbound = app.anonymous().with_token(&jwt(json!({})));
    for client in [unbound.clone(), unbound.clone().with_tenant("acme"), unbound.with_tenant("default")] {
        client.get("/customers").await.expect_error(403, "TENANT_MISMATCH");
        let denied = client.post("/customers", &json!({"name": "A"})).await;
        denied.expect_error(403, "TENANT_MISMATCH");
    }
    app.tenant("acme").get("/customers").await.expect(200);
    assert_eq!(files(&app.tenants()), Vec::<String>::new());
}

#[tokio::test]
async fn tenant_ids_have_one_alphabet() {
    let app = TestApp::start().await;
    let admin = app.anonymous().with_token(&jwt(json!({})));
    let longest = "x".repeat(64);
    for id in ["a", "9", "_", "tenant-001", "a.b:c@d~e-f_g", "con", "CON", "x.db", &longest] {
        let created = admin.clone().with_tenant(id).post("/customers", &json!({"name": "A"})).await;
        assert_eq!(created.expect(201).json()["tenantId"], id);
    }
    let created = files(&app.tenants()).into_iter().filter(|name| name.ends_with(".db")).count();
    assert_eq!(created, 9, "one file each");
    let too_long = "x".repeat(65);
    for id in [
        ".", "..", "a..b", "a.", ".a", "-a", "~a", ":a", "@a", "../etc", "a/b", "a\\b", "a b", "a%2fb",
        "a,b", "a;b", "a+b", "a*", "\"a\"", &too_long,
    ] {
        let answer = admin.clone().with_tenant(id).get("/customers").await;
        answer.expect_error(400, "INVALID_TENANT_ID");
        let answer = admin.clone().with_tenant(id).post("/customers", &json!({"name": "A"})).await;
        answer.expect_error(400, "INVALID_TENANT_ID");
    }
    for bytes in ["租户".as_bytes(), b"caf\xe9", b"a\tb"] {
        let request = app.wire("GET", "/customers").of("acme").header("X-Tenant-Id", bytes);
        request.send().await.expect_error(400, "INVALID_TENANT_ID");
    }
}

#[tokio::test]
async fn a_tenant_named_twice_is_refused_and_a_blank_one_is_none() {
    let app = TestApp::start().await;
    let get = || app.wire("GET", "/customers").of("acme");
    for (first, second) in [("acme", "acme"), ("acme", "other"), ("", "acme"), ("acme", "")] {
        let twice = get().header("X-Tenant-Id", first).header("X-Tenant-Id", second);
        twice.send().await.expect_error(400, "INVALID_TENANT_ID");
    }
    for blank in ["", "   "] {
        get().header("X-Tenant-Id", blank).send().await.expect(200);
    }
    get().header("X-Tenant-Id", " acme ").send().await.expect(200);
}

#[tokio::test]
async fn ids_that_differ_in_letter_case_only_are_different_tenants() {
    let app = TestApp::start().await;
    for tenant in ["acme", "Acme", "ACME"] {
        app.tenant(tenant).create_customer("A").await;
        assert_eq!(app.tenant(tenant).get("/customers").await.json()["total"], 1);
    }
    let directory = app.stop().await;
    let names = files(&tenants_in(directory.path()));
    let mut folded: Vec<_> = names.iter().map(|name| name.to_lowercase()).collect();
    folded.dedup();
    assert_eq!(folded.len(), 3, "different on any file system: {names:?}");
}
