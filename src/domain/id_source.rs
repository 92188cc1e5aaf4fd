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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_of_their_moment_distinct_and_in_order_within_it(
            moments in prop::collection::vec(0..4_102_444_800_000_i64, 1..40),
            each in 1..50_usize,
        ) {
            let source = IdSource::default();
            let mut moments = moments;
            moments.sort_unstable();
            let mut last = None;
            for moment in moments.into_iter().map(Timestamp::from_millis) {
                for _ in 0..each {
                    let id = source.next(moment);
                    prop_assert_eq!(id.get_version_num(), 7);
                    let (seconds, nanos) = id.get_timestamp().expect("a moment").to_unix();
                    let millis = i64::try_from(seconds).expect("small") * 1000 + i64::from(nanos / 1_000_000);
                    prop_assert_eq!(millis, moment.millis());
                    prop_assert!(last < Some(id), "{id} after {last:?}");
                    last = Some(id);
                    let text = id.to_string();
                    prop_assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
                }
            }
        }
    }
}
