//! Ids as an input.

use std::sync::Mutex;

use uuid::{ContextV7, Uuid};

use super::Timestamp;

/// The process's source of ids: UUIDv7 (RFC 9562), increasing also within one millisecond.
#[derive(Debug, Default)]
pub struct IdSource(Mutex<ContextV7>);

impl IdSource {
    /// A fresh id of the moment `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Uuid {
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let nanos = u32::try_from(now.millis().rem_euclid(1000)).unwrap_or(0) * 1_000_000;
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.0, seconds, nanos))
    }
}
