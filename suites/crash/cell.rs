//! The cell under test: the real binary over a data root of the suite's own, and a client of it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How a cell is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    /// Its working directory: `cell.log` lies there, and the data root `crm_cell` unless `variables` name another one.
    pub(crate) directory: PathBuf,
    pub(crate) variables: Vec<(&'static str, String)>,
    /// A program, with its arguments, that runs the cell: strace.
    pub(crate) under: Vec<OsString>,
}

/// A running cell. Killed when dropped.
pub(crate) struct Cell {
    child: Child,
    pid: Pid,
    base: String,
    /// From the start of the process until it says that it is ready.
    pub(crate) ready_after: Duration,
    /// Kept open: the cell's next words must have somewhere to go.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Launch {
    pub(crate) fn new(binary: &Path, directory: &Path) -> Self {
        Self { binary: binary.into(), directory: directory.into(), variables: Vec::new(), under: Vec::new() }
    }

    /// Sets a configuration variable.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The tenants' files.
    pub(crate) fn tenants(&self) -> PathBuf {
        self.directory.join("crm_cell/tenants")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("cell.log")
    }

    /// Fails if a cell of this directory has panicked.
    pub(crate) fn check_log(&self) -> anyhow::Result<()> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        match log.lines().find(|line| line.contains("panicked")) {
            Some(line) => bail!("the cell panicked: {line}"),
            None => Ok(()),
        }
    }

    /// Starts the process and does not wait for it.
    pub(crate) fn spawn(&self) -> anyhow::Result<Child> {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut words = self.under.iter().cloned().chain([self.binary.clone().into_os_string()]);
        let program = words.next().context("a program")?;
        Command::new(&program)
            .args(words)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs([
                ("PORT", "0"),
                ("CRM_HOST", "127.0.0.1"),
                ("CRM_AUTH_STRICT", "0"),
                ("CRM__LOG__FILTER", "warn"),
            ])
            .env("CRM__STORAGE__LOCK_WAIT", "5s")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))
    }

    /// Starts the cell and waits until it is ready.
    pub(crate) async fn start(&self) -> anyhow::Result<Cell> {
        let start = Instant::now();
        let mut child = self.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let Some(greeting) = lines.next() else {
            let status = child.wait()?;
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            bail!(
                "the cell ended with {status} before it served: {}",
                log.lines().last().unwrap_or_default()
            );
        };
        let greeting = greeting?;
        let base = greeting.split_whitespace().find(|word| word.starts_with("http://"));
        let base =
            base.with_context(|| format!("no address in {greeting:?}"))?.trim_end_matches(';').to_owned();
        let mut pid = i32::try_from(child.id())?;
        if !self.under.is_empty() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            pid = children.trim().parse().context("the cell's process id")?;
        }
        let pid = Pid::from_raw(pid).context("a process id")?;
        let client = Client::new(&base)?;
        while client.get("/health/ready", None).await.map_or(true, |answer| answer.status != 200) {
            ensure!(start.elapsed() < Duration::from_secs(30), "not ready after 30 s");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Cell { child, pid, base, ready_after: start.elapsed(), _stdout: lines })
    }
}

impl Cell {
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.base)
    }

    fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; fails unless the cell ends by itself and with exit code 0.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "SIGTERM ended the cell with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("still running a minute after SIGTERM")
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // Under strace the cell is not the child, and would live on.
        if self.lives() {
            let _gone = kill_process(self.pid, Signal::KILL);
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

/// A caller of the cell, who may do anything.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

/// What the cell answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// `Idempotent-Replayed`
    pub(crate) replayed: bool,
    /// There is a `Retry-After`.
    pub(crate) retry_after: bool,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A field of the body, if that is JSON and has it as a string.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        Some(body.get(name)?.as_str()?.to_owned())
    }
}

impl Client {
    fn new(base: &str) -> anyhow::Result<Self> {
        // A client of its own for each cell: no connection of an earlier one is met.
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    pub(crate) async fn get(&self, path: &str, tenant: Option<&str>) -> reqwest::Result<Answer> {
        self.send(Method::GET, path, tenant.unwrap_or("default"), None, None).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        tenant: &str,
        request_id: Option<&str>,
        body: Option<&Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.header("Authorization", "Bearer crash").header("X-Tenant-Id", tenant);
        if let Some(request_id) = request_id {
            request = request.header("X-Request-ID", request_id);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = request.send().await?;
        let headers = response.headers();
        let (replayed, retry_after) =
            (headers.contains_key("Idempotent-Replayed"), headers.contains_key("Retry-After"));
        Ok(Answer { status: response.status().as_u16(), replayed, retry_after, body: response.text().await? })
    }
}
