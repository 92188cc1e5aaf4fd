//! Reads: one snapshot a batch, never older than what was acknowledged before; point reads in company.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_cell::tenancy::{Outcome, PointRead, Reason, StoreError, TenantDb};
use futures_util::future::join_all;
use sqlx::sqlite::SqliteRow;
use tokio::sync::oneshot;

use crate::support::{
    Cell, FOR_EVER, Name, Plug, Queued, Setup, add, count, count_to, ids, queue, tenant, unavailable,
};

fn is_deadline(error: &StoreError) -> bool {
    let why = unavailable(error);
    why.is_some_and(|why| matches!(why.reason, Reason::Deadline) && why.outcome == Outcome::NotWritten)
}

fn point<'a>(
    db: &'a TenantDb,
    id: &str,
) -> impl Future<Output = Result<Option<Name>, StoreError>> + Send + 'a {
    db.point_read::<Name>(id.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_every_write_acknowledged_before_it() {
    const TASKS: usize = 16;
    const EACH: usize = 40;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let tasks = (0..TASKS).map(|task| {
        let db = db.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let id = add(&db, &format!("{task}-{n}")).await.expect("written");
                let by_unit = {
                    let id = id.clone();
                    db.read(async move |read| {
                        let sql = "select count(*) from customers where id = ?1";
                        Ok(sqlx::query_scalar::<_, i64>(sql).bind(id).fetch_one(&mut *read).await?)
                    })
                };
                let (by_unit, by_id) = tokio::join!(by_unit, point(&db, &id));
                assert_eq!(by_unit.expect("read"), 1, "{id}");
                assert_eq!(by_id.expect("read"), Some(Name(id)));
            }
        })
    });

    for task in join_all(tasks).await {
        task.expect("no stale read");
    }
    assert_eq!(db.read(count).await.expect("counted"), (TASKS * EACH) as i64);
}

#[tokio::test]
async fn a_batch_of_reads_has_one_snapshot() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    let plug = Plug::reader(&db).await;
    let (looked, has_looked) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let first = queue(db.read(async move |read| {
        let seen = count(read).await?;
        looked.send(seen).expect("the test waits");
        goes_on.await.expect("the test answers");
        Ok((seen, count(read).await?))
    }));
    let second = queue(db.read(count));
    plug.pull().await;
    assert_eq!(has_looked.await.expect("the first unit has its turn"), 1);
    add(&db, "two").await.expect("a reader does not stop a writer");
    let third = queue(db.read(count));
    go_on.send(()).expect("the first unit waits");

    assert_eq!(first.await.expect("read"), (1, 1));
    assert_eq!(second.await.expect("read"), 1, "the same snapshot");
    assert_eq!(third.await.expect("read"), 2, "queued after the second write was acknowledged");
}

#[tokio::test]
async fn a_read_past_its_deadline_is_aborted_alone() {
    let mut setup = Setup::default();
    setup.storage.read_deadline = Duration::from_millis(100);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    let plug = Plug::reader(&db).await;
    let before = queue(db.read(count));
    let endless = queue(db.read(async |read| count_to(read, FOR_EVER).await));
    let after = queue(db.read(count));
    let start = Instant::now();
    plug.pull().await;

    assert_eq!(before.await.expect("read"), 1);
    let error = endless.await.expect_err("aborted");
    assert!(is_deadline(&error), "{error:?}");
    assert_eq!(after.await.expect("read"), 1);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(db.read(count).await.expect("the next batch"), 1);
    assert_eq!(cell.counter(|c| &c.discarded), 0, "a deadline is no reason to reopen");
}

#[tokio::test]
async fn a_reader_that_met_a_second_worse_fault_is_replaced() {
    let mut setup = Setup::default();
    setup.storage.read_deadline = Duration::from_millis(50);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    let plug = Plug::reader(&db).await;
    let endless = queue(db.point_read::<Endless>("one".to_owned()));
    let broken = queue(db.point_read::<Broken>("one".to_owned()));
    plug.pull().await;

    assert!(endless.await.is_err() && broken.await.is_err());
    assert_eq!(db.read(count).await.expect("read"), 1);
    assert_eq!(cell.counter(|c| &c.discarded), 1);
}

/// A point read that never ends.
#[derive(Debug)]
struct Endless;

impl PointRead for Endless {
    const SQL: &'static str = "with recursive c(n) as (select 1 union all select n + 1 from c where n < 500000000) \
        select j.key, (select count(*) from c) from json_each(?1) j";

    fn from_row(_row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self)
    }
}

/// A point read that meets a fault after which a connection is replaced: it tries to write.
#[derive(Debug)]
pub(crate) struct Broken;

impl PointRead for Broken {
    const SQL: &'static str = "delete from customers where ?1 is not null returning 0";

    fn from_row(_row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_unit_that_panics_fails_alone() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    let plug = Plug::reader(&db).await;
    let panics = queue(db.read(async |read| {
        count(read).await?;
        std::panic::resume_unwind(Box::new("the unit panics"))
    }));
    let early = queue(db.read(panics_at_once));
    let after = queue(db.read(count));
    plug.pull().await;

    let panics: Result<(), _> = panics.await;
    assert!(matches!(panics, Err(StoreError::Panicked)));
    assert!(matches!(early.await, Err(StoreError::Panicked)));
    assert_eq!(after.await.expect("read"), 1);
}

fn panics_at_once<'a>(
    _read: &'a mut crm_cell::tenancy::Read,
) -> futures_util::future::BoxFuture<'a, Result<(), StoreError>> {
    std::panic::resume_unwind(Box::new("the unit panics"))
}

#[tokio::test]
async fn point_reads_answer_each_id_by_itself() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    for id in ["a", "b", "c"] {
        add(&db, id).await.expect("written");
    }

    let plug = Plug::reader(&db).await;
    let asked = ["b", "missing", "a", "b", "", "b", "c", "it's \"quoted\"\\", "a\u{0}"];
    let answers: Vec<Queued<'_, _>> = asked.iter().map(|id| queue(point(&db, id))).collect();
    let batches = cell.counter(|c| &c.point_batches);
    plug.pull().await;

    for (id, answer) in asked.iter().zip(join_all(answers).await) {
        let expected = ["a", "b", "c"].contains(id).then(|| Name((*id).to_owned()));
        assert_eq!(answer.expect("read"), expected, "{id:?}");
    }
    assert_eq!(cell.counter(|c| &c.point_batches) - batches, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_point_reads_share_statements() {
    const CALLERS: usize = 64;
    const EACH: usize = 50;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");
    let before = cell.counter(|c| &c.statements);

    let callers = (0..CALLERS).map(|_| {
        let db = db.clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                assert_eq!(point(&db, "one").await.expect("read"), Some(Name("one".to_owned())));
            }
        })
    });
    for caller in join_all(callers).await {
        caller.expect("no panic");
    }

    let reads = (CALLERS * EACH) as u64;
    let statements = cell.counter(|c| &c.statements) - before;
    println!(
        "{reads} point reads, {CALLERS} callers: {statements} statements ({:.3} a read)",
        statements as f64 / reads as f64
    );
    assert_eq!(cell.counter(|c| &c.point_reads), reads);
    assert_eq!(cell.counter(|c| &c.point_batches), statements);
    assert!(statements * 4 < reads, "{statements} statements for {reads} reads");
}

#[tokio::test]
async fn a_full_queue_refuses_one_more() {
    let mut setup = Setup::default();
    setup.storage.queue = 4;
    let cell = setup.open().await;
    let db = cell.db("acme").await;

    let plug = Plug::reader(&db).await;
    let waiting: Vec<Queued<'_, i64>> = (0..4).map(|_| queue(db.read(count))).collect();
    assert!(matches!(db.read(count).await, Err(StoreError::Overloaded)));
    assert!(matches!(point(&db, "one").await, Err(StoreError::Overloaded)));
    plug.pull().await;
    assert!(join_all(waiting).await.iter().all(Result::is_ok));

    let plug = Plug::writer(&db).await;
    let names = ["a", "b", "c", "d"];
    let waiting: Vec<Queued<'_, String>> = names.iter().map(|name| queue(add(&db, name))).collect();
    assert!(matches!(add(&db, "e").await, Err(StoreError::Overloaded)));
    plug.pull().await;
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    assert_eq!(
        db.read(async |read| ids(read, "select id from customers order by 1").await).await.expect("read"),
        names
    );
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_reads_as_an_empty_one() {
    let cell = Cell::open().await;
    assert!(cell.tenants.find(&tenant("acme")).await.expect("found out").is_none());
    let empty: Arc<TenantDb> = cell.tenants.empty().await.expect("the template");

    assert_eq!(empty.read(count).await.expect("read"), 0);
    assert_eq!(point(&empty, "one").await.expect("read"), None);
    let written = add(&empty, "one").await;

    assert!(unavailable(&written.expect_err("nobody's file")).is_some());
    assert_eq!(empty.read(count).await.expect("read"), 0);
    assert_eq!(std::fs::read_dir(cell.files()).expect("the directory").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_does_not_keep_writers_waiting() {
    let mut setup = Setup::default();
    setup.storage.checkpoint_after = Duration::from_millis(100);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");
    let (reading, is_reading) = oneshot::channel();
    let (stop, stops) = oneshot::channel::<()>();
    let long = queue(db.read(async move |read| {
        count(read).await?;
        reading.send(()).expect("the test waits");
        stops.await.expect("the test answers");
        count(read).await
    }));
    is_reading.await.expect("the snapshot is open");

    // The writer is idle, so it wants to checkpoint, and the snapshot is in its way.
    add(&db, "two").await.expect("written");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    add(&db, "three").await.expect("written");

    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    stop.send(()).expect("the read waits");
    assert_eq!(long.await.expect("read"), 1);
}
