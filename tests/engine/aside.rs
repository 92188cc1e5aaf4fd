//! Long reads: nobody waits for them but their own kind, and they leave nothing behind, whatever becomes of them, their
//! callers and the tenant meanwhile.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_cell::domain::Scope;
use crm_cell::tenancy::{LongRead, Outcome, Quarantine, Read, Reason, StoreError, TenantDb};
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{
    Cell, FOR_EVER, Name, PATIENCE, Setup, add, beside, copy_outside, count, count_to, descriptors_of,
    file_of, ids, quarantine, queue, tenant, unavailable, until,
};

/// A long read that has its snapshot and waits to be let go.
struct Held {
    go_on: oneshot::Sender<()>,
    read: JoinHandle<Result<i64, StoreError>>,
}

impl Held {
    async fn of(db: &Arc<TenantDb>, kind: LongRead) -> Self {
        let (go_on, goes_on) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let db = db.clone();
        let read = tokio::spawn(async move {
            let unit = async move |read: &mut Read| {
                count(read).await?;
                let _test_waits = started.send(());
                let _or_dropped = goes_on.await;
                count(read).await
            };
            db.read_aside(kind, Scope::All, unit).await
        });
        has_started.await.expect("the snapshot is open");
        Self { go_on, read }
    }

    async fn end(self) -> Result<i64, StoreError> {
        let _or_ended = self.go_on.send(());
        self.read.await.expect("no panic")
    }
}

/// The tenant's descriptors once no long read is open: SQLite keeps one of the file for the next.
async fn settled(cell: &Cell) -> usize {
    let file = cell.file("acme");
    until("only the reader is open", async || {
        let of_wal = |path: &std::path::PathBuf| path.to_string_lossy().ends_with("-wal");
        descriptors_of(&file).iter().filter(|path| of_wal(path)).count() == 1
    })
    .await;
    descriptors_of(&file).len()
}

async fn report(db: &Arc<TenantDb>) -> Result<i64, StoreError> {
    db.read_aside(LongRead::Report, Scope::All, count).await
}

fn is_deadline(error: &StoreError) -> bool {
    let why = unavailable(error);
    why.is_some_and(|why| matches!(why.reason, Reason::Deadline) && why.outcome == Outcome::NotWritten)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_is_answered_while_one_runs_at_its_one_snapshot() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    let long = Held::of(&db, LongRead::Report).await;
    add(&db, "two").await.expect("written");
    assert_eq!(db.read(count).await.expect("read"), 2);
    let two = db.point_read::<Name>("two".to_owned()).await.expect("read");

    assert_eq!(two, Some(Name("two".to_owned())));
    assert_eq!(long.end().await.expect("read"), 1, "the snapshot of before");
    assert_eq!(report(&db).await.expect("read"), 2, "every write answered before");
}

#[tokio::test]
async fn a_tenant_has_one_of_each_kind_at_a_time_and_few_that_wait() {
    let mut setup = Setup::default();
    setup.storage.queue = 1;
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    let other = cell.db("other").await;

    let first = Held::of(&db, LongRead::Report).await;
    let second = queue(report(&db));
    assert!(matches!(report(&db).await, Err(StoreError::Overloaded)));
    let export = db.read_aside(LongRead::Export, Scope::All, count).await;
    assert_eq!(export.expect("another kind"), 0);
    assert_eq!(report(&other).await.expect("another tenant"), 0);

    first.end().await.expect("read");
    assert_eq!(second.await.expect("its turn has come"), 0);
}

#[tokio::test]
async fn a_process_has_few_at_a_time() {
    let cell = Cell::open().await;
    let mut held = Vec::new();
    for n in 0..4 {
        held.push(Held::of(&cell.db(&format!("t{n}")).await, LongRead::Export).await);
    }
    let db = cell.db("fifth").await;
    let mut fifth = Box::pin(db.read_aside(LongRead::Export, Scope::All, count));
    for _ in 0..100 {
        assert!((&mut fifth).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    held.pop().expect("four").end().await.expect("read");
    assert_eq!(fifth.await.expect("its turn has come"), 0);
}

#[tokio::test]
async fn one_that_runs_or_waits_too_long_is_aborted_and_says_so() {
    let mut setup = Setup::default();
    setup.storage.report_deadline = Duration::from_millis(100);
    setup.storage.read_deadline = Duration::from_millis(1);
    let cell = setup.open().await;
    let db = cell.db("acme").await;

    let busy =
        db.read_aside(LongRead::Report, Scope::All, async |read: &mut Read| count_to(read, FOR_EVER).await);
    assert!(is_deadline(&busy.await.expect_err("aborted")));
    let idle = db.read_aside(LongRead::Report, Scope::All, async |read: &mut Read| {
        count(read).await?;
        std::future::pending::<()>().await;
        Ok(())
    });
    assert!(is_deadline(&idle.await.expect_err("aborted")));
    let long =
        db.read_aside(LongRead::Export, Scope::All, async |read: &mut Read| count_to(read, 1_000_000).await);
    assert_eq!(long.await.expect("exports have their own deadline"), 1_000_000);
}

#[tokio::test]
async fn one_that_panics_fails_alone() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let panics = db.read_aside(LongRead::Report, Scope::All, async |read: &mut Read| {
        count(read).await?;
        std::panic::resume_unwind(Box::new("the unit panics"))
    });
    let panics: Result<(), _> = panics.await;

    assert!(matches!(panics, Err(StoreError::Panicked)), "{panics:?}");
    assert_eq!(report(&db).await.expect("read"), 0);
}

#[tokio::test]
async fn none_can_write() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    for sql in ["delete from customers", "with x as (select 1) delete from customers", "commit"] {
        let unit =
            async move |read: &mut Read| Ok(sqlx::query(sql).execute(&mut *read).await?.rows_affected());
        assert!(db.read_aside(LongRead::Report, Scope::All, unit).await.is_err(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_caller_is_gone_ends_and_its_connection_is_closed() {
    let mut setup = Setup::default();
    setup.storage.report_deadline = Duration::from_secs(600); // its deadline does not end it
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    report(&db).await.expect("read");
    let before = settled(&cell).await;

    let busy = tokio::spawn({
        let db = db.clone();
        async move {
            let unit = async |read: &mut Read| count_to(read, FOR_EVER).await;
            db.read_aside(LongRead::Report, Scope::All, unit).await
        }
    });
    until("it is open", async || descriptors_of(&cell.file("acme")).len() > before).await;
    busy.abort();

    until("it is closed", async || descriptors_of(&cell.file("acme")).len() == before).await;
    assert_eq!(report(&db).await.expect("its turn has come"), 0);
}

#[tokio::test]
async fn many_leave_no_descriptor() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    report(&db).await.expect("read");
    let before = settled(&cell).await;
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(report(&db).await.expect("read"), 0);
    }
    println!("{:?} a long read of nothing", start.elapsed() / 50);
    until("all are closed", async || descriptors_of(&cell.file("acme")).len() == before).await;
}

#[tokio::test]
async fn a_checkpoint_that_one_prevents_is_made_up_for() {
    let mut setup = Setup::default();
    setup.storage.checkpoint_after = Duration::from_millis(50);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");
    until("a first checkpoint", async || cell.counter(|c| &c.checkpoints) == 1).await;

    let long = Held::of(&db, LongRead::Report).await;
    add(&db, "two").await.expect("written");
    tokio::time::sleep(Duration::from_millis(300)).await; // long enough for a checkpoint, which the snapshot prevents
    assert_eq!(cell.counter(|c| &c.checkpoints), 1);
    add(&db, "three").await.expect("writes go on");
    long.end().await.expect("read");

    until("the tenant is checkpointed", async || cell.counter(|c| &c.checkpoints) == 2).await;
    assert_eq!(fs::metadata(beside(&cell.file("acme"), "-wal")).expect("a WAL").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_forgotten_meanwhile_is_found_again_and_a_stop_waits_and_leaves_no_wal() {
    let mut setup = Setup::default();
    setup.storage.tenant_idle = Duration::from_millis(50);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");
    let long = Held::of(&db, LongRead::Export).await;
    drop(db);

    until("the map forgets it, and finds it again", async || {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let db = cell.db("acme").await;
        add(&db, "again").await.ok();
        cell.stat(|stats| &stats.revivals) > 0
    })
    .await;
    assert_eq!(cell.stat(|stats| &stats.opens), 1, "one set of connections");
    assert_eq!(cell.tenants.close(Duration::from_millis(100)).await, 1, "the file is still open");
    assert_eq!(long.end().await.expect("read"), 1);

    assert_eq!(cell.tenants.close(PATIENCE).await, 0);
    assert_eq!(cell.stat(|stats| &stats.overlaps), 0);
    assert!(!beside(&cell.file("acme"), "-wal").exists(), "the writer closed last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_ends_one_before_the_file_is_opened_again() {
    let theirs = {
        let cell = Cell::open().await;
        add(&*cell.db("acme").await, "theirs").await.expect("written");
        cell.stop().await
    };
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "ours").await.expect("written");
    let long = Held::of(&db, LongRead::Export).await;

    let copy = beside(&cell.file("acme"), ".copy");
    copy_outside(&file_of(theirs.path(), "acme"), &copy);
    fs::rename(copy, cell.file("acme")).expect("replaced");
    add(&db, "lost").await.expect_err("the file is not in its place");

    // Not let go: the quarantine ends it.
    let ended = long.read.await.expect("no panic").expect_err("ended");
    assert_eq!(unavailable(&ended).and_then(quarantine), Some(Quarantine::Replaced), "{ended:?}");
    let refused = report(&db).await.expect_err("quarantined");
    assert_eq!(unavailable(&refused).and_then(quarantine), Some(Quarantine::Replaced));
    drop(db);
    let directory = cell.stop().await;

    let cell = Setup::default().open_at(directory).await;
    let rows = cell.db("acme").await.read(async |read| ids(read, "select id from customers").await).await;
    assert_eq!(rows.expect("read"), ["theirs"]);
    assert_eq!(cell.stat(|stats| &stats.overlaps), 0);
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_reads_as_an_empty_one() {
    let cell = Cell::open().await;
    assert!(cell.tenants.find(&tenant("acme")).await.expect("found out").is_none());
    let empty = cell.tenants.empty().await.expect("the template");

    assert_eq!(report(&empty).await.expect("read"), 0);
    assert_eq!(fs::read_dir(cell.files()).expect("the directory").count(), 0);
}
