//! A tenant's file that is replaced while it is open: the replacement is served as it is, and nothing of the old file is
//! lost or replayed over it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crm_cell::tenancy::{OpenError, Outcome, Quarantine, Reason, StoreError, TenantDb};
use tempfile::TempDir;

use crate::support::{
    Cell, Setup, add, beside, copy_outside, file_of, ids, quarantine, tenant, unavailable, until,
};

/// Nothing is checkpointed before its time.
fn setup() -> Setup {
    let mut setup = Setup::default();
    setup.storage.checkpoint_after = Duration::from_secs(600);
    setup
}

/// The tenant acme with the row `theirs`, as a cell that was stopped left it.
async fn replacement() -> TempDir {
    let cell = setup().open().await;
    add(&*cell.db("acme").await, "theirs").await.expect("written");
    cell.stop().await
}

/// Puts a copy of `from` in the place of `to`, as an operator does who knows that a file must appear at once.
fn put(from: &Path, to: &Path) {
    let copy = beside(to, ".copy");
    copy_outside(from, &copy);
    fs::rename(copy, to).expect("replaced");
}

async fn assert_refused(db: &TenantDb) {
    let refused = add(db, "lost").await.expect_err("the file is not in its place");
    let why = unavailable(&refused).and_then(quarantine);
    assert_eq!(why, Some(Quarantine::Replaced), "{refused:?}");
}

async fn rows(cell: &Cell) -> Vec<String> {
    let db = cell.db("acme").await;
    db.read(async |read| ids(read, "select id from customers order by 1").await).await.expect("read")
}

fn trash(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("trash")).expect("the trash");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// The one WAL in the trash; its row is in it.
fn assert_wal_in_trash(root: &Path) {
    let paths = trash(root);
    let [_index, wal] = &paths[..] else { panic!("{paths:?}") };
    let name = wal.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with("acme.db.replaced-2") && name.ends_with("Z-wal"), "{name}");
    assert!(!name.contains(':'), "{name}");
    let bytes = fs::read(wal).expect("the WAL");
    assert!(bytes.windows(9).any(|part| part == b"only here"), "the row is in it");
}

#[tokio::test]
async fn a_replacement_is_served_as_it_is_and_the_old_wal_is_in_the_trash() {
    let theirs = replacement().await;
    let cell = setup().open().await;
    let db = cell.db("acme").await;
    add(&db, "only here").await.expect("written");

    put(&file_of(theirs.path(), "acme"), &cell.file("acme"));
    assert_refused(&db).await;

    // At once, though the tenant is still held: whatever happens to the process next, nothing is replayed.
    until("the old file is closed", async || cell.stat(|s| &s.open) == 0).await;
    assert!(!beside(&cell.file("acme"), "-wal").exists());
    assert_wal_in_trash(cell.directory.path());
    assert!(db.read(async |read| ids(read, "select id from customers").await).await.is_err());
    assert_eq!(
        fs::read(cell.file("acme")).expect("the replacement"),
        fs::read(file_of(theirs.path(), "acme")).expect("the original"),
    );
    drop(db);
    let cell = setup().open_at(cell.stop().await).await;
    assert_eq!(rows(&cell).await, ["theirs"]);
    add(&*cell.db("acme").await, "more").await.expect("written");
    assert_wal_in_trash(cell.directory.path());
}

#[tokio::test]
async fn a_replacement_that_nobody_noticed_before_the_stop_is_served_as_it_is() {
    let theirs = replacement().await;
    let cell = setup().open().await;
    add(&*cell.db("acme").await, "only here").await.expect("written");

    put(&file_of(theirs.path(), "acme"), &cell.file("acme"));

    let cell = setup().open_at(cell.stop().await).await;
    assert_eq!(rows(&cell).await, ["theirs"]);
    assert_wal_in_trash(cell.directory.path());
}

#[tokio::test]
async fn the_wal_that_came_with_a_replacement_stays_beside_it() {
    let theirs = setup().open().await;
    add(&*theirs.db("acme").await, "theirs").await.expect("written"); // in the WAL alone
    let cell = setup().open().await;
    let db = cell.db("acme").await;
    add(&db, "only here").await.expect("written");

    let wal = beside(&cell.file("acme"), "-wal");
    put(&beside(&theirs.file("acme"), "-wal"), &wal);
    put(&theirs.file("acme"), &cell.file("acme"));
    let came = fs::metadata(&wal).expect("the WAL").ino();
    assert_refused(&db).await;

    until("the old file is closed", async || cell.stat(|s| &s.open) == 0).await;
    assert_eq!(fs::metadata(&wal).expect("it is still there").ino(), came);
    assert_eq!(trash(cell.directory.path()), Vec::<PathBuf>::new());
    drop(db);
    let cell = setup().open_at(cell.stop().await).await;
    assert_eq!(rows(&cell).await, ["theirs"]);
}

#[tokio::test]
async fn a_file_that_is_taken_away_and_put_back_has_lost_nothing() {
    let cell = setup().open().await;
    let db = cell.db("acme").await;
    add(&db, "only here").await.expect("written");

    let aside = cell.directory.path().join("aside");
    fs::rename(cell.file("acme"), &aside).expect("taken away");
    assert_refused(&db).await;
    until("the file is closed", async || cell.stat(|s| &s.open) == 0).await;
    drop(db);

    let cell = setup().open_at(cell.stop().await).await;
    let missing = cell.tenants.find_or_create(&tenant("acme")).await.expect_err("only its WAL is there");
    let missing = StoreError::from(match missing {
        crm_cell::tenancy::OpenError::Unavailable(why) => why,
        other => panic!("{other:?}"),
    });
    assert_eq!(unavailable(&missing).and_then(quarantine), Some(Quarantine::Missing));

    fs::rename(&aside, cell.file("acme")).expect("put back");
    until("the back-off is over", async || cell.tenants.find(&tenant("acme")).await.is_ok()).await;
    assert_eq!(rows(&cell).await, ["only here"]);
    assert_eq!(trash(cell.directory.path()), Vec::<PathBuf>::new());
}

/// As when a disk or a mount is away for a while.
#[tokio::test]
async fn a_file_that_cannot_be_looked_at_is_not_taken_for_a_replaced_one() {
    let cell = setup().open().await;
    let db = cell.db("acme").await;
    add(&db, "before").await.expect("written");
    let (tenants, away) = (cell.files(), beside(&cell.files(), ".away"));
    fs::rename(&tenants, &away).expect("moved");
    fs::write(&tenants, "not a directory").expect("written");

    let refused = add(&db, "meanwhile").await.expect_err("the file cannot be looked at");
    let why = unavailable(&refused).expect("unavailable");
    assert!(matches!(why.reason, Reason::Io) && why.outcome == Outcome::NotWritten, "{why:?}");
    let refused = cell.tenants.find(&tenant("globex")).await.expect_err("it may be there");
    assert!(matches!(refused, OpenError::Unavailable(ref why) if quarantine(why).is_none()), "{refused:?}");

    fs::remove_file(&tenants).expect("removed");
    fs::rename(&away, &tenants).expect("moved back");
    add(&db, "after").await.expect("written");
    assert_eq!(rows(&cell).await, ["after", "before"]);
    drop(db);
    cell.stop().await;
}
