//! The error envelope (contract §3.1).

use serde_json::{Value, json};

use crate::support::{Setup, TestApp, Wire, WireAnswer, token, token_with};

/// One request for each kind of error that this service can be brought to, with its status and code.
struct Errors {
    app: TestApp,
    explicit: TestApp,
    no_platform: TestApp,
    id: String,
}

impl Errors {
    async fn start() -> Self {
        let app = Setup::default()
            .with("CRM__TENANTS__CREATE_BURST", "1")
            .with("CRM__TENANTS__CREATE_PER_MINUTE", "1")
            .start()
            .await;
        let client = app.tenant("acme");
        let body = json!({"name": "A", "contactPhone": "13812345678"});
        let created = client.post_as("used", "/customers", &body).await.expect(201);
        std::fs::write(app.tenants().join("damaged.db"), "").expect("written");
        Self {
            id: created.json()["customerId"].as_str().expect("an id").to_owned(),
            explicit: Setup::default().with("CRM_TENANT_PROVISION", "explicit").start().await,
            no_platform: Setup::default()
                .with("CRM_JWT_SECRET", "")
                .with("PLATFORM_AUTH_URL", "http://127.0.0.1:1")
                .start()
                .await,
            app,
        }
    }

    /// Each as a function of the query that is added, and of a further header.
    fn requests(&self, query: &str) -> Vec<(u16, &'static str, Wire)> {
        let wire = |method: &str, path: &str| {
            let separator = if path.contains('?') { '&' } else { '?' };
            self.app.wire(method, &format!("{path}{separator}{query}"))
        };
        let get = |path: &str| wire("GET", path).of("acme");
        let write = |method: &str, path: &str, body: &str| {
            wire(method, path).of("acme").header("X-Request-ID", "r").json(body)
        };
        let post = |body: &str| write("POST", "/customers", body);
        let patch = |body: &str| write("PATCH", &format!("/customers/{}", self.id), body);
        let readonly = token_with(
            &json!({"sub": "u", "tenantId": "acme", "role": "readonly", "exp": 4_000_000_000_u64}),
        );
        let reused = wire("POST", "/customers").of("acme");
        vec![
            (400, "BAD_REQUEST", post("{")),
            (400, "BAD_REQUEST", post("{}")),
            (400, "BAD_REQUEST", get("/customers?page=0")),
            (400, "VALIDATION_FAILED", post(r#"{"name":"B","status":3}"#)),
            (400, "UNKNOWN_PARAMETER", get("/customers?statsu=1")),
            (400, "BUSINESS_RULE_VIOLATION", post(r#"{"name":"A"}"#)),
            (400, "MASKED_VALUE", patch(r#"{"contactPhone":"1****"}"#)),
            (400, "INVALID_CURSOR", get("/customers?cursor=x")),
            (400, "INVALID_TENANT_ID", get("/customers").header("X-Tenant-Id", "../x")),
            (401, "UNAUTHORIZED", wire("GET", "/customers")),
            (
                403,
                "FORBIDDEN",
                wire("DELETE", "/customers/a").header("Authorization", format!("Bearer {readonly}")),
            ),
            (403, "TENANT_MISMATCH", get("/customers").header("X-Tenant-Id", "other")),
            (404, "NOT_FOUND", get("/nothing")),
            (404, "NOT_FOUND", get("/customers/unknown")),
            (404, "TENANT_NOT_FOUND", self.explicit.wire("GET", &format!("/customers?{query}")).of("acme")),
            (405, "METHOD_NOT_ALLOWED", wire("PUT", "/customers")),
            (409, "IDEMPOTENT_CONFLICT", reused.header("X-Request-ID", "used").json(r#"{"name":"C"}"#)),
            (412, "VERSION_MISMATCH", patch(r#"{"level":"A"}"#).header("If-Match", "\"v9\"")),
            (
                413,
                "PAYLOAD_TOO_LARGE",
                wire("POST", "/customers")
                    .of("acme")
                    .header("Content-Type", "application/json")
                    .header("Content-Length", "9999999"),
            ),
            (415, "UNSUPPORTED_MEDIA_TYPE", wire("POST", "/customers").of("acme").sized("{}")),
            (423, "TENANT_UNAVAILABLE", wire("GET", "/customers").of("damaged")),
            (
                429,
                "RATE_LIMIT",
                wire("POST", "/customers")
                    .of("one-too-many")
                    .header("X-Request-ID", "r")
                    .json(r#"{"name":"A"}"#),
            ),
            (
                503,
                "AUTH_UNAVAILABLE",
                self.no_platform.wire("GET", &format!("/customers?{query}")).of("acme"),
            ),
        ]
    }
}

fn is_chinese(sentence: &str) -> bool {
    sentence.chars().any(|c| ('\u{4e00}'..'\u{a000}').contains(&c))
}

#[track_caller]
fn assert_is_an_envelope(answer: &WireAnswer) {
    let body = answer.json();
    let object = body.as_object().expect("an object");
    for (name, value) in object {
        let fits = match name.as_str() {
            "code" | "message" | "requestId" => value.as_str().is_some_and(|text| !text.is_empty()),
            "details" | "retryAfter" => value.is_string(),
            "errors" => value.as_array().is_some_and(|errors| {
                let is_error = |error: &Value| {
                    let names: Vec<_> = error.as_object().expect("an object").keys().collect();
                    names == ["code", "field", "message"]
                        && error.as_object().expect("an object").values().all(Value::is_string)
                };
                !errors.is_empty() && errors.iter().all(is_error)
            }),
            "existing" => value.as_object().is_some_and(|ids| ids.values().all(Value::is_string)),
            _ => false,
        };
        assert!(fits, "{name} in {}", answer.body);
    }
    let mut after = 0;
    for name in ["code", "message", "details", "requestId", "errors", "existing", "retryAfter"] {
        let is_required = matches!(name, "code" | "message" | "details" | "requestId");
        match answer.body.find(&format!("\"{name}\":")) {
            Some(at) => {
                // A field's error holds `code` and `message` again, further on.
                assert!(at >= after, "{name} comes too early: {}", answer.body);
                after = at;
            }
            None => assert!(!is_required, "no {name} in {}", answer.body),
        }
    }
    assert_eq!(body["requestId"].as_str(), answer.header("X-Request-Id"), "{answer:?}");
}

#[tokio::test]
async fn every_error_has_the_envelope_and_is_chinese_unless_english_is_asked_for() {
    let errors = Errors::start().await;
    for (query, header, chinese) in [
        ("", None, true),
        ("lang=zh", Some("en"), true),
        ("", Some("zh-CN,zh;q=0.9,en;q=0.8"), true),
        ("", Some("de"), true),
        ("lang=en", None, false),
        ("lang=EN-us", Some("zh-CN"), false),
        ("_=1&lang=en", None, false),
        ("", Some("en"), false),
        ("", Some("en-GB,en;q=0.9,zh;q=0.8"), false),
    ] {
        for (status, code, request) in errors.requests(query) {
            let request = match header {
                Some(value) => request.header("Accept-Language", value),
                None => request,
            };
            let answer = request.send().await;
            assert_eq!(answer.status, status, "{code} {answer:?}");
            let answer = answer.expect_error(status, code);
            assert_is_an_envelope(&answer);
            let message = answer.json()["message"].as_str().expect("text").to_owned();
            assert_eq!(is_chinese(&message), chinese, "{query} {header:?} {code}: {message}");
        }
    }
}

#[tokio::test]
async fn errors_bring_the_headers_that_tell_a_client_what_to_do() {
    let errors = Errors::start().await;
    for (status, code, request) in errors.requests("") {
        let answer = request.send().await.expect_error(status, code);

        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(answer.header("Www-Authenticate"), challenge, "{code}");
        assert_eq!(answer.header("Allow").is_some(), status == 405, "{code}");
        let retries = matches!(status, 423 | 429 | 503);
        let seconds = answer.header("Retry-After");
        assert_eq!(seconds.is_some(), retries, "{code} {answer:?}");
        assert_eq!(answer.json()["retryAfter"].as_str(), seconds, "{code}");
        let is_positive = |seconds: &str| seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0);
        assert!(seconds.is_none_or(is_positive), "{code} {seconds:?}");
    }
}

#[tokio::test]
async fn every_broken_rule_of_a_body_is_reported_with_its_field() {
    let app = TestApp::start().await;
    let body = json!({
        "name": "x".repeat(201), "contactPhone": 1, "status": "1", "lifecycle": "friend",
        "level": [], "ownerId": {}, "nickname": "x",
    });
    let client = app.tenant("acme");

    let unknown = client.post("/customers", &json!({"name": "A", "nickname": 1, "b.c": 2})).await;
    let mut known = body.clone();
    known.as_object_mut().expect("an object").remove("nickname");
    let broken = client.post("/customers", &known).await;

    let fields = |answer: &Value| -> Vec<(String, String)> {
        let errors = answer["errors"].as_array().expect("errors");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect()
    };
    let unknown = unknown.expect_error(400, "VALIDATION_FAILED").json();
    let pair = |field: &str, code: &str| (field.to_owned(), code.to_owned());
    let mut names = fields(&unknown);
    names.sort();
    assert_eq!(names, [pair("b.c", "UNKNOWN_FIELD"), pair("nickname", "UNKNOWN_FIELD")]);
    let broken = broken.expect_error(400, "VALIDATION_FAILED").json();
    let mut found = fields(&broken);
    found.sort();
    assert_eq!(
        found,
        [
            pair("contactPhone", "WRONG_TYPE"),
            pair("level", "WRONG_TYPE"),
            pair("lifecycle", "NOT_ALLOWED"),
            pair("name", "TOO_LONG"),
            pair("ownerId", "WRONG_TYPE"),
            pair("status", "NOT_ALLOWED"),
        ]
    );
    for field in ["contactPhone", "level", "lifecycle", "name", "ownerId", "status"] {
        assert!(broken["details"].as_str().expect("text").contains(field), "{broken}");
    }
}

#[tokio::test]
async fn no_error_repeats_a_value_that_was_sent() {
    const SENT: &str = "jiangxiaobai";
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    let get = |target: &str| app.wire("GET", target).of("acme");
    let post = |body: String| {
        let request = app.wire("POST", "/customers").of("acme");
        request.header("X-Request-ID", "r").json(body)
    };
    let patch = |body: String| {
        let request = app.wire("PATCH", &format!("/customers/{id}")).of("acme");
        request.header("X-Request-ID", "r").json(body)
    };
    app.tenant("acme").create_customer(SENT).await;
    let requests = [
        get(&format!("/{SENT}")),
        get(&format!("/customers/{SENT}")),
        get(&format!("/customers?cursor={SENT}")),
        get(&format!("/customers?status={SENT}")),
        get(&format!("/customers?sort={SENT}")),
        get(&format!("/customers?page={SENT}")),
        get(&format!("/customers?createdFrom={SENT}")),
        get(&format!("/customers?unknown={SENT}")),
        get(&format!("/customers?level={SENT}&level={SENT}")),
        get("/customers").header("X-Tenant-Id", format!("{SENT}/")),
        get("/customers").header("X-Tenant-Id", SENT),
        app.wire("GET", "/customers").header("Authorization", format!("Bearer {SENT}")),
        post(format!(r#"{{"name":"{SENT}"}}"#)),
        post(format!(r#"{{"name":"{SENT}""#)),
        post(format!(r#"{{"name":"B","status":"{SENT}"}}"#)),
        post(format!(r#"{{"name":"B","lifecycle":"{SENT}"}}"#)),
        post(format!(r#"{{"name":"B","contactPhone":"{SENT}*"}}"#)),
        post(format!(r#"{{"name":"B","nickname":"{SENT}"}}"#)),
        patch(format!(r#"{{"name":"{SENT}"}}"#)),
        patch(format!(r#"{{"level":"A","ifVersion":"{SENT}"}}"#)),
        patch(r#"{"level":"A"}"#.to_owned()).header("If-Match", SENT),
        post(String::new()).header("Content-Type", format!("text/{SENT}")),
    ];
    for request in requests {
        let shown = format!("{request:?}");
        let answer = request.send().await;
        assert!((400..500).contains(&answer.status), "{shown} {answer:?}");
        let told = format!("{answer:?}");
        assert!(!told.contains(SENT), "{shown} {told}");
    }
}

#[tokio::test]
async fn a_token_never_comes_back() {
    let app = TestApp::start().await;
    let token = token("acme", "tester");
    for target in ["/customers", "/customers/unknown", "/nothing", "/customers?page=0"] {
        let request = app.wire("GET", target);
        let request = request.header("Authorization", format!("Bearer {token}"));
        let answer = request.send().await;
        assert!(!format!("{answer:?}").contains(&token[..20]), "{target}");
    }
}
