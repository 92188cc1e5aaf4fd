//! How many questions may be asked about tokens without a kept yes.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A token bucket: `per_minute` at once, and refilled at that rate.
#[derive(Debug)]
pub(super) struct Budget {
    per_minute: f64,
    left: f64,
    counted_at: Duration,
}

impl Budget {
    /// A full bucket.
    pub(super) fn new(per_minute: u32, now: Duration) -> Self {
        let per_minute = f64::from(per_minute);
        Self { per_minute, left: per_minute, counted_at: now }
    }

    /// Pays for one question.
    ///
    /// # Errors
    ///
    /// When the bucket is empty: how long until it no longer is.
    pub(super) fn pay(&mut self, now: Duration) -> Result<(), Duration> {
        let refill =
            now.saturating_sub(self.counted_at).as_secs_f64() * self.per_minute / MINUTE.as_secs_f64();
        self.left = (self.left + refill).min(self.per_minute);
        self.counted_at = self.counted_at.max(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        if self.per_minute == 0.0 {
            return Err(MINUTE);
        }
        Err(Duration::from_secs_f64((1.0 - self.left) * MINUTE.as_secs_f64() / self.per_minute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn allows_a_burst_and_then_the_rate() {
        let mut budget = Budget::new(6, s(100));
        for _ in 0..6 {
            assert_eq!(budget.pay(s(100)), Ok(()));
        }
        assert_eq!(budget.pay(s(100)), Err(s(10)));
        assert_eq!(budget.pay(s(104)), Err(s(6)));
        assert_eq!(budget.pay(s(110)), Ok(()));
        assert!(budget.pay(s(110)).is_err());
    }

    #[test]
    fn never_holds_more_than_one_burst() {
        let mut budget = Budget::new(2, s(0));
        let paid = (0..10).filter(|_| budget.pay(s(36_000)).is_ok()).count();
        assert_eq!(paid, 2);
    }

    #[test]
    fn an_empty_budget_allows_nothing() {
        assert_eq!(Budget::new(0, s(0)).pay(s(1_000_000)), Err(MINUTE));
    }
}
