//! The list of tenants, and the catalog that it is made from.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{Operator, data_root};
use crate::support::Cell;

fn ids(listed: &Value) -> Vec<String> {
    let items = listed["items"].as_array().expect("a list").iter();
    items.map(|item| item["tenant"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn every_tenant_is_listed_once_however_the_pages_are_cut() {
    let (directory, _root) = data_root();
    let operator = Operator(directory.path());
    let made: BTreeSet<String> = (0..25).map(|number| format!("Tenant:{number}")).collect();
    let arguments: Vec<&str> =
        ["tenants", "create"].into_iter().chain(made.iter().map(String::as_str)).collect();
    operator.ok(&arguments);
    let all = operator.ok(&["tenants", "list"]);
    assert_eq!(ids(&all), made.iter().cloned().collect::<Vec<_>>());

    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = operator.ok(&["tenants", "list", "--limit", "7", "--after", &after]);
        seen.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, ids(&all));
}

#[tokio::test]
async fn tenants_are_found_by_what_is_the_matter_with_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "resting", "busy", "gone-off"]);
    operator.ok(&["tenants", "copy"]);
    cell.tenant("busy").create_customer("华为").await;
    operator.ok(&["tenants", "suspend", "gone-off"]);

    for (filter, found) in [
        (&["--state", "active"][..], &["busy", "resting"][..]),
        (&["--state", "suspended"], &["gone-off"]),
        (&["--idle", "1h"], &["gone-off", "resting"]),
        (&["--copy-behind", "0s"], &["busy", "gone-off"]),
        (&["--copy-behind", "1h"], &[]),
        (&["--min-size", "1GiB"], &[]),
        (&["--schema", "1"], &[]),
    ] {
        let arguments = [&["tenants", "list"], filter].concat();
        assert_eq!(ids(&operator.ok(&arguments)), found, "{filter:?}");
    }
    let busy = operator.ok(&["tenants", "show", "busy"]);
    assert_eq!((&busy["rows"]["customers"], &busy["open"]), (&1.into(), &true.into()), "{busy}");
    assert!(busy["accessedAt"].is_string() && busy["copiedAt"].is_string(), "{busy}");
    operator.refused(&["tenants", "show", "nobody"], 3);
}

#[tokio::test]
async fn a_file_that_was_put_there_damaged_while_the_cell_runs_is_listed_as_soon_as_it_was_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "sound"]);
    fs::write(directory.path().join("crm_cell/tenants/damaged.db"), "no database".repeat(100))
        .expect("written");

    assert_eq!(cell.tenant("damaged").get("/customers").await.status, 423);

    assert_eq!(ids(&operator.ok(&["tenants", "list", "--state", "quarantined"])), ["damaged"]);
    assert_eq!(ids(&operator.ok(&["tenants", "list"])), ["damaged", "sound"]);
}

#[tokio::test]
async fn a_catalog_that_is_lost_is_made_anew_of_the_files() {
    let (directory, root) = data_root();
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "a", "b", "c"]);
    operator.ok(&["tenants", "suspend", "b", "--reason", "欠费"]);
    operator.ok(&["tenants", "protect", "c"]);
    let before = operator.ok(&["tenants", "list"]);
    fs::remove_file(root.join("catalog.db")).expect("removed");
    let lost = operator.ok(&["tenants", "list"]);
    assert_eq!(lost["items"][1]["state"], "unseen", "{lost}");

    operator.ok(&["catalog", "rebuild"]);

    let after = operator.ok(&["tenants", "list"]);
    for (before, after) in before["items"].as_array().into_iter().zip(after["items"].as_array()) {
        assert_eq!(before.len(), 3);
        for (before, after) in before.iter().zip(after) {
            assert_eq!((&before["state"], &before["meta"]), (&after["state"], &after["meta"]));
        }
    }
    let cell = Cell::start(directory.path());
    assert_eq!(cell.tenant("b").get("/customers").await.status, 403, "suspended tenants stay suspended");
    operator.refused(&["tenants", "delete", "c"], 4);
}
