//! The binary itself, for what must survive its death.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Client, SECRET, eventually};

/// A running `crm-cell serve`. Killed when dropped.
pub struct Cell {
    child: Child,
    base: String,
    /// Kept open, or what the cell prints next would fail.
    _stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Cell {
    /// Starts the binary over the data root in `directory`, on a port of its own, and waits until it serves.
    pub fn start(directory: &Path) -> Self {
        Self::spawn(&mut Self::command(directory))
    }

    /// Starts the binary by a changed [`Cell::command`], and waits until it serves.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a greeting").expect("readable");
        let address =
            first.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("an address");
        let base = format!("http://{}", address.trim_end_matches(';'));
        Self { child, base, _stdout: Some(lines) }
    }

    /// Starts the binary by a changed [`Cell::command`] that logs JSON, without a greeting, into the file `log`; waits until
    /// that says where it listens. The log's filter must let `info` through.
    pub async fn spawn_quiet(command: &mut Command, log: &Path) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let _stdout = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        let mut base = None;
        eventually("it listens", async || {
            let text = std::fs::read_to_string(log).expect("the log");
            let start = text.find("http://127.0.0.1:");
            base = start.and_then(|start| Some(text[start..].split_once('"')?.0.to_owned()));
            base.is_some()
        })
        .await;
        Self { child, base: base.expect("an address"), _stdout }
    }

    /// The command that [`Cell::start`] runs.
    pub fn command(directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crm-cell"));
        command
            .current_dir(directory)
            .env_clear()
            .env("PORT", "0")
            .env("CRM_HOST", "127.0.0.1")
            .env("CRM_JWT_SECRET", SECRET)
            .env("CRM__LOG__FILTER", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        command
    }

    pub fn tenant(&self, tenant: &str) -> Client {
        Client::new(&self.base).with_token(&super::token(tenant, "tester")).with_tenant(tenant)
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.base)
    }

    /// What it says that it listens on.
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("http")
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM; returns the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("sent");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running 30 seconds after SIGTERM");
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that ends by itself. One that does not, within half a minute, is killed and fails the test.
pub fn run_to_end(command: &mut Command) -> Output {
    let mut child = command.spawn().expect("the binary starts");
    let start = Instant::now();
    while child.try_wait().expect("waited").is_none() {
        if start.elapsed() > Duration::from_secs(30) {
            child.kill().expect("killed");
            panic!("still running: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}
