//! How many rows match.

use serde_json::{Value, json};

use super::stopped_with;
use crate::support::{Client, Setup, TestApp, token};

#[tokio::test]
async fn counts_stop_at_ten_thousand_unless_an_exact_one_is_asked_for() {
    let directory = stopped_with(
        10_050,
        "name, owner_id, status, level, created_at, updated_at",
        "printf('C%05d', i), 'u', 1 + (i <= 10000), iif(i <= 10001, 'A', 'B'), i, i",
    )
    .await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");

    for (query, total, capped) in [
        ("", json!(10_000), true),
        ("count=auto", json!(10_000), true),
        ("count=exact", json!(10_050), false),
        ("count=none", Value::Null, false),
        ("status=2", json!(10_000), false), // exactly as many as are counted
        ("level=A", json!(10_000), true),   // one more
        ("level=A&count=exact", json!(10_001), false),
        ("status=1", json!(50), false),
        ("level=C", json!(0), false),
    ] {
        let answer = client.get(&format!("/customers?pageSize=1&{query}")).await.expect(200).json();
        assert_eq!(answer["total"], total, "{query}");
        assert_eq!(answer.get("totalIsCapped"), capped.then_some(&json!(true)), "{query}");
    }
    let beyond = client.get("/customers?page=503&pageSize=20").await.expect(200).json();
    assert_eq!(beyond["data"].as_array().expect("rows").len(), 10, "rows that no count reached");
    for wrong in ["all", "1", "Exact", "true"] {
        let answer = client.get(&format!("/customers?count={wrong}")).await;
        answer.expect_error(400, "VALIDATION_FAILED");
    }
}

#[tokio::test]
async fn a_total_is_never_older_than_the_last_acknowledged_write() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let mine = app.tenant("acme").with("X-Data-Scope", "self");
    let other = client.clone().with_token(&token("acme", "somebody else")).with("X-Data-Scope", "self");
    let total = async |client: &Client, query: &str| {
        let answer = client.get(&format!("/customers?{query}")).await.expect(200);
        answer.json()["total"].as_u64().expect("a total")
    };
    for round in 0..20 {
        let id = client.create_customer(&format!("C{round}")).await;
        for _ in 0..2 {
            assert_eq!(total(&client, "").await, round + 1);
            assert_eq!(total(&client, "count=exact").await, round + 1);
            assert_eq!(total(&client, "status=2").await, 0);
            assert_eq!(total(&mine, "").await, round + 1);
            assert_eq!(total(&other, "").await, 0);
        }
        client.patch(&format!("/customers/{id}"), &json!({"status": 2})).await.expect(200);
        assert_eq!(total(&client, "status=2").await, 1);
        client.delete(&format!("/customers/{id}")).await.expect(204);
        assert_eq!((total(&client, "").await, total(&client, "status=2").await), (round, 0));
        client.post(&format!("/customers/{id}/restore"), &json!({})).await.expect(200);
        client.patch(&format!("/customers/{id}"), &json!({"status": 1})).await.expect(200);
    }
}
