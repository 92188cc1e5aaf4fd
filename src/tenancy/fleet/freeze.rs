//! No tenant's file changes for a while: for whoever copies `tenants/` with tools that know nothing of SQLite.
//!
//! Writes wait; reads go on. Every WAL is emptied into its main file first, so that the main files alone are whole.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::domain::{TenantId, Timestamp};
use crate::tenancy::engine::file_identity;
use crate::tenancy::files::blocking;
use crate::tenancy::map::Tenants;
use crate::tenancy::schema;

/// The shortest and the longest that writes may wait.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How long it may take until nothing is written any more: what is under way ends by its own deadlines.
const SETTLE: Duration = Duration::from_secs(20);
/// WALs that are emptied at the same time.
const AT_ONCE: usize = 4;

/// What stands between everything that changes tenants' files and them.
#[derive(Debug, Default)]
pub(in crate::tenancy) struct Gate {
    /// Passed by writers, and by whoever makes or migrates a file.
    files: Arc<RwLock<()>>,
    /// Passed by operators' work before: that waits for writers to end.
    operations: Arc<RwLock<()>>,
    frozen: Mutex<Option<Held>>,
}

/// A freeze that lasts.
#[derive(Debug)]
struct Held {
    _files: OwnedRwLockWriteGuard<()>,
    _operations: OwnedRwLockWriteGuard<()>,
    until: Timestamp,
    thaw: JoinHandle<()>,
}

/// The right to change files.
pub(in crate::tenancy) type Pass = OwnedRwLockReadGuard<()>;

impl Gate {
    /// Waits until files may be changed.
    pub(in crate::tenancy) async fn pass(&self) -> Pass {
        self.files.clone().read_owned().await
    }

    /// The same, unless that would take waiting.
    pub(in crate::tenancy) fn try_pass(&self) -> Option<Pass> {
        self.files.clone().try_read_owned().ok()
    }

    /// The right to do an operator's work, unless files are frozen or about to be.
    pub(in crate::tenancy) fn try_operate(&self) -> Option<Pass> {
        self.operations.clone().try_read_owned().ok()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files are frozen.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frozen {
    /// When they thaw by themselves.
    pub until: Timestamp,
    /// WALs that were emptied into their main files.
    pub emptied: usize,
}

/// Why files cannot be frozen. Nothing is frozen.
#[derive(Debug, thiserror::Error)]
pub enum NotFrozen {
    /// They are.
    #[error("the files are frozen already, until {0}")]
    Already(Timestamp),
    /// Something still writes.
    #[error("what is under way did not end in time: try again")]
    Busy,
    /// A snapshot keeps WALs from being emptied.
    #[error("the tenants {0} are being exported or copied: try again when that is over")]
    Read(String),
    /// The directory of tenants cannot be read.
    #[error("the directory of the tenants cannot be read")]
    Io(#[from] io::Error),
}

impl Tenants {
    /// Freezes all files for at most `limit`, 5 minutes at the most.
    ///
    /// # Errors
    /// See [`NotFrozen`].
    pub async fn freeze(&self, limit: Duration) -> Result<Frozen, NotFrozen> {
        let gate = &self.opener().shared.gate;
        if let Some(held) = &*gate.held() {
            return Err(NotFrozen::Already(held.until));
        }
        let give_up = Instant::now() + SETTLE;
        let busy = |_| NotFrozen::Busy;
        let operations = timeout_at(give_up, gate.operations.clone().write_owned()).await.map_err(busy)?;
        // What a crash left is brought home first: that may migrate files.
        let left: Vec<_> = stream::iter(self.left_with_wal().await?)
            .map(async |tenant| self.inspect(&tenant).await.ok().flatten())
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let files = timeout_at(give_up, gate.files.clone().write_owned()).await.map_err(busy)?;
        let emptied = self.empty_wals().await?;
        drop(left);
        let limit = limit.clamp(SHORTEST, LONGEST);
        let until = self.opener().shared.clock.now() + limit;
        let (shared, end) = (self.opener().shared.gate.clone(), Instant::now() + limit);
        let mut held = gate.held(); // before anybody can thaw
        let thaw = tokio::spawn(async move {
            sleep_until(end).await;
            tracing::warn!("tenants' files have thawed by themselves: nobody asked for it in time");
            drop(shared.held().take());
        });
        *held = Some(Held { _files: files, _operations: operations, until, thaw });
        Ok(Frozen { until, emptied })
    }

    /// Lets files change again. Says whether they were frozen: if they had thawed by themselves, what was copied meanwhile
    /// may be of no use.
    #[must_use]
    pub fn thaw(&self) -> bool {
        let held = self.opener().shared.gate.held().take();
        held.inspect(|held| held.thaw.abort()).is_some()
    }

    async fn left_with_wal(&self) -> io::Result<Vec<TenantId>> {
        let opener = self.opener_arc();
        blocking(move || Ok(opener.left_with_wal())).await
    }

    /// Only of files that are open and still the ones that were opened: a WAL beside any other would be replayed into it.
    async fn empty_wals(&self) -> Result<usize, NotFrozen> {
        let emptied = stream::iter(self.left_with_wal().await?).map(async |tenant: TenantId| {
            let path = self.opener().path(&tenant);
            let db = self.opened(&tenant)?;
            if db.identity().is_none() || file_identity(&path).ok().flatten() != db.identity() {
                return None;
            }
            let emptied = schema::empty_wal(&path).await;
            drop(db);
            Some(emptied.map_err(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(tenant_id = %tenant, error, "a WAL cannot be emptied");
                tenant
            }))
        });
        let emptied: Vec<_> =
            emptied.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        let read: Vec<_> =
            emptied.iter().filter_map(|emptied| Some(emptied.as_ref().err()?.as_str())).collect();
        if read.is_empty() { Ok(emptied.len()) } else { Err(NotFrozen::Read(read.join(", "))) }
    }
}
