//! The command line: one file per command.

mod config;
mod health;
mod openapi;
mod serve;
mod tenants;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Sources};
use crate::domain::SystemClock;

/// A headless, multi-tenant CRM service: one SQLite file per tenant.
///
/// Settings come from config/default.toml (compiled in), config/<CRM_ENV>.toml, the file named by CRM_CONFIG and the
/// environment; `crm-cell config` prints what is in force.
#[derive(Debug, Parser)]
#[command(name = "crm-cell", version, arg_required_else_help = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default)
    Serve,
    /// Print the effective configuration, secrets redacted
    Config,
    /// Mint a JWT for development, signed with CRM_JWT_SECRET
    Token(token::TokenArgs),
    /// Look after tenants while no cell serves them
    #[command(subcommand)]
    Tenants(tenants::TenantsCommand),
    /// Print the API document, OpenAPI 3.1
    Openapi,
    /// Ask the cell on this machine whether it is up: exit code 0 if so (for container health checks)
    Health,
}

impl Cli {
    /// Runs the command. Errors go to standard error, as sentences; the exit code is 0 or 1.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.try_run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("crm-cell: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn try_run(self) -> anyhow::Result<()> {
        let sources = Sources::from_process()?;
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(Config::load(&sources)?, sources.directory()),
            Command::Config => config::run(&sources),
            Command::Token(args) => token::run(&args, &Config::load(&sources)?.auth, &SystemClock),
            Command::Tenants(command) => tenants::run(command, &Config::load(&sources)?, sources.directory()),
            Command::Openapi => openapi::run(),
            Command::Health => health::run(&Config::load(&sources)?.server),
        }
    }
}
