//! `crm-cell tenants`: the life of tenants.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::console::{Console, ConsoleArgs, Ending, Named, moment, size, table, text};
use super::members::{self, MembersCommand};
use crate::config::Config;
use crate::domain::TenantId;

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// List tenants: state, size, last use, age of the copy, events to deliver
    List(ListArgs),
    /// Show a tenant: what its file says of itself, and how much is in it
    Show {
        /// The tenant's id
        #[arg(value_name = "TENANT")]
        tenant: TenantId,
    },
    /// Make tenants: empty, or of another tenant as it is now, or as a backup or file has it
    ///
    /// Those that are there already stay as they are. A tenant that is made of another one serves at once; it has no members,
    /// and delivers none of the other one's events.
    Create(CreateArgs),
    /// Let tenants serve nobody: requests are answered 403 TENANT_SUSPENDED, and their files are closed
    Suspend {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
    },
    /// Let tenants serve readers only: writes are answered 423
    ReadOnly {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
    },
    /// Let tenants that are suspended or read-only serve everybody again
    Resume {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
    },
    /// Forbid to delete tenants
    Protect {
        #[command(flatten)]
        named: Named,
    },
    /// Allow to delete tenants that are protected
    Unprotect {
        #[command(flatten)]
        named: Named,
    },
    /// Delete tenants: they wait in the trash for 30 days (tenants.trash_keep), and nobody makes them anew until then
    Delete {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
    },
    /// Bring deleted tenants back, as they were
    Undelete {
        #[command(flatten)]
        named: Named,
    },
    /// Remove for good what is in the trash of tenants; says what is left of them in backups
    Purge {
        #[command(flatten)]
        named: Named,
        /// It cannot be undone
        #[arg(long, required = true)]
        yes: bool,
    },
    /// List what is in the trash
    Trash,
    /// Refresh tenants' files in copies/ now; all that may lack a change, if none is named
    Copy {
        /// Tenants' ids
        #[arg(value_name = "TENANT")]
        tenants: Vec<TenantId>,
    },
    /// Restore tenants' copies beside and compare them with the tenants; all, if none is named
    Drill {
        /// Tenants' ids
        #[arg(value_name = "TENANT")]
        tenants: Vec<TenantId>,
    },
    /// Say which users a tenant admits though their identity names no tenant
    #[command(subcommand)]
    Members(MembersCommand),
}

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Why, for those who come after you: it is shown in lists and in the operators' log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Those in this state
    #[arg(long, value_name = "STATE")]
    state: Option<Condition>,
    /// Those at this schema version
    #[arg(long, value_name = "N")]
    schema: Option<i64>,
    /// Those with files of at least this size: 64MiB, 1GiB
    #[arg(long, value_name = "SIZE")]
    min_size: Option<bytesize::ByteSize>,
    /// Those that nobody used for this long: 12h, 30d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle: Option<std::time::Duration>,
    /// Those whose copies may have lacked a change for this long: 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    copy_behind: Option<std::time::Duration>,
    /// Those with at least this many events to deliver
    #[arg(long, value_name = "N")]
    undelivered: Option<u64>,
    /// Those whose ids follow this one
    #[arg(long, value_name = "TENANT")]
    after: Option<String>,
    /// At most this many; absent: all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Condition {
    Active,
    ReadOnly,
    Suspended,
    Quarantined,
    Unseen,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    named: Named,
    /// Make it of this tenant
    #[arg(long, value_name = "TENANT")]
    of: Option<TenantId>,
    /// As this backup has it: `latest` or a name that `crm-cell backups` lists
    #[arg(long, value_name = "BACKUP", requires = "of")]
    backup: Option<String>,
    /// The directory of that backup
    #[arg(long, value_name = "DIR", requires = "backup")]
    from: Option<PathBuf>,
    /// As this file has it
    #[arg(long, value_name = "FILE.db", requires = "of", conflicts_with = "backup")]
    file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The cell refuses it, or no cell runs and the data root cannot be had.
pub(super) fn run(
    command: TenantsCommand,
    args: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    Console::run(args, config, working_directory, async |console| {
        let set_state = async |named: Named, state: &str, why: Why| {
            let body = json!({ "state": state, "reason": why.reason });
            act(&console, named.read()?, Method::PUT, "state", &body, STATE).await
        };
        match command {
            TenantsCommand::List(list) => self::list(&console, &list).await,
            TenantsCommand::Show { tenant } => {
                let shown = console.admin.get(&["tenants", tenant.as_str()], &[]).await?;
                console.print(&shown, show)?;
                Ok(Ending::Done)
            }
            TenantsCommand::Create(create) => self::create(&console, create, working_directory).await,
            TenantsCommand::Suspend { named, why } => set_state(named, "suspended", why).await,
            TenantsCommand::ReadOnly { named, why } => set_state(named, "read-only", why).await,
            TenantsCommand::Resume { named, why } => set_state(named, "active", why).await,
            TenantsCommand::Protect { named } => protect(&console, named, true).await,
            TenantsCommand::Unprotect { named } => protect(&console, named, false).await,
            TenantsCommand::Delete { named, why } => {
                let body = json!({ "reason": why.reason });
                act(&console, named.read()?, Method::DELETE, "", &body, TRASHED).await
            }
            TenantsCommand::Undelete { named } => {
                act(&console, named.read()?, Method::POST, "undelete", &json!({}), STATE).await
            }
            TenantsCommand::Purge { named, yes: _ } => {
                act(&console, named.read()?, Method::POST, "purge", &json!({}), PURGED).await
            }
            TenantsCommand::Trash => trash(&console).await,
            TenantsCommand::Copy { tenants } => {
                steps(&console, &["copies"], tenants, "copied", "cannot be copied").await
            }
            TenantsCommand::Drill { tenants } => {
                steps(&console, &["drills"], tenants, "drilled", "failed the drill").await
            }
            TenantsCommand::Members(command) => members::run(&console, command).await,
        }
    })
}

/// Titles of a table, and what is in its columns.
type Columns = (&'static [&'static str], fn(&Value) -> Vec<String>);

const STATE: Columns = (&["TENANT", "STATE", "PROTECTED", "CHANGED", "OPEN FILES", "REASON"], |done| {
    let meta = &done["meta"];
    let values =
        [&done["tenant"], &meta["state"], &meta["protected"], &done["changed"], &done["openDescriptors"]];
    values.into_iter().chain([&meta["reason"]]).map(text).collect()
});
const TRASHED: Columns = (&["TENANT", "DELETED", "SIZE", "REASON"], |done| {
    vec![text(&done["tenant"]), moment(&done["at"]), size(&done["bytes"]), text(&done["reason"])]
});
const PURGED: Columns = (&["TENANT", "REMOVED", "LEFT IN BACKUPS"], |done| {
    let paths = |list: &Value, none: &str| {
        let paths: Vec<_> = list.as_array().into_iter().flatten().map(text).collect();
        if paths.is_empty() { none.to_owned() } else { paths.join("\n") }
    };
    let (removed, remaining) = (&done["removed"], &done["remaining"]);
    // What `backup --to` made is where nobody here knows.
    vec![
        text(&done["tenant"]),
        paths(removed, "nothing"),
        paths(remaining, "none in backups/; look where --to led"),
    ]
});

async fn act(
    console: &Console,
    tenants: Vec<TenantId>,
    method: Method,
    what: &str,
    body: &Value,
    (titles, row): Columns,
) -> anyhow::Result<Ending> {
    let act = async |admin: &crate::admin::Admin, tenant: &TenantId| {
        let path: &[&str] =
            if what.is_empty() { &["tenants", tenant.as_str()] } else { &["tenants", tenant.as_str(), what] };
        admin.send(method.clone(), path, body).await
    };
    console.each(tenants, titles, act, row).await
}

async fn protect(console: &Console, named: Named, protected: bool) -> anyhow::Result<Ending> {
    let body = json!({ "protected": protected });
    act(console, named.read()?, Method::PUT, "protection", &body, STATE).await
}

async fn create(console: &Console, create: CreateArgs, working_directory: &Path) -> anyhow::Result<Ending> {
    let CreateArgs { named, of, backup, from, file } = create;
    let source = match (backup, file) {
        (Some(backup), _) => Some(super::restore::backup(&backup, from.as_deref(), working_directory)),
        (None, Some(file)) => Some(json!({ "kind": "file", "path": working_directory.join(file) })),
        (None, None) => None,
    };
    let body = json!({ "of": of, "source": source });
    act(console, named.read()?, Method::PUT, "", &body, STATE).await
}

async fn list(console: &Console, list: &ListArgs) -> anyhow::Result<Ending> {
    let mut query: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
    let seconds = |duration: Option<std::time::Duration>| duration.map(|it| it.as_secs().to_string());
    add("state", list.state.and_then(|state| Some(state.to_possible_value()?.get_name().to_owned())));
    add("schemaVersion", list.schema.map(|version| version.to_string()));
    add("minBytes", list.min_size.map(|size| size.as_u64().to_string()));
    add("idleSeconds", seconds(list.idle));
    add("copyBehindSeconds", seconds(list.copy_behind));
    add("minUndelivered", list.undelivered.map(|events| events.to_string()));
    let mut after = list.after.clone();
    let mut items = Vec::new();
    loop {
        let left = list.limit.map_or(1000, |limit| limit.saturating_sub(items.len()).min(1000));
        let mut query = query.clone();
        query.push(("limit", left.max(1).to_string()));
        query.extend(after.map(|after| ("after", after)));
        let mut page = console.admin.get(&["tenants"], &query).await?;
        if let Value::Array(found) = page["items"].take() {
            items.extend(found);
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || list.limit.is_some_and(|limit| items.len() >= limit) {
            break;
        }
    }
    let value = json!({ "items": items, "next": after });
    console.print(&value, |value| {
        let titles = ["TENANT", "STATE", "SCHEMA", "SIZE", "LAST USE", "COPY OF", "UNDELIVERED", "REASON"];
        let mut table = table(&titles);
        for item in value["items"].as_array().into_iter().flatten() {
            let behind = if item["copyBehind"] == true { " (behind)" } else { "" };
            table.add_row([
                text(&item["tenant"]),
                text(&item["state"]),
                text(&item["meta"]["schemaVersion"]),
                size(&item["bytes"]),
                moment(&item["accessedAt"]),
                moment(&item["copiedAt"]) + behind,
                text(&item["undelivered"]),
                text(&item["meta"]["reason"]),
            ]);
        }
        table.to_string()
    })?;
    Ok(Ending::Done)
}

fn show(shown: &Value) -> String {
    let meta = &shown["meta"];
    let mut table = table(&["", ""]);
    table.add_row(["tenant".to_owned(), text(&shown["tenant"])]);
    table.add_row(["file".to_owned(), text(&shown["file"])]);
    let since = format!("{}, since {}", text(&shown["state"]), moment(&meta["since"]));
    table.add_row(["state".to_owned(), since]);
    for (name, value) in [
        ("reason", text(&meta["reason"])),
        ("protected", text(&meta["protected"])),
        ("made", moment(&meta["createdAt"])),
        ("made of", text(&meta["origin"])),
        ("schema version", text(&meta["schemaVersion"])),
        ("size", size(&shown["bytes"])),
        ("of which free", size(&shown["freeBytes"])),
        ("open", text(&shown["open"])),
        ("last use", moment(&shown["accessedAt"])),
        ("copy of", moment(&shown["copiedAt"])),
        ("copy may lack a change", text(&shown["copyBehind"])),
        ("found sound", moment(&shown["checkedAt"])),
        ("events to deliver", text(&shown["undelivered"])),
        ("cannot be read", text(&shown["error"])),
    ] {
        if value != "-" {
            table.add_row([name.to_owned(), value]);
        }
    }
    for (name, rows) in shown["rows"].as_object().into_iter().flatten() {
        table.add_row([format!("rows of {name}"), text(rows)]);
    }
    table.to_string()
}

async fn trash(console: &Console) -> anyhow::Result<Ending> {
    let trash = console.admin.get(&["trash"], &[]).await?;
    console.print(&trash, |trash| {
        let mut table = table(&["TENANT", "WHAT", "SINCE", "SIZE", "REASON"]);
        for item in trash["items"].as_array().into_iter().flatten() {
            let (tenant, kind) = (text(&item["tenant"]), text(&item["kind"]));
            let row = [tenant, kind, moment(&item["at"]), size(&item["bytes"]), text(&item["reason"])];
            table.add_row(row);
        }
        table.to_string()
    })?;
    Ok(Ending::Done)
}

/// Has something done to tenants that the cell does one after the other.
async fn steps(
    console: &Console,
    path: &[&str],
    tenants: Vec<TenantId>,
    done: &str,
    fails: &str,
) -> anyhow::Result<Ending> {
    let body = json!({ "tenants": (!tenants.is_empty()).then_some(tenants) });
    let mut failures = Vec::new();
    let ended = console.watch(path, &body, |step| {
        if !step["error"].is_null() {
            failures.push(format!("{} {fails}: {}", text(&step["tenant"]), text(&step["error"])));
        }
    });
    let ended = ended.await?;
    console
        .print(&ended, |ended| format!("{} {done}, {} failed", text(&ended[done]), text(&ended["failed"])))?;
    for failure in &failures {
        eprintln!("crm-cell: {failure}");
    }
    Ok(if failures.is_empty() { Ending::Done } else { Ending::Partly })
}
