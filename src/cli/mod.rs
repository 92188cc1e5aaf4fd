//! The command line: one file per command.

mod backup;
mod config;
mod console;
mod demo;
mod doctor;
mod fleet;
mod health;
mod import_legacy;
mod members;
mod offline;
mod openapi;
mod progress;
mod restore;
mod serve;
mod tenants;
mod through;
mod token;

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use self::console::{ConsoleArgs, Ending};
use crate::admin::AdminError;
use crate::config::{Config, Sources};
use crate::domain::SystemClock;

/// A headless, multi-tenant CRM service: one SQLite file per tenant.
///
/// Settings come from config/default.toml (compiled in), config/<CRM_ENV>.toml, the file named by CRM_CONFIG and the
/// environment; `crm-cell config` prints what is in force. Commands for operators talk to the cell that uses the data root, by
/// its socket there; where none runs, they take the data root for themselves.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 there is no such thing; 4 something is in the way; 5 done in part, or something is
/// not as it should be.
#[derive(Debug, Parser)]
#[command(name = "crm-cell", version, arg_required_else_help = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten, next_help_heading = "For operators' commands")]
    console: ConsoleArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default)
    Serve,
    /// Print the effective configuration, secrets redacted
    Config,
    /// Look after tenants: list, make, suspend, delete, bring back; say who their members are
    #[command(subcommand)]
    Tenants(tenants::TenantsCommand),
    Backup(backup::BackupArgs),
    Backups(backup::BackupsArgs),
    Restore(restore::RestoreArgs),
    Freeze(fleet::FreezeArgs),
    /// Let files change again that are frozen
    Thaw,
    Doctor(doctor::DoctorArgs),
    Explain(fleet::ExplainArgs),
    /// The operators' log: who did what to which tenant
    #[command(subcommand)]
    Audit(fleet::AuditCommand),
    /// The list of tenants, which is made of their files
    #[command(subcommand)]
    Catalog(fleet::CatalogCommand),
    ImportLegacy(import_legacy::ImportArgs),
    Demo(demo::DemoArgs),
    Token(token::TokenArgs),
    /// Print the API document, OpenAPI 3.1
    Openapi,
    /// Ask the cell on this machine whether it is up: exit code 0 if so (for container health checks)
    Health,
    /// Print what a shell needs to complete these commands
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Command {
    /// Whether it is answered by the cell that uses the data root, or in its place.
    fn is_for_operators(&self) -> bool {
        match self {
            Self::Tenants(_)
            | Self::Backup(_)
            | Self::Backups(_)
            | Self::Restore(_)
            | Self::Freeze(_)
            | Self::Thaw
            | Self::Doctor(_)
            | Self::Explain(_)
            | Self::Audit(_)
            | Self::Catalog(_) => true,
            Self::Serve
            | Self::Config
            | Self::ImportLegacy(_)
            | Self::Demo(_)
            | Self::Token(_)
            | Self::Openapi
            | Self::Health
            | Self::Completions { .. } => false,
        }
    }
}

impl Cli {
    /// Runs the command. Errors go to standard error, as sentences; the exit code says what kind of an error it was.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.try_run() {
            Ok(Ending::Done) => ExitCode::SUCCESS,
            Ok(Ending::Partly) => ExitCode::from(5),
            Err(error) => {
                eprintln!("crm-cell: {error:#}");
                exit_code(&error)
            }
        }
    }

    fn try_run(self) -> anyhow::Result<Ending> {
        let Self { command, console } = self;
        let command = command.unwrap_or(Command::Serve);
        if console.are_given() && !command.is_for_operators() {
            let said = "--json, --table and --cell are options of operators' commands";
            Self::command().error(ErrorKind::ArgumentConflict, said).exit();
        }
        let sources = Sources::from_process()?;
        let directory = sources.directory();
        let load = || Config::load(&sources);
        match command {
            Command::Serve => serve::run(load()?, directory).map(|()| Ending::Done),
            Command::Config => config::run(&sources).map(|()| Ending::Done),
            Command::Tenants(command) => tenants::run(command, &console, load()?, directory),
            Command::Backup(args) => backup::run(args, &console, load()?, directory),
            Command::Backups(args) => backup::list(args, &console, load()?, directory),
            Command::Restore(args) => restore::run(args, &console, load()?, directory),
            Command::Freeze(args) => fleet::freeze(args, &console, load()?, directory),
            Command::Thaw => fleet::thaw(&console, load()?, directory),
            Command::Doctor(args) => doctor::run(args, &console, load()?, directory),
            Command::Explain(args) => fleet::explain(args, &console, load()?, directory),
            Command::Audit(command) => fleet::audit(command, &console, load()?, directory),
            Command::Catalog(command) => fleet::catalog(&command, &console, load()?, directory),
            Command::ImportLegacy(args) => {
                import_legacy::run(args, load()?, directory).map(|()| Ending::Done)
            }
            Command::Demo(args) => demo::run(args, load()?, directory).map(|()| Ending::Done),
            Command::Token(args) => token::run(&args, &load()?.auth, &SystemClock).map(|()| Ending::Done),
            Command::Openapi => openapi::run().map(|()| Ending::Done),
            Command::Health => health::run(&load()?.server).map(|()| Ending::Done),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "crm-cell", &mut io::stdout());
                Ok(Ending::Done)
            }
        }
    }
}

/// What kind of an error it was.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<AdminError>() {
        Some(AdminError::Refused { code, .. }) => match code.as_str() {
            "NOT_FOUND" => ExitCode::from(3),
            "DELETED" | "EXISTS" | "PROTECTED" | "BUSY" | "FROZEN" | "NOT_FROZEN" => ExitCode::from(4),
            "LOG_BROKEN" => ExitCode::from(5),
            _ => ExitCode::FAILURE,
        },
        _ => ExitCode::FAILURE,
    }
}

/// What async commands run on.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}
