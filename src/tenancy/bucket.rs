//! A token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets through a burst of `capacity` events, then `per_minute` of them a minute.
#[derive(Debug)]
pub(super) struct Bucket {
    capacity: f64,
    per_second: f64,
    level: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(capacity: u32, per_minute: u32) -> Self {
        let capacity = f64::from(capacity);
        Self {
            capacity,
            per_second: f64::from(per_minute) / 60.0,
            level: Mutex::new((capacity, Instant::now())),
        }
    }

    /// Takes one token, or says when there will be one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, at) = *state;
        let refilled = level + now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        let level = refilled.min(self.capacity);
        if level >= 1.0 {
            *state = (level - 1.0, now);
            return Ok(());
        }
        *state = (level, now);
        let wait = (1.0 - level) / self.per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(3600)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_burst_through_and_then_the_refill() {
        let bucket = Bucket::new(2, 60);
        let start = Instant::now();
        assert_eq!(bucket.take_at(start), Ok(()));
        assert_eq!(bucket.take_at(start), Ok(()));
        let wait = bucket.take_at(start).expect_err("empty");
        assert!(wait > Duration::from_millis(900) && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(bucket.take_at(start + Duration::from_millis(1001)), Ok(()));
    }

    #[test]
    fn without_a_refill_the_wait_is_finite() {
        let bucket = Bucket::new(0, 0);
        assert_eq!(bucket.take_at(Instant::now()), Err(Duration::from_secs(3600)));
    }
}
