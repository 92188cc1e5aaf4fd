//! `crm-cell demo`: sample data as it is over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Cell, Client, db_select, run_to_end};

fn demo(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run_to_end(Cell::command(directory).arg("demo").args(arguments).stderr(Stdio::piped()));
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code(), String::from_utf8(said).expect("text"))
}

#[track_caller]
fn made(directory: &Path, arguments: &[&str]) -> String {
    let (code, said) = demo(directory, arguments);
    assert_eq!(code, Some(0), "{said}");
    said
}

async fn all(client: &Client, path: &str) -> Vec<Value> {
    let page = client.get(&format!("{path}?pageSize=500")).await.expect(200).json();
    assert_eq!(page["hasMore"], false, "{path} fits on one page");
    page["data"].as_array().expect("a list").clone()
}

fn texts(records: &[Value], field: &str) -> BTreeSet<String> {
    records.iter().filter_map(|record| Some(record[field].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn a_demo_is_a_year_of_deals_at_every_stage_that_the_api_shows() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = made(directory.path(), &["--tenant", "acme", "--customers", "30"]);
    let cell = Cell::start(directory.path());
    let client = cell.tenant("acme");
    let customers = all(&client, "/customers").await;
    let contacts = all(&client, "/contacts").await;
    let deals = all(&client, "/opportunities").await;
    let follow_ups = all(&client, "/follow-ups").await;

    let counts = [customers.len(), contacts.len(), deals.len(), follow_ups.len()];
    let [c, k, d, f] = counts;
    let sentence = format!("{c} customers, {k} contacts, {d} opportunities, {f} follow-ups");
    assert!(c == 30 && said.contains(&sentence), "{said} is not {sentence}");

    let stages: BTreeSet<_> = deals.iter().map(|deal| deal["stage"].as_i64().expect("a stage")).collect();
    assert_eq!(stages, (1..=6).collect());
    assert!(texts(&deals, "currency").len() > 1, "one currency only");
    assert!(texts(&customers, "ownerId").len() > 1, "one owner only");
    let mut primaries = BTreeMap::new();
    for contact in &contacts {
        *primaries.entry(contact["customerId"].to_string()).or_insert(0) +=
            i32::from(contact["isPrimary"] == true);
    }
    assert!(primaries.len() == c && primaries.values().all(|count| *count == 1), "{primaries:?}");

    // A year, in order, and not beyond the present.
    let days = texts(&follow_ups, "createdAt");
    let months: BTreeSet<_> = days.iter().map(|day| &day[..7]).collect();
    assert!(months.len() >= 12, "{months:?}");
    for deal in &deals {
        let is_closed = deal["stage"].as_i64() >= Some(5);
        assert_eq!(deal["closedAt"].is_string(), is_closed, "{deal}");
        assert!(!is_closed || deal["closedAt"].as_str() > deal["createdAt"].as_str(), "{deal}");
        assert_eq!(deal["lostReason"].is_string(), deal["stage"] == 6, "{deal}");
    }
    let planned = texts(&customers, "nextFollowUpAt");
    let latest = days.iter().max().expect("a day");
    assert!(!planned.is_empty() && planned.iter().all(|day| day > latest), "plans lie ahead: {planned:?}");
    let log = client.get("/opportunities?stage=5&pageSize=1").await.expect(200).json();
    assert!(log["total"].as_u64() >= Some(1));
}

#[tokio::test]
async fn the_same_seed_makes_the_same_customers_and_another_seed_others() {
    let directory = tempfile::tempdir().expect("a directory");
    for (tenant, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
        made(directory.path(), &["--tenant", tenant, "--customers", "6", "--seed", seed]);
    }
    let names =
        async |tenant| db_select(directory.path(), tenant, "select name from customers order by name").await;
    assert_eq!(names("a").await, names("b").await);
    assert_ne!(names("a").await, names("c").await);
}

#[tokio::test]
async fn a_tenant_that_has_customers_is_only_added_to_on_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let count =
        async || db_select(path, "default", "select count(*) as n from customers").await[0]["n"].clone();
    made(path, &["--customers", "6"]);

    let (code, said) = demo(path, &["--customers", "6"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("has customers already") && said.contains("--add"), "{said}");
    assert_eq!(count().await, 6);

    made(path, &["--customers", "6", "--add"]);
    assert_eq!(count().await, 12);
}

#[test]
fn what_cannot_be_filled_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    for wrong in [["--customers", "5"], ["--customers", "5001"], ["--tenant", "../x"]] {
        assert_eq!(demo(directory.path(), &wrong).0, Some(2), "{wrong:?}");
    }
    let cell = Cell::start(directory.path());
    let (code, said) = demo(directory.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("is in use by process") && said.contains("stop that process"), "{said}");
    drop(cell);
}
