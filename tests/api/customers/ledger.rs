//! What each write leaves beside its row: a journal entry and an event, in the same transaction (contract §8, §9, §10).

use serde_json::{Value, json};

use super::everything;
use crate::support::{Setup, TestApp, clock_at, db_select};

const AT: i64 = 1_795_334_400_000;
const JOURNAL: &str = "select at, actor, action, resource, record_id, version, request_id, trace_id, changes \
                       from journal order by seq";
const OUTBOX: &str = "select event_id, type, record_id, trace_id, at, data, state from outbox order by seq";

/// The rows with their JSON columns read.
fn read(mut rows: Vec<Value>, column: &str) -> Vec<Value> {
    for row in &mut rows {
        row[column] = serde_json::from_str(row[column].as_str().expect("text")).expect("JSON");
    }
    rows
}

#[tokio::test]
async fn every_write_is_journalled_with_who_what_and_from_where() {
    let app = Setup::default().at(clock_at("2026-11-22T08:00:00Z")).start().await;
    let client = app.tenant("acme").with("X-Trace-Id", "trace-7");
    let created = client.post_as("r1", "/customers", &everything()).await.expect(201).json();
    let id = created["customerId"].as_str().expect("an id");
    let path = format!("/customers/{id}");
    let changes = json!({"contactPhone": "13987654321", "level": null, "name": "新名称"});
    client.clone().with("X-Request-ID", "r2").patch(&path, &changes).await.expect(200);
    client.clone().with("X-Request-ID", "r3").delete(&path).await.expect(204);
    let directory = app.stop().await;

    let journal = read(db_select(directory.path(), "acme", JOURNAL).await, "changes");

    let entry = |action: &str, version: i64, request_id: &str, changes: Value| {
        json!({
            "at": AT, "actor": "tester", "action": action, "resource": "customer", "record_id": id,
            "version": version, "request_id": request_id, "trace_id": "trace-7", "changes": changes,
        })
    };
    let mut all = json!({});
    for (field, value) in everything().as_object().expect("an object") {
        all[field] = json!([null, value]);
    }
    all["contactPhone"] = json!([null, "861****5678"]);
    let changed = json!({
        "contactPhone": ["861****5678", "139****4321"], "level": ["A", null],
        "name": ["华为技术有限公司", "新名称"],
    });
    assert_eq!(
        journal,
        [
            entry("customer.create", 1, "r1", all),
            entry("customer.update", 2, "r2", changed),
            entry("customer.delete", 3, "r3", json!({})),
        ]
    );
}

#[tokio::test]
async fn creating_and_changing_leave_events_with_scalars_and_no_free_text() {
    let app = Setup::default().at(clock_at("2026-11-22T08:00:00Z")).start().await;
    let client = app.tenant("acme").with("X-Trace-Id", "trace-7");
    let created = client.post("/customers", &everything()).await.expect(201).json();
    let id = created["customerId"].as_str().expect("an id");
    let path = format!("/customers/{id}");
    client.patch(&path, &json!({"level": "B", "remark": "secret remark"})).await.expect(200);
    client.delete(&path).await.expect(204);
    let directory = app.stop().await;

    let outbox = read(db_select(directory.path(), "acme", OUTBOX).await, "data");

    let types: Vec<_> = outbox.iter().map(|row| &row["type"]).collect();
    assert_eq!(types, ["crm.customer.created", "crm.customer.updated"]);
    for (row, version) in outbox.iter().zip([1, 2]) {
        let event_id = row["event_id"].as_str().expect("an id");
        assert_eq!(uuid::Uuid::parse_str(event_id).expect("a UUID").get_version_num(), 7);
        assert_eq!(row["record_id"], id);
        assert_eq!(row["trace_id"], "trace-7");
        assert_eq!(row["at"], AT);
        let data = &row["data"];
        for (field, value) in [
            ("occurredAt", json!("2026-11-22T08:00:00.000Z")),
            ("customerId", json!(id)),
            ("name", json!("华为技术有限公司")),
            ("contactPhone", json!("861****5678")),
            ("contactEmail", json!("l***@example.com")),
            ("status", json!(2)),
            ("ownerId", json!("han.meimei")),
            ("lifecycle", json!("prospect")),
            ("level", json!(if version == 1 { "A" } else { "B" })),
            ("version", json!(version)),
        ] {
            assert_eq!(data[field], value, "{field}");
        }
        for text in ["address", "remark"] {
            assert_eq!(data.get(text), None);
        }
        assert!(!data.to_string().contains("secret remark"));
    }
    assert_ne!(outbox[0]["event_id"], outbox[1]["event_id"]);
    assert_eq!(outbox[0]["data"].get("changedFields"), None);
    assert_eq!(outbox[1]["data"]["changedFields"], json!(["level", "remark"]));
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let created = client.post("/customers", &everything()).await.expect(201).json();
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));
    for body in [json!({}), created, json!({"contactPhone": "861****5678"})] {
        client.patch(&path, &body).await.expect(200);
    }
    let directory = app.stop().await;

    assert_eq!(db_select(directory.path(), "acme", JOURNAL).await.len(), 1);
    assert_eq!(db_select(directory.path(), "acme", OUTBOX).await.len(), 1);
}

#[tokio::test]
async fn a_refused_write_leaves_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    client.create_customer("B").await;
    let path = format!("/customers/{id}");
    client.post("/customers", &json!({"name": "a"})).await.expect(400);
    client.patch(&path, &json!({"name": "b"})).await.expect(400);
    client.patch(&path, &json!({"level": "Z", "ifVersion": 9})).await.expect(412);
    client.patch(&path, &json!({"contactPhone": "*"})).await.expect(400);
    client.patch("/customers/unknown", &json!({"level": "Z"})).await.expect(404);
    client.delete("/customers/unknown").await.expect(404);
    client.delete(&format!("{path}?ifVersion=9")).await.expect(412);
    let directory = app.stop().await;

    assert_eq!(db_select(directory.path(), "acme", JOURNAL).await.len(), 2);
    assert_eq!(db_select(directory.path(), "acme", OUTBOX).await.len(), 2);
    assert_eq!(db_select(directory.path(), "acme", "select key from idempotency").await.len(), 2);
}

#[tokio::test]
async fn a_replayed_write_leaves_nothing_more() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for _ in 0..3 {
        client.post_as("r", "/customers", &json!({"name": "A"})).await.expect(201);
    }
    let directory = app.stop().await;

    assert_eq!(db_select(directory.path(), "acme", JOURNAL).await.len(), 1);
    assert_eq!(db_select(directory.path(), "acme", OUTBOX).await.len(), 1);
    assert_eq!(db_select(directory.path(), "acme", "select id from customers").await.len(), 1);
}

#[tokio::test]
async fn the_trace_comes_from_its_header_or_from_traceparent() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = "t".repeat(129);
    let rows = [
        (Some("own"), None, json!("own")),
        (None, Some(traceparent), json!("0af7651916cd43dd8448eb211c80319c")),
        (Some("own"), Some(traceparent), json!("own")),
        (None, None, Value::Null),
        (Some("two words"), None, Value::Null),
        (Some(&long), None, Value::Null),
    ];
    for (index, (trace_id, parent, _)) in rows.iter().enumerate() {
        let client = client
            .clone()
            .with("X-Request-ID", &format!("request-{index}"))
            .with("X-Trace-Id", trace_id.unwrap_or_default())
            .with("traceparent", parent.unwrap_or_default());
        client.create_customer(&format!("C{index}")).await;
    }
    let directory = app.stop().await;

    let told = async |sql: &str| -> Vec<Value> {
        let rows = db_select(directory.path(), "acme", sql).await;
        rows.into_iter().map(|row| row["trace_id"].clone()).collect()
    };
    let expected = rows.map(|(_, _, expected)| expected);
    assert_eq!(told(JOURNAL).await, expected);
    // Whoever gets an event follows it by the trace: a request that belongs to none is one of its own.
    let requests = (0..).map(|index| json!(format!("request-{index}")));
    let followed: Vec<_> = expected
        .into_iter()
        .zip(requests)
        .map(|(trace, id)| if trace.is_null() { id } else { trace })
        .collect();
    assert_eq!(told(OUTBOX).await, followed);
}
