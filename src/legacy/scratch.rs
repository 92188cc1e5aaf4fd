//! Where a dry run writes: a data root of its own, with copies of the tenants that it would add to. What it reports is what
//! the import would do, because it is the import.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::domain::TenantId;
use crate::tenancy::{self, DataRoot};

/// A data root that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// Copies the files of `tenants` out of a data root that no cell uses. Nothing in it is changed.
    ///
    /// # Errors
    /// A cell uses it, or a file cannot be copied.
    pub(super) fn of(data_root: &Path, tenants: &BTreeSet<&TenantId>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for the dry run")?;
        let _guard = DataRoot::guard(data_root)?;
        let (from, to) = (data_root.join("tenants"), directory.path().join("tenants"));
        std::fs::create_dir(&to)?;
        for tenant in tenants {
            let name = tenancy::file_name(tenant);
            for part in [name.clone(), format!("{name}-wal"), format!("{name}-journal")] {
                let copied = copy(&from.join(&part), &to.join(&part));
                copied.with_context(|| format!("cannot copy {part} for the dry run"))?;
            }
        }
        Ok(Self(directory))
    }

    pub(super) fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// Copies a file, if it is there. Byte by byte, which is right only because nobody has it open.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = match File::open(from) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    io::copy(&mut source, &mut File::create_new(to)?).map(|_| ())
}
