//! Without any source of identities: for development, or closed.

use serde_json::json;

use super::{assert_unauthorized, user_of};
use crate::support::{Setup, TestApp};

async fn without_sources(strict: &str) -> TestApp {
    let setup = Setup::default().with("CRM_JWT_SECRET", "").with("CRM_AUTH_STRICT", strict);
    setup.start().await
}

#[tokio::test]
async fn any_bearer_is_an_admin_called_by_x_user_id_or_anonymous() {
    for strict in ["", "0"] {
        let app = without_sources(strict).await;
        let client = app.anonymous().with_token("dev").with_tenant("acme");
        assert_eq!(user_of(&client, "A").await, "anonymous");
        assert_eq!(user_of(&client.clone().with("X-User-Id", "li.lei"), "B").await, "li.lei");
        assert_eq!(user_of(&client.clone().with("X-User-Id", "two words"), "C").await, "anonymous");
        let other = app.anonymous().with_token("x").with_tenant("other");
        other.create_customer("A").await;
        let created = app.anonymous().with_token("x").post("/customers", &json!({"name": "A"})).await;
        assert_eq!(created.expect(201).json()["tenantId"], "default");
    }
}

#[tokio::test]
async fn even_then_a_bearer_is_needed() {
    let app = without_sources("").await;
    for value in ["", "Bearer", "Basic dXNlcjpwYXNz", "dev"] {
        let client = app.anonymous().with("Authorization", value).with("X-User-Id", "li.lei");
        assert_unauthorized(client.get("/customers").await);
    }
}

#[tokio::test]
async fn development_callers_are_unbound_and_a_strict_binding_keeps_them_out() {
    let setup = Setup::default().with("CRM_JWT_SECRET", "").with("CRM_TENANT_BINDING", "strict");
    let app = setup.start().await;

    let denied = app.anonymous().with_token("dev").with_tenant("acme").get("/customers").await;

    denied.expect_error(403, "TENANT_MISMATCH");
}

#[tokio::test]
async fn a_strict_cell_without_sources_lets_nobody_in() {
    let app = without_sources("1").await;
    for client in [app.anonymous().with_token("dev"), app.tenant("acme"), app.anonymous()] {
        assert_unauthorized(client.get("/customers").await);
    }
    app.anonymous().get("/health").await.expect(200);
}
