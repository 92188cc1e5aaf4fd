//! Whether a tenant may be served.

use std::time::Duration;

use tokio::sync::watch;

use crate::tenancy::error::{Outcome, Quarantine, Reason, Unavailable};

/// Whether a tenant may be served; set by its tasks, read by its callers. A quarantine found while the file was open
/// lasts until the process ends, unless it turns out to have been a mistake.
#[derive(Debug)]
pub(in crate::tenancy) struct Condition(watch::Sender<Option<Closed>>);

/// Why it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Quarantined(Quarantine),
    /// An operator needs the file for themselves.
    Fenced,
}

impl Default for Condition {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Condition {
    pub(super) fn quarantine(&self, why: Quarantine) {
        let is_new = self.0.send_if_modified(|closed| {
            let is_new = !matches!(closed, Some(Closed::Quarantined(_)));
            if is_new {
                *closed = Some(Closed::Quarantined(why));
            }
            is_new
        });
        if is_new {
            tracing::error!(reason = %why, "tenant quarantined");
        }
    }

    /// Ends the tenant's tasks, until [`Condition::unfence`].
    pub(in crate::tenancy) fn fence(&self) {
        self.0
            .send_if_modified(|closed| closed.is_none() && closed.insert(Closed::Fenced) == &Closed::Fenced);
    }

    /// The tenant may be opened again, unless it is quarantined.
    pub(in crate::tenancy) fn unfence(&self) {
        self.0.send_if_modified(|closed| closed.take_if(|closed| *closed == Closed::Fenced).is_some());
    }

    /// Ends a quarantine. Both connections must be closed.
    pub(in crate::tenancy) fn lift(&self) {
        self.0.send_replace(None);
    }

    pub(in crate::tenancy) fn check(&self) -> Result<(), Unavailable> {
        match *self.0.borrow() {
            None => Ok(()),
            Some(Closed::Quarantined(why)) => Err(quarantined(why)),
            Some(Closed::Fenced) => Err(Unavailable::not_written(Reason::Busy)),
        }
    }

    /// Waits until the tenant may no longer be served.
    pub(super) async fn closed(&self) {
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
