//! The writer task of one tenant: group commit with a savepoint for each unit.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::Row as _;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::connection::{CHECKPOINT, WAL_LIMIT};
use super::handle::{Prefix, Read, Write};
use super::ledger::{self, Actor, Done, Entries, IdempotencyKey, Stored};
use super::{Condition, Counters, Fault, OpenFile, Role, Running, Shared, Unit, fault_of};
use crate::tenancy::error::{Quarantine, Reason, StoreError, Unavailable};

/// Jobs that one transaction takes at most.
const GROUP: usize = 256;
/// A group takes no further job once its ledger entries are this big: each of their three parameters must stay well
/// below SQLite's limit on a string (64 MiB), or the commit fails for the whole group.
const GROUP_BYTES: usize = 8 << 20;

/// A unit of work in the writer's queue.
pub(super) struct Job {
    actor: Actor,
    key: Option<IdempotencyKey>,
    run: Run,
}

/// What a unit runs on, or what stands in its place.
enum Turn<'a> {
    /// Run it; its answer is stored if it has a key.
    Run(&'a mut Write, bool),
    /// An earlier unit of this key has answered.
    Replay(String),
    /// It cannot run.
    Refuse(StoreError),
}

type Run = Box<dyn for<'a> FnOnce(Turn<'a>) -> BoxFuture<'a, Ran> + Send>;
/// Sends the unit's own result if what it rests on is durable, else the error given.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A unit that has had its turn.
struct Ran {
    ok: bool,
    /// The answer to store, if the unit succeeded and has a key.
    response: Option<Box<RawValue>>,
    answer: Answer,
}

/// Puts a unit into the form that the queue carries: the caller's types end here.
pub(super) fn job<T, F>(
    actor: Actor,
    key: Option<IdempotencyKey>,
    running: Option<Running>,
    unit: F,
) -> (Job, oneshot::Receiver<Result<Done<T>, StoreError>>)
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: for<'a> Unit<'a, Write, T> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let run: Run = Box::new(move |turn| {
        async move {
            // Everything that the caller's types do is inside: a panic must not take the writer along.
            let ran = async move {
                match turn {
                    Turn::Refuse(why) => Err(why),
                    Turn::Replay(stored) => {
                        let value = serde_json::from_str(&stored)?;
                        Ok((
                            Done {
                                value,
                                replayed: true,
                            },
                            None,
                        ))
                    }
                    Turn::Run(write, keep) => {
                        let value = unit(write).await?;
                        let response = keep
                            .then(|| serde_json::value::to_raw_value(&value))
                            .transpose()?;
                        Ok((
                            Done {
                                value,
                                replayed: false,
                            },
                            response,
                        ))
                    }
                }
            };
            let ran = AssertUnwindSafe(ran).catch_unwind().await;
            let (result, response) = match ran.unwrap_or(Err(StoreError::Panicked)) {
                Ok((done, response)) => (Ok(done), response),
                Err(error) => (Err(error), None),
            };
            let ok = result.is_ok();
            let answer: Answer = Box::new(move |durable| {
                drop(running);
                let _gone = sender.send(match (durable, result) {
                    // A unit's own refusal stands unless it rested on rows that are gone.
                    (Ok(()), result) => result,
                    (Err(why), _) => Err(why),
                });
            });
            Ran { ok, response, answer }
        }
        .boxed()
    });
    (Job { actor, key, run }, receiver)
}

/// Runs one job that cannot have its turn.
async fn refuse(job: Job, why: StoreError) {
    let ran = (job.run)(Turn::Refuse(why)).await;
    (ran.answer)(Ok(()));
}

/// Gives a job an earlier answer to its key.
async fn replay(job: Job, turn: Turn<'static>, shared: &Shared) -> Answer {
    if matches!(turn, Turn::Replay(_)) {
        shared.counters.replays.fetch_add(1, Ordering::Relaxed);
    }
    (job.run)(turn).await.answer
}

/// What `future` comes to, if there is one.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The writer of one tenant. Its connection is opened by the first write and closed after a pause.
pub(super) struct Writer {
    file: OpenFile,
    shared: Shared,
    condition: Arc<Condition>,
    write: Option<Write>,
    /// The WAL may hold rows that the main file does not.
    unchecked: bool,
    /// Writes with a key since old answers were last deleted.
    answers: usize,
    last_write: Instant,
    /// Held by the reader as long as it has a snapshot.
    snapshots: Arc<Mutex<()>>,
    gap: Option<Gap>,
}

/// The writer's turn between two batches of reads, when no snapshot is in a checkpoint's way. Writes do not wait for it.
type Gap = Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>;

impl Writer {
    /// A writer without a connection.
    pub(super) fn new(
        file: OpenFile,
        shared: Shared,
        condition: Arc<Condition>,
        snapshots: Arc<Mutex<()>>,
    ) -> Self {
        // A WAL with content is one that a killed process left.
        let unchecked = file.wal_size() > 0;
        Self {
            file,
            shared,
            condition,
            write: None,
            unchecked,
            answers: 0,
            last_write: Instant::now(),
            snapshots,
            gap: None,
        }
    }

    /// Serves `jobs` until all senders are gone, waits for the reader to close, then closes last: a connection that
    /// closes last empties and removes the WAL, and two that close at once may both fail to be the last.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, reader_closed: oneshot::Receiver<()>) {
        let mut group = Vec::new();
        loop {
            let rest_at = self.wake_at();
            tokio::select! {
                biased;
                gap = or_never(self.gap.as_mut()) => {
                    self.gap = None;
                    self.checkpoint().await;
                    drop(gap);
                }
                taken = jobs.recv_many(&mut group, GROUP) => {
                    if taken == 0 {
                        break;
                    }
                    while !group.is_empty() {
                        self.group(&mut group).await;
                    }
                }
                () = or_never(rest_at.map(sleep_until)) => self.rest().await,
            }
        }
        self.gap = None; // the reader may wait behind it
        let _reader_task_is_gone = reader_closed.await;
        self.close().await;
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
            self.write
                .as_ref()
                .map(|_| self.last_write + settings.writer_idle)
        }
    }

    /// After a pause: has every row brought into the main file; after a longer one: closes the connection.
    async fn rest(&mut self) {
        if !self.unchecked {
            self.close().await;
        } else if self.ready().await.is_err() {
            // In quarantine there is nothing to bring home; otherwise again after the next pause.
            self.unchecked = self.condition.check().is_ok();
            self.last_write = Instant::now();
        } else if !self.forget_answers().await {
            self.want_gap();
        } // else the next slice comes at once, unless a write waits
    }

    async fn checkpoint(&mut self) {
        let Ok((write, _)) = self.ready().await else {
            return;
        };
        match sqlx::query(CHECKPOINT).fetch_all(write.raw()).await {
            Ok(rows) if rows.get(1).and_then(|row| row.try_get(0).ok()) == Some(0_i64) => {
                self.unchecked = false;
                self.shared.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => self.last_write = Instant::now(), // another process is in the way: again after the next pause
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "checkpointing a tenant failed"
                );
                self.discard(fault_of(&error).unwrap_or(Fault::Other)).await;
            }
        }
    }

    fn want_gap(&mut self) {
        if self.gap.is_none() {
            self.gap = Some(Box::pin(self.snapshots.clone().lock_owned()));
        }
    }

    /// Deletes a slice of the answers that are too old to be asked for. Says whether there may be more of them.
    async fn forget_answers(&mut self) -> bool {
        let slice = std::mem::take(&mut self.answers).max(ledger::FORGET_SLICE);
        let Some(write) = &mut self.write else {
            return false;
        };
        let forgotten = sqlx::query(ledger::FORGET_ANSWERS)
            .bind(self.shared.clock.now().millis() - ledger::KEEP_ANSWERS_MS)
            .bind(i64::try_from(slice).unwrap_or(i64::MAX))
            .execute(write.raw())
            .await;
        match forgotten {
            Ok(done) => done.rows_affected() > 0,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "deleting old answers failed"
                );
                self.discard(fault_of(&error).unwrap_or(Fault::Other)).await;
                false
            }
        }
    }

    async fn close(&mut self) {
        if let Some(write) = self.write.take() {
            write.into_connection().close().await;
        }
    }

    /// Throws a connection away whose transaction cannot be trusted; an open one is rolled back.
    async fn discard(&mut self, fault: Fault) {
        if fault == Fault::Corrupt {
            self.condition.quarantine(Quarantine::Corrupt);
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
            Ok((write, shared)) => Group::default().run(write, jobs, shared).await,
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
        if let Some(fault) = answers.discard {
            self.discard(fault).await;
        }
        // Looked at again: a commit into a file that was deleted meanwhile is no commit.
        let in_place = if answers.committed {
            self.file.check(&self.condition)
        } else {
            Ok(())
        };
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
            self.forget_answers().await;
        }
    }

    /// The connection, opened if need be, over the file that still is the tenant's.
    async fn ready(&mut self) -> Result<(&mut Write, &Shared), Unavailable> {
        self.condition.check()?;
        if let Err(why) = self.file.check(&self.condition) {
            self.close().await;
            return Err(why);
        }
        let write = match self.write.take() {
            Some(write) => write,
            None => {
                let counters = &self.shared.counters;
                let connection = self.file.connect(Role::Writer, counters, &self.condition).await?;
                Write::new(Read::new(connection), &self.shared)
            }
        };
        Ok((self.write.insert(write), &self.shared))
    }
}

/// One transaction under way.
#[derive(Default)]
struct Group {
    entries: Entries,
    /// Answers that the keys of this group have, from the table or from units before.
    seen: HashMap<String, Stored>,
    /// Units whose fate is the transaction's.
    ran: Vec<Answer>,
    /// Units that failed alone.
    failed: Vec<(Answer, Unavailable)>,
    units: usize,
    wrote: bool,
}

/// What a group came to.
struct Verdicts {
    verdicts: Vec<(Answer, Result<(), StoreError>)>,
    committed: bool,
    discard: Option<Fault>,
}

impl Group {
    async fn run(mut self, write: &mut Write, jobs: &mut Vec<Job>, shared: &Shared) -> Verdicts {
        let keys: Vec<&str> = jobs
            .iter()
            .filter_map(|job| Some(job.key.as_ref()?.key.as_str()))
            .collect();
        let keys = serde_json::Value::from(keys).to_string();
        if let Err(error) = self.begin(write, keys, shared).await {
            let fault = fault_of(&error).unwrap_or(Fault::Other);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a write transaction could not begin"
            );
            for job in jobs.drain(..) {
                refuse(job, Unavailable::not_written(fault.into()).into()).await;
            }
            return self.lost(fault, &Unavailable::not_written(fault.into()));
        }
        let mut waiting = std::mem::take(jobs).into_iter();
        while self.entries.size() < GROUP_BYTES
            && let Some(job) = waiting.next()
        {
            if let Err(fault) = self.turn(write, job, shared).await {
                // The transaction is gone, and with it every unit of the group so far; the rest is refused.
                let reason = if fault == Fault::Deadline {
                    Reason::RolledBack
                } else {
                    fault.into()
                };
                let why = Unavailable::not_written(reason);
                for job in waiting {
                    match self.earlier(&job) {
                        Some((turn, true)) => replay(job, turn, shared).await(Ok(())),
                        _ => refuse(job, why.clone().into()).await,
                    }
                }
                return self.lost(fault, &why);
            }
        }
        jobs.extend(waiting);
        self.finish(write, shared).await
    }

    /// Begins the transaction and looks up the answers that `keys`, a JSON array, already have.
    async fn begin(&mut self, write: &mut Write, keys: String, shared: &Shared) -> Result<(), sqlx::Error> {
        let keep_after = shared.clock.now().millis() - ledger::KEEP_ANSWERS_MS;
        write.changes.clear();
        write.prefix = Prefix::None;
        write.connection().count_statement();
        let rows = sqlx::query(ledger::BEGIN)
            .bind(keys)
            .bind(keep_after)
            .fetch_all(write.raw())
            .await?;
        for row in rows {
            let (key, stored) = ledger::stored_answer(&row)?;
            self.seen.insert(key, stored);
        }
        Ok(())
    }

    /// What takes the place of a job whose key has been answered, and whether that answer is durable already.
    fn earlier(&self, job: &Job) -> Option<(Turn<'static>, bool)> {
        let key = job.key.as_ref()?;
        let stored = self.seen.get(&key.key)?;
        let turn = if stored.fingerprint == key.fingerprint {
            Turn::Replay(stored.response.clone())
        } else {
            Turn::Refuse(StoreError::KeyReused)
        };
        Some((turn, stored.is_durable))
    }

    /// Gives one job its turn. `Err`: the whole transaction is lost.
    async fn turn(&mut self, write: &mut Write, job: Job, shared: &Shared) -> Result<(), Fault> {
        if let Some((turn, is_durable)) = self.earlier(&job) {
            let answer = replay(job, turn, shared).await;
            if is_durable {
                answer(Ok(())); // whatever becomes of this group: to say "not written" would be wrong
            } else {
                self.ran.push(answer);
            }
            return Ok(());
        }
        let mark = write.changes.len();
        write.begin_unit(job.actor);
        write.connection().deadline().set(shared.settings.write_deadline);
        let ran = (job.run)(Turn::Run(&mut *write, job.key.is_some())).await;
        write.connection().deadline().clear();
        if let Some(fault) = write.fault() {
            tracing::warn!(?fault, "a unit of work met a fault");
            // Whatever the unit returned, it failed. Did the transaction survive?
            write.changes.truncate(mark);
            self.failed
                .push((ran.answer, Unavailable::not_written(fault.into())));
            let undone = !fault.discards_connection()
                && write.can_undo_alone()
                && sqlx::query("rollback to u").execute(write.raw()).await.is_ok();
            if !undone {
                return Err(fault);
            }
            write.prefix = Prefix::None;
            return Ok(());
        }
        if write.touched {
            write.prefix = if ran.ok { Prefix::Release } else { Prefix::Rollback };
        }
        if ran.ok {
            self.units += 1;
            self.wrote |= write.wrote;
            let kept = self.keep(write, mark, job.key.zip(ran.response));
            if let Err(error) = kept {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "ledger entries cannot be written as JSON"
                );
                self.ran.push(ran.answer);
                return Err(Fault::Other);
            }
        } else {
            write.changes.truncate(mark);
        }
        self.ran.push(ran.answer);
        Ok(())
    }

    /// Adds what a successful unit leaves in the ledger: its changes from `mark` on, and its answer.
    fn keep(
        &mut self,
        write: &mut Write,
        mark: usize,
        answer: Option<(IdempotencyKey, Box<RawValue>)>,
    ) -> Result<(), serde_json::Error> {
        let (now, actor) = (write.now, write.actor.clone());
        for change in write.changes.split_off(mark) {
            self.entries.add_change(change, &actor, now, || write.new_id())?;
        }
        let Some((key, response)) = answer else {
            return Ok(());
        };
        let stored = Stored {
            fingerprint: key.fingerprint.clone(),
            response: response.get().to_owned(),
            is_durable: false,
        };
        self.seen.insert(key.key.clone(), stored);
        self.entries.add_answer(key, response, now)
    }

    /// Commits what there is, with its ledger entries.
    async fn finish(mut self, write: &mut Write, shared: &Shared) -> Verdicts {
        let undo_last = std::mem::replace(&mut write.prefix, Prefix::None) == Prefix::Rollback;
        write.connection().count_statement();
        if !self.wrote && self.entries.size() == 0 {
            // Nothing to make durable: no commit, no sync.
            return match sqlx::query("rollback").execute(write.raw()).await {
                Ok(_) => self.settled(false, None),
                Err(error) => self.settled(false, Some(fault_of(&error).unwrap_or(Fault::Other))),
            };
        }
        let [journal, outbox, idempotency] = std::mem::take(&mut self.entries).parameters();
        let commit = if undo_last {
            ledger::COMMIT_WITHOUT_LAST
        } else {
            ledger::COMMIT
        };
        let query = sqlx::query(commit).bind(journal).bind(outbox).bind(idempotency);
        match query.execute(write.raw()).await {
            Ok(_) => {
                shared.counters.commits.fetch_add(1, Ordering::Relaxed);
                Counters::add(&shared.counters.units, self.units);
                self.settled(true, None)
            }
            Err(error) => {
                let fault = fault_of(&error).unwrap_or(Fault::Other);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "committing a group failed"
                );
                self.lost(fault, &Unavailable::unknown(fault.into()))
            }
        }
    }

    fn settled(self, committed: bool, discard: Option<Fault>) -> Verdicts {
        let ran = self.ran.into_iter().map(|answer| (answer, Ok(())));
        let failed = self
            .failed
            .into_iter()
            .map(|(answer, why)| (answer, Err(why.into())));
        Verdicts {
            verdicts: ran.chain(failed).collect(),
            committed,
            discard,
        }
    }

    /// The transaction is gone: nobody's success stands, and no refusal that may have rested on its rows.
    fn lost(self, fault: Fault, why: &Unavailable) -> Verdicts {
        let ran = self
            .ran
            .into_iter()
            .map(|answer| (answer, Err(why.clone().into())));
        let failed = self
            .failed
            .into_iter()
            .map(|(answer, own)| (answer, Err(own.into())));
        Verdicts {
            verdicts: ran.chain(failed).collect(),
            committed: false,
            discard: Some(fault),
        }
    }
}
