//! Files that operators put into `incoming/` while the cell is stopped (contract §4).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Operator, only_entry};
use crate::support::Cell;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-p").args([from, to]).status().expect("cp").success());
}

#[tokio::test]
async fn a_file_in_incoming_takes_the_tenants_place_at_the_start_and_the_old_one_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    let cell = Cell::start(directory.path());
    let acme = cell.tenant("acme");
    acme.create_customer("华为").await;
    Operator(directory.path()).ok(&["tenants", "copy"]);
    acme.create_customer("小米").await;
    cell.kill(); // a WAL of the old file is left
    assert!(root.join("tenants/acme.db-wal").exists());
    copy(&root.join("copies/acme.db"), &root.join("incoming/acme.db"));

    let cell = Cell::start(directory.path());

    let customers = cell.tenant("acme").get("/customers").await.json();
    assert_eq!((&customers["total"], &customers["data"][0]["name"]), (&1.into(), &"华为".into()));
    assert_eq!(fs::read_dir(root.join("incoming")).expect("readable").count(), 0);
    let kept = only_entry(&root.join("trash"));
    assert!(kept.join("acme.db").exists() && kept.join("acme.db-wal").exists(), "the old one, all of it");
    Operator(directory.path()).ok(&["restore", "acme", "--undo"]);
    assert_eq!(cell.tenant("acme").get("/customers").await.json()["total"], 2, "with the rows of its WAL");
}

#[tokio::test]
async fn the_copy_of_the_old_file_does_not_pass_for_one_of_the_new() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["tenants", "copy"]);
    copy(&root.join("copies/acme.db"), &directory.path().join("old.db"));
    cell.tenant("acme").create_customer("小米").await;
    operator.ok(&["tenants", "copy"]);
    assert_eq!(cell.terminate(), Some(0));
    copy(&directory.path().join("old.db"), &root.join("incoming/acme.db")); // older than the copy

    let _cell = Cell::start(directory.path());

    let shown = operator.ok(&["tenants", "show", "acme"]);
    assert_eq!(shown["copyBehind"], true, "{shown}");
    operator.ok(&["tenants", "copy"]);
    assert_eq!(super::names(&root.join("copies/acme.db")).len(), 1);
}

#[tokio::test]
async fn a_file_with_a_wal_beside_it_brings_its_rows_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    let cell = Cell::start(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    cell.kill();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let incoming = elsewhere.path().join("crm_cell/incoming");
    fs::create_dir_all(&incoming).expect("made");
    for name in ["acme.db", "acme.db-wal", "acme.db-shm"] {
        copy(&root.join("tenants").join(name), &incoming.join(name));
    }

    let other = Cell::start(elsewhere.path());

    assert_eq!(other.tenant("acme").get("/customers").await.json()["total"], 1);
}

#[tokio::test]
async fn a_file_that_is_damaged_foreign_or_another_tenants_stays_in_incoming_and_the_old_one_serves() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    for tenant in ["acme", "other", "third", "fourth"] {
        cell.tenant(tenant).create_customer(tenant).await;
    }
    operator.ok(&["tenants", "copy"]);
    assert_eq!(cell.terminate(), Some(0));
    let (copies, incoming) = (root.join("copies"), root.join("incoming"));
    let sound = fs::read(copies.join("acme.db")).expect("read");
    fs::write(incoming.join("acme.db"), &sound[..sound.len() / 2]).expect("written");
    copy(&copies.join("acme.db"), &incoming.join("other.db"));
    fs::write(incoming.join("third.db"), "no database, but long enough to look like one".repeat(100))
        .expect("written");
    fs::write(incoming.join("fourth.db"), "").expect("written");
    fs::write(incoming.join("Not A Tenant.db"), &sound).expect("written");

    let cell = Cell::start(directory.path());

    for tenant in ["acme", "other", "third", "fourth"] {
        let customers = cell.tenant(tenant).get("/customers").await.json();
        assert_eq!(customers["data"][0]["name"], tenant, "{customers}");
    }
    assert_eq!(fs::read_dir(&incoming).expect("readable").count(), 5);
    assert_eq!(fs::read_dir(root.join("trash")).expect("readable").count(), 0);
    let doctor = operator.run(&["doctor", "--quick"]);
    assert!(doctor.value.to_string().contains("Not A Tenant.db"), "{doctor:?}");
}

#[tokio::test]
async fn a_file_that_was_refused_is_not_tried_again_when_its_tenant_has_gone_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    operator.ok(&["tenants", "copy"]);
    operator.ok(&["backup", "acme"]);
    copy(&root.join("copies/acme.db"), &root.join("incoming/acme.db"));
    let said = operator.refused(&["restore", "acme"], 1);
    assert!(said.contains("incoming/ has a file of the tenant acme"), "{said}");
    assert_eq!(cell.terminate(), Some(0));
    let file = rusqlite::Connection::open(root.join("incoming/acme.db")).expect("opened");
    file.execute("update meta set min_reader_version = 99", []).expect("of a newer cell");
    drop(file);

    let cell = Cell::start(directory.path());

    cell.tenant("acme").create_customer("小米").await;
    let refused = only_entry(&root.join("incoming"));
    assert!(refused.to_string_lossy().contains("acme.db.refused-"), "{}", refused.display());
    assert_eq!(cell.terminate(), Some(0));
    let file = rusqlite::Connection::open(&refused).expect("opened");
    file.execute("update meta set min_reader_version = 1", []).expect("a cell that could read it");
    drop(file);
    let cell = Cell::start(directory.path());
    assert_eq!(cell.tenant("acme").get("/customers").await.json()["total"], 2);
    operator.ok(&["restore", "acme"]);
}
