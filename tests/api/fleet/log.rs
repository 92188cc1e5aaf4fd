//! The operators' log, and what is said of one request.

use std::fs;

use serde_json::json;

use super::Operator;
use crate::support::Cell;

#[tokio::test]
async fn whatever_operators_do_is_logged_and_who_changes_the_log_is_found_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["tenants", "suspend", "acme", "--reason", "欠费"]);
    operator.refused(&["tenants", "delete", "nobody"], 3);
    operator.ok(&["backup", "--all"]);

    let log = operator.ok(&["audit", "list"]);

    let items = log["items"].as_array().expect("a list");
    let said: Vec<_> =
        items.iter().map(|entry| (entry["action"].as_str(), entry["outcome"].as_str())).collect();
    assert_eq!(said[0], (Some("backup"), Some("done")));
    assert!(said[2].1.is_some_and(|outcome| outcome.contains("no tenant nobody")), "{said:?}");
    assert_eq!(said[4..], [(Some("tenant.suspend"), Some("done")), (Some("tenant.suspend"), Some("begun"))]);
    let begun = &items[5];
    assert_eq!((&begun["operator"], &begun["via"]), (&json!("zhang"), &json!("socket")));
    assert_eq!((&begun["tenant"], &begun["detail"]["reason"]), (&json!("acme"), &json!("欠费")));
    assert_eq!(operator.ok(&["audit", "list", "acme"])["items"].as_array().map(Vec::len), Some(2));

    let whole = operator.ok(&["audit", "verify"]);
    assert_eq!(whole["entries"], 6);
    let head = whole["hash"].as_str().expect("a hash");
    operator.ok(&["audit", "verify", "--head", head]);
    let path = directory.path().join("crm_cell/operators.jsonl");
    let text = fs::read_to_string(&path).expect("the log");
    fs::write(&path, text.replacen("欠费", "没事", 1)).expect("written");
    let said = operator.refused(&["audit", "verify"], 5);
    assert!(said.contains("line 1: it was changed"), "{said}");
    let last = text.trim_end().rfind('\n').expect("lines");
    fs::write(&path, &text[..=last]).expect("written");
    let said = operator.refused(&["audit", "verify"], 5);
    assert!(said.contains("cut off while the cell runs"), "{said}");
    assert_eq!(cell.terminate(), Some(0));
    operator.ok(&["audit", "verify"]);
    operator.refused(&["audit", "verify", "--head", head], 5);
}

#[tokio::test]
async fn nothing_is_done_whose_log_entry_would_go_into_a_file_that_is_not_there_any_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "acme"]);
    let log = directory.path().join("crm_cell/operators.jsonl");
    let aside = directory.path().join("aside");
    fs::rename(&log, &aside).expect("moved");
    for put_back in [false, true] {
        if put_back {
            fs::write(&log, fs::read(&aside).expect("the log"))
                .expect("another file, as an editor leaves it");
        }
        let said = operator.refused(&["tenants", "suspend", "acme"], 5);
        assert!(said.contains("replaced, removed or cut off") && said.contains("restart the cell"), "{said}");
        assert_eq!(cell.tenant("acme").get("/customers").await.status, 200, "it was not done");
        operator.refused(&["audit", "verify"], 5);
    }
    fs::rename(&aside, &log).expect("put back");
    operator.ok(&["tenants", "suspend", "acme"]);
    assert_eq!(operator.ok(&["audit", "verify"])["entries"], 4);
}

#[tokio::test]
async fn a_request_is_explained_by_the_running_cell_and_afterwards_by_the_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let made =
        cell.tenant("acme").with("X-Request-ID", "r-1").post("/customers", &json!({ "name": "华为" })).await;
    cell.tenant("acme").with("X-Request-ID", "r-2").get("/customers").await;
    cell.anonymous().with("X-Request-ID", "r-3").get("/customers").await;

    let explained = operator.ok(&["explain", "r-1"]);

    let answered = &explained["answered"][0];
    assert_eq!((&answered["method"], &answered["status"]), (&json!("POST"), &json!(201)), "{explained}");
    let caller = &answered["caller"];
    assert_eq!((&caller["tenant"], &caller["user"]), (&json!("acme"), &json!("tester")));
    assert_eq!((&caller["source"], &caller["unbound"]), (&json!("jwt"), &json!(false)));
    assert!(answered["durationMs"].as_f64() >= caller["identityMs"].as_f64());
    let left = &explained["left"][0];
    assert_eq!(left["journal"][0]["action"], "customer.create");
    assert_eq!(left["journal"][0]["recordId"], made.json()["customerId"]);
    assert_eq!(left["events"][0]["type"], "crm.customer.created");
    let read = operator.ok(&["explain", "r-2"]);
    assert_eq!((&read["answered"][0]["status"], &read["left"]), (&json!(200), &json!([])));
    let refused = operator.ok(&["explain", "r-3"]);
    assert_eq!(
        (&refused["answered"][0]["status"], &refused["answered"][0]["caller"]),
        (&json!(401), &json!(null))
    );
    operator.refused(&["explain", "r-4"], 3);

    assert_eq!(cell.terminate(), Some(0));
    operator.refused(&["explain", "r-1"], 3);
    for arguments in [&["explain", "r-1", "--tenant", "acme"][..], &["explain", "r-1", "--all"]] {
        let later = operator.ok(arguments);
        assert_eq!((&later["left"], &later["answered"]), (&explained["left"], &json!([])));
    }
    operator.refused(&["explain", "r-2", "--all"], 3);
}
