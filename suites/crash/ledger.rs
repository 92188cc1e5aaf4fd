//! All writes of a run, and what the files of their tenants hold.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::rows::{self, Rows};
use crate::verdict::{Verdict, compare};
use crate::workload::{Fate, Write};

/// The writes to each tenant, in the order of each writer.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<String, Vec<Write>>);

impl Ledger {
    pub(crate) fn add(&mut self, writes: impl IntoIterator<Item = Write>) {
        for write in writes {
            self.0.entry(write.tenant.clone()).or_default().push(write);
        }
    }

    pub(crate) fn tenants(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(crate) fn of(&self, tenant: &str) -> Vec<&Write> {
        self.0.get(tenant).into_iter().flatten().collect()
    }

    pub(crate) fn writes(&self) -> impl Iterator<Item = &Write> {
        self.0.values().flatten()
    }

    pub(crate) fn writes_mut(&mut self) -> impl Iterator<Item = &mut Write> {
        self.0.values_mut().flatten()
    }
}

/// What the files of some tenants hold; a tenant without a file holds nothing.
#[derive(Debug)]
pub(crate) struct Files(BTreeMap<String, Rows>);

impl Files {
    /// Reads copies of the files in the tenants' directory of a cell that is gone.
    pub(crate) async fn read<'t>(
        directory: &Path,
        tenants: impl IntoIterator<Item = &'t String>,
    ) -> anyhow::Result<Self> {
        let scratch = scratch()?;
        let mut files = BTreeMap::new();
        for tenant in tenants {
            rows::copy(directory, tenant, scratch.path())?;
            let path = scratch.path().join(format!("{tenant}.db"));
            let rows = if path.exists() {
                Rows::read(&path, tenant).await.with_context(|| format!("the file of {tenant}"))?
            } else {
                Rows::default()
            };
            files.insert(tenant.clone(), rows);
        }
        Ok(Self(files))
    }

    /// Whether a write has taken place.
    pub(crate) fn hold(&self, write: &Write) -> bool {
        self.0.get(&write.tenant).is_some_and(|rows| rows.answers.contains(&write.request_id))
    }

    /// Holds the files against what clients were told. Fails if anything differs.
    pub(crate) fn compare(&self, ledger: &Ledger) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        for (tenant, rows) in &self.0 {
            let is_acknowledged = |write: &Write| matches!(write.fate, Fate::Acknowledged(_));
            verdict += compare(rows, &ledger.of(tenant), is_acknowledged);
        }
        verdict.check()?;
        Ok(verdict)
    }
}

/// A directory in memory, if there is such a thing: what lies there is thrown away.
pub(crate) fn scratch() -> std::io::Result<TempDir> {
    let mut name = tempfile::Builder::new();
    name.prefix("crash-");
    name.tempdir_in("/dev/shm").or_else(|_| name.tempdir())
}
