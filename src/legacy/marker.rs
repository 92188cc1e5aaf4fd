//! Which files were imported: `legacy.json` in the data root, and whether a cell may start beside a file that was not.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::naming::TenantNames;
use super::source::{Source, has_sqlite_header};
use crate::config::{Legacy, Storage};
use crate::domain::Timestamp;

const FILE_NAME: &str = "legacy.json";

/// The files that were imported into a data root.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Marker {
    imports: Vec<Import>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Import {
    /// Where it was.
    pub(super) file: PathBuf,
    /// What it was.
    pub(super) identity: Identity,
    /// When it was imported.
    pub(super) at: Timestamp,
    /// All of it was.
    pub(super) is_complete: bool,
    /// What its tenants became.
    pub(super) tenants: TenantNames,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Identity {
    /// SHA-256 of the file and, if there is one, of the WAL beside it.
    sha256: String,
    stamp: Stamp,
}

/// What the file system says of a file: while it is the same, the file is not read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stamp {
    size: u64,
    /// Nanoseconds since the epoch.
    modified: u64,
    /// Bytes of the WAL beside it; 0 if there is none.
    wal: u64,
    /// Nanoseconds since the epoch: a WAL is begun anew without growing.
    wal_modified: u64,
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(file)?;
        let modified = |metadata: &Metadata| {
            let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            io::Result::Ok(u64::try_from(since.as_nanos()).unwrap_or(0))
        };
        let (wal, wal_modified) = match fs::metadata(wal_of(file)) {
            Ok(wal) => (wal.len(), modified(&wal)?),
            Err(_) => (0, 0),
        };
        Ok(Self { size: metadata.len(), modified: modified(&metadata)?, wal, wal_modified })
    }
}

impl Identity {
    /// Reads the whole file. The process must not have it open through SQLite: closing it would drop SQLite's locks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn of(file: &Path) -> anyhow::Result<Self> {
        let read = || {
            let stamp = Stamp::of(file)?;
            let mut hash = Sha256::new();
            digest(file, &mut hash)?;
            if stamp.wal > 0 {
                digest(&wal_of(file), &mut hash)?;
            }
            io::Result::Ok(Self { sha256: hex::encode(hash.finalize()), stamp })
        };
        read().with_context(|| format!("cannot read {}", file.display()))
    }
}

fn digest(file: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(file)?;
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            length => hash.update(&block[..length]),
        }
    }
}

fn wal_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

impl Marker {
    /// What was imported into the data root so far.
    ///
    /// # Errors
    /// The marker is there but cannot be understood.
    pub(super) fn read(data_root: &Path) -> anyhow::Result<Self> {
        let path = data_root.join(FILE_NAME);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// What is known of this file, by its contents or by where it is.
    pub(super) fn find(&self, file: &Path, identity: &Identity) -> Option<&Import> {
        let same = |import: &&Import| import.identity.sha256 == identity.sha256;
        self.imports.iter().find(same).or_else(|| self.imports.iter().find(|import| import.file == file))
    }

    /// What the tenants of all files became: another file, or a copy, must not send one of them elsewhere.
    pub(super) fn tenants(&self) -> TenantNames {
        self.imports.iter().flat_map(|import| import.tenants.clone()).collect()
    }

    /// Writes down that a file is being, or was, imported: after a crash, the old marker or the new one is there.
    ///
    /// # Errors
    /// The marker cannot be written.
    pub(super) fn put(&mut self, data_root: &Path, import: Import) -> anyhow::Result<()> {
        let replaced =
            |known: &Import| known.file == import.file || known.identity.sha256 == import.identity.sha256;
        self.imports.retain(|known| !replaced(known));
        self.imports.push(import);
        let path = data_root.join(FILE_NAME);
        let unfinished = path.with_extension("json.new");
        let write = || {
            let mut file = File::create(&unfinished)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(data_root)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Refuses to start beside a database of the Python cell that was not imported, or was changed since: the tenants in it
/// would look empty, or would lack what was written last (contract §4).
///
/// # Errors
/// Says which file it is and what to do.
pub async fn check_start(
    storage: &Storage,
    working_directory: &Path,
    data_root: &Path,
) -> anyhow::Result<()> {
    let file = storage.database_file(working_directory)?;
    if storage.legacy == Legacy::Ignore || !file.is_file() {
        return Ok(());
    }
    let file = fs::canonicalize(&file).unwrap_or(file);
    let marker = Marker::read(data_root)?;
    let unchanged = |import: &Import| {
        import.is_complete
            && import.file == file
            && Stamp::of(&file).is_ok_and(|now| now == import.identity.stamp)
    };
    if marker.imports.iter().any(unchanged) {
        return Ok(());
    }
    let advice = format!(
        "Stop the Python cell, then run `crm-cell import-legacy {}`; or set CRM_LEGACY=ignore to start without its data",
        file.display()
    );
    if !is_the_python_cells(&file).await.with_context(|| advice.clone())? {
        return Ok(());
    }
    let identity = Identity::of(&file)?;
    match marker.find(&file, &identity) {
        Some(import) if import.is_complete && import.identity.sha256 == identity.sha256 => Ok(()),
        Some(import) if import.is_complete => bail!(
            "{} is a database of the Python cell that was changed since it was imported at {}. {advice}. Importing again \
             adds only what is new",
            file.display(),
            import.at
        ),
        Some(_) => bail!("the import of {} did not come to its end. {advice}", file.display()),
        None => bail!(
            "{} is a database of the Python cell that was not imported: its tenants would look empty. {advice}",
            file.display()
        ),
    }
}

async fn is_the_python_cells(file: &Path) -> anyhow::Result<bool> {
    if !has_sqlite_header(file)? {
        return Ok(false);
    }
    let source = Source::open(file).await?;
    let verdict = source.is_the_python_cells();
    source.close().await;
    Ok(verdict)
}
