//! A unit of work in the writer's queue: where the caller's types end, and where its answer waits for the commit.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::addition::Plan;
use super::handle::Write;
use super::ledger::{Actor, Done, IdempotencyKey};
use super::{Running, Shared, Unit};
use crate::tenancy::error::StoreError;

/// A unit of work in the writer's queue.
pub(super) struct Job {
    pub(super) actor: Actor,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) run: Run,
    /// What it adds, if it adds something that needs no unit of its own.
    pub(super) addition: Option<Plan>,
}

/// What a unit runs on, or what stands in its place.
pub(super) enum Turn<'a> {
    /// Run it; its answer is stored if it has a key.
    Run(&'a mut Write, bool),
    /// What it adds has been added: the answer to this.
    Added(Box<RawValue>),
    /// An earlier unit of this key has answered.
    Replay(String),
    /// It cannot run.
    Refuse(StoreError),
}

pub(super) type Run = Box<dyn for<'a> FnOnce(Turn<'a>) -> BoxFuture<'a, Ran> + Send>;
/// Sends the unit's own result if what it rests on is durable, else the error given.
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A unit that has had its turn.
pub(super) struct Ran {
    pub(super) ok: bool,
    /// The answer to store, if the unit succeeded and has a key.
    pub(super) response: Option<Box<RawValue>>,
    pub(super) answer: Answer,
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
                    Turn::Added(response) => {
                        let value = serde_json::from_str(response.get())?;
                        Ok((Done { value, replayed: false }, None))
                    }
                    Turn::Replay(stored) => {
                        let value = serde_json::from_str(&stored)?;
                        Ok((Done { value, replayed: true }, None))
                    }
                    Turn::Run(write, keep) => {
                        failpoint!("unit.begin", |error| StoreError::Sql(sqlx::Error::Io(error)));
                        let value = unit(write).await?;
                        failpoint!("unit.after_business", |error| StoreError::Sql(sqlx::Error::Io(error)));
                        let response = keep.then(|| serde_json::value::to_raw_value(&value)).transpose()?;
                        Ok((Done { value, replayed: false }, response))
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
    (Job { actor, key, run, addition: None }, receiver)
}

/// Runs one job that cannot have its turn.
pub(super) async fn refuse(job: Job, why: StoreError) {
    let ran = (job.run)(Turn::Refuse(why)).await;
    (ran.answer)(Ok(()));
}

/// Gives a job an earlier answer to its key.
pub(super) async fn replay(job: Job, turn: Turn<'static>, shared: &Shared) -> Answer {
    if matches!(turn, Turn::Replay(_)) {
        shared.counters.replays.fetch_add(1, Ordering::Relaxed);
    }
    (job.run)(turn).await.answer
}
