//! The log subscriber.

use std::error::Error;
use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use super::json::{JsonLine, JsonMembers};
use crate::config::{Log, LogFormat};

/// Starts logging, once in a process.
///
/// # Errors
/// The filter does not parse, or logging has been started before.
pub fn start_logging(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Whoever reads the log may be gone: no reason to panic, which is what telling them would do.
        .log_internal_errors(false)
        .with_ansi(log.format == LogFormat::Text && std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => base.try_init(),
        LogFormat::Json => base.event_format(JsonLine).fmt_fields(JsonMembers).try_init(),
    }
    .map_err(|error| anyhow::anyhow!(error))
}

/// An error and what caused it, in one line.
#[must_use]
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
