//! How the map finds a tenant: open already, or opened now, once, however many ask for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::{Inner, OpenError};
use crate::domain::TenantId;
use crate::tenancy::engine::{FileId, TenantDb, quarantined};
use crate::tenancy::error::{Quarantine, Reason, Unavailable};
use crate::tenancy::meta::State;
use crate::tenancy::open::Opened;
use crate::tenancy::slot::{Claim, Entry, Live, Slot};

/// How long a request waits for its turn to open a tenant when all places are taken.
const OPEN_WAIT: Duration = Duration::from_secs(10);

/// How a tenant is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// One that does not exist is created.
    pub(super) create: bool,
    /// It stays open for those who come next.
    pub(super) keep: bool,
    /// One that is suspended is opened too.
    pub(super) suspended: bool,
}

impl Wanted {
    /// For a request.
    pub(super) const FOUND: Self = Self { create: false, keep: true, suspended: false };
    /// For work in the background.
    pub(super) const VISITED: Self = Self { create: false, keep: false, suspended: false };
    /// For what is done to every tenant, whatever state it is in.
    pub(super) const INSPECTED: Self = Self { create: false, keep: false, suspended: true };
}

impl Inner {
    /// Opens every tenant that a crash left with a WAL, so that its rows reach the main file though nobody asks for it.
    pub(super) async fn recover(self: Arc<Self>) {
        for tenant in self.opener.left_with_wal() {
            if let Err(error) = self.get(&tenant, Wanted::INSPECTED).await {
                tracing::warn!(tenant_id = %tenant, %error, "a tenant could not be recovered");
            }
        }
    }

    pub(super) async fn get(
        self: &Arc<Self>,
        tenant: &TenantId,
        wanted: Wanted,
    ) -> Result<Arc<TenantDb>, OpenError> {
        if let Some(db) = self.hot.get(tenant).await.and_then(|entry| entry.db()) {
            return Ok(db);
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(Unavailable::not_written(Reason::Stopping).into());
        }
        // A tenant that does not exist leaves nothing behind, whoever asks for it.
        let Some(slot) = self.slot(tenant, wanted.create) else {
            return Err(self.missing(tenant));
        };
        slot.check()?;
        let live = slot.live.clone().lock_owned().await;
        if let Some(db) = live.db() {
            if !wanted.suspended {
                check_admits(&db)?;
            }
            if wanted.keep {
                self.stats.revivals.fetch_add(1, Ordering::Relaxed);
                self.remember(tenant.clone(), db.clone()).await;
            }
            return Ok(db);
        }
        match live.failure() {
            Some(OpenError::Suspended(_)) if wanted.suspended => {}
            Some(error) => return Err(error.clone()),
            None => {}
        }
        // In a task of its own: a caller that goes away does not cancel it.
        let (this, tenant) = (self.clone(), tenant.clone());
        let opened = tokio::spawn(async move { this.open(tenant, slot, live, wanted).await }).await;
        opened.unwrap_or_else(|_panic| Err(Unavailable::not_written(Reason::TaskEnded).into()))
    }

    /// Refuses a tenant on which an operation was broken off: what lies in its place is neither the old file nor the new one.
    pub(super) fn check_whole(&self, tenant: &TenantId) -> Result<(), OpenError> {
        match self.opener.trash.is_closed_off(tenant) {
            true => Err(quarantined(Quarantine::Interrupted).into()),
            false => Ok(()),
        }
    }

    /// Why a tenant without a file cannot be had.
    fn missing(&self, tenant: &TenantId) -> OpenError {
        if self.opener.trash.holds(tenant) { OpenError::Deleted } else { OpenError::Unknown }
    }

    /// The tenant's slot; a new one only if there is a file, or one may be made.
    pub(super) fn slot(&self, tenant: &TenantId, create: bool) -> Option<Arc<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(tenant) {
            return Some(slot.clone());
        }
        let wanted = create || self.opener.exists(tenant);
        wanted.then(|| slots.entry(tenant.clone()).or_default().clone())
    }

    /// Puts the tenant into the cache, which forgets its least recently used one at once: its place may be waited for.
    pub(super) async fn remember(&self, tenant: TenantId, db: Arc<TenantDb>) {
        self.hot.insert(tenant, Entry::holding(db)).await;
        self.hot.run_pending_tasks().await;
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
        let opened = self.try_open(tenant.clone(), slot, live.identity, wanted).await;
        match opened {
            Ok(db) => {
                live.succeed(&db);
                if wanted.keep {
                    self.remember(tenant, db.clone()).await;
                }
                Ok(db)
            }
            Err(error @ (OpenError::Unknown | OpenError::Deleted)) => {
                live.forget();
                Err(error)
            }
            Err(error @ OpenError::Suspended(_)) => {
                live.fail(error.clone(), begun.elapsed());
                Err(error)
            }
            Err(error) => {
                if !self.stopping.load(Ordering::SeqCst)
                    && let OpenError::Unavailable(_) = &error
                {
                    self.stats.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(tenant_id = %tenant, error = &error as &dyn std::error::Error, "opening a tenant failed");
                    if self.opener.exists(&tenant) {
                        self.roll.refused(&tenant);
                    }
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
        wanted: Wanted,
    ) -> Result<Arc<TenantDb>, OpenError> {
        let file = slot.claim_file().await?;
        self.check_whole(&tenant)?;
        if !self.opener.exists(&tenant) {
            let missing = self.missing(&tenant);
            if !wanted.create || matches!(missing, OpenError::Deleted) {
                return Err(missing);
            }
            if self.opener.shared.space.is_critical() {
                return Err(Unavailable::not_written(Reason::DiskFull).into());
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
        let Opened { file, reader, about, migrated: _ } = opened;
        let accessed = wanted.keep.then(|| self.opener.shared.clock.now());
        self.roll.saw(&tenant, &about.meta, accessed);
        if about.meta.state == State::Suspended && !wanted.suspended {
            reader.close().await;
            return Err(OpenError::Suspended(about.members));
        }
        let db = TenantDb::start(&tenant, (file, reader), about, &self.opener.shared, condition, claim);
        failpoint!("tenant.started", |_| OpenError::Unavailable(Unavailable::not_written(Reason::Io)));
        Ok(Arc::new(db))
    }
}

/// Refuses a suspended tenant, which an operator's work has open.
fn check_admits(db: &TenantDb) -> Result<(), OpenError> {
    let about = db.about();
    match about.meta.state {
        State::Suspended => Err(OpenError::Suspended(about.members.clone())),
        State::Active | State::ReadOnly => Ok(()),
    }
}
