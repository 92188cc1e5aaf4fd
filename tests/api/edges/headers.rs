//! Headers and framing of every answer (contract §3).

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Setup, TestApp, WireAnswer, db_execute};

#[track_caller]
fn assert_has_the_headers_of_every_answer(answer: &WireAnswer) {
    let header = |name: &str| answer.header(name).unwrap_or_else(|| panic!("no {name} in {answer:?}"));
    let time = header("X-Response-Time");
    assert!(time.parse::<u64>().is_ok_and(|millis| millis < 10_000), "X-Response-Time: {time}");
    assert_eq!(header("X-Request-Id"), "asked-as-this");
    assert_eq!(header("Cache-Control"), "private, no-store");
    assert_eq!(header("Vary"), "Authorization, X-Tenant-Id");
    assert_eq!(header("X-Content-Type-Options"), "nosniff");
}

#[tokio::test]
async fn every_answer_carries_the_headers_whatever_its_status() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    let path = format!("/customers/{id}");
    let sent = |method: &str, target: &str| app.wire(method, target).header("X-Request-ID", "asked-as-this");
    let large = "x".repeat((1 << 20) + 1);

    let requests = [
        (200, sent("GET", "/health")),
        (200, sent("GET", "/")),
        (200, sent("HEAD", "/metrics")),
        (200, sent("GET", "/customers").of("acme")),
        (200, sent("GET", &path).of("acme")),
        (201, sent("POST", "/customers").of("acme").json(r#"{"name":"B"}"#)),
        (200, sent("PATCH", &path).of("acme").json(r#"{"level":"A"}"#)),
        (400, sent("GET", "/customers?pageSize=0").of("acme")),
        (400, sent("POST", "/customers").of("acme").json("{")),
        (401, sent("GET", "/customers")),
        (403, sent("GET", "/customers").of("acme").header("X-Tenant-Id", "other")),
        (404, sent("GET", "/no/such/path")),
        (404, sent("GET", "/customers/unknown").of("acme")),
        (405, sent("PUT", &path)),
        (409, sent("POST", "/customers").of("acme").json(r#"{"name":"C"}"#)),
        (412, sent("DELETE", &path).of("acme").header("If-Match", "\"v9\"")),
        (413, sent("POST", "/customers").of("acme").json(&large)),
        (415, sent("POST", "/customers").of("acme").sized("{}")),
        (204, sent("DELETE", &path).of("acme")),
    ];
    for (status, request) in requests {
        let answer = request.send().await.expect(status);
        assert_has_the_headers_of_every_answer(&answer);
    }
}

#[tokio::test]
async fn an_answer_to_a_defect_carries_the_headers_and_tells_nothing_of_it() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("A").await;
    let directory = app.stop().await;
    db_execute(directory.path(), "acme", "drop table customers").await;
    let app = Setup::default().over(&directory).start().await;

    let request = app.wire("GET", "/customers").of("acme");
    let answer = request.header("X-Request-ID", "asked-as-this").send().await;

    let answer = answer.expect_error(500, "INTERNAL_ERROR");
    assert_has_the_headers_of_every_answer(&answer);
    for inside in ["table", "sql", "SQL", "customers", "crm_cell", ".db"] {
        assert!(!answer.body.contains(inside), "{}", answer.body);
    }
}

#[tokio::test]
async fn names_of_headers_are_in_title_case_on_the_wire() {
    let app = TestApp::start().await;

    let created = app.wire("POST", "/customers").of("acme");
    let created = created.header("X-Request-ID", "r").json(r#"{"name":"A"}"#).send().await;
    let denied = app.wire("GET", "/customers").send().await;
    let no_method = app.wire("PUT", "/customers").send().await;

    for (answer, own) in
        [(&created, "Location"), (&created, "Etag"), (&denied, "Www-Authenticate"), (&no_method, "Allow")]
    {
        assert!(answer.header(own).is_some(), "{answer:?}");
        for (name, _) in &answer.headers {
            let title_case = name.split('-').all(|word| {
                let (first, rest) = word.split_at(1);
                first == first.to_uppercase() && rest == rest.to_lowercase()
            });
            assert!(title_case, "{name}");
        }
    }
}

#[tokio::test]
async fn a_body_of_256_bytes_is_chunked_and_one_of_255_has_a_length() {
    let app = TestApp::start().await;
    let plain = Setup::default().with("CRM_HTTP_CONTENT_LENGTH", "1").start().await;
    let answer_of = async |app: &TestApp, length: usize| {
        // The answer holds the request's id, so its length can be chosen.
        let shortest = app.wire("GET", "/nothing").header("X-Request-ID", "i");
        let padding = length - shortest.send().await.body.len();
        let request = app.wire("GET", "/nothing");
        let answer = request.header("X-Request-ID", "i".repeat(1 + padding)).send().await;
        assert_eq!(answer.body.len(), length);
        answer
    };

    let short = answer_of(&app, 255).await;
    let long = answer_of(&app, 256).await;
    let long_but_plain = answer_of(&plain, 256).await;

    assert_eq!(short.header("Content-Length"), Some("255"));
    assert_eq!(short.header("Transfer-Encoding"), None);
    assert_eq!(long.header("Content-Length"), None);
    assert_eq!(long.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(long_but_plain.header("Content-Length"), Some("256"));
    assert_eq!(long_but_plain.header("Transfer-Encoding"), None);
}

#[tokio::test]
async fn lists_resources_and_pages_are_chunked_unless_content_length_is_asked_for() {
    for (switch, framing) in [("0", "Transfer-Encoding"), ("1", "Content-Length")] {
        let app = Setup::default().with("CRM_HTTP_CONTENT_LENGTH", switch).start().await;
        let id = app.tenant("acme").create_customer("A").await;
        for target in ["/customers", &format!("/customers/{id}"), "/", "/metrics"] {
            let answer = app.wire("GET", target).of("acme").send().await.expect(200);
            assert!(answer.header(framing).is_some(), "{switch} {target} {answer:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_compressed_unless_configured() {
    let plain = TestApp::start().await;
    let compressing = Setup::default().with("CRM_HTTP_COMPRESS", "1").start().await;
    let ask = async |app: &TestApp| {
        let request = app.wire("GET", "/metrics").header("Accept-Encoding", "gzip");
        request.send().await.expect(200)
    };

    let as_it_is = ask(&plain).await;
    let compressed = ask(&compressing).await;

    assert_eq!(as_it_is.header("Content-Encoding"), None);
    assert_eq!(as_it_is.json()["cell"], "crm");
    assert_eq!(compressed.header("Content-Encoding"), Some("gzip"));
    assert!(!compressed.body.contains("crm"));
}

#[tokio::test]
async fn compressed_answers_vary_by_encoding_too() {
    let app = Setup::default().with("CRM_HTTP_COMPRESS", "1").start().await;
    let request = app.wire("GET", "/metrics").header("Accept-Encoding", "gzip");

    let answer = request.send().await.expect(200);

    let vary: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "Vary")
        .map(|(_, value)| value.to_lowercase())
        .collect();
    let vary = vary.join(", ");
    for name in ["authorization", "x-tenant-id", "accept-encoding"] {
        assert!(vary.contains(name), "{vary}");
    }
}

#[tokio::test]
async fn json_says_that_it_is_json_in_utf_8() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    let answers = [
        client.get("/customers").await.expect(200),
        client.get(&format!("/customers/{id}")).await.expect(200),
        client.post("/customers", &json!({"name": "B"})).await.expect(201),
        client.get("/nothing").await.expect(404),
        client.get("/health").await.expect(200),
    ];
    for answer in answers {
        assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    }
}

#[tokio::test]
async fn a_connection_that_rests_for_longer_than_gateways_let_it_is_not_closed() {
    let app = TestApp::start().await;
    let mut stream = TcpStream::connect(app.address()).await.expect("connected");
    for pause in [Duration::ZERO, Duration::from_secs(21)] {
        tokio::time::sleep(pause).await;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: cell\r\n\r\n").await.expect("sent");
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "after {pause:?}");
    }
}
