//! What the map knows of one tenant: its living connections, its last failure, and the right to its file.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::engine::{Condition, FileId, TenantDb};
use super::error::{Quarantine, Reason, Unavailable};
use super::map::{OpenError, Stats};
use super::root::Lock;
use crate::domain::TenantId;

/// After an open that failed for a reason which may pass at any moment, such as a full disk, the next try is made after
/// this long, however many have failed: the tenant must heal within a second.
const PASSING_BACKOFF: Duration = Duration::from_millis(250);
/// When the search for damage took longer than this, the next one waits ten times as long.
const LONG_SEARCH: Duration = Duration::from_millis(500);
/// After one that failed for a reason which somebody must see to, the next try is made after this long, then twice as
/// long, up to the maximum.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What the cache holds: a strong reference that eviction takes out at once, because moka may drop values late.
pub(super) struct Entry(Mutex<Option<Arc<TenantDb>>>);

impl Entry {
    pub(super) fn holding(db: Arc<TenantDb>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(db))))
    }

    /// The tenant's connections; those whose task has ended are forgotten.
    pub(super) fn db(&self) -> Option<Arc<TenantDb>> {
        let mut db = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ended = db.take_if(|db| db.has_ended());
        db.clone()
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What is known of one tenant besides its open connections.
#[derive(Default)]
pub(super) struct Slot {
    /// Held while the tenant is opened: one opener, however many wait.
    pub(super) live: Arc<AsyncMutex<Live>>,
    /// The tenant's file may be open once. Released when both connections are closed.
    file: FilePermit,
    pub(super) condition: Arc<Condition>,
}

struct FilePermit(Arc<Semaphore>);

impl Default for FilePermit {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The tenant's connections, if somebody has them, and what came of the last try to open it.
#[derive(Default)]
pub(super) struct Live {
    db: Weak<TenantDb>,
    /// Which file was open last.
    pub(super) identity: Option<FileId>,
    failed: Option<Failed>,
}

/// A failed open: shared with those who wait, and not tried again too soon.
struct Failed {
    error: OpenError,
    backoff: Duration,
    retry_at: Instant,
}

impl Live {
    /// The tenant's connections, if somebody has them.
    pub(super) fn db(&self) -> Option<Arc<TenantDb>> {
        self.db.upgrade().filter(|db| !db.has_ended())
    }

    /// The failure that still stands, if one does.
    pub(super) fn failure(&self) -> Option<&OpenError> {
        self.failed.as_ref().filter(|failed| failed.retry_at > Instant::now()).map(|failed| &failed.error)
    }

    /// Whether the last try found a file that must not be served.
    fn is_quarantined(&self) -> bool {
        let error = self.failed.as_ref().map(|failed| &failed.error);
        matches!(error, Some(OpenError::Unavailable(Unavailable { reason: Reason::Quarantined(_), .. })))
    }

    /// Remembers the failure of a try that took so long: the next one is made after a while.
    pub(super) fn fail(&mut self, error: OpenError, took: Duration) {
        let last = self.failed.as_ref().map(|failed| failed.backoff);
        let backoff = match &error {
            OpenError::Unavailable(why) => match why.reason {
                // Damage may pass too: SQLite calls it that when a read fails (`SQLITE_IOERR_CORRUPTFS` becomes
                // `SQLITE_CORRUPT` in its virtual machine). To look for it in a big file takes long, and others need the disk.
                Reason::Quarantined(Quarantine::Corrupt) if took > LONG_SEARCH => {
                    (took * 10).min(MAX_BACKOFF)
                }
                Reason::Quarantined(Quarantine::Corrupt) => PASSING_BACKOFF,
                Reason::Quarantined(_) | Reason::Migration(_) => {
                    last.map_or(FIRST_BACKOFF, |last| (last * 2).clamp(FIRST_BACKOFF, MAX_BACKOFF))
                }
                _ => PASSING_BACKOFF,
            },
            OpenError::Suspended(_) => MAX_BACKOFF,
            OpenError::Unknown
            | OpenError::Deleted
            | OpenError::Overloaded
            | OpenError::TooManyNew { .. } => PASSING_BACKOFF,
        };
        self.failed = Some(Failed { error, backoff, retry_at: Instant::now() + backoff });
    }

    /// Remembers that there is nothing to open.
    pub(super) fn forget(&mut self) {
        self.failed = None;
    }

    /// Forgets which file was open and what came of it.
    pub(super) fn renew(&mut self) {
        *self = Self::default();
    }

    /// Remembers that the tenant is open.
    pub(super) fn succeed(&mut self, db: &Arc<TenantDb>) {
        self.db = Arc::downgrade(db);
        self.identity = db.identity();
        self.failed = None;
    }
}

impl Slot {
    /// Whether the tenant may be opened. After damage was met it may: to look at the file again.
    pub(super) fn check(&self) -> Result<(), Unavailable> {
        self.condition.check().or_else(|why| match why.reason {
            Reason::Quarantined(Quarantine::Corrupt) => Ok(()),
            _ => Err(why),
        })
    }

    /// Waits until the last user of the file has closed it.
    pub(super) async fn claim_file(&self) -> Result<OwnedSemaphorePermit, OpenError> {
        self.file.0.clone().acquire_owned().await.map_err(|_| OpenError::Overloaded)
    }

    /// Whether the slot must be kept though nobody uses it.
    pub(super) fn is_remembered(&self) -> bool {
        let failing = match self.live.try_lock() {
            Ok(live) => live.failure().is_some(),
            Err(_busy) => true,
        };
        failing || self.is_quarantined()
    }

    /// Whether the tenant's file was refused when it was last looked at.
    pub(super) fn is_quarantined(&self) -> bool {
        let refused = || self.live.try_lock().is_ok_and(|live| live.is_quarantined());
        self.condition.check().is_err() || refused()
    }
}

/// The right to have a tenant's file open. The writer task drops it after both closes.
pub(super) struct Claim {
    _file: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
    /// Keeps the slot in the side table while the file is closing; a second slot would mean a second writer.
    _slot: Arc<Slot>,
    /// Keeps the data root: another process must not have it before this file is closed.
    _root: Arc<Lock>,
    tenant: TenantId,
    claimed: Arc<Claimed>,
}

impl Claim {
    pub(super) fn new(
        file: OwnedSemaphorePermit,
        place: OwnedSemaphorePermit,
        slot: Arc<Slot>,
        root: Arc<Lock>,
        tenant: TenantId,
        claimed: Arc<Claimed>,
    ) -> Self {
        claimed.enter(&tenant);
        Self { _file: file, _place: place, _slot: slot, _root: root, tenant, claimed }
    }
}

/// The tenants whose files are claimed: proof that no file ever has two sets of connections.
pub(super) struct Claimed {
    tenants: Mutex<HashSet<TenantId>>,
    stats: Arc<Stats>,
}

impl Claimed {
    pub(super) fn new(stats: Arc<Stats>) -> Self {
        Self { tenants: Mutex::default(), stats }
    }

    /// Whether the tenant's file is open, or about to be.
    pub(super) fn holds(&self, tenant: &TenantId) -> bool {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).contains(tenant)
    }

    fn enter(&self, tenant: &TenantId) {
        let is_new = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        if !is_new {
            tracing::error!(tenant_id = %tenant, "a tenant's file was claimed twice");
            self.stats.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        self.stats.open.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self, tenant: &TenantId) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        self.stats.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.leave(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoffs(reason: &Reason, took: Duration) -> Vec<u128> {
        let mut live = Live::default();
        let fail = |_| {
            live.fail(Unavailable::not_written(reason.clone()).into(), took);
            live.failed.as_ref().expect("remembered").backoff.as_millis()
        };
        (0..7).map(fail).collect()
    }

    #[test]
    fn what_may_pass_is_tried_again_within_a_second_however_long_it_lasts() {
        for reason in [Reason::Io, Reason::DiskFull] {
            assert_eq!(backoffs(&reason, Duration::from_secs(2)), [250; 7], "{reason}");
        }
    }

    #[test]
    fn a_long_search_for_damage_takes_at_most_a_tenth_of_the_time() {
        let damage = Reason::Quarantined(Quarantine::Corrupt);
        assert_eq!(backoffs(&damage, Duration::from_millis(300)), [250; 7]);
        assert_eq!(backoffs(&damage, Duration::from_secs(2)), [20_000; 7]);
    }

    #[test]
    fn what_somebody_must_see_to_is_tried_again_ever_more_rarely() {
        let refused = Reason::Quarantined(Quarantine::Foreign);
        let backoffs = backoffs(&refused, Duration::ZERO);
        assert_eq!(backoffs, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }
}
