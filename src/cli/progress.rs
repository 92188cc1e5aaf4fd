//! What commands that take a while have in common: a progress bar, on a terminal only, and no chatter beside it.

use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Log;

/// A bar on standard error, if that is a terminal. Its length is set when it is known.
pub(super) fn bar(unit: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = format!("{{bar:40}} {{human_pos}}/{{human_len}} {unit}, {{eta}} left");
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The settings of the log, for a command whose output is what it prints: warnings only.
pub(super) fn quiet(log: &Log) -> Log {
    Log { filter: "warn".to_owned(), ..log.clone() }
}
