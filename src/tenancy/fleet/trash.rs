//! `trash/`: what was taken out of `tenants/`, each in a directory of its own, until its time is over.
//!
//! `<file>.deleted-<time>/` holds a deleted tenant: its file, its copy, and `about.json`. `<file>.replaced-<time>/` holds the
//! file that another one took the place of. A directory with the name of what is being done (`<file>.deleting`, …) is
//! that of an operation that has not ended: the next start finishes it, or undoes it if it had not really begun.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::domain::{TenantId, Timestamp};
use crate::tenancy::files::{make_directory, move_new, remove_if_there, sync_directory_of, write_new};
use crate::tenancy::location::{SIDE_FILES, file_name, side_file, tenant_of, time_in_name, time_of_name};
use crate::tenancy::root::DataRoot;

/// In a deleted tenant's directory: who deleted it and why.
const ABOUT: &str = "about.json";
/// In a deleted tenant's directory: its copy.
const COPY: &str = "copy";

/// What is kept in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A deleted tenant.
    Deleted,
    /// A file that another one took the place of.
    Replaced,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Deleted => ".deleted-",
            Self::Replaced => ".replaced-",
        }
    }

    /// The ending of a directory that is being filled.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Deleted => ".deleting",
            Self::Replaced => ".replacing",
        }
    }
}

/// The ending of a directory that is being emptied, to bring its tenant back.
pub(super) const UNDELETING: &str = ".undeleting";

/// Something in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Discarded {
    /// Whose file it was.
    pub tenant: TenantId,
    /// What it is.
    pub kind: Kind,
    /// Since when it is there.
    pub at: Timestamp,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// The name of its directory.
    pub name: String,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// Why a tenant was deleted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::tenancy) struct About {
    pub(in crate::tenancy) reason: Option<String>,
}

/// The directory.
#[derive(Debug)]
pub(in crate::tenancy) struct Trash {
    pub(super) directory: PathBuf,
    /// The deleted tenants, by the directory that holds each: they are not made anew by whoever asks for them.
    deleted: RwLock<HashMap<TenantId, PathBuf>>,
    /// Tenants on which an operation was broken off and could not be finished: nothing is opened or made in their places.
    closed_off: RwLock<HashSet<TenantId>>,
}

impl Trash {
    /// What is in `directory`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(in crate::tenancy) fn open(directory: PathBuf) -> io::Result<Self> {
        let mut deleted: HashMap<TenantId, (Timestamp, PathBuf)> = HashMap::new();
        for (kind, tenant, at, path) in finished(&directory)? {
            let is_older = deleted.get(&tenant).is_some_and(|(other, _)| *other > at);
            if kind == Kind::Deleted && !is_older {
                deleted.insert(tenant, (at, path));
            }
        }
        let deleted = deleted.into_iter().map(|(tenant, (_, path))| (tenant, path)).collect();
        Ok(Self { directory, deleted: RwLock::new(deleted), closed_off: RwLock::default() })
    }

    /// Whether the tenant was deleted and can be brought back.
    pub(in crate::tenancy) fn holds(&self, tenant: &TenantId) -> bool {
        self.deleted.read().unwrap_or_else(PoisonError::into_inner).contains_key(tenant)
    }

    /// Nothing may be opened or made in the tenant's place, before the next start finishes what was broken off.
    pub(in crate::tenancy) fn close_off(&self, tenant: &TenantId) {
        self.closed_off.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
    }

    /// Whether that is so.
    pub(in crate::tenancy) fn is_closed_off(&self, tenant: &TenantId) -> bool {
        self.closed_off.read().unwrap_or_else(PoisonError::into_inner).contains(tenant)
    }

    /// What is kept of a deleted tenant, last of all.
    pub(in crate::tenancy) fn deleted(&self, tenant: &TenantId) -> io::Result<Option<Discarded>> {
        let Some(path) = self.directory_of(tenant) else { return Ok(None) };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = parse(&name).map(|(kind, tenant, at)| discarded(kind, tenant, at, &path));
        found.transpose().map(Option::flatten)
    }

    /// Everything that is in the trash, the oldest first.
    pub(in crate::tenancy) fn list(&self) -> io::Result<Vec<Discarded>> {
        let mut all = Vec::new();
        for (kind, tenant, at, path) in finished(&self.directory)? {
            all.extend(discarded(kind, tenant, at, &path)?);
        }
        all.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
        Ok(all)
    }

    /// Where the file is that was discarded.
    pub(in crate::tenancy) fn file_of(&self, discarded: &Discarded) -> PathBuf {
        self.directory.join(&discarded.name).join(file_name(&discarded.tenant))
    }

    /// Takes a tenant's file, all that lies beside it, and its copy, out of `file`'s directory. Once the file itself has been
    /// moved, it is deleted.
    pub(in crate::tenancy) fn delete(
        &self,
        tenant: &TenantId,
        file: &Path,
        copy: &Path,
        about: &About,
        now: Timestamp,
    ) -> io::Result<()> {
        let doing = self.doing(tenant, Kind::Deleted.doing());
        make_directory(&doing)?;
        let text = serde_json::to_vec(about)?;
        remove_if_there(&doing.join(ABOUT))?;
        write_new(&doing.join(ABOUT), &text)?.sync_all()?;
        sync_directory_of(&doing.join(ABOUT))?;
        failpoint!("delete.begun", |error| error);
        self.move_in(&doing, file)?;
        failpoint!("delete.moved", |error| error);
        self.finish_delete(&doing, tenant, file, copy, now)
    }

    pub(super) fn finish_delete(
        &self,
        doing: &Path,
        tenant: &TenantId,
        file: &Path,
        copy: &Path,
        now: Timestamp,
    ) -> io::Result<()> {
        move_sides(file, &doing.join(file.file_name().unwrap_or_default()))?;
        if copy.try_exists()? {
            fs::rename(copy, doing.join(COPY))?;
            sync_directory_of(copy)?;
        }
        let done = self.finish(doing, tenant, Kind::Deleted, now)?;
        self.deleted.write().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone(), done);
        Ok(())
    }

    /// Brings a deleted tenant's file back. The place must be free.
    pub(in crate::tenancy) fn undelete(&self, tenant: &TenantId, file: &Path) -> io::Result<()> {
        let path = self.directory_of(tenant).ok_or(io::ErrorKind::NotFound)?;
        let doing = self.doing(tenant, UNDELETING);
        fs::rename(&path, &doing)?;
        sync_directory_of(&doing)?;
        failpoint!("undelete.begun", |error| error);
        self.finish_undelete(&doing, tenant, file)
    }

    pub(super) fn finish_undelete(&self, doing: &Path, tenant: &TenantId, file: &Path) -> io::Result<()> {
        let name = doing.join(file.file_name().unwrap_or_default());
        // The file itself first: a WAL without its file would quarantine the tenant.
        match move_new(&name, file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // moved already
            moved => moved?,
        }
        failpoint!("undelete.moved", |error| error);
        move_sides(&name, file)?;
        sync_directory_of(file)?;
        // The copy is made anew.
        fs::remove_dir_all(doing)?;
        sync_directory_of(doing)?;
        self.deleted.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        Ok(())
    }

    /// Gives `new`, which is checked and durable, the tenant's place, by way of `incoming/`: from when it lies there the restore
    /// takes place, now or at the next start.
    pub(in crate::tenancy) fn restore(
        &self,
        tenant: &TenantId,
        root: &DataRoot,
        new: &Path,
        now: Timestamp,
    ) -> io::Result<()> {
        let incoming = root.incoming_file(tenant);
        // Whatever breaks this off, it says that what lies in `incoming/` is a restore's, and no operator's.
        make_directory(&self.doing(tenant, Kind::Replaced.doing()))?;
        move_new(new, &incoming)?;
        sync_directory_of(&incoming)?;
        failpoint!("restore.committed", |error| error);
        self.replace(tenant, &root.tenant_file(tenant), &incoming, now)
    }

    /// Moves a file, and all that lies beside it, out of the way of `new`, and gives that its name. The old one is kept.
    /// `new` stays where it is until nothing of the old one is in its place: if this is broken off, the next start sees both,
    /// and goes on.
    pub(in crate::tenancy) fn replace(
        &self,
        tenant: &TenantId,
        file: &Path,
        new: &Path,
        now: Timestamp,
    ) -> io::Result<()> {
        let doing = self.doing(tenant, Kind::Replaced.doing());
        make_directory(&doing)?;
        let old = doing.join(file.file_name().unwrap_or_default());
        self.move_in(&doing, file)?;
        failpoint!("promote.moved", |error| error);
        move_sides(file, &old)?;
        sync_directory_of(file)?;
        sync_directory_of(&old)?;
        failpoint!("promote.cleared", |error| error);
        move_new(new, file)?;
        sync_directory_of(file)?;
        sync_directory_of(new)?;
        failpoint!("promote.renamed", |error| error);
        self.finish_replace(&doing, tenant, now)
    }

    /// The file that was to come into a tenant's place cannot: puts the old one back, if it was moved already.
    pub(in crate::tenancy) fn put_back(&self, tenant: &TenantId, file: &Path) -> io::Result<()> {
        let doing = self.doing(tenant, Kind::Replaced.doing());
        let old = doing.join(file.file_name().unwrap_or_default());
        if !old.try_exists()? || file.try_exists()? {
            return Ok(());
        }
        // Its WAL, if it had one, may be in either place. The file itself goes last: the next start tries again.
        move_sides(&old, file)?;
        move_new(&old, file)?;
        sync_directory_of(file)?;
        fs::remove_dir_all(&doing)
    }

    pub(super) fn finish_replace(&self, doing: &Path, tenant: &TenantId, now: Timestamp) -> io::Result<()> {
        if fs::read_dir(doing)?.next().is_none() {
            return fs::remove_dir(doing); // there was nothing in its place
        }
        self.finish(doing, tenant, Kind::Replaced, now).map(drop)
    }

    /// Removes what has this name, for good.
    pub(in crate::tenancy) fn purge(&self, discarded: &Discarded) -> io::Result<Vec<String>> {
        let path = self.directory.join(&discarded.name);
        let mut removed = Vec::new();
        // What tells whose it is goes last: whatever is left after a crash is found again.
        let name = file_name(&discarded.tenant);
        let mut files = fs::read_dir(&path)?.collect::<Result<Vec<_>, _>>()?;
        files.sort_by_key(|file| file.file_name().to_string_lossy() == name);
        for file in files {
            failpoint!("purge.file", |error| error);
            fs::remove_file(file.path())?;
            removed.push(format!("trash/{}/{}", discarded.name, file.file_name().to_string_lossy()));
        }
        failpoint!("purge.emptied", |error| error);
        fs::remove_dir(&path)?;
        sync_directory_of(&path)?;
        if discarded.kind == Kind::Deleted {
            let mut deleted = self.deleted.write().unwrap_or_else(PoisonError::into_inner);
            deleted.remove(&discarded.tenant);
            // It may have been deleted more than once.
            for (kind, tenant, _, path) in finished(&self.directory)? {
                if kind == Kind::Deleted && tenant == discarded.tenant {
                    deleted.insert(tenant, path);
                }
            }
        }
        Ok(removed)
    }

    fn directory_of(&self, tenant: &TenantId) -> Option<PathBuf> {
        self.deleted.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    pub(super) fn doing(&self, tenant: &TenantId, ending: &str) -> PathBuf {
        self.directory.join(file_name(tenant) + ending)
    }

    /// Moves `file` into `doing`; that it is not there is no error.
    fn move_in(&self, doing: &Path, file: &Path) -> io::Result<()> {
        let target = doing.join(file.file_name().unwrap_or_default());
        match move_new(file, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        sync_directory_of(&target)?;
        sync_directory_of(file)
    }

    /// Gives a directory that is filled the name that it keeps.
    fn finish(&self, doing: &Path, tenant: &TenantId, kind: Kind, now: Timestamp) -> io::Result<PathBuf> {
        let name = format!("{}{}{}", file_name(tenant), kind.word(), time_in_name(now));
        let done = self.directory.join(name);
        fs::rename(doing, &done)?;
        sync_directory_of(&done)?;
        Ok(done)
    }
}

/// Gives what lies beside `from` the names of what would lie beside `to`.
fn move_sides(from: &Path, to: &Path) -> io::Result<()> {
    for suffix in SIDE_FILES {
        match fs::rename(side_file(from, suffix), side_file(to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What a directory in the trash holds; `None` if it is gone by now.
fn discarded(kind: Kind, tenant: TenantId, at: Timestamp, path: &Path) -> io::Result<Option<Discarded>> {
    let about =
        fs::read(path.join(ABOUT)).ok().and_then(|about| serde_json::from_slice::<About>(&about).ok());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let bytes = entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum();
    Ok(Some(Discarded { tenant, kind, at, reason: about.and_then(|about| about.reason), name, bytes }))
}

/// The directories in the trash that are complete.
fn finished(directory: &Path) -> io::Result<Vec<(Kind, TenantId, Timestamp, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir()
            && let Some((kind, tenant, at)) = parse(&name)
        {
            found.push((kind, tenant, at, entry.path()));
        }
    }
    Ok(found)
}

/// `acme.db.deleted-2026-11-23T15-30-00.000Z`.
fn parse(name: &str) -> Option<(Kind, TenantId, Timestamp)> {
    [Kind::Deleted, Kind::Replaced].into_iter().find_map(|kind| {
        let (file, time) = name.rsplit_once(kind.word())?;
        Some((kind, tenant_of(file)?, time_of_name(time)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_trash_say_whose_and_since_when() {
        let directory = tempfile::tempdir().expect("a directory");
        let trash = Trash::open(directory.path().to_owned()).expect("opened");
        let tenant: TenantId = "a.db.deleted-x".parse().expect("an id");
        let now = Timestamp::from_millis(1_763_900_000_123);
        let doing = trash.doing(&tenant, Kind::Deleted.doing());
        make_directory(&doing).expect("made");
        let done = trash.finish(&doing, &tenant, Kind::Deleted, now).expect("named");
        let name = done.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(parse(&name), Some((Kind::Deleted, tenant, now)));
        for other in ["acme.db.replaced-2026-11-23T15-30-00.000Z-wal", "acme.db.deleting", "x", ".deleted-"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
