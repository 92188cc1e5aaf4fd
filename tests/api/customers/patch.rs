//! Changing customers: JSON merge patch (RFC 7396).

use std::time::Duration;

use serde_json::{Value, json};

use super::{empty, everything, optional_fields};
use crate::support::{Client, Setup, TestApp, clock_at};

/// Creates a customer with a value in every field; returns its path and what was answered.
async fn create(client: &Client) -> (String, Value) {
    let created = client.post("/customers", &everything()).await.expect(201).json();
    let id = created["customerId"].as_str().expect("an id");
    (format!("/customers/{id}"), created)
}

/// `before` with other values in some fields.
fn with(before: &Value, changes: &Value) -> Value {
    let mut after = before.clone();
    for (field, value) in changes.as_object().expect("an object") {
        after[field] = value.clone();
    }
    after
}

#[tokio::test]
async fn an_absent_field_is_kept_and_a_value_replaces_one() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let (path, mut before) = create(&client).await;
    for (index, (field, value)) in [
        ("name", json!("另一个名称")),
        ("contactEmail", json!("new@example.com")),
        ("status", json!(1)),
        ("ownerId", json!("somebody.else")),
        ("lifecycle", json!("customer")),
        ("level", json!("B")),
        ("source", json!("referral")),
        ("industry", json!("steel")),
        ("region", json!("north")),
        ("address", json!("1 Main Street")),
        ("website", json!("example.org")),
        ("remark", json!("short")),
    ]
    .into_iter()
    .enumerate()
    {
        clock.advance(Duration::from_secs(60));

        let answer = client.patch(&path, &json!({field: value})).await.expect(200);

        let expected = with(
            &before,
            &json!({
                field: value,
                "version": index + 2,
                "updatedAt": format!("2026-11-22T08:{:02}:00.000Z", index + 1),
            }),
        );
        assert_eq!(answer.json(), expected, "{field}");
        assert_eq!(answer.header("etag"), format!("\"v{}\"", index + 2));
        assert_eq!(answer.header("location"), "");
        assert_eq!(client.get(&path).await.expect(200).text, answer.text);
        before = expected;
    }
    let phone = client.patch(&path, &json!({"contactPhone": "010-62345678"})).await;
    assert_eq!(phone.expect(200).json()["contactPhone"], "010****5678");
}

#[tokio::test]
async fn null_and_empty_text_clear_an_optional_field() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let (path, created) = create(&client).await;
    let mut version = 1;
    for (field, value) in optional_fields() {
        for nothing in [Value::Null, json!(""), json!("  ")] {
            client.patch(&path, &json!({field: value})).await.expect(200);

            let answer = client.patch(&path, &json!({field: nothing})).await.expect(200);

            assert_eq!(answer.json()[field], empty(field), "{field} {nothing}");
            let now = answer.json()["version"].as_i64().expect("a number");
            assert!(now > version, "{field}: version {now} after {version}");
            version = now;
        }
    }
    let last = client.get(&path).await.json();
    assert_eq!(last["name"], created["name"]);
}

#[tokio::test]
async fn null_and_empty_text_are_refused_for_a_required_field() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let (path, created) = create(&client).await;
    for (field, nothing, code) in [
        ("name", Value::Null, "BAD_REQUEST"),
        ("name", json!(""), "BAD_REQUEST"),
        ("name", json!(" \u{3000}"), "BAD_REQUEST"),
        ("status", Value::Null, "VALIDATION_FAILED"),
        ("status", json!(""), "VALIDATION_FAILED"),
        ("ownerId", Value::Null, "VALIDATION_FAILED"),
        ("ownerId", json!(""), "VALIDATION_FAILED"),
    ] {
        let answer = client.patch(&path, &json!({"level": "Z", field: nothing})).await;
        let answer = answer.expect_error(400, code).json();
        assert_eq!(answer["errors"][0]["field"], field);
    }
    assert_eq!(client.get(&path).await.json(), created, "nothing was changed");
}

#[tokio::test]
async fn null_keeps_every_field_if_so_configured_and_empty_text_still_clears() {
    let app = Setup::default().with("CRM_PATCH_NULL", "keep").start().await;
    let client = app.tenant("acme");
    let (path, created) = create(&client).await;
    let mut nulls = json!({"name": null, "status": null, "ownerId": null});
    for (field, _) in optional_fields() {
        nulls[field] = Value::Null;
    }

    let kept = client.patch(&path, &nulls).await.expect(200).json();

    assert_eq!(kept, created);
    for (field, _) in optional_fields() {
        let cleared = client.patch(&path, &json!({field: ""})).await.expect(200).json();
        assert_eq!(cleared[field], empty(field), "{field}");
    }
    let nameless = client.patch(&path, &json!({"name": ""})).await;
    nameless.expect_error(400, "BAD_REQUEST");
}

#[tokio::test]
async fn what_was_read_can_be_edited_and_written_back_whole() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let (path, created) = create(&client).await;
    let mut edited = client.get(&path).await.expect(200).json();
    edited["level"] = json!("edited");

    let answer = client.patch(&path, &edited).await.expect(200).json();

    let expected = json!({"level": "edited", "version": 2, "updatedAt": answer["updatedAt"]});
    assert_eq!(answer, with(&created, &expected));
}

#[tokio::test]
async fn a_patch_that_changes_nothing_keeps_version_and_time() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let (path, created) = create(&client).await;
    clock.advance(Duration::from_secs(60));
    for body in [
        json!({}),
        created.clone(),
        everything(),
        json!({"name": "  华为技术有限公司 "}),
        json!({"contactPhone": "861****5678"}),
        json!({"contactPhone": "+86 138-1234-5678"}),
        json!({"status": 2.0}),
        json!({"version": 7, "updatedAt": "2030-01-01T00:00:00Z", "tenantId": "other"}),
    ] {
        let answer = client.patch(&path, &body).await.expect(200);
        assert_eq!(answer.json(), created, "{body}");
        assert_eq!(answer.header("etag"), "\"v1\"");
    }
}

#[tokio::test]
async fn a_name_may_change_its_letter_case_only() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("acme gmbh").await;

    let answer = client.patch(&format!("/customers/{id}"), &json!({"name": "ACME GmbH"})).await;

    let answer = answer.expect(200).json();
    assert_eq!((&answer["name"], &answer["version"]), (&json!("ACME GmbH"), &json!(2)));
}

#[tokio::test]
async fn a_patch_with_one_wrong_field_changes_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let (path, created) = create(&client).await;
    for wrong in [
        json!({"level": "Z", "status": 9}),
        json!({"level": "Z", "contactPhone": "1*"}),
        json!({"level": "Z", "nickname": "x"}),
        json!({"level": "Z", "remark": "x".repeat(20_001)}),
    ] {
        client.patch(&path, &wrong).await.expect(400);
    }
    assert_eq!(client.get(&path).await.json(), created);
}

#[tokio::test]
async fn another_tenants_customer_cannot_be_changed_and_looks_like_an_unknown_one() {
    let app = TestApp::start().await;
    let (path, created) = create(&app.tenant("acme")).await;
    let other = app.tenant("other");
    other.create_customer("B").await;
    let unknown = "/customers/01890000-0000-7000-8000-000000000000";

    for (mine, theirs) in [
        (other.get(unknown).await, other.get(&path).await),
        (
            other.patch(unknown, &json!({"level": "Z"})).await,
            other.patch(&path, &json!({"level": "Z"})).await,
        ),
        (other.delete(unknown).await, other.delete(&path).await),
    ] {
        let (mut mine, mut theirs) = (mine.expect(404).json(), theirs.expect(404).json());
        mine["requestId"] = Value::Null;
        theirs["requestId"] = Value::Null;
        assert_eq!(mine, theirs);
    }
    assert_eq!(app.tenant("acme").get(&path).await.json(), created);
}
