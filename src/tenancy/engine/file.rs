//! A tenant's open file as the file system shows it: whether it still is the one that was opened, and what is done when it
//! is not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Condition, Connection, Counters, Role, Shared, fault};
use crate::tenancy::error::{Quarantine, Reason, Unavailable};
use crate::tenancy::files::{blocking, move_new, sync_directory_of};
use crate::tenancy::location::{side_file, time_in_name};

/// Where a tenant's file is and which file it was when it was opened.
#[derive(Debug, Clone)]
pub(in crate::tenancy) struct OpenFile {
    pub(in crate::tenancy) path: PathBuf,
    /// `None` for the template, which nobody replaces.
    pub(in crate::tenancy) identity: Option<FileId>,
}

/// Device and inode.
pub(in crate::tenancy) type FileId = (u64, u64);

/// Device and inode of what `path` names, without following a link; `None` if there is nothing.
///
/// # Errors
/// That cannot be told: no reason to take the file for another one.
pub(in crate::tenancy) fn file_identity(path: &Path) -> io::Result<Option<FileId>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl OpenFile {
    /// Whether the path still leads to the file that was opened. Only `stat`: opening a live file drops SQLite's locks.
    fn is_in_place(&self) -> io::Result<bool> {
        match self.identity {
            None => Ok(true),
            identity => Ok(file_identity(&self.path)? == identity),
        }
    }

    /// Bytes of the WAL beside the file.
    pub(super) fn wal_size(&self) -> u64 {
        fs::metadata(side_file(&self.path, "-wal")).map_or(0, |wal| wal.len())
    }

    /// Which file the WAL beside the file is.
    pub(super) fn wal_identity(&self) -> Option<FileId> {
        file_identity(&side_file(&self.path, "-wal")).unwrap_or_default()
    }

    /// Quarantines the tenant if its file is gone or another one lies in its place.
    pub(super) fn check(&self, condition: &Condition) -> Result<(), Unavailable> {
        match self.is_in_place() {
            Ok(true) => {}
            Ok(false) => condition.quarantine(Quarantine::Replaced),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a tenant's file could not be looked at"
                );
                return Err(Unavailable::not_written(Reason::Io));
            }
        }
        condition.check()
    }

    /// Opens another connection to this very file. Looks before, because SQLite would replay the WAL that it finds
    /// beside the path into whatever lies there, and after, because only then it is certain which file was opened.
    pub(super) async fn connect(
        &self,
        role: Role,
        counters: &Arc<Counters>,
        condition: &Condition,
    ) -> Result<Connection, Unavailable> {
        self.check(condition)?;
        let opened = Connection::open(&self.path, role, counters.clone()).await;
        let connection = opened.map_err(|error| fault::open_failed(error, condition))?;
        if let Err(why) = self.check(condition) {
            connection.close().await;
            return Err(why);
        }
        Ok(connection)
    }

    /// Once both connections are closed: if another file lies in this one's place, moves the WAL that is left of this one
    /// to the trash, or the next start would replay it into the other file. `wal` is the WAL that the connections used:
    /// one that came with the other file stays.
    ///
    /// SQLite itself does no harm: a connection whose file was moved neither checkpoints nor removes side files when it
    /// closes (`databaseIsUnmoved` in its pager). Without a file in its place the WAL stays too: it belongs to the file
    /// if that is put back, and until then keeps the tenant from being made anew.
    pub(super) async fn clear_way(&self, wal: Option<FileId>, shared: &Shared) {
        let now = file_identity(&self.path).unwrap_or_default();
        let is_replaced = now.is_some() && self.identity.is_some() && now != self.identity;
        if !is_replaced || wal.is_none() || self.wal_identity() != wal {
            return;
        }
        let (file, trash, now) = (self.path.clone(), shared.trash.clone(), shared.clock.now());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let target = trash.join(format!("{name}.replaced-{}", time_in_name(now)));
        let moved = {
            let target = target.clone();
            blocking(move || move_side_files(&file, &target)).await
        };
        match moved {
            Ok(()) => tracing::error!(
                to = %side_file(&target, "-wal").display(),
                "the file was replaced: the WAL of the old one is in the trash"
            ),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the file was replaced, and the WAL of the old one cannot be moved: move it away before the next start"
            ),
        }
    }
}

/// Gives the WAL of `file`, and its index, the names of one beside `target`.
fn move_side_files(file: &Path, target: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        match move_new(&side_file(file, suffix), &side_file(target, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory_of(target)?;
    sync_directory_of(file)
}
