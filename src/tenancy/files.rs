//! What the tenants' directories need of a file system: names that replace nothing, and that outlast a power loss.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Renames a file to a name that is free. Where somebody else's file has it, fails with `AlreadyExists`.
pub(super) fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The kernel or the file system does not know the flag. A link replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_and_remove(from, to),
        renamed => Ok(renamed?),
    }
}

/// A crash in between leaves both names; an unfinished tenant's first one is removed at the next start.
fn link_and_remove(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    remove_if_there(from).inspect_err(|_| drop(fs::remove_file(to)))
}

/// Writes a file of this content, for this user alone, where there is none.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    Ok(file)
}

/// Removes a file; that there is none is no error.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes an empty file, for this user alone, in place of one that may be there.
pub(super) fn make_anew(path: &Path) -> io::Result<File> {
    remove_if_there(path)?;
    write_new(path, b"")
}

/// Runs what waits for the disk where it holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// Makes a directory where there is none, and those above it, for this user alone; their names are durable.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_directory_of(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_moved_to_a_free_name_only() {
        for move_new in [move_new, link_and_remove] {
            let directory = tempfile::tempdir().expect("a directory");
            let [ours, theirs, free] = ["ours", "theirs", "free"].map(|name| directory.path().join(name));
            fs::write(&ours, "ours").expect("written");
            fs::write(&theirs, "theirs").expect("written");

            let refused = move_new(&ours, &theirs).expect_err("the name is taken");
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&theirs).expect("there"), "theirs");

            move_new(&ours, &free).expect("the name is free");
            assert_eq!(fs::read_to_string(&free).expect("there"), "ours");
            assert!(!ours.exists());
        }
    }

    #[test]
    fn directories_are_made_where_they_are_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b");
        make_directory(&path).expect("made");
        make_directory(&path).expect("is there");
        assert!(path.is_dir());
        fs::write(path.join("c"), "").expect("written");
        make_directory(&path.join("c/d")).expect_err("a file is no directory");
    }
}
