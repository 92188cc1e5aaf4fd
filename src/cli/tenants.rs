//! `crm-cell tenants`: what operators do to tenants while no cell serves them.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::{self, Config, Provision};
use crate::domain::{IdSource, Masking, SystemClock, TenantId};
use crate::identity;
use crate::store::members::{self, Member};
use crate::tenancy::{Actor, Capacity, DataRoot, Machine, Surroundings, TenantDb, Tenants};

/// Who the journal says that an operator's changes are by.
const OPERATOR: &str = "operator";
/// How long closing the tenant may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// Say which users a tenant admits though their identity names no tenant
    #[command(subcommand)]
    Members(MembersCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum MembersCommand {
    /// Make users members of a tenant; those who are stay so
    Add {
        #[command(flatten)]
        of: Of,
        /// Users, as their tokens name them
        #[arg(value_name = "USER", required = true, value_parser = user)]
        users: Vec<Arc<str>>,
        /// Create the tenant if there is none
        #[arg(long)]
        create: bool,
    },
    /// Take users off the members of a tenant
    Remove {
        #[command(flatten)]
        of: Of,
        /// Users, as their tokens name them
        #[arg(value_name = "USER", required = true, value_parser = user)]
        users: Vec<Arc<str>>,
    },
    /// List the members of a tenant
    List {
        #[command(flatten)]
        of: Of,
    },
}

/// Whose members, and how they are printed.
#[derive(Debug, Args)]
pub(super) struct Of {
    /// The tenant's id
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn user(text: &str) -> Result<Arc<str>, &'static str> {
    identity::user_name(text)
        .ok_or("a user has 1 to 128 characters, is not blank, and has no control characters")
}

/// Runs the command on the data root, which no cell may be serving.
///
/// # Errors
///
/// The data root is in use or missing, there is no such tenant, or its file cannot be used.
pub(super) fn run(command: TenantsCommand, config: &Config, working_directory: &Path) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let TenantsCommand::Members(command) = command;
    runtime.block_on(async {
        let tenants = open(config, working_directory).await?;
        let done = run_members(&tenants, command).await;
        let still_open = tenants.close(CLOSE_LIMIT).await;
        done?;
        anyhow::ensure!(still_open == 0, "the tenant's file could not be closed cleanly");
        Ok(())
    })
}

/// The tenants of the data root. `CRM_TENANT_PROVISION` is for requests: operators create a tenant where they say so.
async fn open(config: &Config, working_directory: &Path) -> anyhow::Result<Tenants> {
    let Config { server, storage, tenants, api, .. } = config;
    let directory = storage.data_root(working_directory)?;
    if !directory.is_dir() {
        bail!(
            "there is no data root at {}: look at CRM_DATABASE_URL, or start a cell once to make it",
            directory.display()
        );
    }
    let root = DataRoot::open(&directory, Duration::ZERO)
        .await
        .context("this command needs the data root for itself")?;
    let capacity = Capacity::of(Machine::inspect(), storage.max_open_tenants, server.max_connections);
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        ids: Arc::<IdSource>::default(),
        masking: Masking { email: api.mask_email },
    };
    let tenants = config::Tenants { provision: Provision::Auto, ..tenants.clone() };
    Tenants::open(root, storage, &tenants, capacity, surroundings).await
}

/// Does what the command says, then prints who the members are.
async fn run_members(tenants: &Tenants, command: MembersCommand) -> anyhow::Result<()> {
    let operator = Actor { user: OPERATOR.into(), ..Actor::default() };
    let (of, db) = match command {
        MembersCommand::Add { of, users, create } => {
            let db = find(tenants, &of.tenant, create).await?;
            db.write(operator, None, async move |tx| members::add(tx, &users).await).await?;
            (of, db)
        }
        MembersCommand::Remove { of, users } => {
            let db = find(tenants, &of.tenant, false).await?;
            db.write(operator, None, async move |tx| members::remove(tx, &users).await).await?;
            (of, db)
        }
        MembersCommand::List { of } => {
            let db = find(tenants, &of.tenant, false).await?;
            (of, db)
        }
    };
    print(&of, &db.read(members::list).await?)
}

async fn find(tenants: &Tenants, tenant: &TenantId, create: bool) -> anyhow::Result<Arc<TenantDb>> {
    let found =
        if create { tenants.find_or_create(tenant).await.map(Some) } else { tenants.find(tenant).await };
    found.with_context(|| format!("tenant {tenant}"))?.with_context(|| {
        format!("there is no tenant {tenant}: look at its spelling, or create it with `members add --create`")
    })
}

fn print(of: &Of, members: &[Member]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if of.json {
        writeln!(out, "{}", json!({ "tenant": of.tenant, "members": members }))?;
        return Ok(());
    }
    if members.is_empty() {
        eprintln!(
            "{} has no members: with CRM_TENANT_BINDING=header it admits callers whose identity names no tenant",
            of.tenant
        );
        return Ok(());
    }
    writeln!(out, "{:24}  USER", "ADDED")?;
    for member in members {
        writeln!(out, "{:24}  {}", member.added_at.to_string(), member.user_id)?;
    }
    Ok(())
}
