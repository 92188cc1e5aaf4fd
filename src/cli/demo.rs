//! `crm-cell demo`: fills a tenant with sample data.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::offline;
use super::progress;
use crate::config::Config;
use crate::demo::{self, Made, Script, Wanted};
use crate::domain::{Clock as _, ManualClock, Stage, SystemClock, TenantId};
use crate::{legacy, telemetry};

/// Fill a tenant with a year of sample data: customers, contacts, deals at every stage, follow-ups
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The tenant, created if there is none [default: DEFAULT_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// How many customers, from 6 to 5000
    #[arg(long, value_name = "N", default_value = "60", value_parser = RangedU64ValueParser::<usize>::new().range(6..=5000))]
    customers: usize,
    /// The same seed makes the same data, moments relative to now
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Fill a tenant that has customers already
    #[arg(long)]
    add: bool,
}

pub(super) fn run(args: DemoArgs, config: Config, working_directory: &Path) -> anyhow::Result<()> {
    telemetry::start_logging(&progress::quiet(&config.log))?;
    let DemoArgs { tenant, customers, seed, add } = args;
    let tenant = tenant.unwrap_or_else(|| config.tenants.default_id.clone());
    let port = config.server.port;
    let mut wanted = Wanted { customers, seed, until: SystemClock.now(), taken: HashSet::new() };
    let bar = progress::bar("writes");
    let made = super::runtime()?.block_on(async {
        let data_root = config.storage.data_root(working_directory)?;
        legacy::check_start(&config.storage, working_directory, &data_root).await?;
        let clock = Arc::new(ManualClock::at(wanted.beginning()));
        let map = offline::settings(config, clock.clone()).open(&data_root).await?;
        let made = async {
            let db = map.find_or_create(&tenant).await.with_context(|| format!("the tenant {tenant}"))?;
            wanted.taken = demo::taken(&db).await?;
            ensure!(
                add || wanted.taken.is_empty(),
                "the tenant {tenant} has customers already: name another one with --tenant, or say --add"
            );
            let script = Script::write(wanted);
            bar.set_length(script.steps() as u64);
            demo::play(script, &db, &clock, || bar.inc(1)).await
        };
        let made = made.await;
        let still_open = map.close(offline::CLOSE_LIMIT).await;
        ensure!(still_open == 0, "the tenant could not be closed");
        made
    });
    bar.finish_and_clear();
    print(&made?, &tenant, port).context("cannot print what was made")
}

fn print(made: &Made, tenant: &TenantId, port: u16) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Made { customers, contacts, opportunities, follow_ups } = made;
    writeln!(
        out,
        "Made in the tenant {tenant}: {customers} customers, {contacts} contacts, {} opportunities, {follow_ups} follow-ups.",
        opportunities.len()
    )?;
    for stage in Stage::ALL {
        let count = opportunities.iter().filter(|at| **at == stage).count();
        writeln!(out, "{count:>6}  {} {}", stage.code(), stage.name())?;
    }
    let base = format!("http://127.0.0.1:{port}");
    let headers = format!("-H 'Authorization: Bearer dev' -H 'X-Tenant-Id: {tenant}'");
    writeln!(
        out,
        "\nStart the cell with crm-cell serve, and try (with a token of yours, if the cell asks for one):\n\n  \
         curl '{base}/customers?pageSize=5&sort=nextFollowUpAt' {headers}\n  \
         curl '{base}/opportunities?stage=5' {headers}\n  \
         curl '{base}/audit-logs?pageSize=5' {headers}"
    )
}
