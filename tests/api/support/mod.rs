//! A service of its own for each test: own data root, own port, real sockets.

mod client;
mod db;
mod process;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use client::{Answer, Client, raw};
pub use db::{db_execute, db_open, db_select};
pub use process::{Cell, run_to_end};
pub use wire::{Wire, WireAnswer};

use crm_cell::app::{App, Parts};
use crm_cell::config::{Config, Sources};
use crm_cell::domain::{Clock, ManualClock, SystemClock, Timestamp};
use crm_cell::http::State;
use crm_cell::tenancy::Machine;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// HS256 secret of the tests' tokens.
pub const SECRET: &str = "a secret of the tests, longer than 32 bytes";

/// A running service. Stops, cleanly, when asked to.
pub struct TestApp {
    pub state: Arc<State>,
    base: String,
    directory: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

/// How a test's service differs from the default one.
#[derive(Clone)]
pub struct Setup {
    variables: Vec<(String, String)>,
    machine: Machine,
    clock: Arc<dyn Clock>,
    directory: Arc<TempDir>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            machine: Machine { files: 20_000, threads: 20_000, memory: 8 << 30 },
            clock: Arc::new(SystemClock),
            directory: Arc::new(tempfile::tempdir().expect("a temporary directory")),
        }
    }
}

impl Setup {
    /// Sets a configuration variable, under its documented name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The service goes by this clock.
    pub fn at(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same service over another's data root, which must be stopped.
    pub fn over(mut self, other: &Arc<TempDir>) -> Self {
        self.directory = other.clone();
        self
    }

    /// Starts the service.
    pub async fn start(self) -> TestApp {
        let mut variables = vec![
            ("PORT".to_owned(), "0".to_owned()),
            ("CRM_HOST".to_owned(), "127.0.0.1".to_owned()),
            ("CRM_JWT_SECRET".to_owned(), SECRET.to_owned()),
            ("CRM__SERVER__DRAIN_TIMEOUT".to_owned(), "5s".to_owned()),
        ];
        variables.extend(self.variables); // the later one wins, and a blank one is absent
        let variables = variables.into_iter().collect();
        let sources = Sources::new(variables, self.directory.path());
        let config = Config::load(&sources).expect("a valid configuration");
        let parts = Parts {
            listener: None,
            clock: self.clock,
            machine: self.machine,
            working_directory: self.directory.path().to_owned(),
        };
        let app = App::build(config, parts).await.expect("the service starts");
        let base = format!("http://{}", app.address());
        let state = app.state().clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        TestApp { state, base, directory: self.directory, stop: Some(stop), running }
    }
}

impl TestApp {
    /// A service with the default configuration and [`SECRET`].
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// A client bound to a tenant by its token.
    pub fn tenant(&self, tenant: &str) -> Client {
        Client::new(&self.base).with_token(&token(tenant, "tester")).with_tenant(tenant)
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.base)
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("http")
    }

    /// The directory that holds the data root.
    pub fn directory(&self) -> &Arc<TempDir> {
        &self.directory
    }

    /// The tenants' files.
    pub fn tenants(&self) -> PathBuf {
        tenants_in(self.directory.path())
    }

    /// Stops the service as SIGTERM does, and waits until every file is closed.
    pub async fn stop(mut self) -> Arc<TempDir> {
        let _ = self.stop.take().expect("running").send(());
        self.running.await.expect("no panic").expect("a clean stop");
        self.directory
    }

    /// A figure of the service's own metrics.
    pub async fn figure(&self, name: &str) -> u64 {
        let metrics = self.anonymous().get("/metrics").await.json();
        metrics[name].as_u64().unwrap_or_else(|| panic!("no figure {name} in {metrics}"))
    }
}

/// A clock that stands at this moment until it is told to move.
pub fn clock_at(moment: &str) -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::parse_rfc3339(moment).expect("a moment")))
}

/// The directory of the tenants' files of a service in `directory`.
pub fn tenants_in(directory: &Path) -> PathBuf {
    directory.join("crm_cell/tenants")
}

/// The names of the files in a directory, sorted.
pub fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A JWT of [`SECRET`] that binds `user` to `tenant`.
pub fn token(tenant: &str, user: &str) -> String {
    token_with(&serde_json::json!({"sub": user, "tenantId": tenant, "exp": 4_000_000_000_u64}))
}

/// A JWT of [`SECRET`] with these claims.
pub fn token_with(claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("a token")
}

/// Waits until `condition` holds, for at most ten seconds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}
