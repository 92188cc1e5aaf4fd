//! `crm-cell config`: prints the effective configuration, secrets redacted (contract §11).

use std::io::{self, Write};

use anyhow::Context;

use crate::config::{Config, Sources};

/// Prints the configuration that the cell would start with.
///
/// # Errors
///
/// When the cell would refuse it, or standard output is closed.
pub(super) fn run(sources: &Sources) -> anyhow::Result<()> {
    let config = Config::load(sources)?;
    print(&config, sources, &mut io::stdout().lock()).context("cannot print the configuration")
}

fn print(config: &Config, sources: &Sources, out: &mut impl Write) -> anyhow::Result<()> {
    // Three slashes may mean either of two places: say which one it is.
    let root = config.storage.data_root(sources.directory())?;
    writeln!(out, "# Data root: {}\n", root.display())?;
    write!(out, "{}", config.to_redacted_toml())?;
    out.flush()?;
    Ok(())
}
