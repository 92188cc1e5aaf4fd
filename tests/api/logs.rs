//! The log of the binary as collectors read it (`log.format=json`).

use std::fs::{self, File};

use serde_json::{Value, json};

use crate::support::{Cell, tenants_in};

#[tokio::test]
async fn every_line_is_one_flat_object_that_names_the_request_its_trace_and_its_tenant() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let mut command = Cell::command(directory.path());
    command
        .env("CRM__LOG__FILTER", "info")
        .env("CRM__LOG__FORMAT", "json")
        .stderr(File::create(&log).expect("a file"));
    let cell = Cell::spawn_quiet(&mut command, &log).await;
    let traced = |request_id: &str| {
        let client = cell.tenant("acme").with("X-Trace-Id", "trace-1");
        client.with("X-Request-ID", request_id)
    };
    traced("r-1").post("/customers", &json!({"name": "华为"})).await.expect(201);
    cell.anonymous().get("/health").await.expect(200);
    cell.anonymous().with("X-Request-ID", "r-2").get("/customers").await.expect(401);
    fs::remove_file(tenants_in(directory.path()).join("acme.db")).expect("removed");
    traced("r-3").post("/customers", &json!({"name": "B"})).await.expect(423);
    assert_eq!(cell.terminate(), Some(0));

    let text = fs::read_to_string(&log).expect("the log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        let members = line.as_object().expect("an object");
        for name in ["timestamp", "level", "target", "message"] {
            assert!(members[name].is_string(), "{line}");
        }
        assert_eq!(members["cell"], "crm", "{line}");
        assert!(members.values().all(|value| !value.is_object() && !value.is_array()), "{line}");
    }
    let ids = |line: &Value| ["request_id", "trace_id", "tenant_id"].map(|name| line[name].clone());
    let of = |request_id: &str, message: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["request_id"] == request_id && line["message"] == message).collect()
    };
    let [access] = of("r-1", "request")[..] else { panic!("{text}") };
    assert_eq!(ids(access), [json!("r-1"), json!("trace-1"), json!("acme")]);
    assert_eq!((&access["status"], &access["method"]), (&json!(201), &json!("POST")));
    assert_eq!(access["target"], "crm_cell::access");
    assert!(access["duration_ms"].is_f64(), "{access}");
    let [refused] = of("r-2", "request")[..] else { panic!("{text}") };
    assert_eq!(ids(refused), [json!("r-2"), Value::Null, Value::Null]);
    let [warning] = of("r-3", "tenant unavailable")[..] else { panic!("{text}") };
    assert_eq!(ids(warning), [json!("r-3"), json!("trace-1"), json!("acme")]);
    assert_eq!(warning["level"], "WARN");
    let of_the_tenant = |line: &&Value| line["message"] == "tenant quarantined";
    let quarantined = lines.iter().find(of_the_tenant).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(quarantined["tenant_id"], "acme");
}

#[tokio::test]
async fn a_refusal_of_the_gate_is_logged_with_the_request_and_without_what_it_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let mut command = Cell::command(directory.path());
    command
        .env("CRM__LOG__FILTER", "info")
        .env("CELL_VERIFY_SIGNATURE", "1")
        .env("CELL_SIGNING_SECRET", crate::support::SECRET)
        .env("CRM__LOG__FORMAT", "json")
        .stderr(File::create(&log).expect("a file"));
    let cell = Cell::spawn_quiet(&mut command, &log).await;
    let client = cell.tenant("canary").with("X-Signature", "canary").with("X-Signature-Time", "canary");
    client.with("X-Request-ID", "r-1").get("/customers/canary?canary=1").await.expect(403);
    assert_eq!(cell.terminate(), Some(0));

    let text = fs::read_to_string(&log).expect("the log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of_the_gate = |line: &&Value| line["target"] == "crm_cell::security";
    let [line] = lines.iter().filter(of_the_gate).collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!((&line["target"], &line["level"]), (&json!("crm_cell::security"), &json!("WARN")));
    assert_eq!((&line["request_id"], &line["reason"]), (&json!("r-1"), &json!("malformed")));
    assert!(!text.contains("canary"), "{text}");
}
