//! The way here from the Python cell: its one database becomes one file per tenant.
//!
//! - `source` reads that database, and never changes it.
//! - `naming` gives its tenants ids of this cell.
//! - `map` turns a row into a record, with `repair` for fields and `rule` for what was done: pure functions.
//! - `import` writes records, and where each row went, in one transaction for each chunk.
//! - `report` accounts for every row.
//! - `marker` remembers which files were imported; a cell does not start beside one that was not.

mod import;
mod map;
mod marker;
mod naming;
mod repair;
mod report;
mod rule;
mod scratch;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use self::import::Import;
pub use self::marker::check_start;
use self::marker::{Identity, Marker};
pub use self::naming::TenantNames;
pub use self::report::{Report, Totals};
use self::scratch::Scratch;
use self::source::Source;
use crate::config;
use crate::domain::TenantId;
use crate::tenancy::{Capacity, DataRoot, Surroundings, Tenants};

/// How long the last tenants may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// What is imported, and where to.
#[derive(Debug)]
pub struct Order {
    /// The database of the Python cell.
    pub file: PathBuf,
    /// The ids that tenants are to have here, by their old ones.
    pub map: BTreeMap<String, TenantId>,
    /// Write nothing.
    pub dry_run: bool,
    /// The data root.
    pub data_root: PathBuf,
    /// How the tenants' files are opened; `LOCK` is waited for as long as this says.
    pub storage: config::Storage,
    /// How tenants are created, and whose rows are that belong to none.
    pub tenants: config::Tenants,
    /// How many tenants may be open at once.
    pub capacity: Capacity,
    /// The clock and the ids.
    pub surroundings: Surroundings,
}

/// Imports a database of the Python cell, or the rest of it if some was imported before. `begin` is told how many rows
/// there are, `progress` how many more are done.
///
/// # Errors
/// The file is not such a database, the data root is in use, or a tenant cannot be written. What was written until then
/// stays, and running it again does the rest.
pub async fn import(
    order: Order,
    report: &mut Report,
    begin: impl FnOnce(u64),
    mut progress: impl FnMut(u64),
) -> anyhow::Result<()> {
    let Order { file, map, dry_run, data_root, storage, tenants, capacity, surroundings } = order;
    let file = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
    // Before SQLite has it open: see `Identity::of`.
    let identity = Identity::of(&file)?;
    let mut source = Source::open(&file).await?.check()?;
    let old = source.tenants().await?;
    let before = Marker::read(&data_root)?;
    let before = before.tenants();
    let names = naming::names(old.iter().map(String::as_str), &map, &before)?;
    let default = tenants.default_id.clone();
    let targets: BTreeSet<_> = names.values().chain([&default]).collect();
    let scratch = if dry_run { Some(Scratch::of(&data_root, &targets)?) } else { None };
    let data_root = scratch.as_ref().map_or(data_root, |scratch| scratch.directory().to_owned());

    let root = DataRoot::open(&data_root, storage.lock_wait).await?;
    let now = surroundings.clock.now();
    let mut marker = Marker::read(&data_root)?;
    let mut done = marker::Import { file, identity, at: now, is_complete: false, tenants: names.clone() };
    marker.put(&data_root, done.clone())?;
    let map = Tenants::open(root, &storage, &tenants, capacity, surroundings).await?;
    report.set_tenants(names.clone());
    begin(source.tables().iter().map(|table| table.rows).sum());
    let import = Import { tenants: &map, names: &names, default: &default, report, progress: &mut progress };
    let outcome = import.run(&mut source).await;
    source.close().await;
    let still_open = map.close(CLOSE_LIMIT).await;
    outcome?;
    ensure!(still_open == 0, "{still_open} tenants could not be closed; run the import again");
    done.is_complete = true;
    marker.put(&data_root, done)
}
