//! The platform's governance: the cell tells it where it is, and when it goes (contract §10).

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::Governance;
use crate::upstream::{self, Failure};

/// The cell's name there.
const CELL: &str = "crm";
const PATH: &str = "/api/governance/register";
/// Deadline of one call.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How soon it is tried again when it could not be told.
const RETRY: Duration = Duration::from_secs(5);

/// The cell's place in the platform's registry.
#[derive(Debug)]
pub struct Registration {
    client: Client,
    base: Url,
    cell_url: String,
    every: Duration,
}

/// A registration that is kept up.
#[derive(Debug)]
pub struct Registered {
    registration: Registration,
    keeping: JoinHandle<()>,
}

impl Registration {
    /// The registration that the settings ask for, if they do.
    ///
    /// # Errors
    /// It cannot be made, and what to do about it.
    pub fn new(settings: &Governance) -> anyhow::Result<Option<Self>> {
        let (Some(url), Some(cell_url)) = (&settings.url, &settings.cell_url) else { return Ok(None) };
        let base = upstream::base_url(url).map_err(|error| error.of("GOVERNANCE_URL"))?;
        let client = upstream::client("GOVERNANCE_URL", &base, TIMEOUT)?;
        let cell_url = cell_url.trim().trim_end_matches('/').to_owned();
        Ok(Some(Self { client, base, cell_url, every: settings.register_every }))
    }

    /// Registers, and keeps it up.
    #[must_use]
    pub fn keep_up(self) -> Registered {
        let (client, url) = (self.client.clone(), upstream::below(&self.base, PATH));
        let every = self.every;
        let body = json!({"cell": CELL, "base_url": self.cell_url}).to_string();
        let keeping = tokio::spawn(async move {
            let mut is_told = None;
            loop {
                let sent = client
                    .post(url.clone())
                    .header("Content-Type", "application/json")
                    .body(body.clone())
                    .send()
                    .await;
                let told = match sent {
                    Ok(response) if response.status() == StatusCode::OK => Ok(()),
                    Ok(_) => Err(Failure("status")),
                    Err(error) => Err(Failure::from(error)),
                };
                match told {
                    Ok(()) if is_told != Some(true) => tracing::info!("registered with the governance"),
                    Err(reason) if is_told != Some(false) => {
                        tracing::warn!(%reason, "the governance cannot be told where this cell is; trying on");
                    }
                    _ => {}
                }
                is_told = Some(told.is_ok());
                sleep(if told.is_ok() { every } else { RETRY.min(every) }).await;
            }
        });
        Registered { registration: self, keeping }
    }
}

impl Registered {
    /// Leaves: no request is sent here any more.
    pub async fn leave(self) {
        let Self { registration: Registration { client, base, .. }, keeping } = self;
        keeping.abort();
        let url = upstream::below(&base, &format!("{PATH}/{CELL}"));
        let left = timeout(TIMEOUT, client.delete(url).send()).await;
        match left {
            Ok(Ok(response)) if response.status().is_success() => tracing::info!("left the governance"),
            _ => tracing::warn!("the governance could not be told that this cell goes"),
        }
    }
}
