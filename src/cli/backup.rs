//! `crm-cell backup` and `crm-cell backups`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::console::{Console, ConsoleArgs, Ending, moment, size, table, text};
use crate::config::Config;
use crate::domain::TenantId;

/// Back tenants up into a directory with a manifest and SHA-256 sums, while they serve
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Tenants' ids
    #[arg(value_name = "TENANT", required_unless_present = "all", conflicts_with = "all")]
    tenants: Vec<TenantId>,
    /// All tenants, suspended ones too
    #[arg(long)]
    all: bool,
    /// Into a new directory in this one; absent: in backups/ of the data root
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Then remove backups there whose tenants have this many newer ones each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

pub(super) fn run(
    args: BackupArgs,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let BackupArgs { tenants, all, to, keep } = args;
    let directory = to.map(|to| working_directory.join(to));
    let body = json!({ "tenants": (!all).then_some(tenants), "directory": directory, "keep": keep });
    Console::run(console, config, working_directory, async |console| {
        let mut failures = Vec::new();
        let done = console.watch(&["backups"], &body, |step| {
            if !step["error"].is_null() {
                failures.push(format!(
                    "{} is not in the backup: {}",
                    text(&step["tenant"]),
                    text(&step["error"])
                ));
            }
        });
        let done = done.await?;
        console.print(&done, |done| {
            let manifest = &done["manifest"];
            let bytes = total(manifest);
            let count = manifest["tenants"].as_array().map_or(0, Vec::len);
            let mut said = format!("{}\n{count} tenants, {}", text(&done["path"]), size(&bytes));
            for removed in done["removed"].as_array().into_iter().flatten() {
                said += &format!("\nremoved {}", text(removed));
            }
            said
        })?;
        for failure in &failures {
            eprintln!("crm-cell: {failure}");
        }
        Ok(if failures.is_empty() { Ending::Done } else { Ending::Partly })
    })
}

fn total(manifest: &Value) -> Value {
    let sizes =
        manifest["tenants"].as_array().into_iter().flatten().filter_map(|entry| entry["bytes"].as_u64());
    sizes.sum::<u64>().into()
}

/// List backups, the newest first
#[derive(Debug, Args)]
pub(super) struct BackupsArgs {
    /// Those that hold this tenant
    #[arg(value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Those in this directory; absent: in backups/ of the data root
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

pub(super) fn list(
    args: BackupsArgs,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let BackupsArgs { tenant, from } = args;
    let directory = from.map(|from| working_directory.join(from).to_string_lossy().into_owned());
    let mut query = Vec::new();
    query.extend(directory.map(|directory| ("directory", directory)));
    query.extend(tenant.map(|tenant| ("tenant", tenant.to_string())));
    Console::run(console, config, working_directory, async |console| {
        let backups = console.admin.get(&["backups"], &query).await?;
        console.print(&backups, |backups| {
            let mut table = table(&["BACKUP", "MADE", "TENANTS", "NOT IN IT", "SIZE"]);
            for item in backups["items"].as_array().into_iter().flatten() {
                let manifest = &item["manifest"];
                let count = |list: &Value| list.as_array().map_or(0, Vec::len).to_string();
                table.add_row([
                    text(&item["name"]),
                    moment(&manifest["madeAt"]),
                    count(&manifest["tenants"]),
                    count(&manifest["failed"]),
                    size(&total(manifest)),
                ]);
            }
            table.to_string()
        })?;
        Ok(Ending::Done)
    })
}
