//! `crm-cell doctor`, and what stops when the disk is nearly full.

use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Operator;
use crate::gateway::double::Gateway;
use crate::support::{Cell, eventually};

fn remark<'a>(report: &'a Value, severity: &str, part: &str) -> Option<&'a Value> {
    let mut remarks = report["remarks"].as_array().expect("a list").iter();
    remarks.find(|remark| remark["severity"] == severity && remark.to_string().contains(part))
}

#[tokio::test]
async fn a_sound_cell_has_no_problem_and_damage_strangers_and_orphans_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    for tenant in ["acme", "damaged"] {
        for number in 0..50 {
            cell.tenant(tenant).create_customer(&format!("客户 {number} of {tenant}")).await;
        }
    }
    let sound = operator.ok(&["doctor"]);
    assert!(remark(&sound, "ok", "2 looked at, 0 of them not sound").is_some(), "{sound}");
    assert!(remark(&sound, "problem", "").is_none(), "{sound}");
    assert_eq!(cell.terminate(), Some(0));

    let file = root.join("tenants/damaged.db");
    let connection = rusqlite::Connection::open(&file).expect("opened");
    let page: i64 = connection
        .query_row("select rootpage from sqlite_schema where name = 'customers_by_name'", [], |row| {
            row.get(0)
        })
        .expect("an index");
    drop(connection);
    let mut content = fs::read(&file).expect("read");
    let middle = usize::try_from(page).expect("a page") * 4096 - 200;
    content[middle..middle + 100].fill(0x55);
    fs::write(&file, content).expect("damaged");
    fs::write(root.join("tenants/lost.db-wal"), "rows").expect("written");
    fs::write(root.join("tenants/notes.txt"), "hello").expect("written");
    fs::write(root.join("copies/gone.db"), "a copy").expect("written");

    let found = operator.run(&["doctor"]);

    assert_eq!(found.code, 5, "{found:?}");
    let report = &found.value;
    assert!(remark(report, "problem", "tenant damaged").is_some(), "{report}");
    assert!(remark(report, "problem", "lost.db-wal").is_some(), "{report}");
    assert!(remark(report, "warning", "notes.txt").is_some(), "{report}");
    assert!(remark(report, "warning", "gone.db").is_some(), "{report}");
    assert!(remark(report, "problem", "acme").is_none(), "{report}");
    let quick = operator.run(&["doctor", "--quick"]);
    assert!(remark(&quick.value, "problem", "tenant damaged").is_none(), "it opened none: {quick:?}");
}

#[tokio::test]
async fn a_nearly_full_disk_stops_copies_and_backups_before_it_stops_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let operator = Operator(directory.path());
    let cell = Cell::start(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["backup", "acme"]);
    operator.ok(&["backup", "acme"]);
    assert_eq!(cell.terminate(), Some(0));

    let cell = Cell::spawn(Cell::command(directory.path()).env("CRM__STORAGE__LOW_WATER", "1000PiB"));
    for arguments in
        [&["backup", "acme"][..], &["restore", "acme"], &["tenants", "create", "b"], &["tenants", "copy"]]
    {
        let said = operator.refused(arguments, 1);
        assert!(said.contains("storage.low_water") && said.contains("free some space"), "{said}");
    }
    let sets = || fs::read_dir(directory.path().join("crm_cell/backups")).expect("there").count();
    assert_eq!(sets(), 2);
    operator.refused(&["backup", "acme", "--keep", "1"], 1);
    assert_eq!(sets(), 1, "what may go is removed to make room");
    let acme = cell.tenant("acme");
    let refused = acme.post("/customers/import", &json!({ "items": [{ "name": "多" }] })).await;
    assert_eq!((refused.status, &refused.json()["details"]), (StatusCode::LOCKED, &json!("not-written")));
    acme.create_customer("小米").await;
    assert_eq!(cell.terminate(), Some(0));

    let cell = Cell::spawn(Cell::command(directory.path()).env("CRM__STORAGE__STOP_WRITES", "1000PiB"));
    let acme = cell.tenant("acme");
    let refused = acme.post("/customers", &json!({ "name": "中兴" })).await;
    assert_eq!(refused.status, StatusCode::LOCKED, "{}", refused.text);
    assert_eq!(refused.json()["details"], "not-written");
    assert_eq!(acme.get("/customers").await.json()["total"], 2);
}

#[tokio::test]
async fn a_copy_is_restored_and_compared_regularly_and_every_file_is_looked_at() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Cell::command(directory.path());
    command.env("CRM__BACKUP__DRILL_EVERY", "200ms").env("CRM__BACKUP__CHECK_EVERY", "200ms");
    let cell = Cell::spawn(&mut command);
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    let metrics = async || cell.anonymous().get("/metrics").await.json();

    eventually("a drill went well", async || metrics().await["drills"].as_u64() >= Some(1)).await;

    let found = metrics().await;
    assert!(found["drill_age_seconds"].as_u64() < Some(60) && found["drill_failures"] == 0, "{found}");
    assert!(found["disk_free_bytes"].as_u64() > Some(0), "{found}");
    eventually("the file was looked at", async || {
        operator.ok(&["tenants", "show", "acme"])["checkedAt"].is_string()
    })
    .await;
}

#[tokio::test]
async fn the_age_of_a_backup_is_that_of_the_last_that_left_nobody_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let age = async |cell: &Cell| {
        cell.anonymous().get("/metrics").await.json()["backup_age_seconds"].as_u64().expect("a figure")
    };
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "acme", "damaged"]);
    operator.ok(&["backup", "acme"]);
    assert!(age(&cell).await > 1_000_000_000, "since 1970: it never ran");
    assert_eq!(cell.terminate(), Some(0));
    let damaged = directory.path().join("crm_cell/tenants/damaged.db");
    fs::write(&damaged, "no database".repeat(100)).expect("written");
    let cell = Cell::start(directory.path());
    assert_eq!(operator.run(&["backup", "--all"]).code, 5);
    assert!(age(&cell).await > 1_000_000_000, "one is missing");
    operator.ok(&["tenants", "delete", "damaged"]);

    operator.ok(&["backup", "--all"]);

    assert!(age(&cell).await < 60);
    assert_eq!(cell.terminate(), Some(0));
    assert!(age(&Cell::start(directory.path())).await < 60, "it is remembered");
}

#[tokio::test]
async fn a_drill_that_an_operator_holds_counts_as_the_cells_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    operator.ok(&["tenants", "create", "acme"]);
    let metrics = async || cell.anonymous().get("/metrics").await.json();
    let before = metrics().await;
    assert_eq!(before["drills"], 0);
    assert!(before["drill_age_seconds"].as_u64() < Some(60), "since the start, if there was none: {before}");
    assert_eq!(drill_remark(&operator), "warning");

    operator.ok(&["tenants", "drill", "acme"]);

    for command in [
        &["tenants", "drill", "acmee"][..],
        &["tenants", "copy", "acmee"],
        &["doctor", "acmee"],
        &["explain", "r", "--tenant", "acmee"],
    ] {
        let said = operator.refused(command, 3);
        assert!(said.contains("there is no tenant acmee"), "{said}");
    }
    assert_eq!(metrics().await["drill_failures"], 0, "a slip of the pen raises no alarm");
    assert_eq!(metrics().await["drills"], 1);
    assert_eq!(drill_remark(&operator), "ok");
}

/// What the doctor says of the last drill: its severity.
fn drill_remark(operator: &Operator<'_>) -> String {
    let found = operator.run(&["doctor", "--quick"]).value;
    let remarks = found["remarks"].as_array().expect("remarks");
    let remark = remarks.iter().find(|remark| remark["subject"] == "drill").expect("of the drill");
    remark["severity"].as_str().expect("a severity").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_mixes_tenants_up_loses_headers_or_damages_bodies_is_found_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = crate::support::token_with(&json!({ "sub": "doctor", "exp": 4_000_000_000_u64 }));
    let examine = async |with: &[(&str, &str)], prepare: fn(&Gateway)| {
        let cell = Cell::spawn(Cell::command(directory.path()).envs(with.iter().copied()));
        let gateway = Gateway::start(cell.address()).await;
        prepare(&gateway);
        let (root, url, token) = (directory.path().to_owned(), gateway.url.clone(), token.clone());
        let ran = tokio::task::spawn_blocking(move || {
            let arguments = ["doctor", "--quick", "--through", &url];
            let mut command = Operator(&root).command(&arguments);
            command.env("GATEWAY_TOKEN", token).output().expect("the binary runs")
        });
        let ran = ran.await.expect("ran");
        let report: Value = serde_json::from_slice(&ran.stdout).expect("a report");
        let tenants = Operator(directory.path()).ok(&["tenants", "list"]);
        assert_eq!(tenants["items"], json!([]), "the probes are removed");
        assert_eq!(Operator(directory.path()).ok(&["tenants", "trash"])["items"], json!([]));
        (ran.status.code(), report)
    };

    let (code, report) = examine(&[], |_| ()).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(
        remark(&report, "warning", "If-Match is lost").is_some(),
        "the platform's gateway passes six headers: {report}"
    );

    for (with, prepare, found) in [
        (&[][..], Gateway::share_cache as fn(&Gateway), "shows one tenant to another"),
        (&[], |gateway| gateway.lose("X-Tenant-Id"), "X-Tenant-Id is lost"),
        (&[], |gateway| gateway.lose("X-Request-ID"), "POST does not pass"),
        (&[], |gateway| gateway.lose("Authorization"), "cannot be asked through it"),
        (&[("CRM_HTTP_CONTENT_LENGTH", "1")], |_| (), "damaged or cut off at clients that take gzip"),
    ] {
        let (code, report) = examine(with, prepare).await;
        assert_eq!(code, Some(5), "{found}: {report}");
        assert!(remark(&report, "problem", found).is_some(), "{found}: {report}");
    }
}
