//! Every call of the platform's web clients and tools, as they make it; `docs/API.md` lists them by these tests.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::double::Gateway;
use crate::gateway::{Passed, call};
use crate::support::{Answer, Setup, TestApp, token};

/// The platform's web app: a browser behind the gateway that accepts gzip and sends these headers with every request.
struct WebApp {
    app: TestApp,
    gateway: Gateway,
    authorization: String,
}

impl WebApp {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let gateway = Gateway::start(app.address()).await;
        Self { app, gateway, authorization: format!("Bearer {}", token("acme", "tester")) }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Passed {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed));
        let headers = [
            ("Authorization", self.authorization.as_str()),
            ("X-Tenant-Id", "acme"),
            ("X-Request-ID", &id),
            ("Accept-Encoding", "gzip"),
        ];
        let body = body.map(|body| body.to_string());
        call(&self.gateway, method, path, &headers, body).await.expect("it arrives whole")
    }

    async fn get(&self, path: &str) -> Value {
        let passed = self.call(Method::GET, path, None).await;
        assert_eq!(passed.status, 200, "{path}");
        passed.json()
    }
}

#[tokio::test]
async fn web_app_health() {
    assert_eq!(WebApp::start().await.get("/health").await, json!({"cell": "crm", "status": "up"}));
}

#[tokio::test]
async fn web_app_list_of_customers() {
    let web = WebApp::start().await;
    for number in 0..25 {
        web.app.tenant("acme").create_customer(&format!("客户{number}")).await;
    }
    for (page, rows) in [(1, 20), (2, 5)] {
        let list = web.get(&format!("/customers?page={page}&pageSize=20")).await;
        assert_eq!((list["data"].as_array().map(Vec::len), &list["total"]), (Some(rows), &json!(25)));
        // Its columns are the keys of the first row, in their order.
        let passed = web.call(Method::GET, &format!("/customers?page={page}&pageSize=20"), None).await;
        let text = String::from_utf8(passed.body).expect("text");
        let first = text.split_once("\"data\":[").expect("rows").1;
        let places: Vec<_> = [
            "customerId",
            "tenantId",
            "name",
            "contactPhone",
            "contactEmail",
            "status",
            "createdAt",
            "updatedAt",
        ]
        .map(|key| first.find(&format!("\"{key}\":")).expect("a column"))
        .into();
        assert!(places.is_sorted(), "{places:?}");
    }
}

#[tokio::test]
async fn web_app_one_customer() {
    let web = WebApp::start().await;
    let id = web.app.tenant("acme").create_customer("华为").await;
    let customer = web.get(&format!("/customers/{id}")).await;
    let fields = customer.as_object().expect("an object");
    assert_eq!(customer["name"], "华为");
    // Every key is drawn as text.
    assert!(fields.values().all(|value| !value.is_object() && !value.is_array()), "{customer}");
}

#[tokio::test]
async fn web_app_new_customer() {
    let web = WebApp::start().await;
    let form = |name: &str| json!({"name": name, "contactPhone": "", "contactEmail": ""});
    let created = web.call(Method::POST, "/customers", Some(form("中兴"))).await;
    assert_eq!((created.status, &created.json()["contactPhone"]), (201, &json!("")));
    // It shows the message as it is, to people who read Chinese.
    for (name, message) in [("", "请填写客户名称"), ("中兴", "客户名称已存在")] {
        let refused = web.call(Method::POST, "/customers", Some(form(name))).await;
        assert_eq!(refused.status, 400);
        let answer = refused.json();
        assert!(answer["message"].as_str().is_some_and(|said| said.contains(message)), "{answer}");
    }
}

#[tokio::test]
async fn web_app_export() {
    let web = WebApp::start().await;
    web.app.tenant("acme").create_customer("华为").await;
    let csv = web.call(Method::GET, "/export/customers?format=csv", None).await;
    assert_eq!((csv.status, csv.content_type.as_str()), (200, "text/csv; charset=utf-8"));
    let text = String::from_utf8(csv.body).expect("text");
    assert!(text.starts_with('\u{feff}') && text.contains("华为"), "{text}");
}

#[tokio::test]
async fn web_app_reports() {
    let web = WebApp::start().await;
    let client = web.app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let deal = json!({"customerId": customer, "title": "服务器", "amountCents": 100});
    client.post("/opportunities", &deal).await.expect(201);
    for path in ["/reports/sales-funnel", "/reports/customer-analysis"] {
        let report = web.get(&format!("{path}?startDate=2026-01-01&endDate=2099-12-31")).await;
        let series = report["series"].as_array().expect("a series");
        assert!(!series.is_empty(), "{report}");
        assert!(
            series.iter().all(|point| point["name"].is_string() && point["value"].is_number()),
            "{report}"
        );
    }
}

#[tokio::test]
async fn admin_app_documents() {
    let web = WebApp::start().await;
    // Proxied without a token.
    let page = web.app.anonymous().get("/docs").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html") && page.text.contains("/customers"));
    web.app.anonymous().get("/docs/").await.expect(200);
}

#[tokio::test]
async fn health_patrol() {
    let app = TestApp::start().await;
    let health = app.anonymous().get("/health").await.expect(200).json();
    assert_eq!((&health["cell"], &health["status"]), (&json!("crm"), &json!("up")));
}

#[tokio::test]
async fn prometheus_scrape() {
    let app = TestApp::start().await;
    app.tenant("acme").get("/customers").await.expect(200);
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for path in ["/health", "/metrics"] {
        let text = app.anonymous().with("Accept", accept).get(path).await.expect(200).text;
        for metric in
            ["http_requests_total{cell=\"crm\",", "http_request_duration_seconds_bucket{cell=\"crm\","]
        {
            assert!(text.contains(metric), "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn health_check_script() {
    let app = TestApp::start().await;
    app.anonymous().get("/health").await.expect(200);
    assert!(app.anonymous().get("/metrics").await.expect(200).text.contains("\"cell\":\"crm\""));
}

/// With the static tokens of the platform's tools.
async fn with_tools() -> TestApp {
    Setup::default().with("CRM_SERVICE_TOKENS", "smoke:smoke-test-0123456789:service").start().await
}

#[tokio::test]
async fn smoke_test() {
    // As it is shipped, nothing configured; and with a token of its own.
    let open = Setup::default().with("CRM_JWT_SECRET", "").start().await;
    let closed = with_tools().await;
    for (app, token) in [(open, "smoke-test"), (closed, "smoke-test-0123456789")] {
        let gateway = Gateway::start(app.address()).await;
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str()), ("X-Tenant-Id", "default")];
        let list = call(&gateway, Method::GET, "/customers", &headers, None).await.expect("whole");
        assert_eq!((list.status, &list.json()["total"]), (200, &json!(0)));
    }
}

#[tokio::test]
async fn core_flow_and_acceptance_tests() {
    let web = WebApp::start().await;
    let created = web.call(Method::POST, "/customers", Some(json!({"name": "验收客户"}))).await;
    assert!(created.status == 201 && created.json()["customerId"].is_string());
    assert_eq!(web.get("/customers").await["total"], 1);
    // Their second run takes the same name: it is told which customer has it.
    let again = web.call(Method::POST, "/customers", Some(json!({"name": "验收客户"}))).await;
    assert_eq!(again.json()["existing"]["customerId"], created.json()["customerId"]);
}

#[tokio::test]
async fn self_check() {
    let app = TestApp::start().await;
    let has_time = |answer: &Answer| assert!(answer.header("X-Response-Time").parse::<u64>().is_ok());
    has_time(&app.anonymous().get("/health").await.expect(200));
    let list = app.tenant("acme").get("/customers").await.expect(200);
    has_time(&list);
    assert!(list.json()["data"].is_array() && list.json()["total"].is_number());
    let unknown = app.tenant("acme").get("/nonexistent").await.expect(404).json();
    for key in ["code", "message", "details", "requestId"] {
        assert!(unknown[key].is_string(), "{unknown}");
    }
}

#[tokio::test]
async fn sync_worker_write_back() {
    let app = with_tools().await;
    let worker = app.anonymous().with_token("smoke-test-0123456789").with_tenant("acme");
    let worker = worker.with("X-Request-ID", "sync-1772323200000");
    // There are no contracts here: it logs the answer and goes on. 404 is no failure to the gateway's breaker.
    let answer = worker.send(Method::PATCH, "/contracts/C-1", Some(json!({"status": 2}).to_string())).await;
    answer.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn other_cells_events() {
    let app = with_tools().await;
    let sender = app.anonymous().with_token("smoke-test-0123456789").with_tenant("acme");
    let event = json!({
        "eventId": "e-1", "eventType": "oa.task.completed", "timestamp": "2026-03-01T00:00:00Z", "source": "oa",
        "traceId": "t-1", "data": {"tenantId": "acme", "taskId": "7", "title": "盖章"},
    });
    let received = sender.post("/events", &event).await.expect(202).json();
    assert_eq!((&received["eventId"], &received["state"]), (&json!("e-1"), &json!("ignored")));
}

#[tokio::test]
async fn load_test() {
    let app = Setup::default().with("CRM_JWT_SECRET", "").start().await;
    for number in 0..20 {
        let user =
            app.anonymous().with_token("perf-test-token").with_tenant(&format!("tenant-perf-{number}"));
        user.get("/health").await.expect(200);
        user.create_customer("压测").await;
        assert_eq!(user.get("/customers?page=1&pageSize=20").await.expect(200).json()["total"], 1);
    }
}

#[tokio::test]
async fn the_python_cells_own_tests() {
    let app = TestApp::start().await;
    let client = app.tenant("tenant-001");
    assert_eq!(client.get("/customers").await.expect(200).json()["total"], 0);
    app.anonymous().get("/customers").await.expect_error(401, "UNAUTHORIZED");
    let email = json!({"name": "A", "contactEmail": "a@example.com"});
    let created = client.post_as("r-1", "/customers", &email).await.expect(201).json();
    assert_eq!(created["contactEmail"], "a@example.com");
    client.post_as("r-1", "/customers", &json!({"name": "B"})).await.expect(409);
    let without = client.send(Method::POST, "/customers", Some(json!({"name": "C"}).to_string())).await;
    without.expect_error(400, "BAD_REQUEST");
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));
    let item = json!({"items": [{"customerId": created["customerId"], "title": "D", "amountCents": 1}]});
    let imported = client.post("/opportunities/import", &item).await.expect(202).json();
    assert_eq!((&imported["accepted"], &imported["created"]), (&json!(true), &json!(1)));
    let csv = client.get("/customers/export?format=csv").await.expect(200);
    assert!(csv.header("content-type").starts_with("text/csv"));
    client.delete(&path).await.expect(204);
    client.get(&path).await.expect_error(404, "NOT_FOUND");
    let auditor = crate::support::token_with(
        &json!({"sub": "a", "tenantId": "tenant-001", "role": "admin", "exp": 4_000_000_000_u64}),
    );
    let log = app.anonymous().with_token(&auditor).get("/audit-logs").await.expect(200).json();
    assert!(log["data"].as_array().is_some_and(|rows| !rows.is_empty()));
}
