//! What a repeated request is answered, and for how long.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{assert_replays, path_of, send};
use crate::support::{Setup, TestApp, clock_at, db_select};

#[tokio::test]
async fn a_repeated_post_gets_the_same_bytes_and_creates_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A", "contactPhone": "13812345678"});

    let first = client.post_as("r", "/customers", &body).await.expect(201);
    let again = client.post_as("r", "/customers", &body).await;

    assert_replays(&again, &first);
    assert_eq!(again.header("etag"), "\"v1\"");
    assert_ne!(again.header("location"), "");
    assert_eq!(client.get("/customers").await.json()["total"], 1);
}

#[tokio::test]
async fn the_answer_stays_the_same_after_the_record_changed_or_was_deleted() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A"});
    let first = client.post_as("r", "/customers", &body).await.expect(201);
    let path = path_of(&first);

    client.patch(&path, &json!({"name": "B"})).await.expect(200);
    let after_change = client.post_as("r", "/customers", &body).await;
    client.delete(&path).await.expect(204);
    let after_delete = client.post_as("r", "/customers", &body).await;
    client.create_customer("A").await;
    let after_the_name_was_taken = client.post_as("r", "/customers", &body).await;

    for again in [after_change, after_delete, after_the_name_was_taken] {
        assert_replays(&again, &first);
    }
    client.get(&path).await.expect(404);
}

#[tokio::test]
async fn the_answer_outlives_a_restart() {
    let app = TestApp::start().await;
    let body = json!({"name": "A"});
    let first = app.tenant("acme").post_as("r", "/customers", &body).await.expect(201);
    let directory = app.stop().await;
    let app = Setup::default().over(&directory).start().await;

    let again = app.tenant("acme").post_as("r", "/customers", &body).await;

    assert_replays(&again, &first);
}

#[tokio::test]
async fn a_patch_and_a_delete_are_replayed_too() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = format!("/customers/{}", client.create_customer("A").await);

    let patched = send(&client, Method::PATCH, &path, r#"{"level":"A","ifVersion":1}"#).await.expect(200);
    client.patch(&path, &json!({"level": "B"})).await.expect(200);
    let again = send(&client, Method::PATCH, &path, r#"{"level":"A","ifVersion":1}"#).await;
    assert_replays(&again, &patched);
    assert_eq!(client.get(&path).await.json()["level"], "B", "a replay changes nothing");

    let deleted = send(&client, Method::DELETE, &path, "").await.expect(204);
    let again = send(&client, Method::DELETE, &path, "").await;
    assert_replays(&again, &deleted);
    client.delete(&path).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_patch_that_changed_nothing_is_replayed_although_it_would_change_something_now() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let path = format!("/customers/{}", client.create_customer("A").await);
    let nothing = send(&client, Method::PATCH, &path, r#"{"name":"A"}"#).await.expect(200);
    client.patch(&path, &json!({"name": "B"})).await.expect(200);

    let again = send(&client, Method::PATCH, &path, r#"{"name":"A"}"#).await;

    assert_replays(&again, &nothing);
    assert_eq!(client.get(&path).await.json()["name"], "B");
}

#[tokio::test]
async fn an_id_is_free_again_after_seven_days() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let first = client.post_as("r", "/customers", &json!({"name": "A"})).await.expect(201);

    clock.advance(Duration::from_secs(7 * 24 * 3600 - 1));
    assert_replays(&client.post_as("r", "/customers", &json!({"name": "A"})).await, &first);
    clock.advance(Duration::from_secs(2));
    let second = client.post_as("r", "/customers", &json!({"name": "B"})).await.expect(201);

    assert_eq!(second.header("idempotent-replayed"), "");
    assert_replays(&client.post_as("r", "/customers", &json!({"name": "B"})).await, &second);
}

#[tokio::test]
async fn every_repeat_is_a_conflict_if_so_configured() {
    let app = Setup::default().with("CRM_IDEMPOTENCY", "conflict").start().await;
    let client = app.tenant("acme");
    let first = client.post_as("r", "/customers", &json!({"name": "A"})).await.expect(201);
    let path = path_of(&first);

    for body in [json!({"name": "A"}), json!({"name": "B"})] {
        let again = client.post_as("r", "/customers", &body).await;
        again.expect_error(409, "IDEMPOTENT_CONFLICT");
    }
    send(&client, Method::PATCH, &path, r#"{"level":"A"}"#).await.expect(200);
    let again = send(&client, Method::PATCH, &path, r#"{"level":"A"}"#).await;
    again.expect_error(409, "IDEMPOTENT_CONFLICT");
    send(&client, Method::DELETE, &path, "").await.expect(204);
    let again = send(&client, Method::DELETE, &path, "").await;
    again.expect_error(409, "IDEMPOTENT_CONFLICT");
    client.post_as("s", "/customers", &json!({"name": ""})).await.expect(400);
    client.post_as("s", "/customers", &json!({"name": "B"})).await.expect(201);
}

#[tokio::test]
async fn only_successes_are_kept_and_no_body_is() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"name": "A", "remark": "spoken in confidence"});
    client.post_as("r1", "/customers", &body).await.expect(201);
    client.post_as("r2", "/customers", &body).await.expect(400);
    client.post_as("r1", "/customers", &json!({"name": "B"})).await.expect(409);
    let directory = app.stop().await;

    let kept = db_select(directory.path(), "acme", "select key, fingerprint from idempotency").await;

    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["key"], "POST /customers r1 tester");
    assert!(!kept[0]["fingerprint"].to_string().contains("confidence"));
}
