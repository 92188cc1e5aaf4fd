//! Bodies: media types, sizes, framing, and what counts as JSON (contract §2).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, TestApp, Wire, eventually};

const MIB: usize = 1 << 20;

/// A POST of a customer without its body.
fn post(app: &TestApp, request_id: &str) -> Wire {
    let request = app.wire("POST", "/customers").of("acme");
    request.header("X-Request-ID", request_id)
}

/// A customer of this name in a body of `length` bytes.
fn body_of(length: usize, name: &str) -> String {
    let body = json!({ "name": name }).to_string();
    let padding = " ".repeat(length - body.len());
    body + &padding
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json_in_utf_8() {
    let app = TestApp::start().await;
    for (index, content_type) in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=\"UTF-8\"",
        "application/json; version=1; charset=Utf-8",
        "application/json;",
    ]
    .into_iter()
    .enumerate()
    {
        let request = post(&app, &format!("good-{index}")).header("Content-Type", content_type);
        let body = json!({"name": format!("C{index}")}).to_string();
        let answer = request.sized(body).send().await;
        assert_eq!(answer.status, 201, "{content_type} {answer:?}");
    }
    for content_type in [
        "",
        "text/plain",
        "text/json",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=gbk",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=gbk",
        "application/merge-patch+json",
        "application/cloudevents+json",
    ] {
        let request = post(&app, "bad").header("Content-Type", content_type);
        let answer = request.sized(r#"{"name":"A"}"#).send().await;
        assert_eq!(answer.status, 415, "{content_type} {answer:?}");
        answer.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let untyped = post(&app, "bad").sized(r#"{"name":"A"}"#).send().await;
    untyped.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn a_patch_may_also_be_a_merge_patch_by_name() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    let patch = |content_type: &str| {
        let request = app.wire("PATCH", &format!("/customers/{id}")).of("acme");
        let request = request.header("X-Request-ID", content_type.replace(' ', ""));
        request.header("Content-Type", content_type).sized(r#"{"level":"A"}"#)
    };

    patch("application/merge-patch+json").send().await.expect(200);
    patch("application/merge-patch+json; charset=utf-8").send().await.expect(200);
    let wrong = patch("application/json-patch+json").send().await;
    wrong.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let wrong = patch("application/merge-patch+json; charset=gbk").send().await;
    wrong.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_taken_and_one_byte_more_is_413() {
    let app = TestApp::start().await;

    let exact = post(&app, "exact").json(body_of(MIB, "A"));
    exact.send().await.expect(201);
    let exact = post(&app, "exact-chunked").header("Content-Type", "application/json");
    exact.chunked(body_of(MIB, "B")).send().await.expect(201);

    let more = post(&app, "more").json(body_of(MIB + 1, "C"));
    more.send().await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let more = post(&app, "more-chunked").header("Content-Type", "application/json");
    let more = more.chunked(body_of(MIB + 1, "C"));
    more.send().await.expect_error(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let app = TestApp::start().await;
    for length in ["1048577", "99999999999"] {
        let request =
            post(&app, "r").header("Content-Type", "application/json").header("Content-Length", length);

        let answer = request.send().await; // not one byte of the body is sent

        answer.expect_error(413, "PAYLOAD_TOO_LARGE");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_off_at_the_limit() {
    let app = TestApp::start().await;
    let request = post(&app, "r").header("Content-Type", "application/json");

    let answer = request.chunked(body_of(20 * MIB, "A")).send().await;

    answer.expect_error(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_share_what_room_there_is_and_small_ones_need_none() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    // Nine bodies that take more than 64 MiB together, and do not come to an end.
    let (head, address) = (begin(&client, "/customers/import", 8 * MIB), app.address().to_owned());
    let nine = tokio::task::spawn_blocking(move || {
        let mut streams: Vec<_> = (0..9).map(|_| TcpStream::connect(&address).expect("connected")).collect();
        for stream in &mut streams {
            stream.write_all(head.as_bytes()).expect("taken");
            stream.write_all(&vec![b' '; 8 * MIB - 60_000]).expect("taken");
            stream.set_nonblocking(true).expect("set");
        }
        streams
    });
    let mut nine = nine.await.expect("no panic");
    eventually("one has no room", async || {
        nine.iter_mut().any(|stream| {
            let mut status = [0; 12];
            stream.read_exact(&mut status).is_ok() && &status == b"HTTP/1.1 429"
        })
    })
    .await;
    client.create_customer("A").await;

    drop(nine);
    let import = format!(r#"{{"items":[{{"name":"{}"}}]}}"#, "x".repeat(7 * MIB));
    eventually("there is room again", async || {
        client.send(Method::POST, "/customers/import", Some(import.clone())).await.status == 202
    })
    .await;
}

/// The head of a request whose body has this length.
fn begin(client: &Client, path: &str, length: usize) -> String {
    let headers: String =
        client.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nHost: crm\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_of_very_many_small_values_is_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (path, body) in [
        ("/customers/import", format!(r#"{{"items":[{}]}}"#, vec!["{\"a\":1}"; 100_000].join(","))),
        ("/customers", format!(r#"{{"name":"A","x":[{}]}}"#, vec!["1"; 200_000].join(","))),
    ] {
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let refused = client.post(&format!("{path}?lang=en"), &body).await.expect_error(400, "BAD_REQUEST");
        assert_eq!(refused.json()["message"], "The body holds too many values.");
    }
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_refused_body_still_sees_the_answer() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (client, status) in [(client.clone(), 413), (app.anonymous(), 401)] {
        let body = Some(body_of(12 * MIB, "A"));

        let answer = client.try_send(Method::POST, "/customers", body).await;

        assert_eq!(answer.expect("no reset").status, status);
    }
}

#[tokio::test]
async fn a_delete_may_bring_the_version_in_its_body() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = format!("/customers/{}", client.create_customer("A").await);
    let delete = |body: &str| client.send(Method::DELETE, &path, Some(body.to_owned()));

    delete(r#"{"ifVersion": 7}"#).await.expect_error(412, "VERSION_MISMATCH");
    delete(r#"{"ifVersion": "1"}"#).await.expect_error(400, "VALIDATION_FAILED");
    delete("{").await.expect_error(400, "BAD_REQUEST");
    let text = client.clone().with("Content-Type", "text/plain");
    let text = text.send(Method::DELETE, &path, Some(r#"{"ifVersion": 7}"#.to_owned())).await;
    text.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    delete(r#"{"ifVersion": 1}"#).await.expect(204);
}

#[tokio::test]
async fn the_framing_of_a_body_is_never_ambiguous() {
    let app = TestApp::start().await;
    let typed = |id: &str| post(&app, id).header("Content-Type", "application/json");

    // RFC 9112 §6.3: the chunks count, and the length beside them does not.
    let both = typed("both").header("Content-Length", "5").chunked(r#"{"name":"A"}"#);
    let both = both.send().await;
    assert!(both.status == 400 || both.json()["name"] == "A", "{both:?}");

    let lengths = typed("lengths").header("Content-Length", "12");
    let lengths = lengths.header("Content-Length", "5").body(r#"{"name":"B"}"#);
    lengths.send().await.expect(400);
    let no_length = typed("no-length").header("Content-Length", "+12").body(r#"{"name":"B"}"#);
    no_length.send().await.expect(400);
    let unknown = typed("unknown").header("Transfer-Encoding", "gzip").body(r#"{"name":"B"}"#);
    unknown.send().await.expect(400);

    let names = app.tenant("acme").get("/customers").await.expect(200).json();
    assert!(names["data"].as_array().expect("rows").iter().all(|row| row["name"] != "B"));
}

#[tokio::test]
async fn an_empty_body_is_not_a_resource() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    let patch = app.wire("PATCH", &format!("/customers/{id}")).of("acme");
    let patch = patch.header("X-Request-ID", "r").header("If-Match", "\"v1\"");
    for request in [post(&app, "r"), patch] {
        for body in ["", " \n"] {
            let answer = request.clone().json(body).send().await;
            answer.expect_error(400, "BAD_REQUEST");
        }
    }
}

#[tokio::test]
async fn ambiguous_or_dirty_json_is_refused() {
    let app = TestApp::start().await;
    let deep = format!(r#"{{"name":"A","remark":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let bomb = "[".repeat(500_000);
    let bodies: [&[u8]; 25] = [
        b"{",
        b"nonsense",
        b"null",
        b"[]",
        b"[{\"name\":\"A\"}]",
        b"\"text\"",
        b"1",
        b"{\"name\":\"A\"} {}",
        b"{\"name\":\"A\",}",
        b"{'name':'A'}",
        b"{\"name\":\"A\"/* why */}",
        b"{\"name\":\"A\",\"status\":NaN}",
        b"{\"name\":\"A\",\"name\":\"A\"}",
        b"{\"name\":\"A\",\"level\":\"x\",\"level\":null}",
        b"{\"name\":\"A\",\"n\\u0061me\":\"B\"}",
        b"{\"name\":\"A\\u0000\"}",
        b"{\"name\":\"A\\u0007\"}",
        b"{\"name\":\"A\\r\"}",
        b"{\"name\":\"A\\u007f\"}",
        b"{\"name\":\"A\\u0085\"}",
        b"{\"name\":\"A\",\"\\u0000\":1}",
        b"{\"name\":\"A\\ud800\"}",
        b"{\"name\":\"A\xff\"}",
        deep.as_bytes(),
        bomb.as_bytes(),
    ];
    for body in bodies {
        let answer = post(&app, "r").json(body).send().await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(answer.status, 400, "{shown} {answer:?}");
        let answer = answer.expect_error(400, "BAD_REQUEST");
        assert_eq!(answer.json()["message"], "请求体不是有效的 JSON", "{shown}");
    }
    let raw_tab = post(&app, "r").json("{\"name\":\"A\tB\"}").send().await;
    raw_tab.expect_error(400, "BAD_REQUEST");
}

#[tokio::test]
async fn text_of_any_script_with_tabs_and_newlines_is_kept() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let remark = "第一行\n\t第二行 \u{1f600} עברית e\u{301}";

    let created = client.post("/customers", &json!({"name": "A", "remark": remark})).await;

    let id = created.expect(201).json()["customerId"].clone();
    let path = format!("/customers/{}", id.as_str().expect("an id"));
    assert_eq!(client.get(&path).await.json()["remark"], remark);
    let pair = post(&app, "pair").json(r#"{"name":"\ud83d\ude00"}"#);
    assert_eq!(pair.send().await.expect(201).json()["name"], "\u{1f600}");
}
