//! `incoming/`: files that are to take tenants' places, put there by operators while the cell is stopped, or by a restore.
//!
//! A file stays in `incoming/` until nothing of the old one is in its place. So whatever breaks a promotion off, the next
//! start finds the new file, and finishes it. A file that cannot be promoted gets another name there, and the tenant is as it
//! was.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{Access, Timespec, Timestamps, UTIME_NOW, access, futimens};

use crate::domain::TenantId;
use crate::tenancy::copies::Content;
use crate::tenancy::files::{make_anew, sync_directory_of};
use crate::tenancy::location::{SIDE_FILES, side_file, tenant_of, time_in_name};
use crate::tenancy::open::Opener;
use crate::tenancy::schema;

impl Opener {
    /// Finishes what an earlier process had begun, then promotes what lies in `incoming/`. No tenant may be open yet.
    ///
    /// # Errors
    /// A directory cannot be read or written. A file that cannot be promoted is none: it is logged, and stays.
    pub(in crate::tenancy) async fn settle(&self) -> anyhow::Result<()> {
        let (root, now) = (&self.root, self.shared.clock.now());
        let (tenants, copies, incoming) = (root.tenants(), root.copies(), root.incoming());
        self.trash
            .settle(&tenants, &copies, &incoming, now)
            .context("finishing what was broken off: look into trash/")?;
        for entry in fs::read_dir(root.backups()).context("reading backups/")? {
            let path = entry.context("reading backups/")?.path();
            if path.to_string_lossy().ends_with(super::backups::UNFINISHED) {
                fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        let entries = fs::read_dir(&incoming).context("reading incoming/")?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.context("reading incoming/")?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in names.iter().filter(|name| !is_side_file(name, &names)) {
            let Some(tenant) = tenant_of(name) else {
                tracing::error!(
                    file = name,
                    "incoming/ has a file that is no tenant's: a tenant's file is named after its id"
                );
                continue;
            };
            match self.promote(&tenant).await {
                Ok(content) => tracing::warn!(
                    tenant_id = %tenant,
                    schema_version = content.schema_version,
                    journal_head = content.journal_head,
                    "promoted from incoming/: the old file is in trash/"
                ),
                Err(error) => {
                    tracing::error!(
                        tenant_id = %tenant,
                        error = &*error as &(dyn Error + 'static),
                        "a file in incoming/ cannot take the tenant's place: it stays there, as .refused"
                    );
                    let back = self
                        .set_aside(&tenant)
                        .and_then(|()| self.trash.put_back(&tenant, &root.tenant_file(&tenant)));
                    if let Err(error) = back {
                        let error = &error as &dyn Error;
                        tracing::error!(tenant_id = %tenant, error, "the old file cannot be put back: its tenant is not served");
                        self.trash.close_off(&tenant);
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at the tenant's file in `incoming/`, all of it, and gives it the tenant's place.
    async fn promote(&self, tenant: &TenantId) -> anyhow::Result<Content> {
        let new = self.root.incoming_file(tenant);
        let is_plain = fs::symlink_metadata(&new)?.is_file();
        ensure!(is_plain, "it is no plain file");
        if access(&new, Access::READ_OK | Access::WRITE_OK).is_err() {
            bail!("the cell's user cannot read and write it: give it to that user (chown)");
        }
        if SIDE_FILES.iter().any(|suffix| side_file(&new, suffix).exists()) {
            // The files of a cell that was killed, say. Closing it brings its rows home.
            schema::use_wal(&new).await.context("bringing the rows of its -wal home")?;
            let left = SIDE_FILES.iter().any(|suffix| side_file(&new, suffix).exists());
            ensure!(!left, "what lies beside it (-wal, -journal) cannot be brought home");
        }
        // Made anew beside: the operator's file may have other names, and is not changed while anything can go wrong.
        let made = self.root.unfinished_file(tenant);
        make_anew(&made)?;
        schema::copy_resting(&new, &made).await.context("reading it")?;
        let content = self.check_copy(tenant, &made).await?;
        schema::remove_views(&made).await.context("taking the views for other tools off")?;
        make_ready(&made)?;
        fs::rename(&made, &new)?;
        sync_directory_of(&new)?;
        let (file, now) = (self.root.tenant_file(tenant), self.shared.clock.now());
        self.trash.replace(tenant, &file, &new, now)?;
        Ok(content)
    }

    /// Gives a file that was refused, and what lies beside it, names under which it is not tried again: by then its tenant would
    /// have gone on.
    fn set_aside(&self, tenant: &TenantId) -> io::Result<()> {
        let new = self.root.incoming_file(tenant);
        let refused = format!(".refused-{}", time_in_name(self.shared.clock.now()));
        for suffix in [""].into_iter().chain(SIDE_FILES) {
            let file = side_file(&new, suffix);
            match fs::rename(&file, side_file(&file, &refused)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_directory_of(&new)
    }
}

/// Whether the name is that of what SQLite keeps beside another of these files.
fn is_side_file(name: &str, names: &[String]) -> bool {
    SIDE_FILES
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .any(|file| names.iter().any(|name| name == file))
}

/// Makes a file durable that is to become a tenant's. It is new from now on, however old its content: or the copy of the old
/// one would be taken for its copy.
pub(super) fn make_ready(new: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(new)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    futimens(&file, &Timestamps { last_access: now, last_modification: now })?;
    file.sync_all()?;
    sync_directory_of(new)
}
