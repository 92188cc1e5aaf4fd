//! The reader task of one tenant: gathered point reads and units of reading at one snapshot a batch.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::{mpsc, oneshot};

use super::fault::{settle, worse};
use super::handle::{Prefix, Read};
use super::queue::gather;
use super::{Common, Connection, Counters, Fault, OpenFile, Role, Shared, Unit, fault_of};
use crate::domain::Scope;
use crate::tenancy::error::{Quarantine, StoreError, Unavailable};

/// Jobs taken from the queue as one batch.
const BATCH: usize = 256;

/// A record that can be read by its id together with others.
pub trait PointRead: Sized {
    /// `select j.key, … from json_each(?1) j join … on … = j.value`: the row of the n-th id starts with n.
    const SQL: &'static str;

    /// Reads the columns after the first.
    ///
    /// # Errors
    /// A column is missing or of another type.
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error>;
}

/// What waits for the reader.
pub(super) enum Job {
    Point { sql: &'static str, id: String, answer: PointAnswer },
    Unit(UnitRun),
}

type PointAnswer = oneshot::Sender<Result<Option<SqliteRow>, StoreError>>;
/// Runs a unit and sends its answer, or sends why it could not run.
type UnitRun = Box<dyn for<'a> FnOnce(Result<&'a mut Read, Unavailable>) -> BoxFuture<'a, ()> + Send>;

pub(super) fn point_job<P: PointRead>(
    id: String,
) -> (Job, oneshot::Receiver<Result<Option<SqliteRow>, StoreError>>) {
    let (answer, receiver) = oneshot::channel();
    (Job::Point { sql: P::SQL, id, answer }, receiver)
}

pub(super) fn unit_job<T, F>(scope: Scope, unit: F) -> (Job, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: for<'a> Unit<'a, Read, T> + Send + 'static,
{
    let (answer, receiver) = oneshot::channel();
    let run: UnitRun = Box::new(move |handle| {
        async move {
            let read = match handle {
                Ok(read) => read,
                Err(why) => {
                    let _gone = answer.send(Err(why.into()));
                    return;
                }
            };
            if answer.is_closed() {
                return; // nobody waits for it any more, and a read has no effect
            }
            read.set_scope(scope);
            // The call is inside too: a function may panic before it returns its future.
            let ran = async {
                failpoint!("read.begin", |error| StoreError::Sql(sqlx::Error::Io(error)));
                unit(&mut *read).await
            };
            let ran = AssertUnwindSafe(ran).catch_unwind().await;
            let ran = ran.unwrap_or(Err(StoreError::Panicked));
            let _gone = answer.send(ran.map_err(|error| settle(error, read.fault())));
        }
        .boxed()
    });
    (Job::Unit(run), receiver)
}

/// Serves `jobs` until all senders are gone or the tenant is quarantined, then closes the connection and says so.
pub(super) async fn run(
    mut jobs: mpsc::Receiver<Job>,
    file: OpenFile,
    connection: Connection,
    shared: Shared,
    common: Common,
    closed: oneshot::Sender<()>,
) {
    let role = if file.identity.is_some() { Role::Reader } else { Role::Immutable };
    let mut handle = Some(Read::new(connection));
    let mut batch = Vec::new();
    let Common { condition, totals, snapshots, turns: _ } = common;
    let mut unfit = pin!(condition.closed());
    loop {
        tokio::select! {
            biased;
            () = &mut unfit => break,
            taken = jobs.recv_many(&mut batch, BATCH) => if taken == 0 {
                break;
            },
        }
        gather(&mut jobs, &mut batch, BATCH).await;
        let _held_by_this_batch = snapshots.lock().await;
        failpoint!("reader.taken");
        if handle.is_none() {
            match file.connect(role, &shared.counters, &condition).await {
                Ok(connection) => handle = Some(Read::new(connection)),
                Err(why) => {
                    refuse(&mut batch, &why).await;
                    continue;
                }
            }
        }
        let Some(read) = &mut handle else { continue };
        let (points, units): (Vec<_>, Vec<_>) =
            batch.drain(..).partition(|job| matches!(job, Job::Point { .. }));
        let by_points = answer_points(read, points, &shared).await;
        read.count_with(&totals);
        let by_units = run_units(read, units, &shared).await;
        if let Some(fault) = worse(by_points, by_units).filter(|fault| fault.discards_connection()) {
            if fault == Fault::Corrupt {
                condition.quarantine(Quarantine::Corrupt);
            }
            shared.counters.discarded.fetch_add(1, Ordering::Relaxed);
            if let Some(read) = handle.take() {
                read.into_connection().close().await;
            }
        }
    }
    jobs.close();
    if let Err(why) = condition.check() {
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            refuse(&mut batch, &why).await;
        }
    }
    failpoint!("reader.close");
    if let Some(read) = handle {
        read.into_connection().close().await;
    }
    let _nobody_waits = closed.send(());
}

async fn refuse(batch: &mut Vec<Job>, why: &Unavailable) {
    for job in batch.drain(..) {
        match job {
            Job::Point { answer, .. } => {
                let _gone = answer.send(Err(why.clone().into()));
            }
            Job::Unit(run) => run(Err(why.clone())).await,
        }
    }
}

/// Answers all point reads, with one statement for each kind of record.
async fn answer_points(read: &mut Read, mut points: Vec<Job>, shared: &Shared) -> Option<Fault> {
    let mut fault = None;
    loop {
        let next = points.iter().find_map(Job::point_sql);
        let Some(sql) = next else { return fault };
        let (same, others): (Vec<_>, Vec<_>) =
            points.into_iter().partition(|job| job.point_sql() == Some(sql));
        points = others;
        let (ids, answers): (Vec<_>, Vec<_>) = same.into_iter().filter_map(Job::into_point).unzip();
        fault = worse(fault, answer_points_of(read, sql, ids, answers, shared).await);
    }
}

async fn answer_points_of(
    read: &mut Read,
    sql: &'static str,
    ids: Vec<String>,
    answers: Vec<PointAnswer>,
    shared: &Shared,
) -> Option<Fault> {
    Counters::add(&shared.counters.point_reads, ids.len());
    shared.counters.point_batches.fetch_add(1, Ordering::Relaxed);
    let connection = read.connection();
    connection.count_statement(sql);
    connection.deadline().set(shared.settings.read_deadline);
    let ids = serde_json::Value::from(ids).to_string();
    let rows = async {
        failpoint!("points.before", sqlx::Error::Io);
        sqlx::query(sql).bind(ids).fetch_all(connection.raw()).await
    };
    let rows = rows.await;
    connection.deadline().clear();
    let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
    let mut fault = None;
    let failed = match rows {
        Ok(rows) => {
            for row in rows {
                let position =
                    row.try_get::<i64, _>(0).ok().and_then(|position| usize::try_from(position).ok());
                if let Some(answer) = position.and_then(|position| answers.get_mut(position)?.take()) {
                    let _gone = answer.send(Ok(Some(row)));
                }
            }
            None
        }
        Err(error) => {
            fault = fault_of(&error);
            Some(error.to_string())
        }
    };
    for answer in answers.into_iter().flatten() {
        let _gone = answer.send(match (&failed, fault) {
            (None, _) => Ok(None),
            (Some(_), Some(fault)) => Err(Unavailable::not_written(fault.into()).into()),
            (Some(text), None) => Err(StoreError::Sql(sqlx::Error::Protocol(text.clone()))),
        });
    }
    fault
}

/// Runs the units one by one at one snapshot, which begins with the first statement among them.
async fn run_units(read: &mut Read, units: Vec<Job>, shared: &Shared) -> Option<Fault> {
    read.prefix = Prefix::Begin;
    let mut fault = None;
    for job in units {
        let Job::Unit(run) = job else { continue };
        if let Some(met) = fault.filter(|met: &Fault| met.discards_connection()) {
            // The connection may have lost its snapshot: the rest of the batch must not run on it.
            run(Err(Unavailable::not_written(met.into()))).await;
            continue;
        }
        read.begin_unit();
        read.connection().deadline().set(shared.settings.read_deadline);
        run(Ok(&mut *read)).await;
        read.connection().deadline().clear();
        fault = worse(fault, read.fault());
    }
    let snapshot_is_open = std::mem::replace(&mut read.prefix, Prefix::None) == Prefix::None;
    let end = async {
        failpoint!("snapshot.end", sqlx::Error::Io);
        sqlx::query("commit").execute(read.raw()).await
    };
    if snapshot_is_open && let Err(error) = end.await {
        fault = worse(fault, fault_of(&error).or(Some(Fault::Other)));
    }
    fault
}

impl Job {
    fn point_sql(&self) -> Option<&'static str> {
        match self {
            Self::Point { sql, .. } => Some(sql),
            Self::Unit(_) => None,
        }
    }

    fn into_point(self) -> Option<(String, PointAnswer)> {
        match self {
            Self::Point { id, answer, .. } => Some((id, answer)),
            Self::Unit(_) => None,
        }
    }
}
