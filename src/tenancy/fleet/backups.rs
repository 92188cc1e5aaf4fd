//! `backups/`, or another directory: sets of tenants' files, each set with a manifest that says what is in it.
//!
//! A set is a directory named after its time. It holds a file for each tenant, named as in `tenants/`; `SHA256SUMS`, which
//! `sha256sum -c` reads; and `manifest.json`, which is written last: a directory without one is no backup.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::FleetError;
use super::milestones::Milestone;
use super::restore::moment;
use super::retention::{Held, expendable};
use crate::domain::{TenantId, Timestamp};
use crate::telemetry;
use crate::tenancy::copies::Content;
use crate::tenancy::files::{blocking, make_directory, remove_if_there, sync_directory_of, write_new};
use crate::tenancy::location::{file_name, time_in_name};
use crate::tenancy::map::Tenants;

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
/// The ending of a set that is being made.
pub(super) const UNFINISHED: &str = ".unfinished";
/// The form of the manifest.
const FORMAT: u32 = 1;

/// What is in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The form of this file.
    pub format: u32,
    /// When the backup was begun.
    pub made_at: Timestamp,
    /// The version of the cell that made it.
    pub cell: String,
    /// The tenants in it, by id.
    pub tenants: Vec<Entry>,
    /// Those that are not in it though they were meant to be.
    pub failed: Vec<Failure>,
}

/// A tenant in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The tenant.
    pub tenant: TenantId,
    /// Its file in the set.
    pub file: String,
    /// The file holds every write that was answered before.
    pub as_of: Timestamp,
    /// Bytes.
    pub bytes: u64,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// What is in it.
    #[serde(flatten)]
    pub content: Content,
}

/// A tenant that could not be backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The tenant.
    pub tenant: TenantId,
    /// Why not.
    pub error: String,
}

/// A set.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// The directory, without those above it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// What is to be backed up, and where to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupOrder {
    /// Absent: all.
    pub tenants: Option<Vec<TenantId>>,
    /// Absent: the data root's `backups/`.
    pub directory: Option<PathBuf>,
    /// Older sets are removed whose tenants have this many newer backups each; absent: none is.
    pub keep: Option<usize>,
}

/// How far a backup is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStep {
    /// The tenant that was seen to last.
    pub tenant: TenantId,
    /// How many were.
    pub done: usize,
    /// Of how many.
    pub of: usize,
    /// Why it is not in the backup, if it is not.
    pub error: Option<String>,
}

/// What a backup came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUp {
    /// The set.
    #[serde(flatten)]
    pub backup: Backup,
    /// Sets that were removed, because there are newer ones.
    pub removed: Vec<String>,
}

impl Entry {
    /// Holds a file against what the manifest says of it.
    pub(super) async fn verify(&self, file: &Path) -> Result<(), FleetError> {
        let (bytes, sha256) = {
            let file = file.to_owned();
            blocking(move || digest(&file)).await?
        };
        if (bytes, &sha256) == (self.bytes, &self.sha256) {
            return Ok(());
        }
        let file = file.display();
        Err(FleetError::Unfit(format!(
            "{file} is not what its manifest says: it has been changed or damaged"
        )))
    }
}

impl Tenants {
    /// Backs tenants up, each as it is when its turn comes: with every write that was answered before. A tenant that cannot be
    /// is named in the manifest. Whoever drops this leaves no set behind.
    ///
    /// # Errors
    /// There is too little room, a tenant that was named does not exist, or the set cannot be written.
    pub async fn back_up(
        &self,
        order: BackupOrder,
        mut step: impl FnMut(BackupStep) + Send,
    ) -> Result<BackedUp, FleetError> {
        let BackupOrder { tenants, directory, keep } = order;
        let is_of_all = tenants.is_none();
        let mut tenants = match tenants {
            Some(named) => named,
            None => self.all(),
        };
        tenants.sort();
        tenants.dedup();
        if let Some(missing) = tenants.iter().find(|tenant| !self.opener().exists(tenant)) {
            return Err(self.missing(missing));
        }
        let elsewhere = directory.is_some();
        let directory = directory.unwrap_or_else(|| self.opener().root.backups());
        if elsewhere && directory.parent().is_some_and(|parent| !parent.is_dir()) {
            let parent = directory.parent().unwrap_or(&directory).display();
            return Err(FleetError::Unfit(format!("there is no directory {parent}: is its disk mounted?")));
        }
        // It may be on another disk, and be what frees this one.
        let has_room = async || match elsewhere {
            true => self.check_space_at(directory.clone()).await,
            false => self.check_space().await,
        };
        let mut removed = Vec::new();
        if let Err(low) = has_room().await {
            let keep = keep.ok_or(low)?;
            // What may go is what makes room.
            let directory = directory.clone();
            removed = blocking(move || retain(&directory, keep)).await?;
            has_room().await?;
        }
        let made_at = self.opener().shared.clock.now();
        let set = {
            let directory = directory.clone();
            blocking(move || UnfinishedSet::make(&directory, made_at)).await?
        };
        let mut manifest = Manifest {
            format: FORMAT,
            made_at,
            cell: env!("CARGO_PKG_VERSION").to_owned(),
            tenants: Vec::new(),
            failed: Vec::new(),
        };
        let of = tenants.len();
        for (before, tenant) in tenants.into_iter().enumerate() {
            let error = match self.back_up_one(&tenant, &set.path).await {
                Ok(Some(entry)) => {
                    manifest.tenants.push(entry);
                    None
                }
                Ok(None) => Some(self.missing(&tenant).to_string()), // deleted meanwhile
                Err(error) => Some(telemetry::in_full(&error)),
            };
            if let Some(error) = error.clone() {
                tracing::warn!(tenant_id = %tenant, error, "a tenant cannot be backed up");
                manifest.failed.push(Failure { tenant: tenant.clone(), error });
            }
            step(BackupStep { tenant, done: before + 1, of, error });
        }
        failpoint!("backup.filled", FleetError::Io);
        let (name, path, written) = blocking(move || set.finish(manifest)).await?;
        if is_of_all && written.failed.is_empty() {
            self.reached(Milestone::Backup, made_at).await;
        }
        if let Some(keep) = keep {
            removed.extend(blocking(move || retain(&directory, keep)).await?);
        }
        Ok(BackedUp { backup: Backup { name, path, manifest: written }, removed })
    }

    async fn back_up_one(&self, tenant: &TenantId, set: &Path) -> Result<Option<Entry>, FleetError> {
        let file = file_name(tenant);
        let path = set.join(&file);
        let turn = self.copying.lock().await;
        let Some(snapshot) = self.snapshot(tenant, &path, &turn).await? else { return Ok(None) };
        drop(turn);
        failpoint!("backup.written", FleetError::Io);
        let (bytes, sha256) = blocking(move || {
            let file = File::open(&path)?;
            file.set_modified(snapshot.as_of)?;
            file.sync_all()?;
            digest(&path)
        })
        .await?;
        let (tenant, as_of) = (tenant.clone(), moment(snapshot.as_of));
        Ok(Some(Entry { tenant, file, as_of, bytes, sha256, content: snapshot.content }))
    }

    /// The backups in `directory` (or that it is), or in `backups/`, the newest first; of this tenant, if one is named.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn backups(
        &self,
        directory: Option<PathBuf>,
        of: Option<TenantId>,
    ) -> Result<Vec<Backup>, FleetError> {
        let directory = directory.unwrap_or_else(|| self.opener().root.backups());
        let mut sets = blocking(move || read_sets(&directory)).await?;
        if let Some(of) = of {
            sets.retain(|set| set.manifest.tenants.iter().any(|entry| entry.tenant == of));
        }
        Ok(sets)
    }

    /// The file of a tenant in a backup, the backup's name, and what it says of the file.
    pub(super) async fn find_backup(
        &self,
        of: &TenantId,
        directory: Option<&Path>,
        name: Option<&str>,
    ) -> Result<(PathBuf, String, Entry), FleetError> {
        let sets = self.backups(directory.map(Path::to_owned), Some(of.clone())).await?;
        let found = sets.into_iter().find(|set| name.is_none_or(|name| set.name == name));
        let found = found.and_then(|set| {
            let entry = set.manifest.tenants.into_iter().find(|entry| entry.tenant == *of)?;
            // A name from a file: it must not lead elsewhere.
            (entry.file == file_name(of)).then(|| (set.path.join(&entry.file), set.name, entry))
        });
        found.ok_or_else(|| {
            let which = name.map_or_else(|| "no backup".to_owned(), |name| format!("no backup {name}"));
            FleetError::NoSuchFile(format!(
                "there is {which} of the tenant {of}: see `crm-cell backups {of}`"
            ))
        })
    }

    /// What is left of a tenant outside of `tenants/`, `copies/` and its own directories in the trash, by the paths in the data
    /// root: in backups, from before migrations, and beside files that were replaced by hand.
    pub(in crate::tenancy) async fn left_of(&self, tenant: &TenantId) -> io::Result<Vec<String>> {
        let (opener, file) = (self.opener_arc(), file_name(tenant));
        blocking(move || {
            let mut left = Vec::new();
            for (part, directory) in [("backups", opener.root.backups()), ("trash", opener.root.trash())] {
                for entry in fs::read_dir(directory)? {
                    let entry = entry?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let is_of_it =
                        |word| name.strip_prefix(&file).is_some_and(|rest: &str| rest.starts_with(word));
                    if part == "backups" && entry.path().join(&file).is_file() {
                        left.push(format!("{part}/{name}/{file}"));
                    } else if is_of_it(".before-migration-") || is_of_it(".replaced-") {
                        left.push(format!("{part}/{name}"));
                    }
                }
            }
            left.sort();
            Ok(left)
        })
        .await
    }
}

/// A set without a manifest. Unless it is finished, it is removed.
struct UnfinishedSet {
    path: PathBuf,
    finished: bool,
}

impl UnfinishedSet {
    fn make(directory: &Path, made_at: Timestamp) -> io::Result<Self> {
        make_directory(directory)?;
        let path = directory.join(time_in_name(made_at) + UNFINISHED);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::other("another backup has just begun: try again"),
            _ => error,
        })?;
        Ok(Self { path, finished: false })
    }

    fn finish(mut self, manifest: Manifest) -> io::Result<(String, PathBuf, Manifest)> {
        let sums: String =
            manifest.tenants.iter().map(|entry| format!("{}  {}\n", entry.sha256, entry.file)).collect();
        write_new(&self.path.join(SUMS), sums.as_bytes())?.sync_all()?;
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        write_new(&self.path.join(MANIFEST), &text)?.sync_all()?;
        sync_directory_of(&self.path.join(MANIFEST))?;
        failpoint!("backup.manifest", |error| error);
        let unfinished = self.path.to_string_lossy().into_owned();
        let path = PathBuf::from(unfinished.strip_suffix(UNFINISHED).unwrap_or(&unfinished));
        fs::rename(&self.path, &path)?;
        self.finished = true;
        sync_directory_of(&path)?;
        failpoint!("backup.renamed", |error| error);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, path, manifest))
    }
}

impl Drop for UnfinishedSet {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            let (path, error) = (self.path.display(), &error as &dyn std::error::Error);
            tracing::warn!(%path, error, "an unfinished backup cannot be removed");
        }
    }
}

/// The sets in a directory, the newest first.
fn read_sets(directory: &Path) -> io::Result<Vec<Backup>> {
    let mut sets = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(sets),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    if directory.join(MANIFEST).is_file() {
        paths = vec![directory.to_owned()];
    }
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(UNFINISHED) {
            continue;
        }
        let Ok(text) = fs::read(path.join(MANIFEST)) else { continue };
        match serde_json::from_slice::<Manifest>(&text) {
            Ok(manifest) if manifest.format <= FORMAT => sets.push(Backup { name, path, manifest }),
            Ok(_) => tracing::warn!(name, "a backup was made by a newer version"),
            Err(error) => tracing::warn!(name, %error, "a backup's manifest cannot be read"),
        }
    }
    sets.sort_by(|a, b| b.manifest.made_at.cmp(&a.manifest.made_at).then_with(|| b.name.cmp(&a.name)));
    Ok(sets)
}

/// Removes the sets whose tenants have `keep` newer backups each. Sets of tenants that are gone stay: the directory may be
/// other cells' too.
fn retain(directory: &Path, keep: usize) -> io::Result<Vec<String>> {
    let sets = read_sets(directory)?;
    let held = sets.iter().map(|set| Held {
        name: &set.name,
        tenants: set.manifest.tenants.iter().map(|entry| &entry.tenant).collect(),
    });
    let mut removed = Vec::new();
    for name in expendable(held, keep) {
        let path = directory.join(&name);
        // Without its manifest it is no backup any more, whatever happens to the rest.
        remove_if_there(&path.join(MANIFEST))?;
        fs::remove_dir_all(&path)?;
        removed.push(name);
    }
    Ok(removed)
}

/// Bytes and SHA-256 of a file, which SQLite does not have open.
fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}
