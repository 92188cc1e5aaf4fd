//! The processes under load.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::SECRET;

/// How long a server may take to answer the signal to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A server in a process of its own. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// The cell, with the settings of a deployment that verifies JWTs; its log goes to a file in `directory`.
    pub(crate) fn cell(binary: &Path, directory: &Path, files: Option<u64>) -> anyhow::Result<Self> {
        let mut command = match files {
            None => Command::new(binary),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", r#"ulimit -n "$1" && exec "$2" serve"#, "sh", &files.to_string()])
                    .arg(binary);
                shell
            }
        };
        let log = std::fs::File::create(directory.join("log"))?;
        command
            .env_clear()
            .envs([("PORT", "0"), ("CRM_HOST", "127.0.0.1"), ("CRM_JWT_SECRET", SECRET)])
            // Thousands of tenants are created in a minute.
            .env("CRM__TENANTS__CREATE_BURST", "100000")
            .current_dir(directory)
            .stderr(log);
        Self::start(command)
    }

    /// One of [`crate::baselines`], served by this program.
    pub(crate) fn baseline(which: &str, tenants: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--baseline", which]).arg(tenants);
        Self::start(command)
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("starting a server")?;
        let output = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().context("a server said nothing; see its log")??;
        let address = first.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let address = address.context("an address")?.trim_end_matches(';').to_owned();
        // Whatever else it prints is read away, or it would wait for us one day.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }

    /// Resident memory, in KiB, and threads.
    pub(crate) fn footprint(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of status")?;
            Ok(line.trim_start_matches(':').split_whitespace().next().context("a figure")?.parse()?)
        };
        Ok((of("VmRSS")?, of("Threads")?))
    }

    /// Ends it as a deployment does.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the cell ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("the cell did not stop within {STOP_LIMIT:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_may_be_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The directory of a cell's tenants below its working directory.
pub(crate) fn tenants_of(directory: &Path) -> PathBuf {
    directory.join("crm_cell/tenants")
}
