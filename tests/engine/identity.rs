//! Whose file it is: nothing is served from a file that is not the tenant's own, and nothing is written over one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crm_cell::tenancy::{OpenError, Outcome, Quarantine, StoreError, Write};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::oneshot;

use crate::reads::Broken;
use crate::support::{
    Cell, Name, Setup, add, beside, by, copy_outside, count, file_of, ids, insert, quarantine, queue, tenant,
    unavailable, until,
};

/// Runs SQL on a file that no cell has open.
async fn alter(file: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = options.connect().await.expect("a database");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("altered");
    connection.close().await.expect("closed");
}

fn why(answer: Result<impl std::fmt::Debug, OpenError>) -> Option<Quarantine> {
    match answer {
        Err(OpenError::Unavailable(why)) => {
            assert_eq!(why.outcome, Outcome::NotWritten);
            quarantine(&why)
        }
        answer => panic!("{answer:?}"),
    }
}

const DAMAGES: [(&str, Quarantine); 15] = [
    ("empty", Quarantine::Truncated),
    ("short", Quarantine::Truncated),
    ("half", Quarantine::Corrupt),
    ("a_page_less", Quarantine::Corrupt),
    ("garbage", Quarantine::Corrupt),
    ("foreign", Quarantine::Foreign),
    ("unnamed", Quarantine::Foreign),
    ("unmarked", Quarantine::Foreign),
    ("memberless", Quarantine::Foreign),
    ("swapped", Quarantine::Swapped),
    ("too_new", Quarantine::TooNew),
    ("symlink", Quarantine::NotAFile),
    ("dangling", Quarantine::NotAFile),
    ("hard_link", Quarantine::NotAFile),
    ("directory", Quarantine::NotAFile),
];

/// Damages the file of the tenant that the damage is named after.
async fn damage(root: &Path, id: &str) {
    let file = file_of(root, id);
    let bytes = fs::read(&file).expect("the tenant's file");
    let aside = root.join(format!("{id}.aside"));
    match id {
        "empty" => fs::write(&file, []),
        "short" => fs::write(&file, &bytes[..100]),
        "half" => fs::write(&file, &bytes[..bytes.len() / 2]),
        "a_page_less" => fs::write(&file, &bytes[..bytes.len() - 4096]),
        "garbage" => fs::write(&file, vec![0x5a; bytes.len()]),
        "foreign" => {
            fs::remove_file(&file).expect("removed");
            alter(&file, "create table notes (text); insert into notes values ('mine')").await;
            Ok(())
        }
        "unnamed" => {
            alter(&file, "delete from meta").await;
            Ok(())
        }
        "unmarked" => {
            alter(&file, "pragma application_id = 1").await;
            Ok(())
        }
        "memberless" => {
            // It would admit everybody.
            alter(&file, "drop table members").await;
            Ok(())
        }
        "swapped" => {
            fs::rename(file_of(root, "other"), &file).and_then(|()| fs::write(file_of(root, "other"), &bytes))
        }
        "too_new" => {
            alter(&file, "update meta set min_reader_version = 99; pragma user_version = 99").await;
            Ok(())
        }
        "symlink" => fs::rename(&file, &aside).and_then(|()| symlink(&aside, &file)),
        "dangling" => fs::remove_file(&file).and_then(|()| symlink(root.join("nowhere"), &file)),
        "hard_link" => fs::hard_link(&file, &aside),
        "directory" => fs::remove_file(&file).and_then(|()| fs::create_dir(&file)),
        other => panic!("no such damage: {other}"),
    }
    .expect("damaged");
}

#[tokio::test]
async fn a_file_that_is_not_the_tenants_own_is_refused_and_left_alone() {
    let cell = Cell::open().await;
    for (id, _) in DAMAGES.iter().chain(&[("other", Quarantine::Swapped), ("bystander", Quarantine::Swapped)])
    {
        add(&*cell.db(id).await, id).await.expect("written");
    }
    let directory = cell.stop().await;
    let root = directory.path().to_owned();
    let whole = |id| fs::read(file_of(&root, id)).expect("the tenant's file");
    let originals: Vec<_> = DAMAGES.iter().map(|(id, _)| whole(id)).collect();
    for (id, _) in DAMAGES {
        damage(&root, id).await;
    }
    let damaged: Vec<_> = DAMAGES.iter().map(|(id, _)| fs::read(file_of(&root, id)).ok()).collect();

    let cell = Setup::default().open_at(directory).await;
    for (id, expected) in DAMAGES {
        assert_eq!(why(cell.tenants.find(&tenant(id)).await), Some(expected), "{id}");
        assert_eq!(why(cell.tenants.find_or_create(&tenant(id)).await), Some(expected), "{id}");
    }

    for ((id, _), before) in DAMAGES.iter().zip(damaged) {
        assert_eq!(fs::read(file_of(&root, id)).ok(), before, "{id}: the file was changed");
    }
    assert!(!root.join("nowhere").exists(), "created through a link");
    add(&*cell.db("bystander").await, "more").await.expect("written");

    // The operator repairs them, and nobody restarts the cell.
    for ((id, _), original) in DAMAGES.iter().zip(originals) {
        let file = file_of(&root, id);
        if file.is_dir() {
            fs::remove_dir(&file).expect("removed");
        } else {
            fs::remove_file(&file).expect("removed");
        }
        fs::write(&file, original).expect("written");
    }
    for (id, _) in DAMAGES {
        until("the back-off is over", async || cell.tenants.find(&tenant(id)).await.is_ok()).await;
        let db = cell.db(id).await;
        assert_eq!(
            db.read(async |read| ids(read, "select id from customers").await).await.expect("read"),
            [id]
        );
    }
}

/// Overwrites the table of customers in a closed file. Returns the file as it was.
async fn damage_table(file: &Path) -> Vec<u8> {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.expect("opened");
    let page: i64 = sqlx::query_scalar("select rootpage from sqlite_schema where name = 'customers'")
        .fetch_one(&mut connection)
        .await
        .expect("the table");
    connection.close().await.expect("closed");
    let whole = fs::read(file).expect("the tenant's file");
    let mut bytes = whole.clone();
    let start = (usize::try_from(page).expect("positive") - 1) * 4096;
    bytes[start..start + 4096].fill(0xff);
    fs::write(file, bytes).expect("written");
    whole
}

#[tokio::test]
async fn damage_that_a_unit_meets_quarantines_the_tenant() {
    let cell = Cell::open().await;
    for id in ["acme", "bystander"] {
        add(&*cell.db(id).await, "one").await.expect("written");
    }
    let directory = cell.stop().await;
    let file = file_of(directory.path(), "acme");
    let whole = damage_table(&file).await;

    let cell = Setup::default().open_at(directory).await;
    let db = cell.db("acme").await;
    let met = db.read(async |read| ids(read, "select id from customers order by name").await).await;
    let met = met.expect_err("damaged");
    assert_eq!(unavailable(&met).and_then(quarantine), Some(Quarantine::Corrupt), "{met:?}");

    let healthy = db.read(async |read| ids(read, "select tenant_id from meta").await).await;
    let healthy = healthy.expect_err("a table that is whole is refused too");
    assert_eq!(unavailable(&healthy).and_then(quarantine), Some(Quarantine::Corrupt), "{healthy:?}");
    let by_id = db.point_read::<Name>("one".to_owned()).await.expect_err("quarantined");
    assert_eq!(unavailable(&by_id).and_then(quarantine), Some(Quarantine::Corrupt), "{by_id:?}");
    let write = add(&db, "two").await.expect_err("quarantined");
    assert_eq!(unavailable(&write).and_then(quarantine), Some(Quarantine::Corrupt), "{write:?}");
    add(&*cell.db("bystander").await, "two").await.expect("written");

    assert_eq!(
        why(cell.tenants.find(&tenant("acme")).await),
        Some(Quarantine::Corrupt),
        "it still is damaged"
    );
    // SQLite says the same of a read that failed: then the very same file is whole again.
    fs::write(&file, whole).expect("written");
    until("the back-off is over", async || cell.tenants.find(&tenant("acme")).await.is_ok()).await;
    add(&*cell.db("acme").await, "two").await.expect("written");
}

/// The WAL beside it may be the damaged file's.
#[tokio::test]
async fn another_file_in_the_place_of_a_damaged_one_is_not_served_before_the_restart() {
    let cell = Cell::open().await;
    add(&*cell.db("acme").await, "one").await.expect("written");
    let directory = cell.stop().await;
    let file = file_of(directory.path(), "acme");
    let whole = damage_table(&file).await;
    let cell = Setup::default().open_at(directory).await;
    let db = cell.db("acme").await;
    db.read(async |read| ids(read, "select id from customers order by name").await)
        .await
        .expect_err("damaged");

    // Not removed first: the new file could get the old one's number.
    let copy = beside(&file, ".copy");
    fs::write(&copy, whole).and_then(|()| fs::rename(&copy, &file)).expect("replaced");

    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(why(cell.tenants.find(&tenant("acme")).await), Some(Quarantine::Corrupt));
}

async fn fails_closed(cell: &Cell, of: &str) {
    let db = cell.db(of).await;
    for name in ["lost", "lost too"] {
        let refused = add(&db, name).await.expect_err("the file is not in its place");
        let StoreError::Unavailable(why) = refused else { panic!("{refused:?}") };
        assert_eq!((quarantine(&why), why.outcome), (Some(Quarantine::Replaced), Outcome::NotWritten));
    }
    assert!(db.read(count).await.is_err(), "what is read is no longer the tenant's file");
    drop(db);
}

#[tokio::test]
async fn a_file_deleted_while_open_is_not_written_and_not_made_anew() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");
    drop(db);

    fs::remove_file(cell.file("acme")).expect("removed");

    fails_closed(&cell, "acme").await;
    assert!(!cell.file("acme").exists(), "the file came back");
    cell.tenants.close(crate::support::PATIENCE).await;
    assert!(!cell.file("acme").exists(), "the file came back");
}

#[tokio::test]
async fn a_commit_into_a_file_deleted_meanwhile_is_not_acknowledged() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let (running, is_running) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let answer = queue(db.write(by("me"), None, async move |tx: &mut Write| {
        insert(tx, "gone").await?;
        running.send(()).expect("the test waits");
        goes_on.await.expect("the test answers");
        Ok(())
    }));
    is_running.await.expect("the group has begun");
    fs::remove_file(cell.file("acme")).expect("removed");
    go_on.send(()).expect("the unit waits");

    let error = answer.await.expect_err("the row is in a file that nobody can find");
    let why = unavailable(&error).expect("the tenant's fault");
    assert_eq!((quarantine(why), why.outcome), (Some(Quarantine::Replaced), Outcome::Unknown));
}

#[tokio::test]
async fn a_file_replaced_while_open_is_neither_written_nor_read() {
    let mut setup = Setup::default();
    setup.storage.checkpoint_after = std::time::Duration::from_millis(20);
    setup.storage.writer_idle = std::time::Duration::from_millis(40);
    let cell = setup.open().await;
    for id in ["writing", "resting", "other"] {
        add(&*cell.db(id).await, id).await.expect("written");
    }
    until("the rows are in the main files", async || cell.counter(|c| &c.checkpoints) == 3).await;
    let theirs = fs::read_dir(cell.files()).expect("the directory").count();
    assert!(theirs >= 3);
    let copy = cell.directory.path().join("copy");
    copy_outside(&cell.file("other"), &copy);
    let bytes = fs::read(&copy).expect("the copy");

    for id in ["writing", "resting"] {
        copy_outside(&copy, &beside(&copy, id));
        fs::rename(beside(&copy, id), cell.file(id)).expect("replaced");
        fails_closed(&cell, id).await;
        // Not open in this process: its own descriptor is of the file that was replaced.
        assert_eq!(
            fs::read(cell.file(id)).expect("the file"),
            bytes,
            "{id}: somebody else's file was written"
        );
    }
}

#[tokio::test]
async fn a_reader_that_must_reopen_does_not_open_another_tenants_file() {
    let cell = Cell::open().await;
    for id in ["acme", "other"] {
        add(&*cell.db(id).await, id).await.expect("written");
    }
    let directory = cell.stop().await;
    let copy = directory.path().join("copy");
    copy_outside(&file_of(directory.path(), "other"), &copy);
    let cell = Setup::default().open_at(directory).await;
    let db = cell.db("acme").await;
    assert_eq!(
        db.read(async |read| ids(read, "select id from customers").await).await.expect("read"),
        ["acme"]
    );

    fs::rename(&copy, cell.file("acme")).expect("replaced");
    assert!(db.point_read::<Broken>("acme".to_owned()).await.is_err());
    until("the reader's connection is gone", async || {
        cell.tenants.counters().discarded.load(Ordering::Relaxed) == 1
    })
    .await;

    let seen = db.read(async |read| ids(read, "select id from customers").await).await;
    let why = seen.expect_err("another tenant's rows");
    assert_eq!(unavailable(&why).and_then(quarantine), Some(Quarantine::Replaced), "{why:?}");
}

#[tokio::test]
async fn a_wal_without_its_file_is_not_replayed_into_a_new_tenant() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "old").await.expect("written");
    let wal = beside(&cell.file("acme"), "-wal");
    let other_root = tempfile::tempdir().expect("a directory");
    fs::create_dir(other_root.path().join("tenants")).expect("made");
    // The main file was lost in a crash, or somebody removed it; its WAL is left.
    copy_outside(&wal, &beside(&file_of(other_root.path(), "acme"), "-wal"));
    // And under a name of somebody else.
    copy_outside(&wal, &beside(&file_of(other_root.path(), "other"), "-wal"));

    let cell = Setup::default().open_at(other_root).await;
    for id in ["acme", "other"] {
        assert_eq!(why(cell.tenants.find(&tenant(id)).await), Some(Quarantine::Missing), "{id}");
        assert_eq!(why(cell.tenants.find_or_create(&tenant(id)).await), Some(Quarantine::Missing), "{id}");
        assert!(!cell.file(id).exists());
        assert!(fs::metadata(beside(&cell.file(id), "-wal")).expect("it is still there").len() > 0);
    }
}

#[tokio::test]
async fn a_pipe_in_a_files_place_hangs_nobody() {
    let cell = Cell::open().await;
    let made = Command::new("mkfifo").arg(cell.file("acme")).status().expect("mkfifo runs");
    assert!(made.success());

    let found = tokio::time::timeout(crate::support::PATIENCE, cell.tenants.find(&tenant("acme"))).await;

    assert_eq!(why(found.expect("answered")), Some(Quarantine::NotAFile));
}
