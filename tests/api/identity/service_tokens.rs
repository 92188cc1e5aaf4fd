//! Service tokens, end to end.

use serde_json::json;

use super::{assert_unauthorized, user_of};
use crate::support::{Client, Setup, TestApp, db_select};

const SYNC: &str = "sync-token-of-twenty-and-more";
const OPS: &str = "ops-token-of-twenty-and-more";
const VIEWER: &str = "viewer-token-of-twenty-or-more";
const BILLING: &str = "billing-token-of-twenty-or-more";

async fn start() -> TestApp {
    let tokens = format!(
        "sync:{SYNC}, ops:{OPS}:admin\nviewer:{VIEWER}:readonly, billing:{BILLING}:member@acme,globex"
    );
    let setup = Setup::default().with("CRM_JWT_SECRET", "").with("CRM_SERVICE_TOKENS", &tokens);
    // Tokens known here are sent nowhere: the platform is down.
    setup.with("PLATFORM_AUTH_URL", "http://127.0.0.1:1").start().await
}

fn with(app: &TestApp, token: &str, tenant: &str) -> Client {
    app.anonymous().with_token(token).with_tenant(tenant)
}

#[tokio::test]
async fn a_service_token_is_its_name_and_role() {
    let app = start().await;
    assert_eq!(user_of(&with(&app, SYNC, "acme"), "A").await, "sync");
    assert_eq!(user_of(&with(&app, OPS, "acme"), "B").await, "ops");
    assert_eq!(user_of(&with(&app, BILLING, "acme"), "C").await, "billing");
    let viewer = with(&app, VIEWER, "acme");
    assert_eq!(viewer.get("/customers").await.expect(200).json()["total"], 3);
    let denied = viewer.post("/customers", &json!({"name": "D"})).await;
    denied.expect_error(403, "FORBIDDEN");
    let directory = app.stop().await;
    let journal = db_select(directory.path(), "acme", "select actor from journal order by seq").await;
    assert_eq!(journal, [json!({"actor": "sync"}), json!({"actor": "ops"}), json!({"actor": "billing"})]);
}

#[tokio::test]
async fn only_a_service_speaks_for_a_user_by_x_user_id() {
    let app = start().await;
    let by = |token: &str, user: &str| with(&app, token, "acme").with("X-User-Id", user);
    assert_eq!(user_of(&by(SYNC, "li.lei"), "A").await, "li.lei");
    assert_eq!(user_of(&by(OPS, "li.lei"), "B").await, "ops");
    assert_eq!(user_of(&by(BILLING, "li.lei"), "C").await, "billing");
    for (index, no_user) in [" ", "two words", &"x".repeat(129)].into_iter().enumerate() {
        assert_eq!(user_of(&by(SYNC, no_user), &format!("D{index}")).await, "sync", "{no_user}");
    }
}

#[tokio::test]
async fn a_user_named_in_utf_8_is_that_user() {
    let app = start().await;
    let request = app.wire("POST", "/customers").header("Authorization", format!("Bearer {SYNC}"));
    let request =
        request.header("X-Tenant-Id", "acme").header("X-Request-ID", "r").header("X-User-Id", "韩梅梅");

    let created = request.json(r#"{"name":"A"}"#).send().await.expect(201);

    assert_eq!(created.json()["ownerId"], "韩梅梅");
}

#[tokio::test]
async fn a_service_token_is_bound_to_the_tenants_it_lists() {
    let app = start().await;
    for tenant in ["acme", "globex"] {
        with(&app, BILLING, tenant).get("/customers").await.expect(200);
    }
    for tenant in ["initech", "ACME", "default", ""] {
        let denied = with(&app, BILLING, tenant).get("/customers").await;
        denied.expect_error(403, "TENANT_MISMATCH");
    }
    for tenant in ["acme", "initech", ""] {
        with(&app, SYNC, tenant).get("/customers").await.expect(200);
    }
}

#[tokio::test]
async fn a_token_that_is_nearly_right_is_asked_of_the_platform_or_refused() {
    let app = start().await;
    let alone = Setup::default().with("CRM_JWT_SECRET", "");
    let alone = alone.with("CRM_SERVICE_TOKENS", &format!("sync:{SYNC}")).start().await;
    for wrong in [&SYNC[1..], &SYNC[..SYNC.len() - 1], &SYNC.to_uppercase(), "sync", &format!("sync:{SYNC}")]
    {
        assert_unauthorized(with(&alone, wrong, "acme").get("/customers").await);
        let unknown = with(&app, wrong, "acme").get("/customers").await;
        unknown.expect_error(503, "AUTH_UNAVAILABLE");
    }
    with(&alone, SYNC, "acme").get("/customers").await.expect(200);
}
