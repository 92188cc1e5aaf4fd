//! The map of open tenants: one set of connections for each file, however many requests ask for it.

mod fence;
mod find;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub(super) use self::fence::Fence;
use self::find::Wanted;
use super::bucket::Bucket;
use super::catalog::Catalog;
use super::engine::{Counters, Members, TenantDb};
use super::error::Unavailable;
use super::event_work::EventWork;
use super::fleet::{Operations, OperatorLog};
use super::open::Opener;
use super::roll::Roll;
use super::slot::{Claimed, Entry, Slot};
use crate::config::Provision;
use crate::domain::TenantId;

/// How often moka's pending work is done and the side table is swept: moka does nothing by itself.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Why a tenant could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// There is no such tenant, and requests may not create one.
    #[error("unknown tenant")]
    Unknown,
    /// It was deleted, and can still be brought back.
    #[error("the tenant was deleted")]
    Deleted,
    /// An operator suspended it. Whoever is no member does not learn that.
    #[error("the tenant is suspended")]
    Suspended(Arc<Members>),
    /// Too many tenants are open and in use.
    #[error("all places for open tenants are taken")]
    Overloaded,
    /// Too many tenants have been created lately.
    #[error("too many new tenants")]
    TooManyNew {
        /// When the next may be created.
        retry_after: Duration,
    },
    /// The tenant exists but cannot be served.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What the map has done since the process started.
#[derive(Debug, Default)]
pub struct Stats {
    /// Files opened.
    pub opens: AtomicU64,
    /// Files opened that had to be migrated.
    pub migrations: AtomicU64,
    /// Tenants created.
    pub creations: AtomicU64,
    /// Requests that met a tenant which the map had forgotten but another request still held.
    pub revivals: AtomicU64,
    /// Opens that failed.
    pub failures: AtomicU64,
    /// Tenants open now.
    pub open: AtomicU64,
    /// Copies made.
    pub copies: AtomicU64,
    /// Copies that could not be made.
    pub copy_failures: AtomicU64,
    /// Tenants with changes that may have been missing from their copies for too long.
    pub copies_overdue: AtomicU64,
    /// Copies that were restored beside and compared.
    pub drills: AtomicU64,
    /// Those that were not what they should be.
    pub drill_failures: AtomicU64,
    /// When the last one went well, or else the process started, in milliseconds since 1970.
    pub last_drill: AtomicI64,
    /// When all tenants were last backed up, in milliseconds since 1970; 0: they never were.
    pub last_backup: AtomicI64,
    /// Files that were looked at as a whole and are not sound.
    pub check_failures: AtomicU64,
    /// Files that were claimed while another claim on them lived: must stay 0.
    pub overlaps: AtomicU64,
}

/// All tenants of the cell.
pub struct Tenants {
    inner: Arc<Inner>,
    pub(super) catalog: Catalog,
    pub(super) event_work: Arc<EventWork>,
    pub(super) roll: Arc<Roll>,
    /// Held by whoever copies a tenant.
    pub(super) copying: AsyncMutex<()>,
    /// Held by whoever restores a copy beside.
    pub(super) drilling: AsyncMutex<()>,
    /// The tenants that operators work on.
    pub(super) operations: Arc<Operations>,
    pub(super) log: Arc<OperatorLog>,
    housekeeping: JoinHandle<()>,
    /// Taken by whoever waits for it.
    recovery: AsyncMutex<Option<JoinHandle<()>>>,
}

struct Inner {
    opener: Arc<Opener>,
    provision: Provision,
    /// What requests find at once. Evicting from it only forgets: see [`Entry`].
    hot: Cache<TenantId, Arc<Entry>>,
    /// One slot for each tenant that is open, opening, closing, failing or quarantined.
    slots: Mutex<HashMap<TenantId, Arc<Slot>>>,
    /// Places for open tenants; a claim holds one until its file is closed. The cache's capacity does not bound what is
    /// open, because requests keep forgotten tenants alive.
    places: Arc<Semaphore>,
    spare_places: u64,
    creations: Bucket,
    empty: AsyncMutex<Arc<TenantDb>>,
    claimed: Arc<Claimed>,
    roll: Arc<Roll>,
    stats: Arc<Stats>,
    stopping: AtomicBool,
}

impl Tenants {
    /// The map over `opener`'s data root, with at most `capacity` tenants open at once.
    ///
    /// # Errors
    /// The template cannot be opened.
    pub(super) async fn new(
        opener: Opener,
        catalog: Catalog,
        capacity: u64,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let log = OperatorLog::open(opener.root.operators_log()).context("opening the operators' log")?;
        let log = Arc::new(log);
        let stats = Arc::<Stats>::default();
        let (event_work, roll) = (opener.shared.events.clone(), Arc::<Roll>::default());
        let spare_places = spare_places(capacity);
        let empty = opener.open_template().await.context("opening the template")?;
        let hot = Cache::builder()
            .max_capacity(capacity - spare_places)
            .time_to_idle(settings.idle)
            // The default policy would refuse a newly opened tenant for the sake of busier ones.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_tenant, entry: Arc<Entry>, _cause| entry.forget())
            .build();
        let places = usize::try_from(capacity).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let inner = Arc::new(Inner {
            opener: Arc::new(opener),
            provision: settings.provision,
            hot,
            slots: Mutex::default(),
            places: Arc::new(Semaphore::new(places)),
            spare_places,
            creations: Bucket::new(settings.create_burst, settings.create_per_minute),
            empty: AsyncMutex::new(Arc::new(empty)),
            claimed: Arc::new(Claimed::new(stats.clone())),
            roll: roll.clone(),
            stats,
            stopping: AtomicBool::new(false),
        });
        let housekept = Arc::downgrade(&inner);
        let tick = HOUSEKEEPING.min(settings.idle);
        let housekeeping = tokio::spawn(async move {
            loop {
                tokio::time::sleep(tick).await;
                let Some(inner) = housekept.upgrade() else { return };
                inner.hot.run_pending_tasks().await;
                inner.note_accesses();
                inner.sweep();
            }
        });
        let recovery = AsyncMutex::new(Some(tokio::spawn(inner.clone().recover())));
        let (copying, drilling, operations) = Default::default();
        Ok(Self {
            inner,
            catalog,
            event_work,
            roll,
            copying,
            drilling,
            operations,
            log,
            housekeeping,
            recovery,
        })
    }

    /// The tenant, opened if need be; `None` if there is none of this name.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn find(&self, tenant: &TenantId) -> Result<Option<Arc<TenantDb>>, OpenError> {
        match self.inner.get(tenant, Wanted::FOUND).await {
            Ok(db) => {
                self.touch(&db);
                Ok(Some(db))
            }
            Err(OpenError::Unknown) if self.inner.provision == Provision::Auto => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tenant for work in the background; `None` if there is none of this name. One that nobody uses is opened, and
    /// closed again when the work lets go: it takes nobody's place among the open ones.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn visit(&self, tenant: &TenantId) -> Result<Option<Arc<TenantDb>>, OpenError> {
        match self.inner.get(tenant, Wanted::VISITED).await {
            Ok(db) => Ok(Some(db)),
            Err(OpenError::Unknown | OpenError::Deleted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many tenants work in the background may visit at once, without being in the way of requests.
    #[must_use]
    pub fn visitors(&self) -> usize {
        usize::try_from(self.inner.spare_places).unwrap_or(usize::MAX)
    }

    /// Every tenant that has a file, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<TenantId> {
        self.inner.opener.tenants()
    }

    /// The tenant, opened if need be, and created if there is none and requests may do that.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn find_or_create(&self, tenant: &TenantId) -> Result<Arc<TenantDb>, OpenError> {
        let wanted = Wanted { create: self.inner.provision == Provision::Auto, ..Wanted::FOUND };
        self.inner.get(tenant, wanted).await.inspect(|db| self.touch(db))
    }

    /// The tenant for an operator's work, whatever state it is in: as [`Tenants::visit`].
    pub(super) async fn inspect(&self, tenant: &TenantId) -> Result<Option<Arc<TenantDb>>, OpenError> {
        match self.inner.get(tenant, Wanted::INSPECTED).await {
            Ok(db) => Ok(Some(db)),
            Err(OpenError::Unknown | OpenError::Deleted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn touch(&self, db: &TenantDb) {
        db.touch(self.inner.opener.shared.clock.now());
    }

    /// What a tenant that does not exist reads as.
    ///
    /// # Errors
    /// The template had to be opened anew and cannot be.
    pub async fn empty(&self) -> Result<Arc<TenantDb>, Unavailable> {
        let mut empty = self.inner.empty.lock().await;
        if empty.has_ended() {
            *empty = Arc::new(self.inner.opener.open_template().await?);
        }
        Ok(empty.clone())
    }

    pub(super) fn opener(&self) -> &Opener {
        &self.inner.opener
    }

    /// The same, for work in another thread.
    pub(super) fn opener_arc(&self) -> Arc<Opener> {
        self.inner.opener.clone()
    }

    /// Whether the tenant is open.
    pub(super) fn is_open(&self, tenant: &TenantId) -> bool {
        self.inner.claimed.holds(tenant)
    }

    /// The tenant, if it is open.
    pub(super) fn opened(&self, tenant: &TenantId) -> Option<Arc<TenantDb>> {
        let slot = {
            let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(tenant).cloned()
        };
        slot?.live.try_lock().ok()?.db()
    }

    /// Whether the tenant's file was refused when it was last looked at.
    pub(super) fn is_quarantined(&self, tenant: &TenantId) -> bool {
        let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(tenant).is_some_and(|slot| slot.is_quarantined())
    }

    /// What the map has done.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.inner.stats
    }

    /// Counts the tenants whose files were refused when they were last looked at.
    pub fn quarantined(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.inner);
        move || inner.upgrade().map_or(0, |inner| inner.quarantined())
    }

    /// What the engines have done.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.inner.opener.shared.counters
    }

    /// Closes every tenant and waits until their files are closed, for at most `limit`. Returns how many are still open, or
    /// hold rows that a crash left in their WAL.
    pub async fn close(&self, limit: Duration) -> u64 {
        let give_up = Instant::now() + limit;
        // A stop soon after a crash: what that left is brought home first, or a clean stop would leave a WAL.
        let recovery = self.recovery.lock().await.take();
        let is_recovered = match recovery {
            Some(recovery) => timeout_at(give_up, recovery).await.is_ok(),
            None => true,
        };
        self.inner.stopping.store(true, Ordering::SeqCst);
        loop {
            // Once is not enough: entries inserted meanwhile, and moka's own buffering.
            self.inner.hot.invalidate_all();
            self.inner.hot.run_pending_tasks().await;
            let open = self.inner.stats.open.load(Ordering::SeqCst);
            if open == 0 || Instant::now() >= give_up {
                let unrecovered = if is_recovered { 0 } else { self.inner.opener.left_with_wal().len() };
                return open.max(u64::try_from(unrecovered).unwrap_or(u64::MAX));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Tenants {
    fn drop(&mut self) {
        self.housekeeping.abort();
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").field("stats", &self.inner.stats).finish_non_exhaustive()
    }
}

impl Inner {
    fn quarantined(&self) -> u64 {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| u64::from(slot.is_quarantined())).sum()
    }

    /// Tells the roll who was used lately.
    fn note_accesses(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, slot) in &*slots {
            let last = slot.live.try_lock().ok().and_then(|live| live.db()).and_then(|db| db.take_access());
            if let Some(at) = last {
                self.roll.accessed(tenant, at);
            }
        }
    }

    fn sweep(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_remembered());
    }
}

/// Places that the cache does not fill with idle tenants. One at least: whoever waits for a place then waits for a
/// request or a close under way, both of which end. Were all places the cache's, its idle tenants could hold every one
/// of them while everybody waits and nobody is left to make the cache forget one.
fn spare_places(capacity: u64) -> u64 {
    (capacity / 8).max(1).min(capacity)
}

/// How tenants come and go.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) idle: Duration,
    pub(super) provision: Provision,
    pub(super) create_burst: u32,
    pub(super) create_per_minute: u32,
}
