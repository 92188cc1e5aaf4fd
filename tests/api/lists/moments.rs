//! Ranges of moments: half-open, with or without an offset.

use std::time::Duration;

use serde_json::json;

use super::names;
use crate::support::{Setup, TestApp, clock_at};

/// Customers created on both sides of midnight in Shanghai, one of them changed a day later.
async fn around_midnight(zone: &str) -> TestApp {
    let clock = clock_at("2026-11-21T15:59:59.999Z");
    let app = Setup::default().with("CRM_TIME_ZONE", zone).at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let evening = client.create_customer("evening").await;
    clock.advance(Duration::from_millis(1));
    client.create_customer("midnight").await;
    clock.advance(Duration::from_millis(1));
    client.create_customer("later").await;
    clock.advance(Duration::from_secs(24 * 3600));
    client.patch(&format!("/customers/{evening}"), &json!({"level": "A"})).await.expect(200);
    app
}

async fn assert_selects(app: &TestApp, query: &str, expected: &[&str]) {
    let found = names(&app.tenant("acme"), &format!("/customers?sort=createdAt&{query}")).await;
    assert_eq!(found, expected, "{query}");
}

#[tokio::test]
async fn ranges_hold_their_start_and_not_their_end() {
    let app = around_midnight("Asia/Shanghai").await;
    for (query, expected) in [
        ("createdFrom=2026-11-21T16:00:00Z", &["midnight", "later"][..]),
        ("createdFrom=2026-11-21T16:00:00.001Z", &["later"]),
        ("createdTo=2026-11-21T16:00:00Z", &["evening"]),
        ("createdTo=2026-11-21T16:00:00.001Z", &["evening", "midnight"]),
        ("createdFrom=2026-11-21T16:00:00Z&createdTo=2026-11-21T16:00:00.001Z", &["midnight"]),
        ("createdFrom=2026-11-21T16:00:00Z&createdTo=2026-11-21T16:00:00Z", &[]),
        ("createdFrom=2026-11-22T00:00:00Z&createdTo=2026-11-21T00:00:00Z", &[]),
        ("updatedFrom=2026-11-22T16:00:00Z", &["evening"]),
        ("updatedTo=2026-11-22T16:00:00Z", &["midnight", "later"]),
        ("updatedFrom=2026-11-22T16:00:00Z&createdFrom=2026-11-21T16:00:00Z", &[]),
    ] {
        assert_selects(&app, query, expected).await;
    }
}

#[tokio::test]
async fn dates_without_an_offset_are_those_of_the_configured_zone() {
    for (zone, query, expected) in [
        ("Asia/Shanghai", "createdFrom=2026-11-22", &["midnight", "later"][..]),
        ("Asia/Shanghai", "createdTo=2026-11-22", &["evening"]),
        ("Asia/Shanghai", "createdFrom=2026-11-22T00:00:00", &["midnight", "later"]),
        ("Asia/Shanghai", "createdTo=2026-11-22T00:00:00.001", &["evening", "midnight"]),
        ("Asia/Shanghai", "updatedFrom=2026-11-23", &["evening"]),
        ("UTC", "createdFrom=2026-11-22", &[]),
        ("UTC", "createdFrom=2026-11-21T16:00:00", &["midnight", "later"]),
        ("America/New_York", "createdFrom=2026-11-21T11:00:00", &["midnight", "later"]),
    ] {
        let app = around_midnight(zone).await;
        assert_selects(&app, query, expected).await;
    }
}

#[tokio::test]
async fn an_offset_may_be_sent_as_it_is_or_encoded() {
    let app = around_midnight("UTC").await;
    for moment in [
        "2026-11-22T00:00:00%2B08:00",
        "2026-11-22T00:00:00+08:00", // a plus sign means a space in a query
        "2026-11-22T00:00:00%2b08:00",
        "2026-11-21T11:00:00-05:00",
        "2026-11-21T16:00:00Z",
        "2026-11-21t16:00:00z",
        "2026-11-21T16:00:00.0000%2B00:00",
        "%202026-11-21T16:00:00Z%20",
    ] {
        assert_selects(&app, &format!("createdFrom={moment}"), &["midnight", "later"]).await;
    }
}

#[tokio::test]
async fn what_is_no_moment_is_refused_by_its_name() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for name in ["createdFrom", "createdTo", "updatedFrom", "updatedTo"] {
        for wrong in [
            "today",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "22.11.2026",
            "2026-11-22T25:00:00Z",
            "1795334400000",
            "2026-11-22T00:00:00%2B99:00",
            "2026-11-22T00:00",
            "10000-01-01",
        ] {
            let answer = client.get(&format!("/customers?{name}={wrong}")).await;
            let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
            assert!(answer["message"].as_str().expect("text").contains(name), "{wrong}: {answer}");
        }
    }
}
