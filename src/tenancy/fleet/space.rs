//! Room on the data root's disk: what can wait stops before the disk is full, and then the writers, before SQLite meets it.
//!
//! Thresholds: `../docs/OPERATIONS.md`, "The disk is nearly full". A disk that is full to the last block takes no repair either.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use rustix::fs::statvfs;
use tokio::time::sleep;

use crate::tenancy::error::{Reason, Unavailable};
use crate::tenancy::files::blocking;
use crate::tenancy::map::Tenants;

/// How often the disk is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// So little room is little, and so little too little to write, on a disk of some size.
const LOW_WATER: u64 = 512 << 20;
const STOP_WRITES: u64 = 64 << 20;

/// There is too little room on the disk for what can wait.
#[derive(Debug, Clone, thiserror::Error)]
#[error("only {free} of the disk are free, less than storage.low_water ({low_water}): free some space first")]
pub struct LowSpace {
    free: ByteSize,
    low_water: ByteSize,
}

/// The disk of the data root.
#[derive(Debug)]
pub(in crate::tenancy) struct Space {
    directory: PathBuf,
    /// Bytes that are free for this user, when the disk was last looked at.
    free: AtomicU64,
    low_water: u64,
    stop_writes: u64,
}

impl Space {
    /// Looks at the disk of `directory`. Where nothing is said, a tenth of a small one is low already, and 3 % too little to
    /// write.
    pub(in crate::tenancy) fn of(
        directory: PathBuf,
        low_water: Option<ByteSize>,
        stop_writes: Option<ByteSize>,
    ) -> Self {
        let size = statvfs(&directory).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        let space = Self {
            directory,
            free: AtomicU64::new(u64::MAX),
            low_water: low_water.map_or(LOW_WATER.min(size / 10), |size| size.as_u64()),
            stop_writes: stop_writes.map_or(STOP_WRITES.min(size / 100 * 3), |size| size.as_u64()),
        };
        let _looked_at_again_soon = space.look();
        space
    }

    /// Bytes that are free.
    pub(in crate::tenancy) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether a write would soon meet a full disk.
    pub(in crate::tenancy) fn is_critical(&self) -> bool {
        self.is_below(self.stop_writes)
    }

    fn is_below(&self, mark: u64) -> bool {
        // If so when it was last looked at, there may be room again since.
        self.free() < mark && (self.look().is_err() || self.free() < mark)
    }

    fn look(&self) -> io::Result<()> {
        let disk = statvfs(&self.directory)?;
        self.free.store(disk.f_bavail.saturating_mul(disk.f_frsize), Ordering::Relaxed);
        Ok(())
    }

    fn check(&self) -> Result<(), LowSpace> {
        let free = self.free();
        if free >= self.low_water {
            return Ok(());
        }
        Err(LowSpace { free: ByteSize(free), low_water: ByteSize(self.low_water) })
    }
}

impl Tenants {
    /// Refuses what can wait while there is little room.
    pub(in crate::tenancy) async fn check_space(&self) -> Result<(), LowSpace> {
        let opener = self.opener_arc();
        let looked = blocking(move || opener.shared.space.look()).await;
        if let Err(error) = looked {
            tracing::warn!(error = &error as &dyn std::error::Error, "the disk cannot be looked at");
        }
        self.opener().shared.space.check()
    }

    /// The same of the disk of another directory, or of the nearest one above it that there is.
    pub(in crate::tenancy) async fn check_space_at(&self, directory: PathBuf) -> Result<(), LowSpace> {
        let low_water = self.opener().shared.space.low_water;
        let looked = blocking(move || {
            let there = directory.ancestors().find(|path| path.is_dir());
            let disk = statvfs(there.unwrap_or(&directory))?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        });
        match looked.await {
            Ok(free) if free < low_water => {
                Err(LowSpace { free: ByteSize(free), low_water: ByteSize(low_water) })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a write that would bring very many rows while there is little room.
    ///
    /// # Errors
    /// There is little room.
    pub fn check_room_for_many(&self) -> Result<(), Unavailable> {
        let space = &self.opener().shared.space;
        if space.is_below(space.low_water) {
            return Err(Unavailable::not_written(Reason::DiskFull));
        }
        Ok(())
    }

    /// Bytes that are free on the data root's disk, as it was last looked at.
    pub fn free_space(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let opener = self.opener_arc();
        move || opener.shared.space.free()
    }

    /// With fewer free bytes than this no copies are made, and with fewer than that nothing is written.
    #[must_use]
    pub fn space_marks(&self) -> (u64, u64) {
        let space = &self.opener().shared.space;
        (space.low_water, space.stop_writes)
    }
}

/// Looks at the disk regularly.
pub(super) async fn watch(tenants: Arc<Tenants>) {
    let mut was_low = false;
    loop {
        let low = tenants.check_space().await.err();
        match &low {
            Some(low) if !was_low => tracing::error!(error = %low, "the disk is nearly full"),
            None if was_low => tracing::info!("the disk has room again"),
            _ => {}
        }
        was_low = low.is_some();
        sleep(EVERY).await;
    }
}
