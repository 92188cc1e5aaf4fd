//! A cell without HTTP: a data root of its own, its tenants, and units of work to run on them.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crm_cell::config::{self, Binding, Provision};
use crm_cell::domain::{Clock, IdSource, Masking, Resource, SystemClock, TenantId};
use crm_cell::tenancy::{
    Actor, Bound, Capacity, Change, DataRoot, Event, IdempotencyKey, PointRead, Quarantine, Read, Reason,
    StoreError, Surroundings, TenantDb, Tenants, Unavailable, Write,
};
use futures_util::FutureExt;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything that must happen may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a test wants to be otherwise than usual.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) capacity: u64,
    pub(crate) storage: config::Storage,
    pub(crate) tenants: config::Tenants,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            capacity: 16,
            storage: config::Storage {
                database_url: String::new(),
                legacy: config::Legacy::Refuse,
                lock_wait: Duration::ZERO,
                max_open_tenants: 0,
                tenant_idle: Duration::from_secs(300),
                writer_idle: Duration::from_secs(60),
                checkpoint_after: Duration::from_secs(2),
                queue: 2048,
                read_deadline: Duration::from_secs(10),
                write_deadline: Duration::from_secs(10),
                report_deadline: Duration::from_secs(20),
                export_deadline: Duration::from_secs(20),
                low_water: None,
                stop_writes: None,
            },
            tenants: config::Tenants {
                default_id: tenant("default"),
                provision: Provision::Auto,
                binding: Binding::Header,
                create_burst: 10_000,
                create_per_minute: 600,
                trash_keep: Duration::from_secs(3600),
            },
            clock: Arc::new(SystemClock),
        }
    }
}

impl Setup {
    /// Opens a new data root.
    pub(crate) async fn open(self) -> Cell {
        self.open_at(tempfile::tempdir().expect("a directory")).await
    }

    /// Opens the data root in `directory`, which a cell may have used before.
    pub(crate) async fn open_at(self, directory: TempDir) -> Cell {
        Cell { tenants: self.tenants_of(directory.path()).await, directory }
    }

    /// Opens the data root in `directory`, which belongs to somebody else.
    pub(crate) async fn tenants_of(self, directory: &Path) -> Arc<Tenants> {
        let root = DataRoot::open(directory, PATIENCE).await.expect("a data root");
        let capacity = Capacity { tenants: self.capacity, connections: 16, bound_by: Bound::Configured };
        let surroundings = Surroundings {
            clock: self.clock,
            ids: Arc::new(IdSource::default()),
            masking: Masking { email: false },
            publishes_events: true,
        };
        let tenants = Tenants::open(root, &self.storage, &self.tenants, capacity, surroundings).await;
        Arc::new(tenants.expect("tenants"))
    }
}

/// The tenants of one data root.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) directory: TempDir,
}

impl Cell {
    pub(crate) async fn open() -> Self {
        Setup::default().open().await
    }

    /// The tenant, created if need be.
    pub(crate) async fn db(&self, id: &str) -> Arc<TenantDb> {
        self.tenants.find_or_create(&tenant(id)).await.expect("the tenant opens")
    }

    /// The directory of the tenants' files.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join("tenants")
    }

    pub(crate) fn file(&self, id: &str) -> PathBuf {
        file_of(self.directory.path(), id)
    }

    pub(crate) fn counter(&self, of: impl Fn(&crm_cell::tenancy::Counters) -> &AtomicU64) -> u64 {
        of(self.tenants.counters()).load(Ordering::Relaxed)
    }

    pub(crate) fn stat(&self, of: impl Fn(&crm_cell::tenancy::Stats) -> &AtomicU64) -> u64 {
        of(self.tenants.stats()).load(Ordering::Relaxed)
    }

    /// Stops the cell and gives its directory back; nothing may hold a tenant any more.
    pub(crate) async fn stop(self) -> TempDir {
        assert_eq!(self.tenants.close(PATIENCE).await, 0, "all tenants close");
        drop(self.tenants);
        self.directory
    }
}

pub(crate) fn tenant(id: &str) -> TenantId {
    id.parse().expect("a tenant id")
}

/// A tenant's file in a data root.
pub(crate) fn file_of(root: &Path, id: &str) -> PathBuf {
    root.join("tenants").join(crm_cell::tenancy::file_name(&tenant(id)))
}

/// Writes a tenant's file as the cell of this schema version left it, with these rows.
pub(crate) async fn write_old(file: &Path, version: i64, rows: &[&'static str]) {
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.connect().await.expect("created");
    let of_that_time = sqlx::migrate!().iter().filter(|known| known.version <= version).cloned().collect();
    let migrator = Migrator::with_migrations(of_that_time);
    migrator.run_direct(None, &mut connection, false).await.expect("migrated");
    for rows in rows {
        sqlx::raw_sql(*rows).execute(&mut connection).await.expect("inserted");
    }
    let written: i64 =
        sqlx::query_scalar("pragma user_version").fetch_one(&mut connection).await.expect("a version");
    assert_eq!(written, version);
    connection.close().await.expect("closed");
}

/// `path` with `suffix` after its last character.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn by(user: &str) -> Actor {
    Actor { user: user.into(), ..Actor::default() }
}

pub(crate) fn key(key: &str) -> Option<IdempotencyKey> {
    key_of(key, "the same body")
}

pub(crate) fn key_of(key: &str, fingerprint: &str) -> Option<IdempotencyKey> {
    Some(IdempotencyKey { key: key.to_owned(), fingerprint: fingerprint.to_owned() })
}

/// Inserts a customer whose id and name are `name`, with its journal entry and its event.
pub(crate) async fn insert(tx: &mut Write, name: &str) -> Result<String, StoreError> {
    insert_row(tx, name).await?;
    tx.record(created(name));
    Ok(name.to_owned())
}

/// Inserts the row alone.
pub(crate) async fn insert_row(tx: &mut Write, name: &str) -> Result<(), StoreError> {
    let now = tx.now().millis();
    sqlx::query(
        "insert into customers (id, name, name_key, owner_id, created_at, updated_at) values (?1, ?1, ?1, 'me', ?2, ?2)",
    )
    .bind(name)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

pub(crate) fn created(id: &str) -> Change {
    Change {
        action: "customer.create",
        resource: "customer",
        record_id: id.to_owned(),
        version: 1,
        changes: serde_json::json!({ "name": [null, id] }),
        event: Some(Event { kind: "crm.customer.created", data: serde_json::json!({ "id": id }) }),
    }
}

/// A refusal by a rule of the domain.
pub(crate) fn rule() -> StoreError {
    StoreError::NotFound(Resource::Customer)
}

/// Writes one customer and waits for the answer.
pub(crate) async fn add(db: &TenantDb, name: &str) -> Result<String, StoreError> {
    let name = name.to_owned();
    let done = db.write(by("me"), None, async move |tx| insert(tx, &name).await).await?;
    Ok(done.value)
}

/// The ids in each of the tables that one write fills, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) customers: Vec<String>,
    pub(crate) journal: Vec<String>,
    pub(crate) outbox: Vec<String>,
    /// The keys.
    pub(crate) idempotency: Vec<String>,
}

impl Tables {
    /// Tables that hold the writes of exactly these customers, each with its id as its key.
    pub(crate) fn of(mut ids: Vec<String>) -> Self {
        ids.sort();
        Self { customers: ids.clone(), journal: ids.clone(), outbox: ids.clone(), idempotency: ids }
    }
}

pub(crate) async fn tables(db: &TenantDb) -> Tables {
    db.read(async move |read| {
        Ok(Tables {
            customers: ids(read, "select id from customers order by 1").await?,
            journal: ids(read, "select record_id from journal order by 1").await?,
            outbox: ids(read, "select record_id from outbox order by 1").await?,
            idempotency: ids(read, "select key from idempotency order by 1").await?,
        })
    })
    .await
    .expect("the tables can be read")
}

/// The first column of a query.
pub(crate) async fn ids(read: &mut Read, sql: &'static str) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(sql).fetch_all(&mut *read).await?)
}

pub(crate) async fn count(read: &mut Read) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("select count(*) from customers").fetch_one(&mut *read).await?)
}

/// A customer's name by its id, as a point read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

impl PointRead for Name {
    const SQL: &'static str = "select j.key, c.name from json_each(?1) j join customers c on c.id = j.value";

    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self(row.try_get(1)?))
    }
}

/// Keeps SQLite at work for `long`.
pub(crate) async fn toil(read: &mut Read, long: Duration) -> Result<(), StoreError> {
    let start = Instant::now();
    while start.elapsed() < long {
        count_to(read, 100_000).await?;
    }
    Ok(())
}

/// A single statement that takes as long as `n` is big.
pub(crate) async fn count_to(read: &mut Read, n: i64) -> Result<i64, StoreError> {
    let sql =
        "with recursive c(n) as (select 1 union all select n + 1 from c where n < ?1) select count(*) from c";
    Ok(sqlx::query_scalar(sql).bind(n).fetch_one(&mut *read).await?)
}

/// Far past every deadline, and yet a test that waits for it fails in the end.
pub(crate) const FOR_EVER: i64 = 500_000_000;

/// A single statement that writes far past every deadline.
pub(crate) async fn write_for_ever(tx: &mut Write) -> Result<(), StoreError> {
    let sql = "insert into customers (id, name, name_key, owner_id, created_at, updated_at) \
        with recursive c(n) as (select 1 union all select n + 1 from c where n < 2000000) \
        select 'x' || n, 'x' || n, 'x' || n, 'me', 0, 0 from c";
    sqlx::query(sql).execute(&mut *tx).await?;
    Ok(())
}

/// A unit that holds a task of the engine: what is queued meanwhile becomes one group, or one batch.
#[derive(Debug)]
pub(crate) struct Plug {
    release: oneshot::Sender<()>,
    unit: JoinHandle<()>,
}

impl Plug {
    pub(crate) async fn writer(db: &Arc<TenantDb>) -> Self {
        let (release, released) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let db = db.clone();
        let unit = tokio::spawn(async move {
            let plug = async move |_tx: &mut Write| {
                let _test_waits = started.send(());
                let _or_dropped = released.await;
                Ok(())
            };
            db.write(by("plug"), None, plug).await.expect("the plug runs");
        });
        has_started.await.expect("the plug has its turn");
        Self { release, unit }
    }

    pub(crate) async fn reader(db: &Arc<TenantDb>) -> Self {
        let (release, released) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let db = db.clone();
        let unit = tokio::spawn(async move {
            let plug = async move |_read: &mut Read| {
                let _test_waits = started.send(());
                let _or_dropped = released.await;
                Ok(())
            };
            db.read(plug).await.expect("the plug runs");
        });
        has_started.await.expect("the plug has its turn");
        Self { release, unit }
    }

    pub(crate) async fn pull(self) {
        self.release.send(()).expect("the plug waits");
        self.unit.await.expect("the plug runs");
    }
}

/// The answer to a unit that is in a queue.
pub(crate) type Queued<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Polls `unit` once, which puts it into its queue: units queued one after the other run in that order.
pub(crate) fn queue<'a, T>(unit: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Queued<'a, T> {
    let mut unit: Queued<'a, T> = Box::pin(unit);
    assert!((&mut unit).now_or_never().is_none(), "the task is plugged");
    unit
}

/// Waits until `holds`, looking every few milliseconds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the error says of the tenant's state, if it says that it cannot be served.
pub(crate) fn unavailable(error: &StoreError) -> Option<&Unavailable> {
    match error {
        StoreError::Unavailable(why) => Some(why),
        _ => None,
    }
}

pub(crate) fn quarantine(error: &Unavailable) -> Option<Quarantine> {
    match error.reason {
        Reason::Quarantined(why) => Some(why),
        _ => None,
    }
}

/// Copies files with another process: closing a descriptor of a live file in this one would drop SQLite's locks.
pub(crate) fn copy_outside(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{} is copied", from.display());
}

/// The descriptors that this process has of a tenant's file and of what lies beside it.
pub(crate) fn descriptors_of(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    std::fs::read_dir("/proc/self/fd")
        .expect("procfs")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.parent() == file.parent())
        .filter(|target| target.file_name().is_some_and(|found| found.to_string_lossy().starts_with(&name)))
        .collect()
}
