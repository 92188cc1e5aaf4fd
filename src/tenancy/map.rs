//! The map of open tenants: one set of connections for each file, however many requests ask for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::bucket::Bucket;
use super::catalog::Catalog;
use super::engine::{Counters, FileId, TenantDb};
use super::error::{Reason, Unavailable};
use super::event_work::EventWork;
use super::open::{Opened, Opener};
use super::slot::{Claim, Claimed, Entry, Live, Slot};
use crate::config::Provision;
use crate::domain::TenantId;

/// How long a request waits for its turn to open a tenant when all places are taken.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// How often moka's pending work is done and the side table is swept: moka does nothing by itself.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Why a tenant could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// There is no such tenant, and requests may not create one.
    #[error("unknown tenant")]
    Unknown,
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
    /// Files that were claimed while another claim on them lived: must stay 0.
    pub overlaps: AtomicU64,
}

/// All tenants of the cell.
pub struct Tenants {
    inner: Arc<Inner>,
    pub(super) catalog: Catalog,
    pub(super) event_work: Arc<EventWork>,
    /// Held by whoever copies a tenant.
    pub(super) copying: AsyncMutex<()>,
    housekeeping: JoinHandle<()>,
    /// Taken by whoever waits for it.
    recovery: AsyncMutex<Option<JoinHandle<()>>>,
}

struct Inner {
    opener: Opener,
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
        let stats = Arc::<Stats>::default();
        let event_work = opener.shared.events.clone();
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
            opener,
            provision: settings.provision,
            hot,
            slots: Mutex::default(),
            places: Arc::new(Semaphore::new(places)),
            spare_places,
            creations: Bucket::new(settings.create_burst, settings.create_per_minute),
            empty: AsyncMutex::new(Arc::new(empty)),
            claimed: Arc::new(Claimed::new(stats.clone())),
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
                inner.sweep();
            }
        });
        let recovery = AsyncMutex::new(Some(tokio::spawn(inner.clone().recover())));
        Ok(Self { inner, catalog, event_work, copying: AsyncMutex::default(), housekeeping, recovery })
    }

    /// The tenant, opened if need be; `None` if there is none of this name.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn find(&self, tenant: &TenantId) -> Result<Option<Arc<TenantDb>>, OpenError> {
        match self.inner.get(tenant, Wanted::FOUND).await {
            Ok(db) => Ok(Some(db)),
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
            Err(OpenError::Unknown) => Ok(None),
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
        let wanted = Wanted { create: self.inner.provision == Provision::Auto, keep: true };
        self.inner.get(tenant, wanted).await
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

/// How a tenant is wanted.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// One that does not exist is created.
    create: bool,
    /// It stays open for those who come next.
    keep: bool,
}

impl Wanted {
    const FOUND: Self = Self { create: false, keep: true };
    const VISITED: Self = Self { create: false, keep: false };
}

impl Inner {
    /// Opens every tenant that a crash left with a WAL, so that its rows reach the main file though nobody asks for it.
    async fn recover(self: Arc<Self>) {
        for tenant in self.opener.left_with_wal() {
            if let Err(error) = self.get(&tenant, Wanted::FOUND).await {
                tracing::warn!(tenant_id = %tenant, %error, "a tenant could not be recovered");
            }
        }
    }

    async fn get(self: &Arc<Self>, tenant: &TenantId, wanted: Wanted) -> Result<Arc<TenantDb>, OpenError> {
        if let Some(db) = self.hot.get(tenant).await.and_then(|entry| entry.db()) {
            return Ok(db);
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(Unavailable::not_written(Reason::Stopping).into());
        }
        // A tenant that does not exist leaves nothing behind, whoever asks for it.
        let Some(slot) = self.slot(tenant, wanted.create) else {
            return Err(OpenError::Unknown);
        };
        slot.check()?;
        let live = slot.live.clone().lock_owned().await;
        if let Some(db) = live.db() {
            if wanted.keep {
                self.stats.revivals.fetch_add(1, Ordering::Relaxed);
                self.remember(tenant.clone(), db.clone()).await;
            }
            return Ok(db);
        }
        if let Some(error) = live.failure() {
            return Err(error.clone());
        }
        // In a task of its own: a caller that goes away does not cancel it.
        let (this, tenant) = (self.clone(), tenant.clone());
        let opened = tokio::spawn(async move { this.open(tenant, slot, live, wanted).await }).await;
        opened.unwrap_or_else(|_panic| Err(Unavailable::not_written(Reason::TaskEnded).into()))
    }

    /// The tenant's slot; a new one only if there is a file, or one may be made.
    fn slot(&self, tenant: &TenantId, create: bool) -> Option<Arc<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(tenant) {
            return Some(slot.clone());
        }
        let wanted = create || self.opener.exists(tenant);
        wanted.then(|| slots.entry(tenant.clone()).or_default().clone())
    }

    /// Puts the tenant into the cache, which forgets its least recently used one at once: its place may be waited for.
    async fn remember(&self, tenant: TenantId, db: Arc<TenantDb>) {
        self.hot.insert(tenant, Entry::holding(db)).await;
        self.hot.run_pending_tasks().await;
    }

    fn quarantined(&self) -> u64 {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| u64::from(slot.is_quarantined())).sum()
    }

    fn sweep(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_remembered());
    }

    /// Opens the tenant and shares what came of it with those who wait for `live`.
    async fn open(
        self: Arc<Self>,
        tenant: TenantId,
        slot: Arc<Slot>,
        mut live: OwnedMutexGuard<Live>,
        wanted: Wanted,
    ) -> Result<Arc<TenantDb>, OpenError> {
        let begun = Instant::now();
        let opened = self.try_open(tenant.clone(), slot, live.identity, wanted.create).await;
        match opened {
            Ok(db) => {
                live.succeed(&db);
                if wanted.keep {
                    self.remember(tenant, db.clone()).await;
                }
                Ok(db)
            }
            Err(OpenError::Unknown) => {
                live.forget();
                Err(OpenError::Unknown)
            }
            Err(error) => {
                if !self.stopping.load(Ordering::SeqCst)
                    && let OpenError::Unavailable(_) = &error
                {
                    self.stats.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(tenant_id = %tenant, %error, "opening a tenant failed");
                    live.fail(error.clone(), begun.elapsed());
                }
                Err(error)
            }
        }
    }

    async fn try_open(
        &self,
        tenant: TenantId,
        slot: Arc<Slot>,
        last: Option<FileId>,
        create: bool,
    ) -> Result<Arc<TenantDb>, OpenError> {
        let file = slot.claim_file().await?;
        if !self.opener.exists(&tenant) {
            if !create {
                return Err(OpenError::Unknown);
            }
            self.creations.take().map_err(|retry_after| OpenError::TooManyNew { retry_after })?;
        }
        let place = timeout(OPEN_WAIT, self.places.clone().acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(OpenError::Overloaded)?;
        let condition = slot.condition.clone();
        let root = self.opener.root.lock();
        let claim = Claim::new(file, place, slot, root, tenant.clone(), self.claimed.clone());
        // `close` sets the flag before it counts the claims, so it sees this one or is seen here.
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Unavailable::not_written(Reason::Stopping).into());
        }
        failpoint!("tenant.claimed", |_| OpenError::Unavailable(Unavailable::not_written(Reason::Io)));
        // To make a file takes a connection: not before there is a place for it.
        if !self.opener.exists(&tenant) {
            self.opener.create(&tenant).await?;
            self.stats.creations.fetch_add(1, Ordering::Relaxed);
        }
        if condition.check().is_err() {
            self.opener.check_damage(&tenant, last).await?;
            tracing::warn!(tenant_id = %tenant, "the file is whole: a read had failed. The quarantine is over");
            condition.lift();
        }
        let opened = self.opener.open(&tenant).await?;
        self.stats.opens.fetch_add(1, Ordering::Relaxed);
        if opened.migrated {
            self.stats.migrations.fetch_add(1, Ordering::Relaxed);
        }
        let Opened { file, reader, members, migrated: _ } = opened;
        let db = TenantDb::start(&tenant, (file, reader), members, &self.opener.shared, condition, claim);
        failpoint!("tenant.started", |_| OpenError::Unavailable(Unavailable::not_written(Reason::Io)));
        Ok(Arc::new(db))
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
