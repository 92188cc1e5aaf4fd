//! How many rows the lists of a tenant have, remembered until its next commit: counting costs more than a page does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::handle::Read;

/// Counts that are remembered at a time.
const KEPT: usize = 32;

/// The counts of one tenant.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Commits so far; a count is good as long as there is no other.
    commits: AtomicU64,
    known: Mutex<HashMap<CountKey, (u64, u64)>>,
}

/// What was counted: the hash of a list, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// The hash of the list: its table and filters.
    pub list: u64,
    /// Whose rows; `None` for everybody's.
    pub owner: Option<String>,
    /// The number at which counting ends.
    pub limit: u64,
}

impl Totals {
    /// What the counts of a snapshot that is opened after this call are good for.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Something has been, or may have been, committed. To be called before anybody hears of it.
    pub(super) fn advance(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn known(&self, key: &CountKey) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(commits, _)| *commits == self.commits()).map(|(_, count)| *count)
    }

    pub(super) fn remember(&self, key: CountKey, commits: u64, count: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, (of, _)| *of == commits);
        }
        if known.len() >= KEPT {
            known.clear(); // nobody pages through so many lists at once
        }
        known.insert(key, (commits, count));
    }
}

impl Read {
    /// The next snapshot is about to be opened: its counts are good as of now.
    pub(super) fn count_with(&mut self, totals: &Arc<Totals>) {
        self.totals = Some((totals.clone(), totals.commits()));
    }

    /// A count that was made since the last commit.
    #[must_use]
    pub fn known_count(&self, key: &CountKey) -> Option<u64> {
        self.totals.as_ref().and_then(|(totals, _)| totals.known(key))
    }

    /// Remembers a count of the running snapshot.
    pub fn remember_count(&self, key: CountKey, count: u64) {
        if let Some((totals, commits)) = &self.totals {
            totals.remember(key, *commits, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(list: u64) -> CountKey {
        CountKey { list, owner: None, limit: 10 }
    }

    #[test]
    fn a_count_is_forgotten_with_the_next_commit() {
        let totals = Totals::default();
        totals.remember(key(1), totals.commits(), 7);
        assert_eq!(totals.known(&key(1)), Some(7));
        assert_eq!(totals.known(&CountKey { owner: Some("u".into()), ..key(1) }), None);
        assert_eq!(totals.known(&CountKey { limit: 11, ..key(1) }), None);
        let before = totals.commits();
        totals.advance();
        assert_eq!(totals.known(&key(1)), None);
        totals.remember(key(1), before, 7);
        assert_eq!(totals.known(&key(1)), None, "counted before the commit, told after it");
    }

    #[test]
    fn no_more_are_kept_than_a_few() {
        let totals = Totals::default();
        for list in 0..1000 {
            totals.remember(key(list), 0, list);
            assert_eq!(totals.known(&key(list)), Some(list));
        }
        assert!(totals.known.lock().expect("whole").len() <= KEPT);
    }
}
