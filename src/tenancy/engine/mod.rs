//! The engine of one tenant: one writer task and one reader task, each owning one plain SQLite connection.
//!
//! - Writes queue up; the writer takes what waits as one transaction ("group commit"), each unit inside its own
//!   savepoint, and answers all of them after the commit. No answer leaves before that.
//! - The ledger (journal, events, idempotency) is written set-wise in the string that commits.
//! - Reads queue up; the reader answers all waiting point reads with one statement and runs the others at one snapshot.
//! - A unit runs to its end in the task even when its caller is gone: dropping a future in the middle of a transaction
//!   is how commits become unknown.
//! - A long read (a report, an export) gets a connection of its own and keeps nobody waiting.
//!
//! There is no `SqlitePool`: it pings on every acquire and release and hands every statement to another thread. The
//! measurements are in ADR 0002.

mod addition;
mod aside;
mod condition;
mod connection;
mod fault;
mod file;
mod group;
mod handle;
mod job;
mod ledger;
mod members;
mod queue;
mod reader;
mod running;
mod totals;
mod unit;
mod writer;

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tracing::Instrument as _;

pub use self::addition::Addition;
use self::addition::Plan;
pub use self::aside::LongRead;
use self::aside::{Aside, Turns};
pub(super) use self::aside::{IN_PROCESS, IN_TENANT};
pub(super) use self::condition::{Condition, quarantined};
pub(super) use self::connection::{Connection, Role};
pub(super) use self::fault::{Fault, fault_of};
pub(super) use self::file::{FileId, OpenFile, file_identity};
pub use self::handle::{Read, Write};
use self::job::Job;
pub use self::ledger::{Actor, Change, Done, Event, IdempotencyKey};
pub use self::members::Members;
pub use self::reader::PointRead;
use self::running::{Running, RunningKeys};
pub use self::totals::CountKey;
use self::totals::Totals;
pub use self::unit::Unit;
use super::Surroundings;
use super::error::{Reason, StoreError, Unavailable};
use super::event_work::EventWork;
use super::fleet::{Gate, Space};
use super::meta::{Meta, State};
use crate::domain::{Clock, IdSource, Masking, Membership, Scope, TenantId, Timestamp};

/// A twin of a running request waits this long for it before it is told to come back (contract §8).
const TWIN_WAIT: Duration = Duration::from_secs(2);

/// How an engine behaves; the same for all tenants.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) queue: usize,
    pub(super) read_deadline: Duration,
    pub(super) write_deadline: Duration,
    pub(super) report_deadline: Duration,
    pub(super) export_deadline: Duration,
    pub(super) checkpoint_after: Duration,
    pub(super) writer_idle: Duration,
}

/// What an engine shares with all others.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<IdSource>,
    pub(super) masking: Masking,
    pub(super) events: Arc<EventWork>,
    pub(super) counters: Arc<Counters>,
    /// Where side files go whose file was replaced.
    pub(super) trash: Arc<Path>,
    /// Passed by whoever changes a tenant's file.
    pub(super) gate: Arc<Gate>,
    /// Room on the disk.
    pub(super) space: Arc<Space>,
    /// Turns of long reads in the process.
    turns: Arc<Turns>,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        surroundings: Surroundings,
        trash: Arc<Path>,
        space: Space,
    ) -> Self {
        let Surroundings { clock, ids, masking, publishes_events } = surroundings;
        let events = Arc::new(EventWork::new(publishes_events));
        let (counters, gate, turns) = (Arc::default(), Arc::default(), Arc::new(Turns::of_process()));
        let space = Arc::new(space);
        Self { settings, clock, ids, masking, events, counters, trash, gate, space, turns }
    }
}

/// What the engines of a process have done since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Write transactions committed: with `synchronous=FULL`, each is one sync of the WAL.
    pub commits: AtomicU64,
    /// Units of work that were part of a committed group.
    pub units: AtomicU64,
    /// Statements sent to SQLite, reads and writes, the engine's own included.
    pub statements: AtomicU64,
    /// Writes answered from an earlier request's stored answer.
    pub replays: AtomicU64,
    /// Point reads answered, and the statements that answered them.
    pub point_reads: AtomicU64,
    /// Statements that answered the point reads.
    pub point_batches: AtomicU64,
    /// Checkpoints that emptied a WAL.
    pub checkpoints: AtomicU64,
    /// Connections thrown away because a transaction on them could no longer be trusted.
    pub discarded: AtomicU64,
}

/// What the reader, the writer and the long reads of one tenant share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    condition: Arc<Condition>,
    /// What the reader has counted.
    totals: Arc<Totals>,
    /// Held by the reader as long as it has a snapshot.
    snapshots: Arc<AsyncMutex<()>>,
    /// Turns of the tenant's long reads.
    turns: Arc<Turns>,
}

impl Common {
    fn new(condition: Arc<Condition>) -> Self {
        let (totals, snapshots) = Default::default();
        Self { condition, totals, snapshots, turns: Arc::new(Turns::of_tenant()) }
    }
}

/// One tenant's open file. Cheap to share; the last holder that lets go closes it.
pub struct TenantDb {
    writes: Option<mpsc::Sender<Job>>,
    reads: mpsc::Sender<reader::Job>,
    condition: Arc<Condition>,
    /// Which file is open.
    identity: Option<FileId>,
    running: RunningKeys,
    about: About,
    /// When a request used it last, in milliseconds since 1970; 0 once that was taken.
    accessed: AtomicI64,
    aside: Aside,
}

/// What a tenant's file says of itself, as it was when it was opened: to change it, an operator closes the file.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) meta: Meta,
    pub(super) members: Arc<Members>,
}

impl TenantDb {
    /// Starts the tasks of a tenant whose file is open for reading. `claim` is dropped once all connections are closed.
    pub(super) fn start<C: Send + Sync + 'static>(
        tenant: &TenantId,
        (file, reader): (OpenFile, Connection),
        about: About,
        shared: &Shared,
        condition: Arc<Condition>,
        claim: C,
    ) -> Self {
        // Whatever the tasks log names the tenant, and no request: they outlive the one that opened it.
        let span = tracing::error_span!(parent: None, "engine", tenant_id = %tenant);
        let identity = file.identity;
        let (reader_closed, when_reader_closed) = oneshot::channel();
        let common = Common::new(condition.clone());
        let (reads, jobs) = mpsc::channel(shared.settings.queue);
        let reader = reader::run(jobs, file.clone(), reader, shared.clone(), common.clone(), reader_closed);
        // Each task holds it: one that panics must not give the file away while the other has it open.
        let claim = Arc::new(claim);
        let of_long_reads: Weak<dyn Any + Send + Sync> = Arc::downgrade(&claim) as _;
        let aside =
            Aside::new(file.clone(), shared.clone(), common.clone(), Some(of_long_reads), span.clone());
        let reader = {
            let claim = claim.clone();
            async move {
                reader.await;
                drop(claim);
            }
        };
        tokio::spawn(reader.instrument(span.clone()));
        let (writes, jobs) = mpsc::channel(shared.settings.queue);
        let writer = writer::Writer::new(tenant.clone(), file, shared.clone(), common);
        let writer = async move {
            writer.run(jobs, when_reader_closed).await;
            drop(claim);
        };
        tokio::spawn(writer.instrument(span));
        let (running, accessed) = Default::default();
        Self { writes: Some(writes), reads, condition, identity, running, about, accessed, aside }
    }

    /// Starts a reader over a file that nobody changes.
    pub(super) fn start_immutable(path: PathBuf, reader: Connection, shared: &Shared) -> Self {
        let condition = Arc::<Condition>::default();
        let common = Common::new(condition.clone());
        let (reads, jobs) = mpsc::channel(shared.settings.queue);
        let file = OpenFile { path, identity: None };
        let span = tracing::Span::current();
        let aside = Aside::new(file.clone(), shared.clone(), common.clone(), None, span);
        let (closed, _) = oneshot::channel();
        tokio::spawn(reader::run(jobs, file, reader, shared.clone(), common, closed));
        let (running, about, accessed) = Default::default();
        Self { writes: None, reads, condition, identity: None, running, about, accessed, aside }
    }

    /// Runs a unit that writes. It commits together with its ledger entries, or not at all; the answer comes after the
    /// commit. With a `key`, an earlier unit's answer to the same request is returned instead of running this one.
    ///
    /// Write the unit as `async move |tx| …`. (`move |tx| async move { … }` fails with "implementation of
    /// `AsyncFnOnce` is not general enough".) It must not wait for anything but the database.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::KeyReused`], [`StoreError::InProgress`], [`StoreError::Overloaded`] and
    /// [`StoreError::Unavailable`].
    pub async fn write<T, F>(
        &self,
        actor: Actor,
        key: Option<IdempotencyKey>,
        unit: F,
    ) -> Result<Done<T>, StoreError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: AsyncFnOnce(&mut Write) -> Result<T, StoreError> + for<'a> Unit<'a, Write, T> + Send + 'static,
    {
        self.check_writable()?;
        self.submit(actor, key, unit, None).await
    }

    /// Runs a unit that keeps the books of a tenant, as [`TenantDb::write`] does, whatever state it is in: what was
    /// delivered, who is a member. Not for what users do.
    ///
    /// # Errors
    /// See [`TenantDb::write`].
    pub async fn maintain<T, F>(&self, actor: Actor, unit: F) -> Result<Done<T>, StoreError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: AsyncFnOnce(&mut Write) -> Result<T, StoreError> + for<'a> Unit<'a, Write, T> + Send + 'static,
    {
        self.submit(actor, None, unit, None).await
    }

    /// Adds a record, and answers with what `reply` makes of it: as [`TenantDb::write`] does, but together with the others
    /// that are added at the same time.
    ///
    /// # Errors
    /// Those of [`Addition::insert`] and of `reply`; see [`TenantDb::write`].
    pub async fn add<A, T, F>(
        &self,
        actor: Actor,
        key: Option<IdempotencyKey>,
        new: A,
        reply: F,
    ) -> Result<Done<T>, StoreError>
    where
        A: Addition,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(A::Record) -> Result<T, StoreError> + Clone + Send + 'static,
    {
        self.check_writable()?;
        let plan = Plan::new(new.clone(), reply.clone());
        let alone = async move |tx: &mut Write| reply(new.insert(tx).await?);
        self.submit(actor, key, alone, Some(plan)).await
    }

    fn check_writable(&self) -> Result<(), Unavailable> {
        match self.about.meta.state {
            State::Active if self.aside.disk_is_full() => Err(Unavailable::not_written(Reason::DiskFull)),
            State::Active => Ok(()),
            State::ReadOnly | State::Suspended => Err(Unavailable::not_written(Reason::ReadOnly)),
        }
    }

    async fn submit<T, F>(
        &self,
        actor: Actor,
        key: Option<IdempotencyKey>,
        unit: F,
        addition: Option<Plan>,
    ) -> Result<Done<T>, StoreError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: for<'a> Unit<'a, Write, T> + Send + 'static,
    {
        self.condition.check()?;
        let Some(writes) = &self.writes else {
            return Err(Unavailable::not_written(Reason::TaskEnded).into());
        };
        let running = key.as_ref().map(|key| self.running.enter(&key.key));
        let is_twin = running.as_ref().is_some_and(|running| running.is_twin);
        let (job, answer) = job::job(actor, key, running, unit);
        writes.try_send(Job { addition, ..job }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })?;
        let lost = || StoreError::from(Unavailable::unknown(Reason::TaskEnded));
        if is_twin {
            let waited = tokio::time::timeout(TWIN_WAIT, answer).await.map_err(|_| StoreError::InProgress)?;
            return waited.map_err(|_| lost())?;
        }
        answer.await.map_err(|_| lost())?
    }

    /// Runs a unit that reads all rows, at one snapshot that holds every write answered before.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::Overloaded`] and [`StoreError::Unavailable`].
    pub async fn read<T, F>(&self, unit: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        self.read_in(Scope::All, unit).await
    }

    /// Runs a unit that reads the rows of `scope`, at one snapshot that holds every write answered before.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::Overloaded`] and [`StoreError::Unavailable`].
    pub async fn read_in<T, F>(&self, scope: Scope, unit: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        let (job, answer) = reader::unit_job(scope, unit);
        self.send_read(job)?;
        answer.await.map_err(|_| Unavailable::not_written(Reason::TaskEnded))?
    }

    /// Reads one record by its id; all point reads that wait together are answered by one statement.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`], [`StoreError::Unavailable`], [`StoreError::Sql`].
    pub async fn point_read<P: PointRead>(&self, id: String) -> Result<Option<P>, StoreError> {
        let (job, answer) = reader::point_job::<P>(id);
        self.send_read(job)?;
        match answer.await.map_err(|_| Unavailable::not_written(Reason::TaskEnded))?? {
            Some(row) => Ok(Some(P::from_row(&row)?)),
            None => Ok(None),
        }
    }

    fn send_read(&self, job: reader::Job) -> Result<(), StoreError> {
        self.condition.check()?;
        self.reads.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })
    }

    /// Why a task takes nothing more: the tenant was quarantined a moment ago, or the task panicked.
    fn gone(&self) -> StoreError {
        let quarantined = self.condition.check().err();
        quarantined.unwrap_or_else(|| Unavailable::not_written(Reason::TaskEnded)).into()
    }

    /// Whether a task has ended although the tenant is in use: it panicked, or the tenant was quarantined. It stays so; only
    /// opening the tenant anew makes another.
    pub(super) fn has_ended(&self) -> bool {
        self.reads.is_closed() || self.writes.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// Which file is, or was, open.
    pub(super) fn identity(&self) -> Option<FileId> {
        self.identity
    }

    /// What the tenant's members say of a user. Touches no file.
    #[must_use]
    pub fn membership(&self, user: &str) -> Membership {
        self.about.members.membership(user)
    }

    /// A request uses it now.
    pub(super) fn touch(&self, now: Timestamp) {
        self.accessed.store(now.millis(), Ordering::Relaxed);
    }

    /// When a request used it last, if one did since this was asked.
    pub(super) fn take_access(&self) -> Option<Timestamp> {
        let at = self.accessed.swap(0, Ordering::Relaxed);
        (at != 0).then(|| Timestamp::from_millis(at))
    }

    /// What its file said of itself when it was opened.
    pub(super) fn about(&self) -> &About {
        &self.about
    }
}

impl fmt::Debug for TenantDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantDb").field("condition", &self.condition).finish_non_exhaustive()
    }
}

impl Counters {
    fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
