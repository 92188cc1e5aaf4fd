//! How many rows match.

use serde_json::{Value, json};

use super::stopped_with;
use crate::support::Setup;

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
