//! The writer task of one tenant: takes what waits as one group, and keeps the file in order between groups.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;

use sqlx::Row as _;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::connection::{CHECKPOINT, WAL_LIMIT};
use super::file::FileId;
use super::group::Group;
use super::handle::{Read, Write};
use super::job::{Job, refuse};
use super::ledger::EventState;
use super::queue::gather;
use super::{Common, Fault, OpenFile, Role, Shared, fault_of, ledger};
use crate::domain::TenantId;
use crate::tenancy::error::{Quarantine, Unavailable};

/// Jobs that one transaction takes at most.
const GROUP: usize = 256;

/// What `future` comes to, if there is one.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The writer of one tenant. Its connection is opened by the first write and closed after a pause.
pub(super) struct Writer {
    tenant: TenantId,
    file: OpenFile,
    shared: Shared,
    common: Common,
    write: Option<Write>,
    /// The WAL of this file, as it was seen last while the file was in its place.
    wal: Option<FileId>,
    /// The WAL may hold rows that the main file does not.
    unchecked: bool,
    /// Writes with a key since old answers were last deleted.
    answers: usize,
    last_write: Instant,
    gap: Option<Gap>,
}

/// The writer's turn between two batches of reads, when no snapshot is in a checkpoint's way. Writes do not wait for it.
type Gap = Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>;

impl Writer {
    /// A writer without a connection.
    pub(super) fn new(tenant: TenantId, file: OpenFile, shared: Shared, common: Common) -> Self {
        // A WAL with content is one that a killed process left.
        let unchecked = file.wal_size() > 0;
        Self {
            tenant,
            wal: file.wal_identity(),
            file,
            shared,
            common,
            write: None,
            unchecked,
            answers: 0,
            last_write: Instant::now(),
            gap: None,
        }
    }

    /// Serves `jobs` until all senders are gone or the tenant is quarantined, waits for the reader and the long
    /// reads to close, then closes last: a connection that closes last empties and removes the WAL, and two that close at once may both fail to be the
    /// last.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, reader_closed: oneshot::Receiver<()>) {
        let mut group = Vec::new();
        let condition = self.common.condition.clone();
        let mut closed = pin!(condition.closed());
        loop {
            let rest_at = self.wake_at();
            tokio::select! {
                biased;
                () = &mut closed => break,
                gap = or_never(self.gap.as_mut()) => {
                    self.gap = None;
                    match self.shared.gate.try_pass() {
                        Some(_pass) => self.checkpoint().await,
                        // The files are frozen, and emptied already: readers must not wait for that.
                        None => self.last_write = Instant::now(),
                    }
                    drop(gap);
                }
                taken = jobs.recv_many(&mut group, GROUP) => {
                    if taken == 0 {
                        break;
                    }
                    gather(&mut jobs, &mut group, GROUP).await;
                    failpoint!("writer.taken");
                    let _pass = self.shared.gate.pass().await;
                    while !group.is_empty() {
                        self.group(&mut group).await;
                    }
                }
                () = or_never(rest_at.map(sleep_until)) => {
                    let _pass = self.shared.gate.pass().await;
                    self.rest().await;
                }
            }
        }
        self.gap = None; // the reader may wait behind it
        jobs.close();
        // Closing what was only read changes no file: that need not wait until files may change.
        let changes = self.write.is_some() || self.unchecked || self.file.wal_size() > 0;
        let _pass = if changes { Some(self.shared.gate.pass().await) } else { None };
        if let Err(why) = self.common.condition.check() {
            while let Some(job) = jobs.recv().await {
                refuse(job, why.clone().into()).await;
            }
        }
        let _reader_task_is_gone = reader_closed.await;
        self.common.turns.end().await;
        self.close().await;
        self.file.clear_way(self.wal, &self.shared).await;
    }

    /// When there is something to do without a write.
    fn wake_at(&self) -> Option<Instant> {
        let settings = &self.shared.settings;
        if self.gap.is_some() {
            None
        } else if self.unchecked {
            // Also without a connection: the rows of a discarded one, or of a crashed process, are in the WAL.
            Some(self.last_write + settings.checkpoint_after)
        } else {
            self.write.as_ref().map(|_| self.last_write + settings.writer_idle)
        }
    }

    /// After a pause: has every row brought into the main file; after a longer one: closes the connection.
    async fn rest(&mut self) {
        if !self.unchecked {
            self.close().await;
        } else if self.ready().await.is_err() {
            // In quarantine there is nothing to bring home; otherwise again after the next pause.
            self.unchecked = self.common.condition.check().is_ok();
            self.last_write = Instant::now();
        } else if !self.forget().await {
            self.want_gap();
        } // else the next slice comes at once, unless a write waits
    }

    async fn checkpoint(&mut self) {
        let Ok((write, _)) = self.ready().await else {
            return;
        };
        let done = async {
            failpoint!("checkpoint.before", sqlx::Error::Io);
            let rows = sqlx::query(CHECKPOINT).persistent(false).fetch_all(write.raw()).await?;
            failpoint!("checkpoint.after", sqlx::Error::Io);
            Ok::<_, sqlx::Error>(rows)
        };
        match done.await {
            Ok(rows) if rows.get(1).and_then(|row| row.try_get(0).ok()) == Some(0_i64) => {
                self.unchecked = false;
                self.shared.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => self.last_write = Instant::now(), // a long read or another process is in the way: again later
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "checkpointing a tenant failed");
                self.discard(fault_of(&error).unwrap_or(Fault::Other)).await;
            }
        }
    }

    fn want_gap(&mut self) {
        if self.gap.is_none() {
            self.gap = Some(Box::pin(self.common.snapshots.clone().lock_owned()));
        }
    }

    /// Deletes a slice of the answers and events that are too old to be asked for. Says whether there may be more of them.
    async fn forget(&mut self) -> bool {
        let slice = std::mem::take(&mut self.answers).max(ledger::FORGET_SLICE);
        let Some(write) = &mut self.write else {
            return false;
        };
        let (now, slice) = (self.shared.clock.now().millis(), i64::try_from(slice).unwrap_or(i64::MAX));
        let forgotten = async {
            failpoint!("answers.forget", sqlx::Error::Io);
            let mut rows = 0;
            for (sql, keep) in [
                (ledger::FORGET_ANSWERS, ledger::KEEP_ANSWERS_MS),
                (ledger::FORGET_EVENTS, ledger::KEEP_EVENTS_MS),
            ] {
                let done = sqlx::query(sql).bind(now - keep).bind(slice).execute(write.raw()).await?;
                rows += done.rows_affected();
            }
            Ok::<_, sqlx::Error>(rows)
        };
        match forgotten.await {
            Ok(rows) => {
                // Events have lists, which are counted.
                self.common.totals.advance();
                rows > 0
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "deleting old answers or events failed"
                );
                self.discard(fault_of(&error).unwrap_or(Fault::Other)).await;
                false
            }
        }
    }

    async fn close(&mut self) {
        if let Some(write) = self.write.take() {
            failpoint!("writer.close");
            write.into_connection().close().await;
        }
    }

    /// Throws a connection away whose transaction cannot be trusted; an open one is rolled back.
    async fn discard(&mut self, fault: Fault) {
        if fault == Fault::Corrupt {
            self.common.condition.quarantine(Quarantine::Corrupt);
        }
        self.shared.counters.discarded.fetch_add(1, Ordering::Relaxed);
        // A commit that failed may yet be in the WAL.
        self.unchecked = true;
        self.last_write = Instant::now();
        self.close().await;
    }

    /// Runs a group of jobs as one transaction and answers all of them. Leaves those that were too many.
    async fn group(&mut self, jobs: &mut Vec<Job>) {
        let keyed = |jobs: &[Job]| jobs.iter().filter(|job| job.key.is_some()).count();
        let before = keyed(jobs);
        let answers = match self.ready().await {
            Ok((write, shared)) => {
                let begins =
                    if shared.events.publishes() { EventState::Pending } else { EventState::Unpublished };
                Group::new(begins).run(write, jobs, shared).await
            }
            Err(why) => {
                for job in jobs.drain(..) {
                    refuse(job, why.clone().into()).await;
                }
                return;
            }
        };
        self.answers += before - keyed(jobs);
        self.last_write = Instant::now();
        self.unchecked |= answers.committed;
        if answers.committed || answers.discard.is_some() {
            self.common.totals.advance();
        }
        if let Some(fault) = answers.discard {
            self.discard(fault).await;
        }
        // Looked at again: a commit into a file that was deleted meanwhile is no commit.
        let in_place = if answers.committed { self.file.check(&self.common.condition) } else { Ok(()) };
        if answers.events > 0 {
            self.shared.events.added(&self.tenant, answers.events, self.shared.clock.now());
        }
        failpoint!("answer.before");
        for (answer, verdict) in answers.verdicts {
            answer(match &in_place {
                Err(why) => verdict.and(Err(why.clone().but_unknown().into())),
                Ok(()) => verdict,
            });
        }
        if self.file.wal_size() > WAL_LIMIT {
            // SQLite begins the WAL anew only when it finds no snapshot; where reads never pause, it would grow for ever.
            self.want_gap();
        }
        if self.answers >= ledger::FORGET_SLICE {
            // A tenant that never rests forgets as fast as it learns.
            self.forget().await;
        }
    }

    /// The connection, opened if need be, over the file that still is the tenant's.
    async fn ready(&mut self) -> Result<(&mut Write, &Shared), Unavailable> {
        self.file.check(&self.common.condition)?;
        self.wal = self.file.wal_identity();
        let write = match self.write.take() {
            Some(write) => write,
            None => {
                let counters = &self.shared.counters;
                failpoint!("writer.open", |_| Unavailable::not_written(super::Reason::Io));
                let connection = self.file.connect(Role::Writer, counters, &self.common.condition).await?;
                Write::new(Read::new(connection), &self.shared)
            }
        };
        Ok((self.write.insert(write), &self.shared))
    }
}
