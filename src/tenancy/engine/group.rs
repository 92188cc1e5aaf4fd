//! One write transaction: the units of a group, each inside its own savepoint, and what it came to.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr};

use super::addition::{Additions, Prepared};
use super::handle::{Prefix, Write};
use super::job::{Answer, Job, Turn, refuse, replay};
use super::ledger::{self, Actor, Change, Entries, EventState, IdempotencyKey, Stored};
use super::{Counters, Fault, Shared, fault_of};
use crate::domain::Timestamp;
use crate::tenancy::error::{Reason, StoreError, Unavailable};

/// A group takes no further job once its ledger entries are this big: each of their three parameters must stay well
/// below SQLite's limit on a string (64 MiB), or the commit fails for the whole group.
const GROUP_BYTES: usize = 8 << 20;

/// One transaction under way.
pub(super) struct Group {
    /// The state in which its events begin.
    begins: EventState,
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
pub(super) struct Verdicts {
    pub(super) verdicts: Vec<(Answer, Result<(), StoreError>)>,
    pub(super) committed: bool,
    /// Events that were committed.
    pub(super) events: u64,
    pub(super) discard: Option<Fault>,
}

impl Group {
    /// An empty group, whose events begin in the state `begins`.
    pub(super) fn new(begins: EventState) -> Self {
        let (entries, seen, ran, failed, units, wrote) = Default::default();
        Self { begins, entries, seen, ran, failed, units, wrote }
    }

    /// Runs `jobs` one after the other; those for which there is no room any more stay.
    pub(super) async fn run(mut self, write: &mut Write, jobs: &mut Vec<Job>, shared: &Shared) -> Verdicts {
        let keys: Vec<&str> = jobs.iter().filter_map(|job| Some(job.key.as_ref()?.key.as_str())).collect();
        let keys = serde_json::Value::from(keys).to_string();
        let added = match self.begin(write, jobs, &keys, shared).await {
            Ok(added) => added,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a write transaction could not begin"
                );
                return self.lose(fault_of(&error).unwrap_or(Fault::Other), jobs.drain(..), shared).await;
            }
        };
        let mut kept = Ok(());
        for (job, prepared) in added {
            kept = kept.and(self.added(job, prepared, write).await);
        }
        if let Err(fault) = kept {
            return self.lose(fault, jobs.drain(..), shared).await;
        }
        let mut waiting = std::mem::take(jobs).into_iter();
        while self.entries.size() < GROUP_BYTES
            && let Some(job) = waiting.next()
        {
            if let Err(fault) = self.turn(write, job, shared).await {
                return self.lose(fault, waiting, shared).await;
            }
        }
        jobs.extend(waiting);
        self.finish(write, shared).await
    }

    /// Begins the transaction, looks up the answers that `keys`, a JSON array, already have, and adds what can be added
    /// without a unit of its own. Takes the jobs of that, and returns them.
    async fn begin(
        &mut self,
        write: &mut Write,
        jobs: &mut Vec<Job>,
        keys: &str,
        shared: &Shared,
    ) -> Result<Vec<(Job, Prepared)>, sqlx::Error> {
        write.changes.clear();
        write.prefix = Prefix::None;
        let Some(additions) = Additions::take(write, jobs) else {
            self.send_begin(write, ledger::BEGIN, "[]", keys, shared).await?;
            return Ok(Vec::new());
        };
        let sql = AssertSqlSafe(ledger::begin_with(additions.insert));
        let sent = self.send_begin(write, sql, &additions.rows, keys, shared).await;
        let (added, others) = additions.settle(sent.as_ref().unwrap_or(&HashSet::new()));
        jobs.extend(others);
        match sent {
            Err(error) if fault_of(&error).is_none() => {
                // One of them breaks a rule of the table: in units of their own, the others do not suffer from it.
                write.connection().count_statement("rollback");
                sqlx::query("rollback").execute(write.raw()).await?;
                self.send_begin(write, ledger::BEGIN, "[]", keys, shared).await?;
                Ok(added)
            }
            sent => sent.map(|_| added),
        }
    }

    /// Sends the string that begins the group; returns the ids of the records that it has added.
    async fn send_begin(
        &mut self,
        write: &mut Write,
        sql: impl SqlSafeStr,
        rows: &str,
        keys: &str,
        shared: &Shared,
    ) -> Result<HashSet<String>, sqlx::Error> {
        let keep_after = shared.clock.now().millis() - ledger::KEEP_ANSWERS_MS;
        let sql = sql.into_sql_str();
        write.connection().count_statement(sql.as_str());
        failpoint!("group.begin", sqlx::Error::Io);
        write.connection().deadline().set(shared.settings.write_deadline);
        let found = sqlx::query(sql).bind(rows).bind(keys).bind(keep_after).fetch_all(write.raw()).await;
        write.connection().deadline().clear();
        let found = found?;
        let mut added = HashSet::new();
        for row in found {
            if row.len() == 1 {
                added.insert(row.try_get(0)?);
            } else {
                let (key, stored) = ledger::stored_answer(&row)?;
                self.seen.insert(key, stored);
            }
        }
        Ok(added)
    }

    /// Keeps what a record that has been added leaves in the ledger, and its answer until the commit.
    async fn added(&mut self, job: Job, prepared: Prepared, write: &Write) -> Result<(), Fault> {
        let Prepared { id: _, response, changes, now } = prepared;
        let ran = (job.run)(Turn::Added(response.clone())).await;
        self.ran.push(ran.answer);
        self.units += 1;
        self.wrote = true;
        self.keep(changes, &job.actor, now, job.key.map(|key| (key, response)), write)
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
            self.failed.push((ran.answer, Unavailable::not_written(fault.into())));
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
            let (changes, actor) = (write.changes.split_off(mark), write.actor.clone());
            self.ran.push(ran.answer);
            return self.keep(changes, &actor, write.now, job.key.zip(ran.response), write);
        }
        write.changes.truncate(mark);
        self.ran.push(ran.answer);
        Ok(())
    }

    /// Adds what a success leaves in the ledger: its changes, and its answer.
    fn keep(
        &mut self,
        changes: Vec<Change>,
        actor: &Actor,
        now: Timestamp,
        answer: Option<(IdempotencyKey, Box<RawValue>)>,
        write: &Write,
    ) -> Result<(), Fault> {
        let add = || {
            failpoint!("ledger.before", <serde_json::Error as serde::ser::Error>::custom);
            for change in changes {
                self.entries.add_change(change, actor, now, self.begins, || write.new_id())?;
            }
            let Some((key, response)) = answer else { return Ok(()) };
            self.entries.add_answer(&key, &response, now)?;
            let IdempotencyKey { key, fingerprint } = key;
            let response = response.get().to_owned();
            self.seen.insert(key, Stored { fingerprint, response, is_durable: false });
            Ok(())
        };
        add().map_err(|error: serde_json::Error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "ledger entries cannot be written as JSON"
            );
            Fault::Other
        })
    }

    /// Commits what there is, with its ledger entries.
    async fn finish(mut self, write: &mut Write, shared: &Shared) -> Verdicts {
        let undo_last = std::mem::replace(&mut write.prefix, Prefix::None) == Prefix::Rollback;
        if !self.wrote && self.entries.size() == 0 {
            // Nothing to make durable: no commit, no sync.
            write.connection().count_statement("rollback");
            return match sqlx::query("rollback").execute(write.raw()).await {
                Ok(_) => self.settled(false, None),
                Err(error) => self.settled(false, Some(fault_of(&error).unwrap_or(Fault::Other))),
            };
        }
        let events = self.entries.events();
        let [journal, outbox, idempotency] = std::mem::take(&mut self.entries).parameters();
        let commit = if undo_last { ledger::COMMIT_WITHOUT_LAST } else { ledger::COMMIT };
        write.connection().count_statement(commit);
        let query = sqlx::query(commit).bind(journal).bind(outbox).bind(idempotency);
        let committed = async {
            failpoint!("commit.before", sqlx::Error::Io);
            let done = query.execute(write.raw()).await?;
            failpoint!("commit.after", sqlx::Error::Io);
            Ok::<_, sqlx::Error>(done)
        };
        match committed.await {
            Ok(_) => {
                shared.counters.commits.fetch_add(1, Ordering::Relaxed);
                Counters::add(&shared.counters.units, self.units);
                Verdicts { events, ..self.settled(true, None) }
            }
            Err(error) => {
                let fault = fault_of(&error).unwrap_or(Fault::Other);
                tracing::error!(error = &error as &dyn std::error::Error, "committing a group failed");
                // It may have been committed all the same: then there are events to look for.
                Verdicts { events, ..self.lost(fault, &Unavailable::unknown(fault.into())) }
            }
        }
    }

    fn settled(self, committed: bool, discard: Option<Fault>) -> Verdicts {
        let ran = self.ran.into_iter().map(|answer| (answer, Ok(())));
        let failed = self.failed.into_iter().map(|(answer, why)| (answer, Err(why.into())));
        Verdicts { verdicts: ran.chain(failed).collect(), committed, events: 0, discard }
    }

    /// The transaction is gone, and with it every unit of the group so far; the rest is refused.
    async fn lose(self, fault: Fault, waiting: impl Iterator<Item = Job>, shared: &Shared) -> Verdicts {
        let reason = if fault == Fault::Deadline { Reason::RolledBack } else { fault.into() };
        let why = Unavailable::not_written(reason);
        for job in waiting {
            match self.earlier(&job) {
                Some((turn, true)) => replay(job, turn, shared).await(Ok(())),
                _ => refuse(job, why.clone().into()).await,
            }
        }
        self.lost(fault, &why)
    }

    /// Nobody's success stands, and no refusal that may have rested on the rows of a lost transaction.
    fn lost(self, fault: Fault, why: &Unavailable) -> Verdicts {
        let ran = self.ran.into_iter().map(|answer| (answer, Err(why.clone().into())));
        let failed = self.failed.into_iter().map(|(answer, own)| (answer, Err(own.into())));
        Verdicts { verdicts: ran.chain(failed).collect(), committed: false, events: 0, discard: Some(fault) }
    }
}
