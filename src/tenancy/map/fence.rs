//! A tenant taken out of use: nobody has its file open, and nobody opens it, while an operator works on it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::{Inner, OpenError, Tenants};
use crate::domain::TenantId;
use crate::tenancy::engine::file_identity;
use crate::tenancy::error::{Reason, Unavailable};
use crate::tenancy::location::{SIDE_FILES, side_file};
use crate::tenancy::slot::{Live, Slot};

/// How long requests under way may take to finish, before they are ended.
const DRAIN: Duration = Duration::from_secs(10);
/// How long those that were ended may take to let go of the file.
const END: Duration = Duration::from_secs(10);

/// A tenant whose file nobody has open. Requests that come meanwhile wait until this is dropped.
pub(in crate::tenancy) struct Fence {
    live: OwnedMutexGuard<Live>,
    _file: OwnedSemaphorePermit,
    slot: Arc<Slot>,
    path: PathBuf,
}

impl Tenants {
    /// Takes a tenant out of use: those who have it open finish, for a while; then they are ended. That its file is closed is
    /// looked up with the kernel.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`]: it could not be closed. It goes on serving.
    pub(in crate::tenancy) async fn fence(&self, tenant: &TenantId) -> Result<Fence, OpenError> {
        self.inner.fence(tenant).await
    }
}

impl Inner {
    async fn fence(&self, tenant: &TenantId) -> Result<Fence, OpenError> {
        let busy = || OpenError::from(Unavailable::not_written(Reason::Busy));
        self.check_whole(tenant)?;
        let slot = self.slot(tenant, true).ok_or(OpenError::Unknown)?;
        // Whoever opens it has it: a migration may take long.
        let live = timeout(DRAIN, slot.live.clone().lock_owned()).await.map_err(|_| busy())?;
        if let Some(entry) = self.hot.remove(tenant).await {
            entry.forget();
        }
        let file = match timeout(DRAIN, slot.claim_file()).await {
            Ok(file) => file?,
            Err(_still_used) => {
                slot.condition.fence();
                let closed = timeout(END, slot.claim_file()).await;
                slot.condition.unfence();
                closed.map_err(|_| busy())??
            }
        };
        let path = self.opener.path(tenant);
        let open = descriptors(path.clone()).await;
        if open > 0 {
            tracing::error!(tenant_id = %tenant, open, "a tenant's file is still open although it was closed");
            return Err(busy());
        }
        Ok(Fence { live, _file: file, slot, path })
    }
}

impl Fence {
    /// The file in the tenant's place says something else: what came of the last try to open it no longer holds. If it was
    /// refused for damage, it still is.
    pub(in crate::tenancy) fn reopen(&mut self) {
        self.live.forget();
    }

    /// Another file lies in the tenant's place: what was known of the old one no longer holds.
    pub(in crate::tenancy) fn renew(&mut self) {
        self.live.renew();
        self.slot.condition.lift();
    }

    /// How many descriptors this process has of the tenant's files, as the kernel says.
    pub(in crate::tenancy) async fn open_descriptors(&self) -> usize {
        descriptors(self.path.clone()).await
    }
}

/// How many descriptors this process has of a tenant's file and of those beside it.
async fn descriptors(path: PathBuf) -> usize {
    let counted = tokio::task::spawn_blocking(move || count_descriptors(&path)).await;
    // Not known is not closed.
    counted.unwrap_or(usize::MAX)
}

fn count_descriptors(path: &Path) -> usize {
    let identity = |path: &Path| file_identity(path).ok().flatten();
    let files = [path.to_owned()].into_iter().chain(SIDE_FILES.map(|suffix| side_file(path, suffix)));
    let files: Vec<_> = files.filter_map(|file| identity(&file)).collect();
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return 0 };
    let open = entries.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
    open.filter(|open| files.contains(&(open.dev(), open.ino()))).count()
}
