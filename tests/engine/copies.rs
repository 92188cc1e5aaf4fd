//! Copies of tenants' files: whole, closed, and never without what was acknowledged before their time.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crm_cell::config::Backup;
use crm_cell::tenancy::{CopyError, TenantDb, Upkeep};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Cell, Setup, add, tenant, until};

fn copy_of(cell: &Cell, id: &str) -> PathBuf {
    cell.directory.path().join("copies").join(format!("{id}.db"))
}

/// The names in a file that nobody else has open, which must be sound.
async fn names(file: &Path) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut connection = options.connect().await.expect("a database");
    let sound: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await.expect("checked");
    assert_eq!(sound, "ok");
    let sql = "select name from customers order by seq";
    let names = sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("rows");
    connection.close().await.expect("closed");
    names
}

#[tokio::test]
async fn a_copy_is_one_closed_file_with_every_row() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    for name in ["one", "two"] {
        add(&db, name).await.expect("written");
    }

    let as_of = cell.tenants.copy(&tenant("acme")).await.expect("copied").expect("there is such a tenant");

    let copy = copy_of(&cell, "acme");
    assert_eq!(names(&copy).await, ["one", "two"]);
    let metadata = fs::metadata(&copy).expect("there");
    assert_eq!((metadata.modified().expect("a time"), metadata.mode() & 0o777), (as_of, 0o600));
    let beside: Vec<_> = fs::read_dir(copy.parent().expect("copies")).expect("readable").collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert!(cell.tenants.copy(&tenant("nobody")).await.expect("no error").is_none());

    // It is a tenant's file like any other.
    drop(db);
    assert_eq!(cell.tenants.close(Duration::from_secs(10)).await, 0);
    let elsewhere = tempfile::tempdir().expect("a directory");
    fs::create_dir(elsewhere.path().join("tenants")).expect("made");
    let content = fs::read(&copy).expect("readable");
    fs::write(elsewhere.path().join("tenants/acme.db"), content).expect("written");
    let cell = Setup::default().open_at(elsewhere).await;
    add(&*cell.db("acme").await, "three").await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_between_writes_lacks_none_that_was_acknowledged_before_its_time() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (db, stop) = (db.clone(), stop.clone());
        tokio::spawn(async move { write_until(&db, &stop).await })
    };
    let mut copies = 0;
    let mut last = Vec::new();
    for _ in 0..20 {
        // Those that are acknowledged now are acknowledged before the copy begins.
        let before = acknowledged(&db).await;
        cell.tenants.copy(&tenant("acme")).await.expect("copied");
        last = names(&copy_of(&cell, "acme")).await;
        assert!(last.len() >= before, "{} rows of at least {before}", last.len());
        copies += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("no panic");
    assert!(copies == 20 && written > 20, "{written} rows");
    assert_eq!(last, (0..last.len()).map(|n| n.to_string()).collect::<Vec<_>>(), "none is missing between");
}

async fn write_until(db: &Arc<TenantDb>, stop: &AtomicBool) -> usize {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        add(db, &written.to_string()).await.expect("written");
        written += 1;
    }
    written
}

/// Rows that a read sees: all that were acknowledged before it.
async fn acknowledged(db: &Arc<TenantDb>) -> usize {
    let counted = db.read(async move |read| {
        Ok(sqlx::query_scalar::<_, i64>("select count(*) from customers").fetch_one(&mut *read).await?)
    });
    usize::try_from(counted.await.expect("counted")).expect("a size")
}

#[tokio::test]
async fn a_tenant_that_cannot_be_copied_keeps_the_copy_that_it_has() {
    let cell = Cell::open().await;
    add(&*cell.db("acme").await, "one").await.expect("written");
    cell.tenants.copy(&tenant("acme")).await.expect("copied");
    let copy = fs::read(copy_of(&cell, "acme")).expect("there");
    let directory = cell.stop().await;
    fs::write(directory.path().join("tenants/acme.db"), vec![7; 100_000]).expect("damaged");
    fs::write(directory.path().join("copying/acme.db"), "of a crash").expect("written");

    let cell = Setup::default().open_at(directory).await;

    assert!(!cell.directory.path().join("copying/acme.db").exists(), "what a crash left is removed");
    let refused = cell.tenants.copy(&tenant("acme")).await;
    assert!(matches!(refused, Err(CopyError::Open(_))), "{refused:?}");
    assert_eq!(fs::read(copy_of(&cell, "acme")).expect("there"), copy);
}

#[tokio::test]
async fn copies_are_kept_fresh_and_made_once_for_each_change() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&*cell.db("globex").await, "only").await.expect("written");
    let backup = Backup {
        copy_every: Duration::from_secs(1),
        drill_every: Duration::ZERO,
        check_every: Duration::ZERO,
    };
    let upkeep = Upkeep::start(&cell.tenants, &backup, Duration::from_secs(3600));
    for name in ["one", "two", "three"] {
        add(&db, name).await.expect("written");
        until("it is in the copy", async || {
            let copy = copy_of(&cell, "acme");
            copy.exists() && names(&copy).await.last().is_some_and(|last| last == name)
        })
        .await;
    }
    until("so is the other tenant", async || copy_of(&cell, "globex").exists()).await;
    let copies = || cell.tenants.stats().copies.load(Ordering::Relaxed);
    // Resting tenants may be copied once more, when their WAL has reached the main file.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let settled = copies();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(copies(), settled, "nothing has changed");
    assert_eq!(cell.tenants.stats().copies_overdue.load(Ordering::Relaxed), 0);
    drop(upkeep);
    let state = cell.tenants.copy_state(&tenant("acme")).expect("there is a file");
    assert!(!state.is_behind(), "{state:?}");
}
