//! `crm-cell serve`: the service, until SIGTERM or SIGINT.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Parts};
use crate::config::{Config, LogFormat};
use crate::telemetry;
use sd_notify::NotifyState;

pub(super) fn run(config: Config, working_directory: &Path) -> anyhow::Result<()> {
    telemetry::start_logging(&config.log)?;
    let greet = config.log.format == LogFormat::Text;
    super::runtime()?.block_on(async {
        // Before anything else: a signal that comes early must not be lost.
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut asked_to_stop = Box::pin(async move {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        });
        let parts = Parts::of_process(working_directory)?;
        let app = tokio::select! {
            app = App::build(config, parts) => app?,
            _ = &mut asked_to_stop => return Ok(()), // while waiting for LOCK
        };
        notify(NotifyState::Ready);
        if greet {
            // Whoever reads it may be gone (`crm-cell | head -1`): no reason not to serve.
            let _nobody_reads = writeln!(std::io::stdout(), "{}", app.greeting());
        }
        app.run(async move {
            let signal = asked_to_stop.await;
            tracing::info!(signal, "stopping");
            notify(NotifyState::Stopping);
        })
        .await
    })
}

/// Tells a service manager, if there is one (`sd_notify(3)`).
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the service manager was not told");
    }
}
