//! The gate: what the gateway has signed, and nothing else (contract §5).

use std::sync::Arc;

use crm_cell::domain::ManualClock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::json;
use sha2::Sha256;

use super::{assert_unauthorized, jwt};
use crate::support::{Answer, Client, Setup, TestApp, clock_at, files};

const SECRET: &str = "the gateway's secret, longer than 32 bytes";
const NOW: i64 = 1_795_680_000;

/// A request as the gateway sends it.
#[derive(Clone)]
struct Request {
    method: Method,
    path: String,
    /// The path as the gateway signs it: decoded, and without the query.
    decoded: String,
    body: Option<String>,
    request_id: String,
    tenant: String,
    trace: String,
    /// The time it says, and the time it signs.
    times: (i64, i64),
    secret: &'static str,
}

impl Request {
    fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            decoded: path.split('?').next().unwrap_or_default().to_owned(),
            body: None,
            request_id: String::new(),
            tenant: "acme".to_owned(),
            trace: String::new(),
            times: (NOW, NOW),
            secret: SECRET,
        }
    }

    fn post(path: &str, body: &str) -> Self {
        let body = Some(body.to_owned());
        Self {
            method: Method::POST,
            body,
            request_id: "r-1".to_owned(),
            trace: "t-1".to_owned(),
            ..Self::get(path)
        }
    }

    fn signature(&self) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("any length");
        let body = self.body.as_deref().unwrap_or_default();
        let (method, time) = (self.method.as_str(), self.times.1);
        let Self { decoded, request_id, tenant, trace, .. } = self;
        mac.update(format!("{method}|{decoded}|{body}|{request_id}|{tenant}|{trace}|{time}").as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// The headers of it, signed, from a caller with a good token.
    fn client(&self, app: &TestApp) -> Client {
        app.anonymous()
            .with_token(&jwt(json!({"tenantId": "acme"})))
            .with("X-Tenant-Id", &self.tenant)
            .with("X-Request-ID", &self.request_id)
            .with("X-Trace-Id", &self.trace)
            .with("X-Signature", &self.signature())
            .with("X-Signature-Time", &self.times.0.to_string())
    }

    async fn send(&self, app: &TestApp) -> Answer {
        self.send_by(&self.client(app)).await
    }

    async fn send_by(&self, client: &Client) -> Answer {
        client.send(self.method.clone(), &self.path, self.body.clone()).await
    }
}

async fn gated() -> (TestApp, Arc<ManualClock>) {
    let clock = clock_at("2026-11-26T08:00:00Z");
    let setup = Setup::default().at(clock.clone());
    let setup = setup.with("CELL_VERIFY_SIGNATURE", "1").with("CELL_SIGNING_SECRET", SECRET);
    (setup.start().await, clock)
}

#[track_caller]
fn assert_refused(answer: Answer) {
    answer.expect_error(403, "SIGNATURE_INVALID");
}

#[tokio::test]
async fn a_signed_request_is_answered_and_its_body_arrives() {
    let (app, _) = gated().await;
    let create = Request::post("/customers", r#"{"name":"华为 | 技术"}"#);
    let created = create.send(&app).await.expect(201).json();
    assert_eq!(created["name"], "华为 | 技术");
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));

    Request::get("/customers?ownerId=%E5%8D%8E&page=1").send(&app).await.expect(200);
    Request { trace: "trace".to_owned(), ..Request::get(&path) }.send(&app).await.expect(200);
    Request { tenant: String::new(), ..Request::get(&path) }.send(&app).await.expect(200);
    Request { method: Method::HEAD, ..Request::get(&path) }.send(&app).await.expect(200);
    Request { method: Method::PATCH, ..Request::post(&path, r#"{"level":"A"}"#) }
        .send(&app)
        .await
        .expect(200);
    Request { method: Method::DELETE, ..Request::get(&path) }.send(&app).await.expect(204);
    for path in ["/metrics", "/openapi.json", "/docs", "/", "/customers/"] {
        Request::get(path).send(&app).await.expect(200);
    }
}

#[tokio::test]
async fn what_was_signed_is_what_arrives_or_it_is_refused() {
    let (app, _) = gated().await;
    let good = Request::post("/customers", r#"{"name":"A"}"#);
    let signed = good.client(&app);
    let tampered = [
        ("no signature", good.clone(), signed.clone().with("X-Signature", "")),
        ("no time", good.clone(), signed.clone().with("X-Signature-Time", "")),
        ("a short signature", good.clone(), signed.clone().with("X-Signature", "00")),
        ("no hexadecimal", good.clone(), signed.clone().with("X-Signature", &"z".repeat(64))),
        ("another time", good.clone(), signed.clone().with("X-Signature-Time", &(NOW + 60).to_string())),
        ("a time in words", good.clone(), signed.clone().with("X-Signature-Time", "now")),
        ("another tenant", good.clone(), signed.clone().with_tenant("globex")),
        ("no tenant", good.clone(), signed.clone().with("X-Tenant-Id", "")),
        ("another request id", good.clone(), signed.clone().with("X-Request-ID", "r-2")),
        ("another trace", good.clone(), signed.clone().with("X-Trace-Id", "t-2")),
        (
            "another body",
            Request { body: Some(r#"{"name":"B"}"#.to_owned()), ..good.clone() },
            signed.clone(),
        ),
        ("no body", Request { body: None, ..good.clone() }, signed.clone()),
        ("another path", Request { path: "/contacts".to_owned(), ..good.clone() }, signed.clone()),
        ("another method", Request { method: Method::GET, ..good.clone() }, signed.clone()),
    ];
    for (name, request, client) in tampered {
        println!("{name}");
        assert_refused(request.send_by(&client).await);
    }
    assert_refused(
        Request { secret: "another secret that is longer than 32 bytes", ..good.clone() }.send(&app).await,
    );
    let traced = Request { tenant: String::new(), trace: "t-1".to_owned(), ..Request::get("/customers") };
    let once = || {
        let wire = app.wire("GET", "/customers").of("acme").header("X-Trace-Id", "t-1");
        wire.header("X-Signature", traced.signature()).header("X-Signature-Time", NOW.to_string())
    };
    once().send().await.expect(200);
    for (name, value) in [("X-Trace-Id", "t-2"), ("X-Tenant-Id", "acme"), ("X-Signature", "00")] {
        once().header(name, value).send().await.expect_error(403, "SIGNATURE_INVALID");
    }
    for path in ["/metrics", "/openapi.json", "/docs", "/", "/customers", "/trash"] {
        assert_refused(app.anonymous().get(path).await);
    }
    assert_eq!(files(&app.tenants()), Vec::<String>::new());

    good.send(&app).await.expect(201);
    let metrics = Request::get("/metrics").send(&app).await.json();
    assert_eq!(metrics["signature_failures"], 24);
}

#[tokio::test]
async fn a_signature_is_taken_for_five_minutes_and_may_be_of_the_second_before() {
    let (app, _) = gated().await;
    for (times, taken) in [
        ((NOW, NOW - 1), true),
        ((NOW, NOW - 2), false),
        ((NOW, NOW + 1), false),
        ((NOW - 300, NOW - 300), true),
        ((NOW + 300, NOW + 300), true),
        ((NOW - 301, NOW - 301), false),
        ((NOW + 301, NOW + 301), false),
        ((0, 0), false),
    ] {
        let answer = Request { times, ..Request::get("/customers") }.send(&app).await;
        if taken {
            answer.expect(200);
        } else {
            assert_refused(answer);
        }
    }
}

#[tokio::test]
async fn a_signature_expires_by_the_cells_clock() {
    let (app, clock) = gated().await;
    let request = Request::get("/customers");
    request.send(&app).await.expect(200);
    clock.advance(std::time::Duration::from_secs(301));
    assert_refused(request.send(&app).await);
}

#[tokio::test]
async fn the_path_is_signed_decoded() {
    let (app, _) = gated().await;
    let of =
        |decoded: &str| Request { decoded: decoded.to_owned(), ..Request::get("/customers/%61b%63?a=b") };
    of("/customers/abc").send(&app).await.expect_error(404, "NOT_FOUND");
    assert_refused(of("/customers/%61b%63").send(&app).await);
    assert_refused(of("/customers/abc?a=b").send(&app).await);
}

#[tokio::test]
async fn the_order_of_checks_is_route_signature_identity_size() {
    let (app, _) = gated().await;
    app.anonymous().get("/nothing").await.expect_error(404, "NOT_FOUND");
    app.anonymous().delete("/customers").await.expect_error(405, "METHOD_NOT_ALLOWED");
    let request = Request::post("/customers", r#"{"name":"A"}"#);
    assert_refused(request.send_by(&request.client(&app).with_token("bad").with("X-Signature", "00")).await);
    assert_unauthorized(request.send_by(&request.client(&app).with_token("bad")).await);
    assert_unauthorized(request.send_by(&request.client(&app).with("Authorization", "")).await);

    let large = Request::post("/customers", &format!("{{{}", " ".repeat(1 << 20)));
    assert_refused(large.send_by(&large.client(&app).with("X-Signature", "")).await);
    large.send(&app).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let largest = Request::post("/customers", &format!("{}{{}}", " ".repeat((1 << 20) - 2)));
    assert_unauthorized(largest.send_by(&largest.client(&app).with_token("bad")).await);
}

#[tokio::test]
async fn health_is_asked_without_a_signature() {
    let (app, _) = gated().await;
    for path in ["/health", "/health/", "/health/live", "/health/ready"] {
        app.anonymous().get(path).await.expect(200);
    }
    let metrics = app.anonymous().with("Accept", "text/plain").get("/health").await.expect(200);
    assert!(metrics.text.contains("crm_signature_failures_total"), "{}", metrics.text);
}

#[tokio::test]
async fn signatures_are_nothing_where_nobody_asks_for_them() {
    let app = Setup::default().with("CELL_SIGNING_SECRET", SECRET).start().await;
    let client = app.tenant("acme").with("X-Signature", "00").with("X-Signature-Time", "then");
    client.get("/customers").await.expect(200);
    client.create_customer("A").await;
}
