//! How operators' commands reach tenants: through the cell that runs, or else with the data root to themselves. Either way
//! they ask the same routes.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{offline, progress};
use crate::admin::{Admin, AdminError, AdminServer, Desk, SOCKET, Step, Via};
use crate::config::Config;
use crate::domain::{SystemClock, TenantId};
use crate::tenancy::Tenants;
use crate::{telemetry, upstream};

/// A cell that is starting or stopping holds the data root and does not answer yet, or any more: it is tried so often.
const TRIES: u32 = 30;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// Tenants that are worked on at the same time.
const AT_ONCE: usize = 4;

/// Options of every command for operators.
#[derive(Debug, Clone, Args)]
pub(super) struct ConsoleArgs {
    /// Print JSON; it is what is printed anyhow where the output is no terminal
    #[arg(long, global = true)]
    json: bool,
    /// Print tables, wherever the output goes
    #[arg(long, global = true, conflicts_with = "json")]
    table: bool,
    /// Ask the cell that listens at this address for operators (its CRM_ADMIN_ADDR), with the token in CRM_ADMIN_TOKEN
    #[arg(long, value_name = "URL", global = true)]
    cell: Option<String>,
}

impl ConsoleArgs {
    /// Whether one of them is given.
    pub(super) fn are_given(&self) -> bool {
        self.json || self.table || self.cell.is_some()
    }
}

/// The tenants that a command is about.
#[derive(Debug, Clone, Args)]
pub(super) struct Named {
    /// Tenants' ids
    #[arg(value_name = "TENANT", required_unless_present = "ids")]
    tenants: Vec<TenantId>,
    /// Read ids from this file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

impl Named {
    pub(super) fn read(self) -> anyhow::Result<Vec<TenantId>> {
        let Self { mut tenants, ids } = self;
        if let Some(file) = ids {
            let text = match file.as_os_str() == "-" {
                true => io::read_to_string(io::stdin()).context("reading standard input")?,
                false => {
                    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?
                }
            };
            for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
                let tenant = line.trim().parse();
                tenants.push(tenant.with_context(|| format!("{}, line {number}: {line:?}", file.display()))?);
            }
        }
        Ok(tenants)
    }
}

/// How a command ended that did not fail as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it was done.
    Done,
    /// Something was not done, or is not as it should be.
    Partly,
}

/// A cell to talk to.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) admin: Admin,
    /// The data root, if this command has it for itself.
    own: Option<(Arc<Tenants>, AdminServer)>,
    json: bool,
}

impl Console {
    /// Runs `work` with the cell that runs, or without one. A data root that is missing is not made: it would be the wrong one.
    pub(super) fn run<W>(
        args: &ConsoleArgs,
        config: Config,
        working_directory: &Path,
        work: impl FnOnce(Arc<Self>) -> W,
    ) -> anyhow::Result<Ending>
    where
        W: Future<Output = anyhow::Result<Ending>>,
    {
        telemetry::start_logging(&progress::quiet(&config.log))?;
        super::runtime()?.block_on(async {
            let console = Arc::new(Self::open(args, config, working_directory).await?);
            let done = work(console.clone()).await;
            let console = Arc::into_inner(console).context("a command left something running")?;
            let closed = console.close().await;
            let ending = done?;
            closed.map(|()| ending)
        })
    }

    async fn open(args: &ConsoleArgs, config: Config, working_directory: &Path) -> anyhow::Result<Self> {
        let json = args.json || !args.table && !io::stdout().is_terminal();
        let named = |name| env::var(name).ok().filter(|name| !name.is_empty());
        let user = named("SUDO_USER").or_else(|| named("USER"));
        let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        if let Some(url) = &args.cell {
            let url = upstream::base_url(url).map_err(|error| anyhow::anyhow!("--cell {error}"))?;
            let token = config.admin.token.context("--cell needs a service token in CRM_ADMIN_TOKEN")?;
            return Ok(Self { admin: Admin::at_url(url, token, user)?, own: None, json });
        }
        let data_root = config.storage.data_root(working_directory)?;
        if !data_root.is_dir() {
            bail!(
                "there is no data root at {}: look at CRM_DATABASE_URL, or start a cell once to make it",
                data_root.display()
            );
        }
        let socket = data_root.join(SOCKET);
        let (owner, we) = (std::fs::metadata(&data_root)?.uid(), rustix::process::geteuid().as_raw());
        let mut refused = None;
        for _ in 0..TRIES {
            let admin = Admin::at_socket(&socket, user.clone())?;
            if admin.answers() {
                return Ok(Self { admin, own: None, json });
            }
            // Files that root makes there would keep the cell from starting.
            anyhow::ensure!(
                owner == we,
                "no cell runs on {}, which belongs to user {owner}: run this as that user (sudo -u '#{owner}' \
                 CRM_DATABASE_URL=sqlite:///{}.db crm-cell …)",
                data_root.display(),
                data_root.display()
            );
            match offline::settings(config.clone(), Arc::new(SystemClock)).open(&data_root).await {
                Ok(tenants) => return Self::alone(admin, tenants, &data_root, json).await,
                Err(error) => refused = Some(error),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        match refused {
            Some(error) => Err(error),
            None => bail!("no cell answers, and the data root cannot be had"),
        }
    }

    async fn alone(admin: Admin, tenants: Tenants, data_root: &Path, json: bool) -> anyhow::Result<Self> {
        let tenants = Arc::new(tenants);
        let desk =
            Desk { tenants: tenants.clone(), clock: Arc::new(SystemClock), cell: None, via: Via::Offline };
        let mut server = AdminServer::default();
        server.take_socket(desk, data_root).await?;
        Ok(Self { admin, own: Some((tenants, server)), json })
    }

    async fn close(self) -> anyhow::Result<()> {
        let Self { admin, own, .. } = self;
        // Its connections keep the server from stopping.
        drop(admin);
        let Some((tenants, server)) = own else { return Ok(()) };
        server.stop().await;
        let still_open = tenants.close(offline::CLOSE_LIMIT).await;
        tenants.save_roll().await;
        anyhow::ensure!(still_open == 0, "{still_open} tenants' files could not be closed cleanly");
        Ok(())
    }

    /// Refuses what makes no sense where no cell runs.
    pub(super) fn check_runs(&self, command: &str, why: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.own.is_none(),
            "no cell runs on this data root, so {command} has nothing to do: {why}"
        );
        Ok(())
    }

    /// Whether JSON is printed.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints JSON, or else what `table` makes of it.
    pub(super) fn print(&self, value: &Value, table: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { table(value) };
        match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed.context("cannot print"),
        }
    }

    /// Does something to each tenant, some at a time, with a progress bar; prints a row for each.
    pub(super) async fn each(
        &self,
        tenants: Vec<TenantId>,
        titles: &[&str],
        act: impl AsyncFn(&Admin, &TenantId) -> Result<Value, AdminError>,
        row: impl Fn(&Value) -> Vec<String>,
    ) -> anyhow::Result<Ending> {
        let bar = progress::bar("tenants");
        bar.set_length(tenants.len() as u64);
        let single = tenants.len() == 1;
        let act = &act;
        let done = stream::iter(tenants).map(async |tenant| {
            let done = act(&self.admin, &tenant).await;
            (tenant, done)
        });
        let mut done = done.buffered(AT_ONCE);
        let (mut table, mut items, mut failures) = (table(titles), Vec::new(), Vec::new());
        while let Some((tenant, done)) = done.next().await {
            bar.inc(1);
            match done {
                Ok(value) => {
                    table.add_row(row(&value));
                    items.push(value);
                }
                Err(error) if single => {
                    bar.finish_and_clear();
                    return Err(error.into());
                }
                Err(error) => {
                    let error = telemetry::in_full(&error);
                    items.push(serde_json::json!({ "tenant": tenant, "error": &error }));
                    failures.push((tenant, error));
                }
            }
        }
        bar.finish_and_clear();
        let value = if single { items.pop().unwrap_or_default() } else { Value::Array(items) };
        self.print(&value, |_| table.to_string())?;
        for (tenant, error) in &failures {
            eprintln!("crm-cell: {tenant}: {error}");
        }
        Ok(if failures.is_empty() { Ending::Done } else { Ending::Partly })
    }

    /// Has something done that takes a while, with a progress bar; gives each step to `see`, and what came of it all.
    pub(super) async fn watch(
        &self,
        path: &[&str],
        body: &Value,
        mut see: impl FnMut(&Value),
    ) -> Result<Value, AdminError> {
        let bar = progress::bar("tenants");
        let mut lines = self.admin.start(path, body).await?;
        loop {
            match lines.next().await {
                Ok(Step::Step(step)) => {
                    bar.set_length(step["of"].as_u64().unwrap_or_default());
                    bar.set_position(step["done"].as_u64().unwrap_or_default());
                    see(&step);
                }
                Ok(Step::Done(done)) => {
                    bar.finish_and_clear();
                    return Ok(done);
                }
                Err(error) => {
                    bar.finish_and_clear();
                    return Err(error);
                }
            }
        }
    }
}

/// A table as wide as the terminal, without lines.
pub(super) fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if titles.iter().any(|title| !title.is_empty()) {
        table.set_header(titles);
    }
    for (place, title) in titles.iter().enumerate() {
        let is_figure =
            ["SIZE", "ROWS", "BEFORE", "AFTER", "UNDELIVERED", "SCHEMA", "TENANTS"].contains(title);
        if let Some(column) = table.column_mut(place) {
            column.set_padding((0, 2));
            if is_figure {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// A value as text: nothing is `-`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Bytes for people.
pub(super) fn size(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |bytes| bytesize::ByteSize(bytes).to_string())
}

/// A moment for people: to the second.
pub(super) fn moment(value: &Value) -> String {
    match value.as_str() {
        Some(text) if text.len() > 19 => text[..19].replace('T', " "),
        Some(text) => text.to_owned(),
        None => "-".to_owned(),
    }
}
