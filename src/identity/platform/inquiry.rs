//! When the platform is asked, and what is said when it is not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::breaker::Breaker;
use super::budget::Budget;
use super::client::{Answer, PlatformClient, Reply};
use crate::config;
use crate::identity::bearer::Digest;
use crate::identity::error::{Denied, IdentityError};
use crate::identity::flight::Flights;
use crate::identity::monotonic::Monotonic;
use crate::identity::principal::Principal;

/// Questions under way at once.
const SEATS: usize = 64;
/// When a caller should come back during an outage.
const OUTAGE_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Longer than anything here lasts; moka refuses a thousand years, and no clock can add them.
const A_YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

type Outcome = Result<Arc<Principal>, Denied>;

/// The platform as an identity source.
pub(in crate::identity) struct Platform {
    desk: Arc<Desk>,
    flights: Flights<Digest, Outcome>,
}

struct Desk {
    client: PlatformClient,
    timeout: Duration,
    yes_ttl: Duration,
    no_ttl: Duration,
    stale: Duration,
    answers: Cache<Digest, Kept>,
    seats: Semaphore,
    breaker: Mutex<Breaker>,
    budget: Mutex<Budget>,
    clock: Monotonic,
}

#[derive(Clone)]
struct Kept {
    answer: Answer,
    at: Duration,
    /// Until when the platform, which was too busy to renew it, is not asked again.
    quiet_until: Duration,
}

impl Kept {
    fn new(answer: Answer, at: Duration) -> Self {
        Self { answer, at, quiet_until: Duration::ZERO }
    }

    /// Whether it says who the caller is, rather than that nobody knows.
    fn is_known(&self) -> bool {
        matches!(self.answer, Answer::Yes(_) | Answer::Confined)
    }
}

impl Platform {
    pub(in crate::identity) fn new(
        url: &str,
        auth: &config::Auth,
        clock: Monotonic,
    ) -> Result<Self, IdentityError> {
        let longest = auth.platform_stale.max(auth.platform_yes_ttl).max(auth.platform_no_ttl);
        let desk = Desk {
            client: PlatformClient::new(url, auth.platform_timeout)?,
            timeout: auth.platform_timeout.min(A_YEAR),
            yes_ttl: auth.platform_yes_ttl,
            no_ttl: auth.platform_no_ttl,
            stale: auth.platform_stale,
            // moka bounds what is kept; whether it still counts is decided here, by one clock.
            answers: Cache::builder()
                .max_capacity(auth.platform_cache)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(longest.min(A_YEAR))
                .build(),
            seats: Semaphore::new(SEATS),
            breaker: Mutex::default(),
            budget: Mutex::new(Budget::new(auth.platform_unknown_per_minute, clock.now())),
            clock,
        };
        Ok(Self { desk: Arc::new(desk), flights: Flights::new() })
    }

    /// Whose token it is, by a kept answer or by asking.
    pub(in crate::identity) async fn ask(&self, token: &str, digest: Digest) -> Outcome {
        if let Some(kept) = self.desk.fresh(&digest).await {
            return kept.outcome();
        }
        let flight = || {
            let (desk, token) = (Arc::clone(&self.desk), token.to_owned());
            async move { desk.settle(&token, digest).await }
        };
        let crashed = Err(Denied::unavailable(OUTAGE_RETRY_AFTER));
        self.flights.join(digest, flight).await.unwrap_or(crashed)
    }
}

impl Desk {
    async fn fresh(&self, digest: &Digest) -> Option<Answer> {
        let kept = self.answers.get(digest).await?;
        let ttl = if kept.is_known() { self.yes_ttl } else { self.no_ttl };
        let is_quiet = self.clock.now() < kept.quiet_until && self.may_be_stale(&kept);
        (self.age(&kept) < ttl || is_quiet).then_some(kept.answer)
    }

    /// An answer about a known caller that may serve while the platform does not answer.
    async fn stale(&self, digest: &Digest) -> Option<Answer> {
        let kept = self.answers.get(digest).await?;
        self.may_be_stale(&kept).then_some(kept.answer)
    }

    fn may_be_stale(&self, kept: &Kept) -> bool {
        kept.is_known() && self.age(kept) < self.stale
    }

    /// As [`Desk::stale`] for a platform that wants to be left alone for a while, and is.
    async fn stale_and_quiet(&self, digest: &Digest, wait: Duration) -> Option<Answer> {
        let mut kept = self.answers.get(digest).await.filter(|kept| self.may_be_stale(kept))?;
        kept.quiet_until = self.clock.now() + wait;
        self.answers.insert(*digest, kept.clone()).await;
        Some(kept.answer)
    }

    fn age(&self, kept: &Kept) -> Duration {
        self.clock.now().saturating_sub(kept.at)
    }

    /// Asks about a token, keeps the answer, and falls back on an earlier one.
    async fn settle(&self, token: &str, digest: Digest) -> Outcome {
        // The flight before this one may have landed between the caller's look and this one's start.
        if let Some(answer) = self.fresh(&digest).await {
            return answer.outcome();
        }
        let known = self.stale(&digest).await.is_some();
        match self.inquire(token, known).await {
            Ok(answer) => {
                let kept = Kept::new(answer.clone(), self.clock.now());
                self.answers.insert(digest, kept).await;
                answer.outcome()
            }
            Err(denied) => {
                let earlier = match denied {
                    Denied::Unavailable { .. } => self.stale(&digest).await,
                    Denied::RateLimited { retry_after } => self.stale_and_quiet(&digest, retry_after).await,
                    _ => None,
                };
                earlier.map_or(Err(denied), Answer::outcome)
            }
        }
    }

    /// Asks, if breaker, budget and seats allow.
    ///
    /// Only callers with a kept yes are `known`: after a no has expired, the same bad token pays again.
    async fn inquire(&self, token: &str, known: bool) -> Result<Answer, Denied> {
        let deadline = Instant::now() + self.timeout;
        if let Some(wait) = lock(&self.breaker).closed_for(self.clock.now()) {
            return Err(Denied::unavailable(wait));
        }
        if !known {
            let paid = lock(&self.budget).pay(self.clock.now());
            paid.map_err(Denied::rate_limited)?;
        }
        let Ok(Ok(_seat)) = timeout_at(deadline, self.seats.acquire()).await else {
            tracing::warn!("too many questions to the platform are under way");
            return Err(Denied::unavailable(OUTAGE_RETRY_AFTER));
        };
        let attempt = Attempt::begin(self).map_err(Denied::unavailable)?;
        let reply = timeout_at(deadline, self.client.ask(token)).await;
        match reply.unwrap_or(Reply::Outage("timeout")) {
            Reply::Answer(answer) => {
                attempt.succeeded();
                Ok(answer)
            }
            Reply::Busy(retry_after) => {
                attempt.succeeded();
                Err(Denied::rate_limited(retry_after))
            }
            Reply::Outage(reason) => {
                tracing::warn!(reason, "the platform gave no answer about a token");
                drop(attempt);
                Err(Denied::unavailable(OUTAGE_RETRY_AFTER))
            }
        }
    }
}

impl Answer {
    fn outcome(self) -> Outcome {
        match self {
            Self::Yes(principal) => Ok(principal),
            Self::Confined => Err(Denied::CellNotAllowed),
            Self::No => Err(Denied::Invalid),
        }
    }
}

/// A question the breaker has admitted. Dropped without success it counts as failed, so that a crash cannot leave the
/// breaker waiting for a probe for ever.
struct Attempt<'a>(Option<&'a Desk>);

impl<'a> Attempt<'a> {
    fn begin(desk: &'a Desk) -> Result<Self, Duration> {
        lock(&desk.breaker).admit(desk.clock.now())?;
        Ok(Self(Some(desk)))
    }

    fn succeeded(mut self) {
        if let Some(desk) = self.0.take() {
            lock(&desk.breaker).succeeded();
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.0 {
            lock(&desk.breaker).failed(desk.clock.now());
        }
    }
}

/// A panic elsewhere leaves these states whole, so a poisoned lock is usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::auth;

    #[tokio::test]
    async fn a_flight_that_starts_late_takes_the_answer_of_the_one_before() {
        let nobody_there = "http://127.0.0.1:9";
        let platform = Platform::new(nobody_there, &auth(), Monotonic::from_now()).expect("valid");
        let kept = Kept::new(Answer::No, platform.desk.clock.now());
        platform.desk.answers.insert([7; 32], kept).await;

        let outcome = platform.desk.settle("t", [7; 32]).await;

        assert_eq!(outcome, Err(Denied::Invalid), "asking would have been an outage");
    }
}
