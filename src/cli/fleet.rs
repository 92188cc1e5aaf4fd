//! Commands that concern all tenants: `freeze`, `thaw`, `catalog`, `audit`, `explain`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::console::{Console, ConsoleArgs, Ending, moment, table, text};
use crate::config::Config;
use crate::domain::TenantId;

/// Let no tenant's file change for a while, so that any tool may copy tenants/ or snapshot the volume; writes wait
///
/// Every WAL is emptied into its main file first. With a command behind --, files thaw as soon as that has ended. If it failed, or
/// the files had thawed before, so does this.
#[derive(Debug, Args)]
pub(super) struct FreezeArgs {
    /// For at most this long, 5m at the most: writes that wait longer than their clients do are lost to those
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    limit: Duration,
    /// Run this while files are frozen
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn freeze(
    args: FreezeArgs,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let FreezeArgs { limit, command } = args;
    Console::run(console, config, working_directory, async |console| {
        console.check_runs("freeze", "a stopped cell's files do not change anyhow")?;
        let body = json!({ "seconds": limit.as_secs().max(1) });
        let frozen = console.admin.send(Method::POST, &["freeze"], &body).await?;
        let Some((program, arguments)) = command.split_first() else {
            console.print(&frozen, |frozen| {
                format!("frozen until {}; `crm-cell thaw` ends it", moment(&frozen["until"]))
            })?;
            return Ok(Ending::Done);
        };
        let ran = Command::new(program).args(arguments).status();
        let thawed = console.admin.send(Method::DELETE, &["freeze"], &json!({})).await?;
        let ran = ran.with_context(|| format!("cannot run {program}"))?;
        ensure!(ran.success(), "{program} failed: {ran}");
        ensure!(
            thawed["wasFrozen"] == true,
            "the files had thawed before {program} ended: what it made may be of no use. Say --for a longer time"
        );
        Ok(Ending::Done)
    })
}

pub(super) fn thaw(
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    Console::run(console, config, working_directory, async |console| {
        let thawed = console.admin.send(Method::DELETE, &["freeze"], &json!({})).await?;
        let was_frozen = thawed["wasFrozen"] == true;
        console.print(&thawed, |_| {
            if was_frozen { "thawed".to_owned() } else { "nothing was frozen any more".to_owned() }
        })?;
        Ok(if was_frozen { Ending::Done } else { Ending::Partly })
    })
}

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// Make the list of tenants anew from their files: states, schema versions, reasons
    Rebuild,
}

pub(super) fn catalog(
    command: &CatalogCommand,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let CatalogCommand::Rebuild = command;
    Console::run(console, config, working_directory, async |console| {
        let (mut tenants, body) = (0, json!({}));
        let rebuilt = console.watch(&["catalog", "rebuild"], &body, |step| {
            tenants = step["of"].as_u64().unwrap_or_default();
        });
        let rebuilt = rebuilt.await?;
        let failed = rebuilt["failed"].as_u64().unwrap_or_default();
        console.print(&json!({ "tenants": tenants, "failed": failed }), |_| {
            format!("{tenants} tenants, {failed} of which cannot be opened: see the log")
        })?;
        Ok(if failed == 0 { Ending::Done } else { Ending::Partly })
    })
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List what operators did, the newest first
    List {
        /// To this tenant
        #[arg(value_name = "TENANT")]
        tenant: Option<TenantId>,
        /// At most this many entries, up to 1000
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Follow the chain of hashes through the operators' log: a line that was changed, removed or put in breaks it
    Verify {
        /// One of the entries must have this hash: keep the last one elsewhere to find out that the end was cut off
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

pub(super) fn audit(
    command: AuditCommand,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    Console::run(console, config, working_directory, async |console| {
        match command {
            AuditCommand::List { tenant, limit } => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(tenant.map(|tenant| ("tenant", tenant.to_string())));
                let log = console.admin.get(&["log"], &query).await?;
                console.print(&log, |log| {
                    let mut table =
                        table(&["NO", "AT", "OPERATOR", "VIA", "ACTION", "TENANT", "OUTCOME", "DETAIL"]);
                    for entry in log["items"].as_array().into_iter().flatten() {
                        let fields = ["operator", "via", "action", "tenant", "outcome", "detail"];
                        let row = [text(&entry["seq"]), moment(&entry["at"])].into_iter();
                        table.add_row(row.chain(fields.map(|field| text(&entry[field]))));
                    }
                    table.to_string()
                })?;
            }
            AuditCommand::Verify { head } => {
                let query: Vec<_> = head.map(|head| ("head", head)).into_iter().collect();
                let verified = console.admin.get(&["log", "verify"], &query).await?;
                console.print(&verified, |verified| {
                    format!(
                        "{} entries, whole; the last one is {}",
                        verified["entries"],
                        text(&verified["hash"])
                    )
                })?;
            }
        }
        Ok(Ending::Done)
    })
}

/// Say what became of a request: who came in how, where the time went, what it changed, which events it made
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Its id: X-Request-ID of the answer, `requestId` of an error
    #[arg(value_name = "REQUEST_ID")]
    id: String,
    /// The tenant whose journal to look into, if the cell does not remember the request
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Look into every tenant's journal
    #[arg(long, conflicts_with = "tenant")]
    all: bool,
}

pub(super) fn explain(
    args: ExplainArgs,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let ExplainArgs { id, tenant, all } = args;
    let mut query: Vec<_> = tenant.map(|tenant| ("tenant", tenant.to_string())).into_iter().collect();
    query.extend(all.then(|| ("all", "true".to_owned())));
    Console::run(console, config, working_directory, async |console| {
        let explained = console.admin.get(&["requests", &id], &query).await?;
        console.print(&explained, explained_in_words)?;
        Ok(Ending::Done)
    })
}

fn explained_in_words(explained: &Value) -> String {
    let mut said = String::new();
    for one in explained["answered"].as_array().into_iter().flatten() {
        said += &format!(
            "{}  {} /{} was answered {} after {:.1} ms\n",
            text(&one["at"]),
            text(&one["method"]),
            text(&one["route"]),
            one["status"],
            one["durationMs"].as_f64().unwrap_or_default(),
        );
        let caller = &one["caller"];
        if caller.is_null() {
            said += "  nobody was admitted\n";
            continue;
        }
        let how = if caller["unbound"] == true { "on X-Tenant-Id alone" } else { "bound to it" };
        let confined = if caller["confined"] == true { ", confined to their own records" } else { "" };
        said += &format!(
            "  {} ({}), vouched for by {}, admitted to {}, {how}{confined}; settled in {:.1} ms\n",
            text(&caller["user"]),
            text(&caller["role"]),
            text(&caller["source"]),
            text(&caller["tenant"]),
            caller["identityMs"].as_f64().unwrap_or_default(),
        );
    }
    for left in explained["left"].as_array().into_iter().flatten() {
        said += &format!("\nin the tenant {}\n", text(&left["tenant"]));
        if !left["error"].is_null() {
            said += &format!("  its journal cannot be read: {}\n", text(&left["error"]));
        }
        for change in left["journal"].as_array().into_iter().flatten() {
            said += &format!(
                "  {:>6}  {} {} by {}: {}\n",
                text(&change["seq"]),
                text(&change["action"]),
                text(&change["recordId"]),
                text(&change["actor"]),
                change["changes"]
            );
        }
        for event in left["events"].as_array().into_iter().flatten() {
            said += &format!(
                "   event  {} {}: {}, refused {} times\n",
                text(&event["type"]),
                text(&event["eventId"]),
                text(&event["state"]),
                text(&event["attempts"])
            );
        }
    }
    if explained["left"].as_array().is_some_and(Vec::is_empty) {
        said += "\nit changed nothing\n";
    }
    said
}
