//! Whether a tenant may be served.

use std::time::Duration;

use tokio::sync::watch;

use crate::tenancy::error::{Outcome, Quarantine, Reason, Unavailable};

/// Whether a tenant may be served; set by its tasks, read by its callers. A quarantine found while the file was open
/// lasts until the process ends, unless it turns out to have been a mistake.
#[derive(Debug)]
pub(in crate::tenancy) struct Condition(watch::Sender<Option<Quarantine>>);

impl Default for Condition {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Condition {
    pub(super) fn quarantine(&self, why: Quarantine) {
        let is_new = self.0.send_if_modified(|quarantine| {
            let is_new = quarantine.is_none();
            quarantine.get_or_insert(why);
            is_new
        });
        if is_new {
            tracing::error!(reason = %why, "tenant quarantined");
        }
    }

    /// Ends a quarantine. Both connections must be closed.
    pub(in crate::tenancy) fn lift(&self) {
        self.0.send_replace(None);
    }

    pub(in crate::tenancy) fn check(&self) -> Result<(), Unavailable> {
        match *self.0.borrow() {
            None => Ok(()),
            Some(why) => Err(quarantined(why)),
        }
    }

    /// Waits until the tenant is quarantined.
    pub(super) async fn quarantined(&self) {
        // `self` is the sender: it is not gone before the wait is over.
        let _found = self.0.subscribe().wait_for(Option::is_some).await.is_ok();
    }
}

/// The answer while a tenant is quarantined.
pub(in crate::tenancy) fn quarantined(why: Quarantine) -> Unavailable {
    Unavailable {
        reason: Reason::Quarantined(why),
        outcome: Outcome::NotWritten,
        retry_after: Duration::from_secs(60),
    }
}
