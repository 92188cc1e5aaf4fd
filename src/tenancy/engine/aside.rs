//! Reads that take long: each on a connection of its own, at one snapshot, so that they keep nobody waiting.
//!
//! Opening a connection costs less than a page of a big list; what it buys is that the reader's queue goes on. A long
//! snapshot keeps a checkpoint from finishing: the writer tries again after its next pause.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::fault::settle;
use super::handle::{Prefix, Read};
use super::{Common, Connection, Fault, OpenFile, Role, Settings, Shared, TenantDb, Unit};
use crate::domain::Scope;
use crate::tenancy::error::{Quarantine, Reason, StoreError, Unavailable};

/// Reports, and exports, that run at once in the process; and long reads of one kind in one tenant.
const AT_ONCE: usize = 4;
const AT_ONCE_IN_TENANT: usize = 1;
/// Long reads that have a tenant's file open at once: a report and an export.
pub(in crate::tenancy) const IN_TENANT: usize = 2 * AT_ONCE_IN_TENANT;
/// Those of the process; a copy, which is made of one tenant at a time; and a look at one file as a whole.
pub(in crate::tenancy) const IN_PROCESS: usize = 2 * AT_ONCE + 2;
/// How long a read waits for its turn: with its own deadline it must be over before the platform's gateway gives up.
const WAIT: Duration = Duration::from_secs(5);

/// What a long read is for. Each kind has its turns and its deadline: a client that fetches an export slowly keeps no
/// report waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongRead {
    /// A few figures of very many rows: at most `storage.report_deadline`.
    Report,
    /// Very many rows, at the pace of whoever takes them: at most `storage.export_deadline`.
    Export,
    /// The whole file, for a copy of it.
    Copy,
    /// The whole file, to see whether it is sound.
    Check,
}

/// A copy that takes longer than this is given up: its snapshot keeps the WAL from being emptied.
const COPY_DEADLINE: Duration = Duration::from_secs(1800);

impl LongRead {
    fn deadline(self, settings: &Settings) -> Duration {
        match self {
            Self::Report => settings.report_deadline,
            Self::Export => settings.export_deadline,
            Self::Copy | Self::Check => COPY_DEADLINE,
        }
    }
}

/// Where the outcome of a long read goes.
type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Turns of long reads.
#[derive(Debug)]
pub(super) struct Turns {
    reports: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    copies: Arc<Semaphore>,
    checks: Arc<Semaphore>,
}

impl Turns {
    fn new(at_once: usize) -> Self {
        let turns = || Arc::new(Semaphore::new(at_once));
        Self { reports: turns(), exports: turns(), copies: turns(), checks: turns() }
    }

    /// Those of a process.
    pub(super) fn of_process() -> Self {
        Self::new(AT_ONCE)
    }

    /// Those of a tenant.
    pub(super) fn of_tenant() -> Self {
        Self::new(AT_ONCE_IN_TENANT)
    }

    fn of(&self, kind: LongRead) -> Arc<Semaphore> {
        match kind {
            LongRead::Report => self.reports.clone(),
            LongRead::Export => self.exports.clone(),
            LongRead::Copy => self.copies.clone(),
            LongRead::Check => self.checks.clone(),
        }
    }

    /// Waits until no long read of the tenant has its file open, and lets no other begin.
    pub(super) async fn end(&self) {
        for turns in [&self.reports, &self.exports, &self.copies, &self.checks] {
            let every = u32::try_from(AT_ONCE_IN_TENANT).unwrap_or(u32::MAX);
            if let Ok(last) = turns.acquire_many(every).await {
                turns.close();
                last.forget();
            }
        }
    }
}

/// What the long reads of one tenant need.
pub(super) struct Aside {
    file: OpenFile,
    shared: Shared,
    common: Common,
    /// What the reader and the writer task hold as long as they have the file open. `None` for the template, which nobody
    /// claims.
    claim: Option<Weak<dyn Any + Send + Sync>>,
    /// Places of those who wait for a turn.
    line: Turns,
    span: tracing::Span,
}

impl Aside {
    pub(super) fn new(
        file: OpenFile,
        shared: Shared,
        common: Common,
        claim: Option<Weak<dyn Any + Send + Sync>>,
        span: tracing::Span,
    ) -> Self {
        let line = Turns::new(shared.settings.queue);
        Self { file, shared, common, claim, line, span }
    }

    /// Whether a write would soon meet a full disk.
    pub(super) fn disk_is_full(&self) -> bool {
        self.shared.space.is_critical()
    }

    /// Waits for a turn, for a while: first among the tenant's own, so that one tenant never takes several of the process's.
    async fn turn(&self, kind: LongRead) -> Result<Turn, StoreError> {
        let _place = self.line.of(kind).try_acquire_owned().map_err(|_| StoreError::Overloaded)?;
        let turns = async {
            let of_tenant = self.common.turns.of(kind).acquire_owned().await.ok()?;
            let of_process = self.shared.turns.of(kind).acquire_owned().await.ok()?;
            Some(Turn { _of_process: of_process, _of_tenant: of_tenant })
        };
        let turn = timeout(WAIT, turns).await.map_err(|_| StoreError::Overloaded)?;
        turn.ok_or_else(|| Unavailable::not_written(Reason::TaskEnded).into())
    }
}

/// The right to one long read.
struct Turn {
    _of_process: OwnedSemaphorePermit,
    _of_tenant: OwnedSemaphorePermit,
}

impl TenantDb {
    /// Runs a long unit that reads the rows of `scope` on a connection of its own, at one snapshot that holds every write
    /// answered before. Nobody else waits for it. It ends with its caller, with its deadline, or when the tenant can no
    /// longer be served; it may wait for others than the database.
    ///
    /// # Errors
    /// Whatever the unit returns; [`StoreError::Overloaded`] if its turn does not come soon, and
    /// [`StoreError::Unavailable`].
    pub async fn read_aside<T, F>(
        self: &Arc<Self>,
        kind: LongRead,
        scope: Scope,
        unit: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        let Aside { file, shared, common, .. } = &self.aside;
        let (limit, totals) = (kind.deadline(&shared.settings), common.totals.clone());
        let role = if file.identity.is_some() { Role::Reader } else { Role::Immutable };
        let work = move |db: Arc<Self>, connection: Connection, mut answer: Answer<T>| {
            let mut read = Read::new(connection);
            read.count_with(&totals);
            read.prefix = Prefix::Begin;
            let work = async move {
                let ran = tokio::select! {
                    biased;
                    () = db.ended() => Some(Err(db.gone())),
                    () = answer.closed() => None, // nobody waits for it any more, and a read has no effect
                    ran = db.run_aside(&mut read, limit, scope, unit) => Some(ran),
                };
                if let Some(ran) = ran {
                    let _gone = answer.send(ran);
                }
                read.into_connection()
            };
            work.boxed()
        };
        self.beside(kind, role, work).await
    }

    /// Writes a whole, compact copy of the file into `to`, which is empty or not there: what one snapshot has that holds every
    /// write answered before. Nobody else waits for it. It ends with its caller, and when the tenant can no longer be served.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if its turn does not come soon, [`StoreError::Unavailable`], and whatever writing `to` meets.
    pub(in crate::tenancy) async fn copy_to(self: &Arc<Self>, to: PathBuf) -> Result<(), StoreError> {
        let work = move |db: Arc<Self>, mut connection: Connection, mut answer: Answer<()>| {
            let work = async move {
                connection.abort_after(COPY_DEADLINE);
                let copy = sqlx::query("vacuum into ?1").bind(to.to_string_lossy().into_owned());
                let copied = tokio::select! {
                    biased;
                    () = db.ended() => Some(Err(db.gone())),
                    () = answer.closed() => None,
                    copied = copy.execute(connection.raw()) => Some(copied.map(drop).map_err(StoreError::from)),
                };
                if let Some(copied) = copied {
                    let _gone = answer.send(copied);
                }
                connection
            };
            work.boxed()
        };
        self.beside(LongRead::Copy, Role::Copier, work).await
    }

    /// Gives `work` a connection of its own, in a task of its own, when its turn comes; closes what it gives back.
    async fn beside<T, W>(self: &Arc<Self>, kind: LongRead, role: Role, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Self>, Connection, Answer<T>) -> BoxFuture<'static, Connection> + Send + 'static,
    {
        self.condition.check()?;
        let turn = self.aside.turn(kind).await?;
        // From here until the connection is closed: the next opener must not believe that the file is.
        let claim = match &self.aside.claim {
            Some(claim) => Some(claim.upgrade().ok_or_else(|| self.gone())?),
            None => None,
        };
        let (answer, receiver) = oneshot::channel();
        let db = self.clone();
        let task = async move {
            let Aside { file, shared, common, .. } = &db.aside;
            match file.connect(role, &shared.counters, &common.condition).await {
                Ok(connection) => {
                    let connection = work(db.clone(), connection, answer).await;
                    connection.abort_after(Duration::ZERO);
                    connection.close().await;
                }
                Err(why) => {
                    let _gone = answer.send(Err(why.into()));
                }
            }
            drop(turn);
            drop(db);
            drop(claim);
        };
        tokio::spawn(task.instrument(self.aside.span.clone()));
        receiver.await.map_err(|_| Unavailable::not_written(Reason::TaskEnded))?
    }

    async fn run_aside<T, F>(
        &self,
        read: &mut Read,
        limit: Duration,
        scope: Scope,
        unit: F,
    ) -> Result<T, StoreError>
    where
        F: for<'a> Unit<'a, Read, T>,
    {
        read.set_scope(scope);
        read.begin_unit();
        read.connection().abort_after(limit);
        // The call is inside too: a function may panic before it returns its future.
        let ran = async { unit(&mut *read).await };
        // SQLite's own deadline does not see a unit that waits for somebody else.
        let ran = timeout(limit, AssertUnwindSafe(ran).catch_unwind()).await;
        let ran = match ran {
            Ok(Ok(ran)) => ran,
            Ok(Err(_panic)) => Err(StoreError::Panicked),
            Err(_too_late) => Err(Unavailable::not_written(Reason::Deadline).into()),
        };
        let fault = read.fault();
        if fault == Some(Fault::Corrupt) {
            self.condition.quarantine(Quarantine::Corrupt);
        }
        match ran {
            Err(already @ StoreError::Unavailable(_)) => Err(already),
            ran => ran.map_err(|error| settle(error, fault)),
        }
    }

    /// Waits until a task of the tenant has ended.
    async fn ended(&self) {
        match &self.writes {
            Some(writes) => tokio::select! {
                () = writes.closed() => {}
                () = self.reads.closed() => {}
            },
            None => self.reads.closed().await,
        }
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("common", &self.common).finish_non_exhaustive()
    }
}
