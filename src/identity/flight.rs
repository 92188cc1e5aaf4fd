//! One answer for all who ask the same at the same time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

type Landing<T> = watch::Receiver<Option<T>>;
type Aloft<K, T> = HashMap<K, Landing<T>>;

/// The questions under way, by what they are about.
pub(super) struct Flights<K: Eq + Hash, T>(Arc<Mutex<Aloft<K, T>>>);

impl<K: Copy + Eq + Hash + Send + 'static, T: Clone + Send + Sync + 'static> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The outcome of the flight of `key`, which is started with `work` unless it is under way. `None` if it crashed.
    ///
    /// The work runs in a task of its own: whoever started it may hang up without failing the others. The task ends by
    /// itself within the deadline of `work`.
    pub(super) async fn join<W>(&self, key: K, work: impl FnOnce() -> W) -> Option<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut landing = self.launch(key, work);
        let outcome = landing.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }

    /// Sees to it that the flight of `key` is under way, without waiting for it.
    pub(super) fn launch<W>(&self, key: K, work: impl FnOnce() -> W) -> Landing<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        match lock(&self.0).entry(key) {
            Entry::Occupied(flight) => flight.get().clone(),
            Entry::Vacant(place) => {
                let (report, landing) = watch::channel(None);
                place.insert(landing.clone());
                let listing = Listing { aloft: Arc::clone(&self.0), key };
                let work = work();
                tokio::spawn(async move {
                    let outcome = work.await;
                    drop(listing);
                    report.send_replace(Some(outcome));
                });
                landing
            }
        }
    }
}

/// Strikes a flight off the list when it ends, in whatever way.
struct Listing<K: Eq + Hash, T> {
    aloft: Arc<Mutex<Aloft<K, T>>>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Listing<K, T> {
    fn drop(&mut self) {
        lock(&self.aloft).remove(&self.key);
    }
}

/// A panic elsewhere leaves the map whole, so a poisoned lock is usable.
fn lock<K, T>(aloft: &Mutex<Aloft<K, T>>) -> MutexGuard<'_, Aloft<K, T>> {
    aloft.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    const KEY: u8 = 7;

    #[tokio::test]
    async fn a_thousand_callers_share_one_flight() {
        let (flights, started) = (Flights::new(), AtomicUsize::new(0));
        let callers = (0..1000).map(|_| {
            flights.join(KEY, || {
                started.fetch_add(1, Ordering::Relaxed);
                async {
                    tokio::task::yield_now().await;
                    42
                }
            })
        });

        let outcomes = join_all(callers).await;

        assert!(outcomes.iter().all(|outcome| *outcome == Some(42)));
        assert_eq!(started.into_inner(), 1);
        assert!(lock(&flights.0).is_empty(), "the list would grow for ever");
    }

    #[tokio::test]
    async fn a_flight_survives_whoever_started_it() {
        let (flights, landed) = (Arc::new(Flights::new()), Arc::new(Notify::new()));
        let release = Arc::new(Notify::new());
        let first = {
            let (flights, landed, release) =
                (Arc::clone(&flights), Arc::clone(&landed), Arc::clone(&release));
            tokio::spawn(async move {
                flights
                    .join(KEY, || async move {
                        release.notified().await;
                        landed.notify_one();
                        1
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        let second = {
            let flights = Arc::clone(&flights);
            tokio::spawn(async move { flights.join(KEY, || async { 2 }).await })
        };
        tokio::task::yield_now().await;

        first.abort();
        release.notify_one();

        landed.notified().await;
        assert_eq!(second.await.expect("not aborted"), Some(1));
    }

    #[tokio::test]
    async fn a_crashed_flight_answers_nobody_and_leaves_no_trace() {
        let flights = Flights::<_, u8>::new();
        let crashed = flights.join(KEY, || async { panic!("on purpose") }).await;
        assert_eq!(crashed, None);
        assert_eq!(flights.join(KEY, || async { 3 }).await, Some(3));
    }
}
