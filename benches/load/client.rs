//! A closed-loop HTTP/1.1 client: each connection sends its next request when it has the answer to the last one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Writes a request; the number is another one each time, in the whole process.
pub(crate) type Requests = Arc<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Run {
    /// The figures of so many answers, given by how long each took.
    pub(crate) fn of(mut times: Vec<Duration>, elapsed: Duration) -> Self {
        times.sort_unstable();
        let at =
            |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        Self { per_second: times.len() as f64 / elapsed.as_secs_f64(), p50_ms: at(50), p99_ms: at(99) }
    }
}

/// Sends `requests` over so many connections for so long. Any answer but 200 and 201 ends the run.
pub(crate) async fn run(
    address: &str,
    connections: usize,
    time: Duration,
    requests: &Requests,
) -> anyhow::Result<Run> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(connection(address.to_owned(), start + time, requests.clone())))
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.append(&mut task.await??);
    }
    Ok(Run::of(times, start.elapsed()))
}

async fn connection(address: String, end: Instant, requests: Requests) -> anyhow::Result<Vec<Duration>> {
    let mut connection = Connection::open(&address).await?;
    let mut times = Vec::new();
    while Instant::now() < end {
        times.push(connection.send(&requests).await?);
    }
    Ok(times)
}

/// One connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends the next of `requests`; says how long the whole answer took.
    pub(crate) async fn send(&mut self, requests: &Requests) -> anyhow::Result<Duration> {
        self.request.clear();
        requests(next_number(), &mut self.request);
        let start = Instant::now();
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        while !is_whole(&self.answer) {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the server hung up");
        }
        let time = start.elapsed();
        if !self.answer.starts_with(b"HTTP/1.1 20") {
            let [request, answer] = [&self.request, &self.answer].map(|bytes| String::from_utf8_lossy(bytes));
            bail!("{request}\nwas answered\n{answer}");
        }
        Ok(time)
    }

    /// The object in the last answer; where that is chunked, it stands in a line of its own.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        let mut lines = str::from_utf8(&self.answer)?.lines();
        Ok(serde_json::from_str(lines.find(|line| line.starts_with('{')).context("an object")?)?)
    }
}

fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether the bytes are a whole answer: with a length, or chunked.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let (head, body) = answer.split_at(head + 4);
    match length(head) {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

fn length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    str::from_utf8(line.get(NAME.len()..)?).ok()?.trim().parse().ok()
}
