//! Which tenants have events to see to: what the writers tell the relay, without waiting for it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::map::Tenants;
use crate::domain::{TenantId, Timestamp};

/// What waits in a tenant's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Events that are to be delivered; at most 100,000 are counted in a file.
    pub pending: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
    /// When one that was refused is to be offered again.
    pub retry_at: Option<Timestamp>,
    /// When one that came in, and could not be applied yet, is to be looked at again.
    pub review_at: Option<Timestamp>,
}

impl Backlog {
    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The tenants with events to see to, as far as is known. The truth is in their files; this is rebuilt from them.
#[derive(Default)]
pub struct EventWork {
    publishes: bool,
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Default)]
struct Known {
    backlogs: HashMap<TenantId, Backlog>,
    /// Those whose backlog grew since they were last taken.
    fresh: HashSet<TenantId>,
    /// Those whose events wait until an operator resumes them.
    suspended: HashSet<TenantId>,
    /// Whether they have work, where the catalog has not been told.
    unsaved: HashMap<TenantId, bool>,
}

impl EventWork {
    /// Nothing known yet. `publishes`: new events are to be delivered; otherwise they are kept as unpublished.
    #[must_use]
    pub fn new(publishes: bool) -> Self {
        Self { publishes, ..Self::default() }
    }

    /// Whether new events are to be delivered.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.publishes
    }

    /// Events were committed.
    pub(super) fn added(&self, tenant: &TenantId, events: u64, at: Timestamp) {
        if !self.publishes {
            return;
        }
        let mut known = self.known();
        if !known.backlogs.contains_key(tenant) {
            known.backlogs.insert(tenant.clone(), Backlog::default());
        }
        if let Some(backlog) = known.backlogs.get_mut(tenant) {
            backlog.pending += events;
            backlog.oldest.get_or_insert(at);
        }
        known.wake(tenant);
        drop(known);
        self.changed.notify_one();
    }

    /// Something in the tenant's file is to be looked at now.
    pub fn nudge(&self, tenant: &TenantId) {
        self.known().wake(tenant);
        self.changed.notify_one();
    }

    /// What waits in the tenant's file, as was just read.
    pub fn found(&self, tenant: &TenantId, backlog: Backlog) {
        let mut known = self.known();
        known.suspended.remove(tenant);
        if backlog.is_empty() {
            known.backlogs.remove(tenant);
        } else {
            known.backlogs.insert(tenant.clone(), backlog);
        }
        let has_work = !backlog.is_empty() || known.fresh.contains(tenant);
        known.unsaved.insert(tenant.clone(), has_work);
    }

    /// What waits in the tenant's file waits for whoever suspended it.
    pub fn set_aside(&self, tenant: &TenantId) {
        self.known().suspended.insert(tenant.clone());
    }

    /// Waits until there are tenants to look at.
    pub async fn grown(&self) {
        while self.known().fresh.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Takes the tenants to look at.
    #[must_use]
    pub fn take_fresh(&self) -> HashSet<TenantId> {
        std::mem::take(&mut self.known().fresh)
    }

    /// What is known of all tenants together, but for those that are suspended: how many have a backlog, and the sum and the
    /// oldest of it.
    #[must_use]
    pub fn total(&self) -> (u64, Backlog) {
        let known = self.known();
        let (mut tenants, mut total) = (0, Backlog::default());
        let served = known.backlogs.iter().filter(|(tenant, _)| !known.suspended.contains(*tenant));
        for (_, backlog) in served {
            tenants += 1;
            total.pending += backlog.pending;
            total.oldest = [total.oldest, backlog.oldest].into_iter().flatten().min();
        }
        (tenants, total)
    }

    /// How many events of a tenant wait to be delivered, as far as is known.
    #[must_use]
    pub fn pending(&self, tenant: &TenantId) -> u64 {
        self.known().backlogs.get(tenant).map_or(0, |backlog| backlog.pending)
    }

    /// The tenants of which the catalog is to be told that they have work, and those that it is to forget.
    fn unsaved(&self) -> (Vec<TenantId>, Vec<TenantId>) {
        let known = self.known();
        let of = |wanted| {
            let tenants = known.unsaved.iter().filter(move |(_, has_work)| **has_work == wanted);
            tenants.map(|(tenant, _)| tenant.clone()).collect()
        };
        (of(true), of(false))
    }

    /// The catalog was told of these.
    fn saved(&self, with: &[TenantId], without: &[TenantId]) {
        let mut known = self.known();
        for (tenants, has_work) in [(with, true), (without, false)] {
            for tenant in tenants {
                if known.unsaved.get(tenant) == Some(&has_work) {
                    known.unsaved.remove(tenant);
                }
            }
        }
    }

    /// A panic elsewhere leaves the map whole, so a poisoned lock is usable.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn wake(&mut self, tenant: &TenantId) {
        if !self.fresh.contains(tenant) {
            self.fresh.insert(tenant.clone());
            self.unsaved.insert(tenant.clone(), true);
        }
    }
}

impl Tenants {
    /// Which tenants have events to see to.
    #[must_use]
    pub fn event_work(&self) -> &Arc<EventWork> {
        &self.event_work
    }

    /// The tenants that had events to see to when a process last saved them; `None` if nobody knows.
    pub async fn saved_event_work(&self) -> Option<Vec<TenantId>> {
        self.catalog.event_work().await.unwrap_or_else(|error| {
            do_without_catalog(&error);
            None
        })
    }

    /// Saves in the catalog which tenants have events to see to, where that has changed.
    pub async fn save_event_work(&self) {
        let (with, without) = self.event_work.unsaved();
        if with.is_empty() && without.is_empty() {
            return;
        }
        match self.catalog.set_event_work(&with, &without).await {
            Ok(()) => self.event_work.saved(&with, &without),
            Err(error) => do_without_catalog(&error),
        }
    }

    /// How far a topic of the bus has been read, in seconds since 1970; 0 if that is not known.
    pub async fn bus_cursor(&self, topic: &str) -> f64 {
        self.catalog.bus_cursor(topic).await.unwrap_or_else(|error| {
            do_without_catalog(&error);
            0.0
        })
    }

    /// Remembers how far a topic of the bus has been read.
    pub async fn set_bus_cursor(&self, topic: &str, ts: f64) {
        if let Err(error) = self.catalog.set_bus_cursor(topic, ts).await {
            do_without_catalog(&error);
        }
    }
}

fn do_without_catalog(error: &sqlx::Error) {
    tracing::warn!(error = error as &dyn std::error::Error, "the catalog cannot be used");
}

impl fmt::Debug for EventWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWork").field("publishes", &self.publishes).finish_non_exhaustive()
    }
}
