//! Leaves a failing platform alone for a while.

use std::collections::VecDeque;
use std::time::Duration;

/// This many failures in a row …
const FAILURES: usize = 5;
/// … within this time open the breaker …
const WITHIN: Duration = Duration::from_secs(10);
/// … for this long. Then one question probes, and its outcome decides.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// A circuit breaker. Each admitted question must end in [`Breaker::succeeded`] or [`Breaker::failed`].
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// When the last questions failed, with no success since.
    failures: VecDeque<Duration>,
    /// While open: from when on a probe may go.
    open_until: Option<Duration>,
    probing: bool,
}

impl Breaker {
    /// How long nothing may be asked yet; `None` if a question would be admitted.
    pub(super) fn closed_for(&self, now: Duration) -> Option<Duration> {
        let until = self.open_until?;
        if now < until {
            return Some(until - now);
        }
        self.probing.then_some(OPEN_FOR)
    }

    /// Admits a question.
    ///
    /// # Errors
    ///
    /// While open: how long to wait.
    pub(super) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(wait) = self.closed_for(now) {
            return Err(wait);
        }
        self.probing = self.open_until.is_some();
        Ok(())
    }

    /// The platform answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The platform did not answer, or not sensibly.
    pub(super) fn failed(&mut self, now: Duration) {
        if self.open_until.is_some() {
            // Stragglers that were asked before it opened do not prolong it; a failed probe does.
            if self.probing {
                self.open(now);
            }
            return;
        }
        self.failures.push_back(now);
        if self.failures.len() > FAILURES {
            self.failures.pop_front();
        }
        let recent = self.failures.front().is_some_and(|first| now.saturating_sub(*first) <= WITHIN);
        if self.failures.len() == FAILURES && recent {
            self.open(now);
        }
    }

    fn open(&mut self, now: Duration) {
        tracing::warn!(
            seconds = OPEN_FOR.as_secs(),
            "the platform keeps failing; it is not asked for a while"
        );
        *self = Self { open_until: Some(now + OPEN_FOR), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn opened_at(now: Duration) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn opens_after_five_failures_in_a_row_within_ten_seconds() {
        let mut breaker = opened_at(s(100));
        assert_eq!(breaker.admit(s(100)), Err(s(5)));
        assert_eq!(breaker.admit(s(104)), Err(s(1)));
        assert_eq!(breaker.admit(s(105)), Ok(()));
    }

    #[test]
    fn stays_closed_when_failures_are_scattered_or_mixed() {
        let mut slow = Breaker::default();
        for second in 0..50 {
            slow.failed(s(second * 3));
        }
        assert_eq!(slow.admit(s(150)), Ok(()));

        let mut flapping = Breaker::default();
        for second in 0..50 {
            flapping.failed(s(second / 10));
            if second % 4 == 3 {
                flapping.succeeded();
            }
        }
        assert_eq!(flapping.admit(s(5)), Ok(()));
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let mut breaker = opened_at(s(0));
        assert_eq!(breaker.admit(s(6)), Ok(()));
        assert!(breaker.admit(s(6)).is_err(), "a second probe");
        breaker.failed(s(7));
        assert_eq!(breaker.admit(s(8)), Err(s(4)), "reopened by the probe");

        assert_eq!(breaker.admit(s(12)), Ok(()));
        breaker.succeeded();
        assert_eq!((breaker.admit(s(12)), breaker.admit(s(12))), (Ok(()), Ok(())));
    }

    #[test]
    fn stragglers_do_not_prolong_it() {
        let mut breaker = opened_at(s(0));
        breaker.failed(s(3));
        assert_eq!(breaker.admit(s(3)), Err(s(2)));
    }
}
