//! The data root: the directory that holds all tenants, and the lock that makes this process its only user.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::geteuid;

use super::{files, location, volume};
use crate::domain::TenantId;

/// How often a starting cell tries `LOCK` again.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// The lock on a data root, released when the last holder drops it. Every open tenant holds it: the next cell must not
/// start while a request of this one still writes.
#[derive(Debug)]
pub(super) struct Lock {
    /// Held, not read: the lock goes with it.
    _file: File,
}

/// The lock on a data root that is only looked at.
#[derive(Debug)]
pub struct Guard {
    /// Held, not read: the lock goes with it.
    _file: File,
}

/// The directory that holds all tenants of a cell (contract §4). While it or one of its tenants is open, no other
/// process can have one for the same directory.
#[derive(Debug)]
pub struct DataRoot {
    directory: PathBuf,
    lock: Arc<Lock>,
}

impl DataRoot {
    /// Creates the directory and its parts where they are missing, and takes `LOCK`, waiting for at most `wait`.
    ///
    /// # Errors
    /// The directory cannot be made or written, its file system is none that SQLite can trust or full, or another process
    /// holds `LOCK` (the message says which).
    pub async fn open(directory: &Path, wait: Duration) -> anyhow::Result<Self> {
        let opened = Self::try_open(directory, wait).await;
        opened.map_err(|error| volume::explain(error, directory))
    }

    async fn try_open(directory: &Path, wait: Duration) -> anyhow::Result<Self> {
        make_directory(directory)?;
        volume::check(directory)?;
        let lock = lock(&directory.join("LOCK"), wait).await?;
        let root = Self { directory: directory.to_owned(), lock: Arc::new(Lock { _file: lock }) };
        for part in ["tenants", "copies", "copying", "incoming", "backups", "trash"] {
            make_directory(&root.directory.join(part))?;
        }
        root.remove_unfinished()?;
        for entry in fs::read_dir(root.copying()).context("reading the directory of unfinished copies")? {
            let path = entry.context("reading the directory of unfinished copies")?.path();
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(root)
    }

    /// Keeps other processes away from a data root while the guard lives, and changes nothing in it; `None` if no
    /// process ever used it.
    ///
    /// # Errors
    /// Another process holds `LOCK` (the message says which).
    pub fn guard(directory: &Path) -> anyhow::Result<Option<Guard>> {
        let path = directory.join("LOCK");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Guard { _file: file })),
            Err(TryLockError::WouldBlock) => Err(in_use(&path, &mut file)),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of the tenants' files.
    #[must_use]
    pub fn tenants(&self) -> PathBuf {
        self.directory.join("tenants")
    }

    pub(super) fn lock(&self) -> Arc<Lock> {
        self.lock.clone()
    }

    pub(super) fn tenant_file(&self, tenant: &TenantId) -> PathBuf {
        location::file_in(&self.tenants(), tenant)
    }

    pub(super) fn template_file(&self) -> PathBuf {
        self.directory.join("template.db")
    }

    pub(super) fn catalog_file(&self) -> PathBuf {
        self.directory.join("catalog.db")
    }

    /// The tenant's copy, which is whole or not there.
    pub(super) fn copy_file(&self, tenant: &TenantId) -> PathBuf {
        location::file_in(&self.copies(), tenant)
    }

    /// The tenant's copy while it is being made.
    pub(super) fn unfinished_copy(&self, tenant: &TenantId) -> PathBuf {
        location::file_in(&self.copying(), tenant)
    }

    /// A tenant's file while an operation makes it.
    pub(super) fn unfinished_file(&self, tenant: &TenantId) -> PathBuf {
        let mut name = location::file_name(tenant);
        name.push_str(".making");
        self.copying().join(name)
    }

    /// What a drill restores. No tenant's file is called so.
    pub(super) fn unfinished_drill(&self) -> PathBuf {
        self.copying().join("drill")
    }

    /// Who did what to which tenant.
    pub(super) fn operators_log(&self) -> PathBuf {
        self.directory.join("operators.jsonl")
    }

    /// The directory of the copies.
    pub(super) fn copies(&self) -> PathBuf {
        self.directory.join("copies")
    }

    /// Where operators put files that are to take tenants' places.
    pub(super) fn incoming(&self) -> PathBuf {
        self.directory.join("incoming")
    }

    /// The file in `incoming/` that is to take the tenant's place.
    pub(super) fn incoming_file(&self, tenant: &TenantId) -> PathBuf {
        location::file_in(&self.incoming(), tenant)
    }

    /// Where backups are kept, unless it is said otherwise.
    pub(super) fn backups(&self) -> PathBuf {
        self.directory.join("backups")
    }

    /// A file that is made to see what time the file system has. No tenant's copy is called so.
    pub(super) fn clock_file(&self) -> PathBuf {
        self.copying().join("now")
    }

    fn copying(&self) -> PathBuf {
        self.directory.join("copying")
    }

    /// What was taken out of the tenants' directory, until an operator removes it.
    pub(super) fn trash(&self) -> PathBuf {
        self.directory.join("trash")
    }

    /// Where the state before a migration is kept.
    pub(super) fn restore_point(&self, tenant: &TenantId, version: i64) -> PathBuf {
        let name = location::file_name(tenant);
        self.backups().join(format!("{name}.before-migration-from-{version}"))
    }

    /// Files of creations that a crash cut short: they never were a tenant.
    fn remove_unfinished(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.tenants()).context("reading the tenants' directory")? {
            let path = entry.context("reading the tenants' directory")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // By its end only: `a.db.new-x.db` is the tenant `a.db.new-x`.
            let stem = location::SIDE_FILES.iter().find_map(|suffix| name.strip_suffix(suffix));
            if stem.unwrap_or(&name).ends_with(UNFINISHED) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Ending of a tenant's file while it is being made. No tenant's file ends so: they end in `.db`.
pub(super) const UNFINISHED: &str = ".db.new";

/// Makes a directory that this process can use, or sees that the one there is.
fn make_directory(path: &Path) -> anyhow::Result<()> {
    files::make_directory(path).with_context(|| {
        format!(
            "cannot create the directory {}: give its parent to the user that runs the cell ({}), or name another place in \
             CRM_DATABASE_URL",
            path.display(),
            geteuid().as_raw()
        )
    })?;
    volume::check_access(path)
}

/// Takes the lock, waiting for a stopping cell to release it: an upgrade starts the new one while the old one drains.
async fn lock(path: &Path, wait: Duration) -> anyhow::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| {
            format!("cannot open {}: the cell's user must be able to write its data root", path.display())
        })?;
    let start = Instant::now();
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() < wait => {
                if !told {
                    told = true;
                    tracing::warn!(
                        holder = %holder(&mut file),
                        wait = %humantime::format_duration(wait),
                        "the data root is in use; waiting for its LOCK"
                    );
                }
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut file)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| {
                    format!("cannot lock {}: the data root must be on a local file system", path.display())
                });
            }
        }
    }
    sign(&mut file).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

/// Says in the lock file who holds it.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    writeln!(file, "process {} on {}", std::process::id(), host.trim())?;
    file.flush()
}

fn in_use(path: &Path, file: &mut File) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is in use by {}: stop that process, or name another data root in CRM_DATABASE_URL",
        path.display(),
        holder(file)
    )
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}
