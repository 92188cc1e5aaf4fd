//! The WAL comes home: soon after the last write, in the end even while reads never pause; later the writer is closed,
//! and after a clean stop only main files are left.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crm_cell::tenancy::{Read, TenantDb, Write};
use futures_util::future::join_all;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{
    Cell, Setup, add, beside, by, copy_outside, count, descriptors_of, file_of, insert_row, queue, toil,
    until, write_for_ever,
};

fn restless() -> Setup {
    let mut setup = Setup::default();
    setup.storage.checkpoint_after = Duration::from_millis(100);
    setup
}

/// How many customers a copy of the main file alone holds.
async fn rows_in_main_file(cell: &Cell, id: &str) -> i64 {
    let copy = tempfile::tempdir().expect("a directory");
    let file = copy.path().join("main.db");
    copy_outside(&cell.file(id), &file);
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.expect("a database");
    let rows = sqlx::query_scalar("select count(*) from customers").fetch_one(&mut connection).await;
    connection.close().await.expect("closed");
    rows.expect("counted")
}

async fn fill(db: &Arc<TenantDb>, rows: i64) {
    for n in 0..rows {
        add(db, &format!("row{n}")).await.expect("written");
    }
}

#[tokio::test]
async fn soon_after_the_last_write_the_main_file_alone_holds_every_row() {
    let cell = restless().open().await;
    let db = cell.db("acme").await;
    fill(&db, 20).await;
    assert_eq!(rows_in_main_file(&cell, "acme").await, 0, "the rows are in the WAL");

    let idle_since = Instant::now();
    until("the tenant is checkpointed", async || cell.counter(|c| &c.checkpoints) == 1).await;

    assert!(idle_since.elapsed() < Duration::from_secs(1), "{:?}", idle_since.elapsed());
    assert_eq!(rows_in_main_file(&cell, "acme").await, 20);
    assert_eq!(fs::metadata(beside(&cell.file("acme"), "-wal")).expect("a WAL").len(), 0);
    fill(&cell.db("other").await, 1).await;
    add(&db, "late").await.expect("written");
    until("both are checkpointed", async || cell.counter(|c| &c.checkpoints) == 3).await;
    assert_eq!(rows_in_main_file(&cell, "acme").await, 21);
}

#[tokio::test]
async fn a_checkpoint_that_a_reader_prevents_is_made_up_for() {
    let cell = restless().open().await;
    let db = cell.db("acme").await;
    let (reading, is_reading) = oneshot::channel();
    let (stop, stops) = oneshot::channel::<()>();
    let long = queue(db.read(async move |read| {
        count(read).await?;
        reading.send(()).expect("the test waits");
        stops.await.expect("the test answers");
        Ok(())
    }));
    is_reading.await.expect("the snapshot is open");
    fill(&db, 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // long enough for a checkpoint, which the snapshot prevents
    assert_eq!(cell.counter(|c| &c.checkpoints), 0);

    stop.send(()).expect("the read waits");
    long.await.expect("read");

    until("the tenant is checkpointed", async || cell.counter(|c| &c.checkpoints) == 1).await;
    assert_eq!(rows_in_main_file(&cell, "acme").await, 3);
}

#[tokio::test]
async fn rows_reach_the_main_file_though_a_later_group_was_lost() {
    let mut setup = restless();
    setup.storage.write_deadline = Duration::from_millis(50);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    fill(&db, 3).await;

    let lost = db.write(by("me"), None, async |tx: &mut Write| write_for_ever(tx).await).await;
    assert!(lost.is_err());
    assert_eq!(cell.counter(|c| &c.discarded), 1);

    until("every row is in the main file", async || rows_in_main_file(&cell, "acme").await == 3).await;
}

#[tokio::test]
async fn rows_left_in_the_wal_by_a_crash_reach_the_main_file_without_a_write() {
    let crashed = Cell::open().await;
    fill(&crashed.db("acme").await, 3).await;
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("tenants")).expect("made");
    let file = file_of(directory.path(), "acme");
    copy_outside(&crashed.file("acme"), &file);
    copy_outside(&beside(&crashed.file("acme"), "-wal"), &beside(&file, "-wal"));

    let cell = restless().open_at(directory).await;
    let db = cell.db("acme").await;
    assert_eq!(db.read(count).await.expect("counted"), 3, "the WAL is recovered");

    until("every row is in the main file", async || rows_in_main_file(&cell, "acme").await == 3).await;
}

#[tokio::test]
async fn an_idle_writer_is_closed_and_comes_back() {
    let mut setup = restless();
    setup.storage.writer_idle = Duration::from_millis(200);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    let file = cell.file("acme");
    let reader_only = descriptors_of(&file).len();

    let mut busy = 0;
    let mut idle = Vec::new();
    for round in 0..4 {
        add(&db, &format!("row{round}")).await.expect("written");
        busy = busy.max(descriptors_of(&file).len());
        until("the writer is closed", async || descriptors_of(&file).len() < busy).await;
        idle.push(descriptors_of(&file).len());
    }

    println!("descriptors of a tenant: {reader_only} with a reader, {busy} with a writer, then {idle:?}");
    assert!(busy > reader_only && busy <= 6);
    assert!(idle.iter().all(|count| *count == idle[0]), "descriptors pile up: {idle:?}");
    assert_eq!(db.read(count).await.expect("counted"), 4);
}

#[tokio::test]
async fn an_idle_tenant_is_closed() {
    let mut setup = restless();
    setup.storage.tenant_idle = Duration::from_millis(200);
    let cell = setup.open().await;
    fill(&cell.db("acme").await, 3).await;

    until("the tenant is closed", async || cell.stat(|s| &s.open) == 0).await;

    assert!(descriptors_of(&cell.file("acme")).is_empty());
    assert!(!beside(&cell.file("acme"), "-wal").exists());
    assert_eq!(rows_in_main_file(&cell, "acme").await, 3);
    assert_eq!(cell.db("acme").await.read(count).await.expect("counted"), 3);
}

#[tokio::test]
async fn a_clean_stop_leaves_main_files_alone() {
    let mut setup = Setup::default();
    setup.storage.write_deadline = Duration::from_millis(50);
    let cell = setup.open().await;
    for n in 0..8 {
        let db = cell.db(&format!("t{n}")).await;
        fill(&db, n).await;
        if n % 2 == 0 {
            let lost = db.write(by("me"), None, async |tx: &mut Write| write_for_ever(tx).await).await;
            assert!(lost.is_err());
        }
    }

    let directory = cell.stop().await;

    let mut files: Vec<String> = fs::read_dir(directory.path().join("tenants"))
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, (0..8).map(|n| format!("t{n}.db")).collect::<Vec<_>>());
    let cell = Setup::default().open_at(directory).await;
    for n in 0..8 {
        assert_eq!(rows_in_main_file(&cell, &format!("t{n}")).await, n);
    }
}

/// Readers of whom always one is at work and others wait: some snapshot is open at almost every moment.
struct CeaselessReads {
    over: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

fn ceaseless_reads(db: &Arc<TenantDb>) -> CeaselessReads {
    let over = Arc::new(AtomicBool::new(false));
    let readers = (0..4).map(|_| {
        let (db, over) = (db.clone(), over.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let unit = async |read: &mut Read| {
                    count(read).await?;
                    toil(read, Duration::from_millis(20)).await
                };
                db.read(unit).await.expect("read");
            }
        })
    });
    CeaselessReads { readers: readers.collect(), over }
}

impl CeaselessReads {
    async fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        for reader in join_all(self.readers).await {
            reader.expect("no panic");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_read_all_the_time_is_checkpointed() {
    let cell = restless().open().await;
    let db = cell.db("acme").await;
    let reads = ceaseless_reads(&db);

    fill(&db, 3).await;
    until("the tenant is checkpointed", async || cell.counter(|c| &c.checkpoints) > 0).await;

    assert_eq!(rows_in_main_file(&cell, "acme").await, 3);
    reads.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_small_where_reads_never_pause() {
    const MIB: u64 = 1 << 20;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let reads = ceaseless_reads(&db);

    let (mut written, mut most) = (0, 0);
    while written < 240 * MIB {
        let remarks = (0..8).map(|n| {
            let (db, name) = (&db, format!("{written}-{n}"));
            db.write(by("me"), None, async move |tx: &mut Write| {
                insert_row(tx, &name).await?;
                let sql = "update customers set remark = ?1 where id = ?2";
                sqlx::query(sql).bind("x".repeat(1 << 20)).bind(name).execute(&mut *tx).await?;
                Ok(())
            })
        });
        for done in join_all(remarks).await {
            done.expect("written");
        }
        written += 8 * MIB;
        let wal = fs::metadata(beside(&cell.file("acme"), "-wal")).expect("a WAL");
        most = most.max(wal.len());
    }
    reads.stop().await;

    println!("{} MiB written, WAL at most {} MiB", written / MIB, most / MIB);
    assert!(most < 150 * MIB, "the WAL grew to {} MiB", most / MIB);
}
