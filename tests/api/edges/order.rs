//! The order of checks (contract §2): of several faults, the one that is told is the earliest.

use reqwest::Method;
use serde_json::json;

use crate::support::{TestApp, Wire, token, token_with};

/// A PATCH with every fault there is, and what each step of mending it is answered.
#[tokio::test]
async fn of_several_faults_the_earliest_in_the_documented_order_is_told() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    client.create_customer("Taken").await;
    let path = format!("/customers/{id}");
    client.clone().with("X-Request-ID", "used").patch(&path, &json!({"level": "first"})).await.expect(200);
    let readonly = token_with(&json!({
        "sub": "tester", "tenantId": "acme", "role": "readonly", "exp": 4_000_000_000_u64
    }));
    let bound = token("acme", "tester");
    let large = format!("{{{}", " ".repeat(1 << 20));
    let stale = r#"{"name":"Taken","ifVersion":1}"#;
    let invalid = r#"{"name":"Taken","ifVersion":1,"status":9}"#;
    const JSON: &str = "application/json";

    // method, path, token, tenant, media type, body, request id
    type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str, u16, &'a str);
    let rows: [Row<'_>; 14] = [
        ("PATCH", "/nothing", "bad", "../x", "text/plain", &large, "a b", 404, "NOT_FOUND"),
        ("PUT", &path, "bad", "../x", "text/plain", &large, "a b", 405, "METHOD_NOT_ALLOWED"),
        ("PATCH", &path, "bad", "../x", "text/plain", &large, "a b", 401, "UNAUTHORIZED"),
        ("PATCH", &path, &readonly, "../x", "text/plain", &large, "a b", 403, "FORBIDDEN"),
        ("PATCH", &path, &bound, "../x", "text/plain", &large, "a b", 400, "INVALID_TENANT_ID"),
        ("PATCH", &path, &bound, "other", "text/plain", &large, "a b", 403, "TENANT_MISMATCH"),
        ("PATCH", &path, &bound, "acme", "text/plain", &large, "a b", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("PATCH", &path, &bound, "acme", JSON, &large, "a b", 413, "PAYLOAD_TOO_LARGE"),
        ("PATCH", &path, &bound, "acme", JSON, "{", "a b", 400, "BAD_REQUEST"),
        ("PATCH", &path, &bound, "acme", JSON, "{", "used", 400, "BAD_REQUEST"),
        ("PATCH", &path, &bound, "acme", JSON, invalid, "used", 400, "VALIDATION_FAILED"),
        ("PATCH", &path, &bound, "acme", JSON, stale, "used", 409, "IDEMPOTENT_CONFLICT"),
        ("PATCH", &path, &bound, "acme", JSON, stale, "new", 412, "VERSION_MISMATCH"),
        (
            "PATCH",
            &path,
            &bound,
            "acme",
            JSON,
            r#"{"name":"Taken","ifVersion":2}"#,
            "new",
            400,
            "BUSINESS_RULE_VIOLATION",
        ),
    ];
    for (method, path, token, tenant, media_type, body, request_id, status, code) in rows {
        let request = request(&app, method, path, token).header("X-Tenant-Id", tenant);
        let request = request.header("X-Request-ID", request_id);
        let answer = request.header("Content-Type", media_type).sized(body).send().await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{answer:?}");
    }
}

/// Both are `BAD_REQUEST`: the sentence tells which one was met.
#[tokio::test]
async fn a_missing_request_id_is_told_before_broken_json() {
    let app = TestApp::start().await;

    let answer = app.wire("POST", "/customers").of("acme").json("{").send().await;

    let answer = answer.expect_error(400, "BAD_REQUEST");
    assert_eq!(answer.json()["message"], "POST 必须包含 X-Request-ID");
}

#[tokio::test]
async fn a_request_that_is_refused_early_creates_no_tenant() {
    let app = TestApp::start().await;
    let client = app.tenant("unheard-of");
    let no_id = |method: Method, path: &'static str, body: &'static str| {
        let client = client.clone();
        async move { client.send(method, path, Some(body.to_owned())).await }
    };

    client.get("/customers").await.expect(200);
    client.get("/customers/a").await.expect(404);
    no_id(Method::POST, "/customers", r#"{"name":"A"}"#).await.expect(400);
    client.post("/customers", &json!({})).await.expect(400);
    client.post("/customers", &json!({"name": "A", "status": 7})).await.expect(400);
    client.patch("/customers/a", &json!({"level": "A"})).await.expect(404);
    client.delete("/customers/a").await.expect(404);
    let masked = json!({"name": "A", "contactPhone": "138****5678"});
    client.post("/customers", &masked).await.expect(400);

    assert_eq!(crate::support::files(&app.tenants()), Vec::<String>::new());
}

fn request(app: &TestApp, method: &str, path: &str, token: &str) -> Wire {
    app.wire(method, path).header("Authorization", format!("Bearer {token}"))
}
