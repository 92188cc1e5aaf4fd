//! Members: whom a tenant's own file admits (contract §5).

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::jwt;
use crate::support::{Client, Setup, TestApp, db_execute, files, tenants_in};

/// A data root with the tenant `closed`, which has a customer and the member `zhang`, and the tenant `open`, which has a
/// customer and no members. No service has its files open.
async fn data_root() -> Arc<TempDir> {
    let app = TestApp::start().await;
    for tenant in ["closed", "open"] {
        app.tenant(tenant).create_customer("A").await;
    }
    let directory = app.stop().await;
    db_execute(directory.path(), "closed", "insert into members values ('zhang', 0)").await;
    directory
}

/// A caller whose identity names no tenant.
fn unbound(app: &TestApp, user: &str, more: Value) -> Client {
    let mut claims = more;
    claims["sub"] = user.into();
    app.anonymous().with_token(&jwt(claims))
}

#[tokio::test]
async fn a_tenant_with_members_admits_no_other_caller_on_the_header_alone() {
    let app = Setup::default().over(&data_root().await).start().await;
    let stranger = unbound(&app, "li", json!({ "role": "admin" }));

    let closed = stranger.clone().with_tenant("closed");
    for path in ["/customers", "/contacts", "/opportunities", "/follow-ups", "/trash", "/audit-logs"] {
        closed.get(path).await.expect_error(403, "TENANT_MISMATCH");
        closed.get(&format!("{path}/x")).await.expect(if path == "/trash" || path == "/audit-logs" {
            404
        } else {
            403
        });
    }
    closed.post("/customers", &json!({"name": "B"})).await.expect_error(403, "TENANT_MISMATCH");
    closed.patch("/customers/x", &json!({"name": "B"})).await.expect_error(403, "TENANT_MISMATCH");
    closed.delete("/customers/x").await.expect_error(403, "TENANT_MISMATCH");
    closed.send(Method::HEAD, "/customers", None).await.expect(403);
    assert_eq!(app.figure("identity_unbound").await, 0, "nobody was admitted on the header alone");

    assert_eq!(stranger.with_tenant("open").get("/customers").await.expect(200).json()["total"], 1);
    assert_eq!(app.figure("identity_unbound").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn members_are_bound_and_keep_their_role_and_scope() {
    for binding in ["header", "strict"] {
        let app = Setup::default().over(&data_root().await).with("CRM_TENANT_BINDING", binding).start().await;
        let member = |more| unbound(&app, "zhang", more).with_tenant("closed");

        assert_eq!(member(json!({})).get("/customers").await.expect(200).json()["total"], 1);
        member(json!({})).post("/customers", &json!({"name": "B"})).await.expect(201);
        let readonly = member(json!({"role": "readonly"}));
        readonly.post("/customers", &json!({"name": "C"})).await.expect_error(403, "FORBIDDEN");
        let confined = member(json!({"dataScope": "self"}));
        assert_eq!(confined.get("/customers").await.expect(200).json()["total"], 1, "only B is zhang's");
        let elsewhere = unbound(&app, "zhang", json!({})).with_tenant("open").get("/customers").await;
        elsewhere.expect(if binding == "strict" { 403 } else { 200 });
        assert_eq!(app.figure("identity_unbound").await, u64::from(binding == "header"));
        app.stop().await;
    }
}

#[tokio::test]
async fn a_caller_bound_by_its_identity_needs_no_row_and_opens_nothing_before_it_is_in() {
    let app = Setup::default().over(&data_root().await).start().await;
    let wrong_type = async |client: Client| {
        let text = client.with("Content-Type", "text/plain");
        text.send(Method::POST, "/customers", Some("x".to_owned())).await
    };

    wrong_type(app.tenant("closed")).await.expect(415);
    assert_eq!(app.figure("tenant_opens").await, 0, "bound: refused without a file");
    wrong_type(unbound(&app, "li", json!({})).with_tenant("closed"))
        .await
        .expect_error(403, "TENANT_MISMATCH");
    wrong_type(unbound(&app, "zhang", json!({})).with_tenant("closed")).await.expect(415);
    assert_eq!(app.figure("tenant_opens").await, 1);

    assert_eq!(app.tenant("closed").get("/customers").await.expect(200).json()["total"], 1);
    app.stop().await;
}

#[tokio::test]
async fn a_strict_cell_tells_a_stranger_nothing_about_which_tenants_there_are() {
    for provision in ["auto", "explicit"] {
        let app = Setup::default()
            .over(&data_root().await)
            .with("CRM_TENANT_BINDING", "strict")
            .with("CRM_TENANT_PROVISION", provision)
            .start()
            .await;
        let before = files(&app.tenants());
        let stranger = unbound(&app, "li", json!({})).with("X-Request-ID", "same");
        let mut answers = Vec::new();
        for tenant in ["closed", "open", "unheard-of"] {
            let client = stranger.clone().with_tenant(tenant);
            for answer in
                [client.get("/customers").await, client.post("/customers", &json!({"name": "B"})).await]
            {
                answers.push(answer.expect_error(403, "TENANT_MISMATCH").text);
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "one answer for all: {answers:?}");
        let opened =
            files(&app.tenants()).into_iter().filter(|name| name.ends_with(".db")).collect::<Vec<_>>();
        assert_eq!(opened, before, "nothing was created");
        app.stop().await;
    }
}

#[tokio::test]
async fn an_unknown_tenant_is_as_it_was_for_unbound_callers() {
    for (provision, status) in [("auto", 200), ("explicit", 404)] {
        let app = Setup::default().with("CRM_TENANT_PROVISION", provision).start().await;
        let client = unbound(&app, "li", json!({})).with_tenant("unheard-of");
        client.get("/customers").await.expect(status);
        assert_eq!(files(&app.tenants()), Vec::<String>::new());
        app.stop().await;
    }
}

#[tokio::test]
async fn members_close_the_default_tenant_too() {
    let app = Setup::default().over(&data_root().await).with("DEFAULT_TENANT_ID", "closed").start().await;
    unbound(&app, "zhang", json!({})).get("/customers").await.expect(200);
    unbound(&app, "li", json!({})).get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    app.stop().await;
}

/// Without a source of identities `X-User-Id` is the caller's own word.
#[tokio::test]
async fn in_the_development_mode_nobody_is_a_member() {
    let setup = Setup::default().over(&data_root().await).with("CRM_JWT_SECRET", "");
    let app = setup.start().await;
    let client = app.anonymous().with_token("dev").with("X-User-Id", "zhang");

    client.clone().with_tenant("closed").get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    client.with_tenant("open").get("/customers").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_service_is_a_member_by_its_name_or_by_whom_it_acts_for() {
    let (service, reader) = ("service-token-of-the-members", "readonly-token-of-the-members");
    let app = Setup::default()
        .over(&data_root().await)
        .with("CRM_SERVICE_TOKENS", &format!("sync:{service},zhang:{reader}:readonly"))
        .start()
        .await;
    let client = |token| app.anonymous().with_token(token).with_tenant("closed");

    client(service).get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    client(service).with("X-User-Id", "zhang").get("/customers").await.expect(200);
    client(service).with("X-User-Id", "li").get("/customers").await.expect_error(403, "TENANT_MISMATCH");
    client(reader).get("/customers").await.expect(200);
    client(reader).with("X-User-Id", "li").get("/customers").await.expect(200);
    app.stop().await;
}

#[tokio::test]
async fn a_tenant_that_cannot_be_opened_admits_no_unbound_caller() {
    for binding in ["header", "strict"] {
        let directory = data_root().await;
        std::fs::write(tenants_in(directory.path()).join("closed.db"), "not a database".repeat(100))
            .expect("written");
        let app = Setup::default().over(&directory).with("CRM_TENANT_BINDING", binding).start().await;
        for user in ["zhang", "li"] {
            let client = unbound(&app, user, json!({})).with_tenant("closed");
            client.get("/customers").await.expect_error(423, "TENANT_UNAVAILABLE");
            client.post("/customers", &json!({"name": "B"})).await.expect_error(423, "TENANT_UNAVAILABLE");
        }
        app.stop().await;
    }
}
