//! The keys of the writes that are queued or running.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The keys of the writes that are queued or running, with how many writes carry each.
#[derive(Debug, Clone, Default)]
pub(super) struct RunningKeys(Arc<Mutex<HashMap<String, usize>>>);

/// A write's entry among the running keys; leaves it when dropped. It goes with the write, not with the request: a
/// client that gave up and repeats its request meets the twin that it left behind.
pub(super) struct Running {
    keys: RunningKeys,
    key: String,
    pub(super) is_twin: bool,
}

impl RunningKeys {
    pub(super) fn enter(&self, key: &str) -> Running {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let carriers = entries.entry(key.to_owned()).or_insert(0);
        *carriers += 1;
        Running { keys: self.clone(), key: key.to_owned(), is_twin: *carriers > 1 }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut entries = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(carriers) = entries.get_mut(&self.key) {
            *carriers -= 1;
            if *carriers == 0 {
                entries.remove(&self.key);
            }
        }
    }
}
