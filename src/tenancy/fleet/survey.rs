//! A look at the data root: whether it is where and how it should be, and what in it belongs to nobody.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::tenancy::files::blocking;
use crate::tenancy::location::{SIDE_FILES, tenant_of};
use crate::tenancy::map::Tenants;
use crate::tenancy::root::{DataRoot, UNFINISHED};
use crate::tenancy::volume::{FileSystem, Trust};

/// A drill that is older than this is a promise that nobody keeps.
const OLD_DRILL: Duration = Duration::from_secs(3 * 24 * 3600);
/// Fewer files than this are too few for more than a handful of tenants.
const FEW_FILES: u64 = 1024;
/// Names that are listed of each kind of thing that is out of place.
const LISTED: usize = 5;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// It will cost data or availability.
    Problem,
}

/// Something that was looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remark {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub subject: String,
    /// What was found, and what to do.
    pub message: String,
}

#[derive(Default)]
struct Remarks(Vec<Remark>);

impl Remarks {
    fn add(&mut self, severity: Severity, subject: &str, message: impl Into<String>) {
        self.0.push(Remark { severity, subject: subject.to_owned(), message: message.into() });
    }

    /// Names some of the things that are out of place, if there are any.
    fn list(&mut self, severity: Severity, subject: &str, names: &[String], what_to_do: &str) {
        if names.is_empty() {
            return;
        }
        let more = names.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let some = names[..names.len().min(LISTED)].join(", ");
        self.add(severity, subject, format!("{some}{more}: {what_to_do}"));
    }
}

impl Tenants {
    /// Looks at the data root; no tenant is opened.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub async fn survey(&self) -> io::Result<Vec<Remark>> {
        let opener = self.opener_arc();
        let look = move || Ok((survey(&opener.root)?, opener.count_behind()));
        let (mut remarks, (missing, behind)) = blocking(look).await?;
        let now = self.opener().shared.clock.now();
        let copies = format!("{missing} tenants have none, of {behind} a change may be missing");
        let severity = if missing > 0 { Severity::Warning } else { Severity::Ok };
        remarks.push(Remark { severity, subject: "copies".to_owned(), message: copies });
        remarks.push(drill(self.last_drill().await, now));
        Ok(remarks)
    }
}

fn drill(last: Option<Timestamp>, now: Timestamp) -> Remark {
    let (severity, message) = match last {
        None => (
            Severity::Warning,
            "no copy was restored and compared yet: backup.drill_every says how often one is".to_owned(),
        ),
        Some(last) => {
            let is_old = now.since(last) > OLD_DRILL;
            let severity = if is_old { Severity::Warning } else { Severity::Ok };
            (severity, format!("a copy was last restored and compared at {last}"))
        }
    };
    Remark { severity, subject: "drill".to_owned(), message }
}

fn survey(root: &DataRoot) -> io::Result<Vec<Remark>> {
    let mut remarks = Remarks::default();
    volume(root.directory(), &mut remarks)?;
    modes(root, &mut remarks)?;
    limits(&mut remarks);
    let tenants = names(&root.tenants())?;
    let known: HashSet<&str> =
        tenants.iter().filter(|name| tenant_of(name).is_some()).map(String::as_str).collect();
    remarks.add(Severity::Ok, "tenants", format!("{} files", known.len()));
    let (sides, strange): (Vec<String>, Vec<String>) = tenants
        .iter()
        .filter(|name| !known.contains(name.as_str()) && !name.ends_with(UNFINISHED))
        .cloned()
        .partition(|name| SIDE_FILES.iter().any(|suffix| name.ends_with(suffix)));
    let orphans: Vec<_> = sides
        .into_iter()
        .filter(|name| {
            let files = SIDE_FILES.iter().filter_map(|suffix| name.strip_suffix(suffix));
            !files.into_iter().any(|file| known.contains(file))
        })
        .collect();
    remarks.list(
        Severity::Problem,
        "tenants/",
        &orphans,
        "the file is missing that this belongs to; put it back, or move this away",
    );
    remarks.list(Severity::Warning, "tenants/", &strange, "this is no tenant's file; move it away");
    let orphans: Vec<_> =
        names(&root.copies())?.into_iter().filter(|name| !known.contains(name.as_str())).collect();
    remarks.list(
        Severity::Warning,
        "copies/",
        &orphans,
        "a copy of a tenant that has no file; restore it (`crm-cell restore TENANT --copy`) or remove it",
    );
    remarks.list(
        Severity::Warning,
        "incoming/",
        &names(&root.incoming())?,
        "this is promoted at the next start, or was refused at the last one; the log says why",
    );
    let loose: Vec<_> = fs::read_dir(root.trash())?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    remarks.list(
        Severity::Warning,
        "trash/",
        &loose,
        "left of a file that was replaced while it was open; it may hold rows. Remove it when nobody misses any",
    );
    Ok(remarks.0)
}

fn volume(directory: &Path, remarks: &mut Remarks) -> io::Result<()> {
    let FileSystem { name, trust, block } = FileSystem::of(directory)?;
    let disk = statvfs(directory)?;
    let (severity, message) = match trust {
        Trust::Local => (Severity::Ok, format!("{name}, blocks of {block} bytes")),
        Trust::Unsure => {
            let asked = "it must be a local one, with shared memory and working locks";
            (Severity::Warning, format!("{name}: {asked}"))
        }
        Trust::Unfit => {
            let to_do = "SQLite's WAL needs a local file system; move the data root to one";
            (Severity::Problem, format!("{name}: {to_do}"))
        }
    };
    remarks.add(severity, "file system", message);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let size = disk.f_blocks.saturating_mul(disk.f_frsize).max(1);
    let text = format!("{} of {} are free", ByteSize(free), ByteSize(size));
    let severity = match free * 100 / size {
        0..3 => Severity::Problem,
        3..10 => Severity::Warning,
        _ => Severity::Ok,
    };
    remarks.add(severity, "disk", text);
    if disk.f_files > 0 && disk.f_favail * 100 / disk.f_files < 5 {
        remarks.add(
            Severity::Problem,
            "disk",
            "fewer than 5 % of its inodes are free: no more files can be made soon",
        );
    }
    Ok(())
}

fn modes(root: &DataRoot, remarks: &mut Remarks) -> io::Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    let (mut closed, mut wide) = (Vec::new(), Vec::new());
    let mut look = |path: &Path, may: u32| -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        let is_wide = metadata.permissions().mode() & 0o777 & !may != 0;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match access(path, Access::READ_OK | Access::WRITE_OK) {
            Err(Errno::ACCESS | Errno::PERM) => closed.push(format!("{name} (user {}'s)", metadata.uid())),
            _ if is_wide || metadata.uid() != owner && owner != 0 => wide.push(name),
            _ => {}
        }
        Ok(())
    };
    look(root.directory(), 0o700)?;
    for entry in fs::read_dir(root.tenants())? {
        // Gone by now: a WAL.
        let _gone = look(&entry?.path(), 0o600);
    }
    let to_do =
        format!("the cell, which runs as user {owner}, cannot read and write this: chown it to that user");
    remarks.list(Severity::Problem, "modes", &closed, &to_do);
    remarks.list(
        Severity::Warning,
        "modes",
        &wide,
        "others than the cell's user may enter or read this; chown it to that user, chmod go= it",
    );
    Ok(())
}

fn limits(remarks: &mut Remarks) {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let severity = if files < FEW_FILES { Severity::Warning } else { Severity::Ok };
    remarks.add(severity, "limits", format!("{files} open files (ulimit -n)"));
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
