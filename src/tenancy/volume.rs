//! The volume of a data root: what SQLite can trust, and what this process may do there. One that cannot be used is refused at the
//! start, with what to do, and not by the first tenant's failure.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::{Access, access, statfs, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::engine::{Fault, fault_of};

/// Bytes of a file system's block, at least.
const SMALLEST_BLOCK: u64 = 4096;

/// Whether SQLite can keep a WAL there: that needs memory shared by mapped files, and locks that work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is a local one.
    Local,
    /// Some of its kind are.
    Unsure,
    /// It is not.
    Unfit,
}

/// A file system.
#[derive(Debug)]
pub(super) struct FileSystem {
    /// What kind it is.
    pub(super) name: Cow<'static, str>,
    /// Whether SQLite can use it.
    pub(super) trust: Trust,
    /// Bytes of a block.
    pub(super) block: u64,
}

/// What the kinds of file systems answer `statfs(2)`.
const KINDS: [(i64, &str, Trust); 17] = [
    (0xEF53, "ext4", Trust::Local),
    (0x5846_5342, "xfs", Trust::Local),
    (0x9123_683E, "btrfs", Trust::Local),
    (0x2FC1_2FC1, "zfs", Trust::Local),
    (0xF2F5_2010, "f2fs", Trust::Local),
    (0xCA45_1A4E, "bcachefs", Trust::Local),
    (0x0102_1994, "tmpfs", Trust::Local),
    (0x794C_7630, "overlayfs", Trust::Local),
    // A virtual machine's share, an object store, or a local disk.
    (0x6573_5546, "fuse", Trust::Unsure),
    (0x6969, "nfs", Trust::Unfit),
    (0x517B, "smb", Trust::Unfit),
    (0xFF53_4D42, "cifs", Trust::Unfit),
    (0xFE53_4D42, "smb2", Trust::Unfit),
    (0x0102_1997, "9p", Trust::Unfit),
    (0x00C3_6400, "ceph", Trust::Unfit),
    (0x5346_414F, "afs", Trust::Unfit),
    (0x4D44, "vfat", Trust::Unfit),
];

impl FileSystem {
    /// That of a directory.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let kind = statfs(directory)?.f_type as i64 & 0xFFFF_FFFF;
        let block = statvfs(directory)?.f_bsize;
        Ok(match KINDS.iter().find(|(magic, ..)| *magic == kind) {
            Some((_, name, trust)) => Self { name: Cow::Borrowed(name), trust: *trust, block },
            None => {
                Self { name: format!("an unknown kind (0x{kind:X})").into(), trust: Trust::Unsure, block }
            }
        })
    }

    /// Refuses one that loses rows, or ends the process when it is full: SQLite writes one byte of each page of a WAL's index
    /// before it maps it; with blocks smaller than a page of memory that leaves holes, and when a full disk has no block for
    /// one, touching it is a SIGBUS.
    fn check(&self, directory: &Path) -> anyhow::Result<()> {
        let (name, block, directory) = (&self.name, self.block, directory.display());
        ensure!(
            self.trust != Trust::Unfit,
            "the file system of {directory} is {name}, and SQLite's WAL needs a local one, with shared memory and working locks: \
             put the data root on a local disk, or name another place in CRM_DATABASE_URL"
        );
        ensure!(
            block >= SMALLEST_BLOCK,
            "the file system of {directory} has blocks of {block} bytes, and a full disk could then end the process: make it \
             with blocks of {SMALLEST_BLOCK} bytes or more (mkfs.ext4 -b {SMALLEST_BLOCK}), or name a data root on another one \
             in CRM_DATABASE_URL"
        );
        Ok(())
    }
}

/// Refuses a directory whose file system SQLite cannot trust.
pub(super) fn check(directory: &Path) -> anyhow::Result<()> {
    let found = FileSystem::of(directory)
        .with_context(|| format!("cannot look at the file system of {}", directory.display()))?;
    if found.trust == Trust::Unsure {
        tracing::warn!(
            kind = %found.name,
            "SQLite's WAL needs a local file system, with shared memory and working locks: see to it that the data root's is one"
        );
    }
    found.check(directory)
}

/// Refuses a directory that this process cannot read, write and search.
pub(super) fn check_access(directory: &Path) -> anyhow::Result<()> {
    let Err(error) = access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) else {
        return Ok(());
    };
    let user = geteuid().as_raw();
    let there = fs::metadata(directory);
    let whose = there.map_or_else(
        |_| String::new(),
        |there| {
            format!(", which is user {}'s with mode {:04o}", there.uid(), there.permissions().mode() & 0o7777)
        },
    );
    let directory = directory.display();
    let to_do = match error {
        Errno::ROFS => "its file system is mounted read-only: mount it to be written".to_owned(),
        _ => format!("give it to that user (chown -R {user} {directory}; chmod u+rwx {directory})"),
    };
    Err(io::Error::from(error))
        .with_context(|| format!("the cell runs as user {user} and cannot write {directory}{whose}: {to_do}"))
}

/// Why a data root could not be opened, with what to do if its disk is full.
pub(super) fn explain(error: anyhow::Error, directory: &Path) -> anyhow::Error {
    let is_full = error.chain().any(|cause| {
        let of_system = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        of_system == Some(io::ErrorKind::StorageFull)
            || cause.downcast_ref().and_then(fault_of) == Some(Fault::Full)
    });
    if !is_full {
        return error;
    }
    error.context(format!(
        "the disk of {} is full, and the cell cannot start: free some space there first (older backups in backups/, what is in \
         trash/), and leave files ending in -wal alone",
        directory.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That a cell asks the file system is shown by `suites/crash/run disks`, which mounts one with small blocks, and by
    /// `suites/container`, where the kernel names another kind.
    #[test]
    fn what_sqlite_cannot_trust_is_refused_with_what_to_do() {
        let directory = Path::new("/data/crm");
        let refusal = |kind: &'static str, trust, block| {
            FileSystem { name: kind.into(), trust, block }.check(directory).map_err(|error| error.to_string())
        };
        refusal("ext4", Trust::Local, 4096).expect("fit");
        refusal("fuse", Trust::Unsure, 4096).expect("may be fit");
        for (refused, parts) in [
            (refusal("ext4", Trust::Local, 1024), ["1024", "mkfs.ext4 -b 4096"]),
            (refusal("nfs", Trust::Unfit, 4096), ["nfs", "a local disk"]),
        ] {
            let refused = refused.expect_err("unfit");
            for part in parts.into_iter().chain(["/data/crm", "CRM_DATABASE_URL"]) {
                assert!(refused.contains(part), "{refused}");
            }
        }
    }

    #[test]
    fn the_file_system_of_a_directory_is_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = FileSystem::of(directory.path()).expect("known");
        assert!(found.trust != Trust::Unfit && found.block >= 512, "{found:?}");
    }

    #[test]
    fn only_a_full_disk_is_explained_as_one() {
        let of =
            |error: io::Error| explain(anyhow::Error::new(error).context("making it"), Path::new("/data"));
        assert!(format!("{:#}", of(io::ErrorKind::StorageFull.into())).contains("free some space"));
        assert_eq!(format!("{:#}", of(io::ErrorKind::NotFound.into())), "making it: entity not found");
    }
}
