//! Behind the platform's gateway: what passes through it, and what could close it.

pub mod double;

use reqwest::Method;
use serde_json::{Value, json};

use self::double::{Gateway, decompress};
use crate::battery::table::{Row, TABLE};
use crate::battery::world::World;
use crate::support::{Client, Setup, TestApp, token, token_with};

/// What a client got through the gateway, its body decoded.
pub struct Passed {
    pub status: u16,
    pub content_type: String,
    pub was_gzip: bool,
    pub body: Vec<u8>,
}

impl Passed {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Calls through the gateway; `None` if the body that arrived is not the one that was announced.
pub async fn call(
    gateway: &Gateway,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> Option<Passed> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let mut request = client.request(method, format!("{}{path}", gateway.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.header("Content-Type", "application/json").body(body);
    }
    let response = request.send().await.ok()?;
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (status, content_type) = (response.status().as_u16(), header("content-type"));
    let was_gzip = header("content-encoding") == "gzip";
    let mut body = response.bytes().await.ok()?.to_vec();
    if was_gzip && !body.is_empty() {
        if !body.starts_with(&[0x1f, 0x8b]) {
            return None; // plain, and labelled gzip
        }
        body = decompress(&body);
    }
    Some(Passed { status, content_type, was_gzip, body })
}

/// The caller that the battery's world was made for.
fn admin() -> String {
    let claims = json!({"sub": "tester", "tenantId": "acme", "role": "admin", "exp": 4_000_000_000_u64});
    format!("Bearer {}", token_with(&claims))
}

fn body_of(world: &World, row: &Row) -> Option<String> {
    let body = row.body().map(|body| world.fill(&body.to_string()));
    // The gateway wants a type, and so a body, on every POST.
    body.or_else(|| (row.method == "POST").then(|| "{}".to_owned()))
}

/// What may differ between two answers to the same request.
fn comparable(body: &[u8]) -> String {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    if let Some(object) = value.as_object_mut() {
        object.remove("requestId");
    }
    value.to_string()
}

#[tokio::test]
async fn every_routes_answer_passes_unharmed_for_gzip_and_identity_callers() {
    let world = World::new().await;
    let gateway = Gateway::start(world.app.address()).await;
    let token = admin();
    let (mut compressed, mut through) = (0, 0);
    for (number, row) in TABLE.iter().enumerate() {
        if row.path == "/" {
            continue; // the gateway knows no such path
        }
        let path = world.path(row);
        let mut answers = Vec::new();
        // The same request id each time: the write happens once, and its answer comes again.
        let id = format!("through-{number}");
        for encoding in ["gzip", "identity"] {
            let headers =
                [("Authorization", token.as_str()), ("X-Request-ID", &id), ("Accept-Encoding", encoding)];
            let passed = call(&gateway, row.method(), &path, &headers, body_of(&world, row)).await;
            let passed = passed.unwrap_or_else(|| panic!("{} arrived truncated ({encoding})", row.operation));
            assert!(passed.status < 300, "{}: {}", row.operation, String::from_utf8_lossy(&passed.body));
            compressed += u32::from(passed.was_gzip);
            through += 1;
            answers.push(passed);
        }
        if row.operation == "metrics" || row.operation == "receive_events" {
            continue; // these differ from call to call
        }
        assert_eq!(comparable(&answers[0].body), comparable(&answers[1].body), "{}", row.operation);
        let direct = Client::new(&format!("http://{}", world.app.address()));
        let direct = direct.with("Authorization", &token).with("X-Request-ID", &id);
        let direct = direct.send(row.method(), &path, body_of(&world, row)).await;
        assert_eq!(comparable(&answers[0].body), comparable(direct.text.as_bytes()), "{}", row.operation);
        if !direct.text.is_empty() {
            assert_eq!(answers[0].content_type, direct.header("content-type"), "{}", row.operation);
        }
    }
    assert!(compressed > 15 && through > 60, "{compressed} of {through} answers were compressed");
    assert_eq!(gateway.opened(), 0);
}

#[tokio::test]
async fn an_answer_with_a_length_would_arrive_truncated_which_is_why_there_is_none() {
    let app = Setup::default().with("CRM_HTTP_CONTENT_LENGTH", "1").start().await;
    let gateway = Gateway::start(app.address()).await;
    let token = format!("Bearer {}", token("acme", "tester"));
    for number in 0..5 {
        app.tenant("acme").create_customer(&format!("客户{number}")).await;
    }
    let list = async |encoding: &str| {
        let headers = [("Authorization", token.as_str()), ("Accept-Encoding", encoding)];
        call(&gateway, Method::GET, "/customers", &headers, None).await
    };
    assert!(list("identity").await.is_some());
    assert!(list("gzip").await.is_none(), "the double does what the gateway does");
}

#[tokio::test]
async fn a_post_whose_answer_is_lost_after_the_commit_ends_as_one_row_and_a_201() {
    let app = TestApp::start().await;
    let gateway = Gateway::start(app.address()).await;
    let token = format!("Bearer {}", token("acme", "tester"));
    for (number, cuts) in [1, 2].into_iter().enumerate() {
        gateway.cut(cuts);
        let before = gateway.attempts();
        let id = format!("lost-{number}");
        let headers = [("Authorization", token.as_str()), ("X-Request-ID", &id)];
        let body = json!({"name": format!("客户{number}")}).to_string();
        let answer = call(&gateway, Method::POST, "/customers", &headers, Some(body)).await.expect("whole");

        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(gateway.attempts() - before, cuts + 1);
        let rows = app.tenant("acme").get("/customers").await.expect(200).json();
        assert_eq!(rows["total"], number + 1);
        let created: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(rows["data"][0]["customerId"], created["customerId"]);
    }
    assert_eq!(gateway.opened(), 0);
}

#[tokio::test]
async fn a_delete_and_a_patch_whose_answers_are_lost_are_answered_as_the_first_time() {
    let app = TestApp::start().await;
    let gateway = Gateway::start(app.address()).await;
    let token = format!("Bearer {}", token("acme", "tester"));
    let path = format!("/customers/{}", app.tenant("acme").create_customer("A").await);
    for (method, body, status) in [
        (Method::PATCH, Some(json!({"level": "A", "ifVersion": 1}).to_string()), 200),
        (Method::DELETE, None, 204),
    ] {
        gateway.cut(1);
        let id = format!("lost-{method}");
        let headers = [("Authorization", token.as_str()), ("X-Request-ID", &id)];
        let answer = call(&gateway, method.clone(), &path, &headers, body).await.expect("whole");
        assert_eq!(answer.status, status, "{method}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[tokio::test]
async fn what_the_gateway_does_to_a_path_leads_nowhere_else() {
    let app = TestApp::start().await;
    let gateway = Gateway::start(app.address()).await;
    let token = format!("Bearer {}", token("acme", "tester"));
    let get = async |path: &str| {
        let headers = [("Authorization", token.as_str())];
        call(&gateway, Method::GET, path, &headers, None).await.expect("whole").status
    };
    assert_eq!(get("/customers%2F..%2Fopenapi.json").await, 200, "a public path, decoded and resolved");
    for path in
        ["/customers%2F..%2F..%2F..%2Fetc%2Fpasswd", "/%2e%2e/tenants", "/customers/a%2Fb", "/customers/%00"]
    {
        assert_eq!(get(path).await, 404, "{path}");
    }
    assert_eq!(get("/customers/").await, 200, "never a redirect");
}

/// Values that a client may put where a row has another.
fn hostile() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(i64::MAX),
        json!(1e300),
        json!("x".repeat(100_000)),
        json!("' or 1=1; drop table customers; --"),
        json!("%"),
        json!("{\"$gt\":\"\"}"),
        json!("2026-02-30"),
        json!("9999-12-31T23:59:59.999Z"),
        json!("\u{feff}\u{202e}客户"),
        json!([[]]),
        json!({"a": {"a": {"a": 1}}}),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_input_of_a_client_opens_the_breaker() {
    let world = World::new().await;
    let gateway = Gateway::start(world.app.address()).await;
    let token = admin();
    let mut sent = 0_u32;
    let mut send = async |method: Method, path: String, body: Option<String>, more: &[(&str, &str)]| {
        sent += 1;
        let id = format!("hostile-{sent}");
        let mut headers = vec![("Authorization", token.as_str()), ("X-Request-ID", id.as_str())];
        headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        headers.extend_from_slice(more);
        let answer = call(&gateway, method.clone(), &path, &headers, body).await;
        let answer = answer.unwrap_or_else(|| panic!("{method} {path} arrived truncated"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status < 500, "{method} {path}: {} {text}", answer.status);
        assert!(
            answer.status != 400
                || serde_json::from_str::<Value>(&text).is_ok_and(|body| body["code"].is_string())
        );
    };
    for row in TABLE.iter().filter(|row| row.path != "/") {
        let path = world.path(row);
        // Fields.
        for (field, _) in row.body().as_ref().and_then(Value::as_object).into_iter().flatten() {
            for value in hostile() {
                let mut body: Value =
                    serde_json::from_str(&body_of(&world, row).expect("a body")).expect("JSON");
                body[field] = value;
                send(row.method(), path.clone(), Some(body.to_string()), &[]).await;
            }
        }
        // Bodies.
        if !row.reads() {
            for body in ["", "{", "null", "[]", "\"\"", "{\"a\":1,\"a\":2}", "\u{0}", &"[".repeat(50_000)] {
                send(row.method(), path.clone(), Some(body.to_owned()), &[]).await;
            }
        }
        // Queries.
        for query in [
            "page=99999999999999999999",
            "page=-1",
            "pageSize=0",
            "cursor=%FF",
            "cursor=AAAA",
            "sort=;",
            "scope=mine",
            "keyword=%25",
            "createdFrom=x",
            "ifVersion=99999999999999999999",
            "a=%00&%FF=1",
            "lang=en&lang=zh",
            "startDate=9999-99-99",
            "periodDays=999999999999",
            "format=exe",
            "dimension=x",
        ] {
            let body = body_of(&world, row).filter(|_| !row.reads());
            send(row.method(), format!("{path}?{query}"), body, &[]).await;
        }
        // Headers that are forwarded.
        let long = "x".repeat(5000);
        for (name, value) in [
            ("Authorization", "Bearer"),
            ("Authorization", "Bearer a.b.c"),
            ("Authorization", "Basic !"),
            ("X-Tenant-Id", "../../etc/passwd"),
            ("X-Tenant-Id", "globex"),
            ("X-Tenant-Id", long.as_str()),
            ("X-Request-ID", long.as_str()),
            ("X-Trace-Id", long.as_str()),
        ] {
            let body = body_of(&world, row).filter(|_| !row.reads());
            send(row.method(), path.clone(), body, &[(name, value)]).await;
        }
    }
    assert!(sent > 1500, "{sent}");
    assert_eq!(gateway.opened(), 0);
    // And everything still works.
    let headers = [("Authorization", token.as_str())];
    for path in ["/customers", "/opportunities", "/follow-ups", "/contacts"] {
        let answer = call(&gateway, Method::GET, path, &headers, None).await.expect("whole");
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn more_than_can_be_served_is_429_which_the_gateway_does_not_repeat() {
    let app = Setup::default().with("CRM__STORAGE__QUEUE", "1").start().await;
    let gateway = Gateway::start(app.address()).await;
    let token = format!("Bearer {}", token("acme", "tester"));
    app.tenant("acme").create_customer("A").await;
    let calls = (0..60).map(async |number| {
        let id = format!("much-{number}");
        let headers = [("Authorization", token.as_str()), ("X-Request-ID", &id)];
        let body = json!({"name": format!("客户{number}")}).to_string();
        call(&gateway, Method::POST, "/customers", &headers, Some(body)).await.expect("whole").status
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(statuses.iter().all(|status| [201, 429].contains(status)), "{statuses:?}");
    assert_eq!(gateway.attempts(), 60, "none was repeated");
    assert_eq!(gateway.opened(), 0);
}
