//! Finishing what was broken off in the trash: at once where the process lives, else at the next start.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

use super::trash::{Kind, Trash, UNDELETING};
use crate::domain::{TenantId, Timestamp};
use crate::tenancy::location::{file_name, tenant_of};
use crate::tenancy::root::DataRoot;

impl Trash {
    /// Finishes what was broken off on a tenant a moment ago, if it had really begun; else removes what is left of it. Says
    /// whether it is done.
    pub(in crate::tenancy) fn settle_tenant(
        &self,
        tenant: &TenantId,
        root: &DataRoot,
        now: Timestamp,
    ) -> io::Result<bool> {
        let (file, incoming) = (root.tenant_file(tenant), root.incoming_file(tenant));
        let doing = |kind: Kind| self.doing(tenant, kind.doing());
        if doing(Kind::Replaced).try_exists()? {
            if root.unfinished_file(tenant).try_exists()? {
                // The new file has not left the place where it was made.
                fs::remove_dir(doing(Kind::Replaced))?;
                return Ok(false);
            }
            if incoming.try_exists()? {
                self.replace(tenant, &file, &incoming, now)?;
            } else {
                self.finish_replace(&doing(Kind::Replaced), tenant, now)?;
            }
        } else if self.doing(tenant, UNDELETING).try_exists()? {
            self.finish_undelete(&self.doing(tenant, UNDELETING), tenant, &file)?;
        } else if doing(Kind::Deleted).join(file_name(tenant)).try_exists()? {
            self.finish_delete(&doing(Kind::Deleted), tenant, &file, &root.copy_file(tenant), now)?;
        } else {
            match fs::remove_dir_all(doing(Kind::Deleted)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Finishes what an earlier process had begun. `tenants` and `copies` are the directories of the files, `incoming`
    /// that of those that are to take their places.
    pub(in crate::tenancy) fn settle(
        &self,
        tenants: &Path,
        copies: &Path,
        incoming: &Path,
        now: Timestamp,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let of = |ending| name.strip_suffix(ending).and_then(|file: &str| Some((tenant_of(file)?, file)));
            let (tenant, settled) = if let Some((tenant, file)) = of(Kind::Deleted.doing()) {
                let settled = if path.join(file).try_exists()? {
                    self.finish_delete(&path, &tenant, &tenants.join(file), &copies.join(file), now)
                } else {
                    fs::remove_dir_all(&path)
                };
                (tenant, settled)
            } else if let Some((tenant, file)) = of(UNDELETING) {
                let settled = self.finish_undelete(&path, &tenant, &tenants.join(file));
                (tenant, settled)
            } else if let Some((tenant, file)) = of(Kind::Replaced.doing()) {
                let place = tenants.join(file);
                let settled = if place.try_exists()? || !path.join(file).try_exists()? {
                    // The new one is in place, or the old one never left it, or there was none.
                    self.finish_replace(&path, &tenant, now)
                } else if incoming.join(file).try_exists()? {
                    Ok(()) // the promotion goes on
                } else {
                    self.put_back(&tenant, &place)
                };
                (tenant, settled)
            } else {
                continue;
            };
            if let Err(error) = settled {
                // One tenant's trouble is not the others'.
                let error = &error as &dyn Error;
                tracing::error!(tenant_id = %tenant, error, "an operation that was broken off cannot be finished");
                self.close_off(&tenant);
            }
        }
        Ok(())
    }
}
