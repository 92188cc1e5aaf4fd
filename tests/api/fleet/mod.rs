//! What operators do to tenants, by the command line, while the cell serves and while it does not (contract §4).

mod backups;
mod doctor;
mod freeze;
mod incoming;
mod life;
mod lists;
mod log;
mod tcp;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::Cell;

/// A data root's operator, and the commands they give.
pub struct Operator<'a>(pub &'a Path);

/// What came of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub value: Value,
    pub said: String,
}

impl Operator<'_> {
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Cell::command(self.0);
        command.args(arguments).env("USER", "zhang").stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command
    }

    /// Runs a command, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("the binary runs");
        Ran {
            code: status.code().expect("an exit code"),
            value: serde_json::from_slice(&stdout).unwrap_or_default(),
            said: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Value {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.value
    }

    /// Runs a command that must fail so; returns what it said.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.said.starts_with("crm-cell: "), "{ran:?}");
        ran.said
    }
}

/// A directory whose data root there is already.
pub fn data_root() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("crm_cell");
    std::fs::create_dir(&root).expect("made");
    (directory, root)
}

/// The names of the customers in a file that nobody uses.
pub fn names(file: &Path) -> BTreeSet<String> {
    let uri = format!("file:{}?immutable=1", file.display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let connection = rusqlite::Connection::open_with_flags(uri, flags).expect("a database");
    let sound: String =
        connection.query_row("pragma integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(sound, "ok", "{}", file.display());
    let mut names =
        connection.prepare("select name from customers where deleted_at is null").expect("a statement");
    let names = names.query_map([], |row| row.get(0)).expect("rows");
    names.collect::<Result<_, _>>().expect("names")
}

/// The only entry of a directory.
#[track_caller]
pub fn only_entry(directory: &Path) -> PathBuf {
    let entries: Vec<_> =
        std::fs::read_dir(directory).expect("readable").map(|it| it.expect("it").path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.into_iter().next().expect("one")
}
