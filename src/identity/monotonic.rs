//! Time that only moves forward.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time passed since some moment, unmoved by whoever sets the machine's clock.
#[derive(Clone)]
pub(super) struct Monotonic(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Monotonic {
    /// Counts from now on.
    pub(super) fn from_now() -> Self {
        let start = Instant::now();
        Self(Arc::new(move || start.elapsed()))
    }

    /// Counts what `elapsed` says, for tests.
    #[cfg(test)]
    pub(super) fn of(elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(elapsed))
    }

    pub(super) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Monotonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Monotonic").field(&self.now()).finish()
    }
}
