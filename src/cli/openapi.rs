//! `crm-cell openapi`: the API document, without a running cell.

use std::io::Write as _;

use anyhow::Context as _;

use crate::http;

pub(super) fn run() -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(http::document()).context("writing the document")?;
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}
