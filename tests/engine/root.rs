//! The data root: one process at a time, and nothing left of creations that a crash cut short.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use crm_cell::tenancy::DataRoot;

use crate::support::{Cell, PATIENCE, Setup, add, count};

#[tokio::test]
async fn a_second_cell_waits_and_then_names_the_holder() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = DataRoot::open(directory.path(), Duration::ZERO).await.expect("free");

    let wait = Duration::from_millis(300);
    let start = Instant::now();
    let refused = DataRoot::open(directory.path(), wait).await.expect_err("in use").to_string();

    assert!(start.elapsed() >= wait && start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(refused.contains(&format!("process {} on ", std::process::id())), "{refused}");
    assert!(refused.contains("LOCK"), "{refused}");
    drop(first);
}

#[tokio::test]
async fn a_second_cell_starts_when_the_first_has_stopped() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = DataRoot::open(directory.path(), Duration::ZERO).await.expect("free");

    let path = directory.path().to_owned();
    let second = tokio::spawn(async move { DataRoot::open(&path, PATIENCE).await });
    tokio::task::yield_now().await;
    drop(first);

    second.await.expect("no panic").expect("the lock is free");
}

#[tokio::test]
async fn only_the_owner_may_look_into_the_data_root() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    let mode = |path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(cell.files()), 0o700);
    assert_eq!(mode(cell.file("acme")), 0o600);
    assert_eq!(mode(crate::support::beside(&cell.file("acme"), "-wal")), 0o600);
    assert_eq!(mode(cell.directory.path().join("LOCK")), 0o600);
}

#[tokio::test]
async fn unfinished_creations_are_removed_and_tenants_are_not() {
    const TENANTS: [&str; 7] = [
        "acme",
        "a.db.new",
        "a.db.new-x",
        "a.db.new-wal",
        "a.db",
        "x.db.new-journal.db",
        "b.db.new.db.new-shm",
    ];
    let cell = Cell::open().await;
    for id in TENANTS {
        add(&*cell.db(id).await, "one").await.expect("written");
    }
    let directory = cell.stop().await;
    let files = directory.path().join("tenants");
    let unfinished = ["new.db.new", "new.db.new-journal", "new.db.new-wal", "new.db.new-shm"];
    for name in unfinished {
        fs::write(files.join(name), "half").expect("written");
    }

    let cell = Setup::default().open_at(directory).await;

    for name in unfinished {
        assert!(!files.join(name).exists(), "{name} is left");
    }
    for id in TENANTS {
        assert!(cell.file(id).exists(), "the tenant {id} is gone");
        assert_eq!(cell.db(id).await.read(count).await.expect("counted"), 1, "{id}");
    }
}

#[tokio::test]
async fn the_lock_is_kept_while_a_tenant_is_open() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let Cell { tenants, directory } = cell;

    drop(tenants); // without `close`: a request still holds a tenant
    let refused = DataRoot::open(directory.path(), Duration::from_millis(300)).await;

    assert!(refused.is_err(), "two cells on one data root");
    add(&db, "one").await.expect("written");
    drop(db);
    DataRoot::open(directory.path(), PATIENCE).await.expect("released when the file is closed");
}
