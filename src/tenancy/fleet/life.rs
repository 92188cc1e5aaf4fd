//! The life of a tenant as operators decide it: made, suspended, deleted, brought back, removed for good.

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::error::FleetError;
use super::freeze::Pass;
use super::trash::{About, Discarded, Trash};
use crate::domain::{TenantId, Timestamp};
use crate::tenancy::event_work::Backlog;
use crate::tenancy::files::blocking;
use crate::tenancy::map::{Fence, OpenError, Tenants};
use crate::tenancy::meta::{Meta, State};
use crate::tenancy::root::DataRoot;
use crate::tenancy::schema;

/// What an operation did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The tenant.
    pub tenant: TenantId,
    /// False if everything was so already.
    pub changed: bool,
    /// What its file says now.
    pub meta: Meta,
    /// How many descriptors of its files this process has: 0 is proof that they are closed.
    pub open_descriptors: usize,
}

/// What was removed for good.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    /// Whose it was.
    pub tenant: TenantId,
    /// The files, relative to the data root.
    pub removed: Vec<String>,
    /// Backups that hold the tenant still, relative to the data root.
    pub remaining: Vec<String>,
}

/// The tenants on which an operator's work is under way: one operation at a time for each.
#[derive(Debug, Default)]
pub(in crate::tenancy) struct Operations(Mutex<HashSet<TenantId>>);

/// The right to work on a tenant.
#[derive(Debug)]
pub(in crate::tenancy) struct Operation {
    all: Arc<Operations>,
    tenant: TenantId,
    _pass: Pass,
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}

impl Tenants {
    /// The right to work on a tenant, if nobody else has it.
    pub(in crate::tenancy) fn operate(&self, tenant: &TenantId) -> Result<Operation, FleetError> {
        let pass = self.opener().shared.gate.try_operate().ok_or(FleetError::Frozen)?;
        let mut all = self.operations.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.insert(tenant.clone()) {
            return Err(FleetError::Busy(tenant.clone()));
        }
        Ok(Operation { all: self.operations.clone(), tenant: tenant.clone(), _pass: pass })
    }

    /// Why there is no such tenant.
    pub(in crate::tenancy) fn missing(&self, tenant: &TenantId) -> FleetError {
        if self.opener().trash.holds(tenant) {
            FleetError::Deleted(tenant.clone())
        } else {
            FleetError::NoSuchTenant(tenant.clone())
        }
    }

    fn must_exist(&self, tenant: &TenantId) -> Result<(), FleetError> {
        if self.opener().exists(tenant) { Ok(()) } else { Err(self.missing(tenant)) }
    }

    /// Refuses names of tenants that have no file.
    ///
    /// # Errors
    /// One has none.
    pub fn check_known(&self, tenants: &[TenantId]) -> Result<(), FleetError> {
        tenants.iter().try_for_each(|tenant| self.must_exist(tenant))
    }

    /// Makes an empty tenant; that there is one already is no error.
    ///
    /// # Errors
    /// It was deleted and can be brought back, or its file cannot be made.
    pub async fn create(&self, tenant: &TenantId) -> Result<Outcome, FleetError> {
        self.check_space().await?;
        let _operation = self.operate(tenant)?;
        if self.opener().trash.holds(tenant) {
            return Err(FleetError::Deleted(tenant.clone()));
        }
        let changed = !self.opener().exists(tenant);
        if changed {
            let mut fence = self.fence(tenant).await?;
            // A request may have been faster.
            if !self.opener().exists(tenant) {
                self.opener().create(tenant).await?;
                self.stats().creations.fetch_add(1, Ordering::Relaxed);
            }
            fence.reopen();
        }
        self.outcome(tenant, changed).await
    }

    /// Lets the tenant serve everybody, readers only, or nobody.
    ///
    /// # Errors
    /// There is no such tenant, or its file cannot be closed or changed.
    pub async fn set_state(
        &self,
        tenant: &TenantId,
        state: State,
        reason: Option<String>,
    ) -> Result<Outcome, FleetError> {
        let now = self.opener().shared.clock.now();
        let is_so = |meta: &Meta| meta.state == state && (reason.is_none() || meta.reason == reason);
        let changed = self.change(tenant, is_so, async |path| {
            schema::set_state(&path, state, reason.as_deref(), now).await
        });
        let outcome = changed.await?;
        // Its events are set aside, or seen to again.
        self.event_work.nudge(tenant);
        Ok(outcome)
    }

    /// Forbids or allows to delete the tenant.
    ///
    /// # Errors
    /// As for [`Tenants::set_state`].
    pub async fn set_protected(&self, tenant: &TenantId, protected: bool) -> Result<Outcome, FleetError> {
        let is_so = |meta: &Meta| meta.protected == protected;
        self.change(tenant, is_so, async |path| schema::set_protected(&path, protected).await).await
    }

    /// Changes what the tenant's file says of itself, while nobody has it open.
    async fn change(
        &self,
        tenant: &TenantId,
        is_so: impl Fn(&Meta) -> bool,
        change: impl AsyncFnOnce(std::path::PathBuf) -> Result<(), sqlx::Error>,
    ) -> Result<Outcome, FleetError> {
        let _operation = self.operate(tenant)?;
        self.must_exist(tenant)?;
        let mut fence = self.fence(tenant).await?;
        // Whose file it is is looked at, and it is migrated if need be.
        let meta = self.look_fenced(tenant).await?;
        let changed = !is_so(&meta);
        let meta = if changed {
            failpoint!("state.before", FleetError::Io);
            change(self.opener().path(tenant)).await?;
            failpoint!("state.after", FleetError::Io);
            self.look_fenced(tenant).await?
        } else {
            meta
        };
        fence.reopen();
        self.roll.saw(tenant, &meta, None);
        // A process that is killed must not forget who is suspended.
        self.save_roll().await;
        let open_descriptors = fence.open_descriptors().await;
        Ok(Outcome { tenant: tenant.clone(), changed, meta, open_descriptors })
    }

    /// What the file of a fenced tenant says of itself.
    pub(in crate::tenancy) async fn look_fenced(&self, tenant: &TenantId) -> Result<Meta, FleetError> {
        let opened = self.opener().open(tenant).await?;
        opened.reader.close().await;
        Ok(opened.about.meta)
    }

    /// What a tenant's file says of itself; what was last seen of it if it cannot be opened.
    pub(in crate::tenancy) async fn meta(&self, tenant: &TenantId) -> Result<Option<Meta>, OpenError> {
        match self.inspect(tenant).await {
            Ok(db) => Ok(db.map(|db| db.about().meta.clone())),
            Err(error) => match self.known(tenant).await.and_then(|known| known.meta) {
                Some(meta) => Ok(Some(meta)),
                None => Err(error),
            },
        }
    }

    async fn outcome(&self, tenant: &TenantId, changed: bool) -> Result<Outcome, FleetError> {
        let db = self.inspect(tenant).await?.ok_or_else(|| self.missing(tenant))?;
        let meta = db.about().meta.clone();
        Ok(Outcome { tenant: tenant.clone(), changed, meta, open_descriptors: 0 })
    }

    /// Moves the tenant's file and copy to the trash, from where it can be brought back until its time is over. Nobody makes it
    /// anew until then.
    ///
    /// # Errors
    /// There is no such tenant, it is protected, or its file cannot be closed or moved.
    pub async fn delete(&self, tenant: &TenantId, reason: Option<String>) -> Result<Discarded, FleetError> {
        let _operation = self.operate(tenant)?;
        self.must_exist(tenant)?;
        // One that cannot be opened can be deleted, if nobody remembers that it is protected.
        if let Ok(Some(meta)) = self.meta(tenant).await
            && meta.protected
        {
            return Err(FleetError::Protected(tenant.clone()));
        }
        let mut fence = self.fence(tenant).await?;
        let about = About { reason };
        let moved = self.in_trash(tenant, move |trash, tenant, root, now| {
            trash.delete(tenant, &root.tenant_file(tenant), &root.copy_file(tenant), &about, now)
        });
        let moved = moved.await;
        self.settle_fence(&mut fence, tenant, moved).await?;
        self.roll.gone(tenant);
        self.save_roll().await;
        self.event_work.found(tenant, Backlog::default());
        let kept = self.in_trash(tenant, |trash, tenant, _, _| trash.deleted(tenant)).await?;
        kept.ok_or_else(|| FleetError::NoSuchTenant(tenant.clone()))
    }

    /// Brings a deleted tenant back, as it was.
    ///
    /// # Errors
    /// It was not deleted, or there is one of this name.
    pub async fn undelete(&self, tenant: &TenantId) -> Result<Outcome, FleetError> {
        let _operation = self.operate(tenant)?;
        let mut fence = self.fence(tenant).await?;
        if self.opener().exists(tenant) {
            return Err(FleetError::Exists(tenant.clone()));
        }
        if !self.opener().trash.holds(tenant) {
            return Err(FleetError::NoSuchTenant(tenant.clone()));
        }
        let moved =
            self.in_trash(tenant, |trash, tenant, root, _| trash.undelete(tenant, &root.tenant_file(tenant)));
        let moved = moved.await;
        self.settle_fence(&mut fence, tenant, moved).await?;
        drop(fence);
        self.event_work.nudge(tenant);
        self.outcome(tenant, true).await
    }

    /// What is in the trash, the oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn trash(&self) -> io::Result<Vec<Discarded>> {
        let inner = self.opener_arc();
        blocking(move || inner.trash.list()).await
    }

    /// Moves files in and out of the trash where that holds up nobody.
    pub(in crate::tenancy) async fn in_trash<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        work: impl FnOnce(&Trash, &TenantId, &DataRoot, Timestamp) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (opener, tenant) = (self.opener_arc(), tenant.clone());
        blocking(move || work(&opener.trash, &tenant, &opener.root, opener.shared.clock.now())).await
    }

    /// Removes for good what is in the trash of a tenant.
    ///
    /// # Errors
    /// There is nothing of it, or a file cannot be removed.
    pub async fn purge(&self, tenant: &TenantId) -> Result<Purged, FleetError> {
        let _operation = self.operate(tenant)?;
        let purged = self.in_trash(tenant, |trash, tenant, _, _| {
            let mut removed = Vec::new();
            for discarded in trash.list()?.into_iter().filter(|discarded| discarded.tenant == *tenant) {
                removed.extend(trash.purge(&discarded)?);
            }
            Ok(removed)
        });
        let removed = purged.await?;
        if removed.is_empty() {
            return Err(FleetError::NoSuchTenant(tenant.clone()));
        }
        let remaining = self.left_of(tenant).await?;
        Ok(Purged { tenant: tenant.clone(), removed, remaining })
    }

    /// Removes for good what has been in the trash for longer than `keep`. What cannot be removed is logged, and tried again the
    /// next time.
    ///
    /// # Errors
    /// The trash cannot be read.
    pub async fn purge_expired(&self, keep: Duration) -> Result<Vec<Purged>, FleetError> {
        let now = self.opener().shared.clock.now();
        let mut purged = Vec::new();
        for discarded in self.trash().await?.into_iter().filter(|discarded| now.since(discarded.at) >= keep) {
            let tenant = discarded.tenant.clone();
            let Ok(_operation) = self.operate(&tenant) else { continue };
            match self.in_trash(&tenant, move |trash, _, _, _| trash.purge(&discarded)).await {
                Ok(removed) => purged.push(Purged { tenant, removed, remaining: Vec::new() }),
                Err(error) => {
                    let error = &error as &dyn Error;
                    tracing::warn!(tenant_id = %tenant, error, "something in the trash cannot be removed");
                }
            }
        }
        Ok(purged)
    }

    /// Work on a tenant whose file was to be moved is over. If that was broken off halfway, it is finished now; if it cannot
    /// be, nothing may be made in the tenant's place before the next start finishes it.
    pub(in crate::tenancy) async fn settle_fence(
        &self,
        fence: &mut Fence,
        tenant: &TenantId,
        moved: io::Result<()>,
    ) -> Result<(), FleetError> {
        let Err(error) = moved else {
            fence.renew();
            return Ok(());
        };
        tracing::warn!(
            tenant_id = %tenant,
            error = &error as &dyn Error,
            "moving a tenant's file failed: once more"
        );
        match self.in_trash(tenant, |trash, tenant, root, now| trash.settle_tenant(tenant, root, now)).await {
            Ok(true) => {
                fence.renew();
                Ok(())
            }
            Ok(false) => Err(error.into()),
            Err(again) => {
                tracing::error!(
                    tenant_id = %tenant,
                    error = &again as &dyn Error,
                    "an operation was broken off: the next start finishes it"
                );
                self.opener().trash.close_off(tenant);
                Err(error.into())
            }
        }
    }
}
