//! `crm-cell restore`.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::console::{Console, ConsoleArgs, Ending, moment, table, text};
use crate::config::Config;
use crate::domain::TenantId;

/// Make a tenant what it was, from its newest backup or what is named; what it is now is kept, and --undo brings it back
///
/// The file is made and checked beside. Only then the tenant is taken out of use, for as long as renaming takes. Its state (active, read-only,
/// suspended), the reason for it and its protection stay as they are.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The tenant's id
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
    /// From this backup: a name that `crm-cell backups` lists; absent: the newest that holds the tenant
    #[arg(long, value_name = "BACKUP", group = "source")]
    backup: Option<String>,
    /// From a backup in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["copy", "undo", "file"])]
    from: Option<PathBuf>,
    /// From its file in copies/
    #[arg(long, group = "source")]
    copy: bool,
    /// From this file
    #[arg(long, value_name = "FILE.db", group = "source")]
    file: Option<PathBuf>,
    /// From what the last restore took the place of
    #[arg(long, group = "source")]
    undo: bool,
    /// Change nothing; show how schema and rows would change
    #[arg(long)]
    preview: bool,
}

/// A backup as a source.
pub(super) fn backup(name: &str, directory: Option<&Path>, working_directory: &Path) -> Value {
    let directory = directory.map(|directory| working_directory.join(directory));
    json!({ "kind": "backup", "name": (name != "latest").then_some(name), "directory": directory })
}

pub(super) fn run(
    args: RestoreArgs,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let RestoreArgs { tenant, backup, from, copy, file, undo, preview } = args;
    let source = match file {
        Some(file) => json!({ "kind": "file", "path": working_directory.join(file) }),
        None if copy => json!({ "kind": "copy" }),
        None if undo => json!({ "kind": "undo" }),
        None => self::backup(backup.as_deref().unwrap_or("latest"), from.as_deref(), working_directory),
    };
    let body = json!({ "source": source, "preview": preview });
    Console::run(console, config, working_directory, async |console| {
        let restored =
            console.admin.send(Method::POST, &["tenants", tenant.as_str(), "restore"], &body).await?;
        console.print(&restored, |restored| {
            let mut table = table(&["", "BEFORE", "AFTER"]);
            let mut add = |name: &str, difference: &Value| {
                table.add_row([name.to_owned(), text(&difference["before"]), text(&difference["after"])]);
            };
            add("schema version", &restored["schema"]);
            add("last journal entry", &restored["journal"]);
            for (name, difference) in restored["rows"].as_object().into_iter().flatten() {
                add(&format!("rows of {name}"), difference);
            }
            let done = if restored["preview"] == true { "would be restored" } else { "is restored" };
            let (tenant, from) = (text(&restored["tenant"]), text(&restored["from"]));
            format!("{tenant} {done} from {from}, as of {}\n\n{table}", moment(&restored["asOf"]))
        })?;
        match restored["problem"].as_str() {
            Some(problem) => {
                eprintln!("crm-cell: it is restored, and does not serve: {problem}");
                Ok(Ending::Partly)
            }
            None => Ok(Ending::Done),
        }
    })
}
