//! `X-Request-ID` and its alias (contract §2).

use serde_json::json;

use crate::support::{TestApp, Wire, WireAnswer};

/// What may stand in `X-Request-ID` but is none.
const INVALID: [&[u8]; 5] =
    [b"two words", b"tab\tinside", "\u{8bf7}\u{6c42}".as_bytes(), b"caf\xe9", &[b'x'; 201]];

fn created(wire: Wire, name: &str) -> Wire {
    wire.of("acme").json(json!({ "name": name }).to_string())
}

#[track_caller]
fn assert_refused(answer: WireAnswer, sentence: &str) {
    let answer = answer.expect_error(400, "BAD_REQUEST");
    assert_eq!(answer.json()["message"], sentence);
}

#[tokio::test]
async fn writes_without_a_request_id_are_refused_by_the_name_of_their_method() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    for (method, target) in [("POST", "/customers"), ("PATCH", &*format!("/customers/{id}"))] {
        for blank in [None, Some(""), Some("   "), Some("\"\"")] {
            let request = created(app.wire(method, target), "B");
            let request = match blank {
                Some(value) => request.header("X-Request-ID", value),
                None => request,
            };
            assert_refused(request.send().await, &format!("{method} 必须包含 X-Request-ID"));
        }
    }
}

#[tokio::test]
async fn an_invalid_request_id_is_refused_on_post_and_patch() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    for (method, target) in [("POST", "/customers"), ("PATCH", &*format!("/customers/{id}"))] {
        for value in INVALID {
            for name in ["X-Request-ID", "Idempotency-Key"] {
                let answer = created(app.wire(method, target), "B").header(name, value);
                assert_refused(answer.send().await, "X-Request-ID 必须是 1 至 200 个可见 ASCII 字符");
            }
        }
        let twice = created(app.wire(method, target), "B");
        let twice = twice.header("X-Request-ID", "a").header("X-Request-ID", "b");
        assert_refused(twice.send().await, "X-Request-ID 必须是 1 至 200 个可见 ASCII 字符");
    }
}

#[tokio::test]
async fn an_invalid_request_id_is_replaced_on_get_and_delete() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (index, value) in INVALID.into_iter().enumerate() {
        let id = client.create_customer(&format!("C{index}")).await;
        for (method, status) in [("GET", 200), ("DELETE", 204)] {
            let request = app.wire(method, &format!("/customers/{id}")).of("acme");
            let answer = request.header("X-Request-ID", value).send().await.expect(status);
            let fresh = answer.header("X-Request-Id").expect("an id");
            assert!(uuid::Uuid::parse_str(fresh).is_ok(), "{fresh}");
        }
    }
}

#[tokio::test]
async fn a_valid_request_id_comes_back_and_an_absent_one_is_made_up_each_time() {
    let app = TestApp::start().await;
    let longest = "!~".repeat(100);
    for value in ["a", "~req/2026-11-22#7", &longest] {
        let answer = app.wire("GET", "/customers").of("acme");
        let answer = answer.header("X-Request-ID", value).send().await.expect(200);
        assert_eq!(answer.header("X-Request-Id"), Some(value));

        let answer = created(app.wire("POST", "/customers"), value).header("X-Request-ID", value);
        let answer = answer.send().await.expect(201);
        assert_eq!(answer.header("X-Request-Id"), Some(value));
    }

    let first = app.wire("GET", "/health").send().await;
    let second = app.wire("GET", "/health").send().await;
    assert!(first.header("X-Request-Id").is_some_and(|id| !id.is_empty()));
    assert_ne!(first.header("X-Request-Id"), second.header("X-Request-Id"));
}

#[tokio::test]
async fn the_error_of_a_request_without_an_id_names_the_id_that_its_header_has() {
    let app = TestApp::start().await;

    let answer = app.wire("GET", "/nothing").send().await.expect(404);

    let id = answer.header("X-Request-Id").expect("an id");
    assert_eq!(answer.json()["requestId"], id);
}

#[tokio::test]
async fn idempotency_key_stands_for_the_request_id_and_wins_over_it() {
    let app = TestApp::start().await;
    let alone = created(app.wire("POST", "/customers"), "A").header("Idempotency-Key", "key-1");
    alone.send().await.expect(201);

    let again = created(app.wire("POST", "/customers"), "A")
        .header("X-Request-ID", "another")
        .header("Idempotency-Key", "key-1");
    let again = again.send().await.expect(201);

    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
}

#[tokio::test]
async fn quotes_around_an_idempotency_key_do_not_count() {
    let app = TestApp::start().await;
    let quoted = created(app.wire("POST", "/customers"), "A").header("Idempotency-Key", "\"key-1\"");
    quoted.send().await.expect(201);

    for (name, value) in
        [("Idempotency-Key", "key-1"), ("Idempotency-Key", "\"key-1\""), ("X-Request-ID", "key-1")]
    {
        let again = created(app.wire("POST", "/customers"), "A").header(name, value);
        let again = again.send().await.expect(201);
        assert_eq!(again.header("Idempotent-Replayed"), Some("true"), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_blank_idempotency_key_leaves_the_request_id_in_force() {
    let app = TestApp::start().await;
    for replayed in [None, Some("true")] {
        let request = created(app.wire("POST", "/customers"), "A")
            .header("Idempotency-Key", "\"\"")
            .header("X-Request-ID", "id-1");
        let answer = request.send().await.expect(201);
        assert_eq!(answer.header("Idempotent-Replayed"), replayed);
    }
}
