//! What a request costs when it is alone: statements, each a hand-off to SQLite's thread and back, and commits, each a sync
//! of the WAL.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestApp;

/// A request, and its statements and commits.
type Costs = (&'static str, Method, &'static str, Option<Value>, [u64; 2]);

#[tokio::test]
async fn each_request_costs_as_many_statements_and_commits_as_it_is_known_to() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("first").await;
    let change = json!({"level": "A", "ifVersion": 1});
    let requests: [Costs; 10] = [
        ("a record", Method::GET, "/customers/{id}", None, [1, 0]),
        ("a page and its count", Method::GET, "/customers", None, [2, 0]),
        ("a page whose count is known", Method::GET, "/customers", None, [1, 0]),
        ("a page without a count", Method::GET, "/customers?count=none", None, [1, 0]),
        // Begin with look-up of the key and the row; ledger with commit.
        ("a new record", Method::POST, "/customers", Some(json!({"name": "second"})), [2, 1]),
        // Begin with look-up; rollback.
        ("its repetition", Method::POST, "/customers", Some(json!({"name": "second"})), [2, 0]),
        // Begin with look-up; the record as it was; the change; ledger with commit.
        ("a change", Method::PATCH, "/customers/{id}", Some(change.clone()), [4, 1]),
        ("its repetition", Method::PATCH, "/customers/{id}", Some(change), [2, 0]),
        // The record and what hangs on it, of three kinds; the trash, emptied of what is old.
        ("a deletion", Method::DELETE, "/customers/{id}", None, [8, 1]),
        ("a record that is gone", Method::GET, "/customers/{id}", None, [1, 0]),
    ];
    for (what, method, path, body, known) in requests {
        let path = path.replace("{id}", &customer);
        let before = [app.figure("statements").await, app.figure("write_commits").await];

        let client = client.clone().with("X-Request-ID", &format!("one-{method}"));
        let answer = client.send(method, &path, body.map(|body| body.to_string())).await;
        assert!(answer.status.is_success() || what.ends_with("gone"), "{what}: {}", answer.text);

        let after = [app.figure("statements").await, app.figure("write_commits").await];
        assert_eq!([after[0] - before[0], after[1] - before[1]], known, "statements and commits of {what}");
    }
    app.stop().await;
}
