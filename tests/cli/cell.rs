//! The binary: run to its end, or serving.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(super) const SECRET: &str = "a secret of the tests, longer than 32 bytes";

/// The binary with these arguments and no other variables than these.
pub(super) fn crm_cell(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crm-cell"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir(directory);
    command
}

/// Runs it to its end; a command that has none within half a minute is killed and fails the test.
pub(super) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = crm_cell(directory.path(), arguments, variables)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let start = Instant::now();
    while child.try_wait().expect("waited").is_none() {
        if start.elapsed() > Duration::from_secs(30) {
            child.kill().expect("killed");
            panic!("still running: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let left = std::fs::read_dir(directory.path()).expect("readable").count();
    assert_eq!(left, 0, "a command that does not serve leaves nothing behind");
    child.wait_with_output().expect("its output")
}

#[track_caller]
pub(super) fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What a command that failed said on standard error.
#[track_caller]
pub(super) fn refusal(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A cell that serves. Killed when dropped.
pub(super) struct Cell {
    child: Child,
    address: String,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Cell {
    /// Serves the data root in `directory` on loopback, on a port of its own.
    pub(super) fn start(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = crm_cell(directory, &["serve"], variables)
            .env("PORT", "0")
            .env("CRM_HOST", "127.0.0.1")
            .env("CRM__LOG__FILTER", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let greeting = lines.next().expect("a greeting").expect("readable");
        let address =
            greeting.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("an address");
        Self { child, address: address.trim_end_matches(';').to_owned(), _stdout: lines }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn port(&self) -> &str {
        self.address.rsplit_once(':').expect("a port").1
    }

    /// The status of a GET.
    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        get(&self.address, path, headers).expect("an answer")
    }

    /// The body of the answer to a GET, a short one.
    pub(super) fn body(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let answer = ask(&self.address, path, headers).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let lines = || body.lines().skip(1).step_by(2).collect();
        if is_chunked { lines() } else { body.to_owned() }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of a GET, if anybody answers.
pub(super) fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> Option<u16> {
    ask(address, path, headers)?.split(' ').nth(1)?.parse().ok()
}

/// The answer to a GET, if anybody answers.
fn ask(address: &str, path: &str, headers: &[(&str, &str)]) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: cell\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
