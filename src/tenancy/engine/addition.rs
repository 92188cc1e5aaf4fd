//! New records that are added together: one statement for all that wait, in the string that begins their group.
//!
//! A unit of its own costs a hand-off to SQLite's thread and back for each of its statements. Records of whose rules SQLite
//! itself decides the last (the unique columns are free) need no unit: what can be added is, and the rest is left to units
//! of its own, which say what was in the way.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde_json::value::RawValue;

use super::handle::Write;
use super::job::Job;
use super::ledger::{Actor, Change};
use crate::domain::Timestamp;
use crate::tenancy::error::StoreError;

/// The most that one statement adds, in bytes of JSON.
const ROWS_BYTES: usize = 4 << 20;

/// A new record that can be added together with others of its kind: its rules ask nothing of what the tenant holds, but
/// that unique columns are free.
pub trait Addition: Clone + Send + 'static {
    /// Adds a row for each array `v` of the array `?1`: ends in `… from r where true`.
    const INSERT: &'static str;
    /// What becomes of it.
    type Record: Send + 'static;

    /// Makes the record and notes its change. Sends no statement.
    ///
    /// # Errors
    /// What is in the way whatever the tenant holds.
    fn prepare(self, tx: &mut Write) -> Result<Self::Record, StoreError>;

    /// The record's id, and its row for [`Addition::INSERT`]: an array.
    fn row(record: &Self::Record) -> (&str, impl Serialize);

    /// Adds the record in a unit of its own.
    ///
    /// # Errors
    /// What is in the way.
    fn insert(self, tx: &mut Write) -> impl Future<Output = Result<Self::Record, StoreError>> + Send;
}

/// How a job's record is added together with others.
pub(super) struct Plan {
    insert: &'static str,
    prepare: Prepare,
}

type Prepare = Box<dyn FnOnce(&mut Write) -> Result<Row, StoreError> + Send>;

/// A record's columns, and the answer if it is added.
struct Row {
    id: String,
    columns: Box<RawValue>,
    response: Box<RawValue>,
}

impl Plan {
    /// The plan for `new`, which is answered with what `reply` makes of it.
    pub(super) fn new<A: Addition, T: Serialize>(
        new: A,
        reply: impl FnOnce(A::Record) -> Result<T, StoreError> + Send + 'static,
    ) -> Self {
        let prepare = move |tx: &mut Write| {
            let record = new.prepare(tx)?;
            let (id, columns) = {
                let (id, row) = A::row(&record);
                (id.to_owned(), serde_json::value::to_raw_value(&row)?)
            };
            let response = serde_json::value::to_raw_value(&reply(record)?)?;
            Ok(Row { id, columns, response })
        };
        Self { insert: A::INSERT, prepare: Box::new(prepare) }
    }

    /// The record's columns and the rest of it. `None`: a unit of its own is to say what is in the way.
    fn prepare(self, write: &mut Write, actor: Actor) -> Option<(Box<RawValue>, Prepared)> {
        let mark = write.changes.len();
        write.begin_unit(actor);
        // A panic must not take the writer along.
        let row = catch_unwind(AssertUnwindSafe(|| (self.prepare)(write)));
        let changes = write.changes.split_off(mark);
        let Row { id, columns, response } = row.ok()?.ok()?;
        Some((columns, Prepared { id, response, changes, now: write.now }))
    }
}

/// A record that is ready to be added, and what it leaves in the ledger once it is.
pub(super) struct Prepared {
    pub(super) id: String,
    pub(super) response: Box<RawValue>,
    pub(super) changes: Vec<Change>,
    pub(super) now: Timestamp,
}

/// The records that one statement adds.
pub(super) struct Additions {
    pub(super) insert: &'static str,
    /// A JSON array of their columns, each with the key of its request behind them.
    pub(super) rows: String,
    jobs: Vec<(Job, Prepared)>,
}

impl Additions {
    /// Takes the jobs that add records of one kind; of those with the same key, the first.
    pub(super) fn take(write: &mut Write, jobs: &mut Vec<Job>) -> Option<Self> {
        let insert = jobs.iter().find_map(|job| Some(job.addition.as_ref()?.insert))?;
        let mut additions = Self { insert, rows: "[".to_owned(), jobs: Vec::new() };
        let mut keys = HashSet::new();
        for mut job in std::mem::take(jobs) {
            let fits = additions.rows.len() < ROWS_BYTES
                && job.addition.as_ref().is_some_and(|plan| plan.insert == insert)
                && job.key.as_ref().is_none_or(|key| keys.insert(key.key.clone()));
            let plan = if fits { job.addition.take() } else { None };
            match plan.and_then(|plan| plan.prepare(write, job.actor.clone())) {
                Some((columns, prepared)) => additions.push(job, columns.get(), prepared),
                None => jobs.push(job),
            }
        }
        additions.rows.push(']');
        (!additions.jobs.is_empty()).then_some(additions)
    }

    fn push(&mut self, job: Job, columns: &str, prepared: Prepared) {
        let key = serde_json::Value::from(job.key.as_ref().map(|key| key.key.as_str())).to_string();
        if !self.jobs.is_empty() {
            self.rows.push(',');
        }
        self.rows.extend([columns.strip_suffix(']').unwrap_or(columns), ",", &key, "]"]);
        self.jobs.push((job, prepared));
    }

    /// Parts the jobs whose records were added, by their ids, from the others.
    pub(super) fn settle(self, added: &HashSet<String>) -> (Vec<(Job, Prepared)>, Vec<Job>) {
        let (added, others): (Vec<_>, Vec<_>) =
            self.jobs.into_iter().partition(|(_, prepared)| added.contains(&prepared.id));
        (added, others.into_iter().map(|(job, _)| job).collect())
    }
}
