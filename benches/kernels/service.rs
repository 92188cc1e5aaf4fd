//! Whole requests, one after the other on one connection, to a service in this process.

use anyhow::{Context as _, ensure};
use crm_cell::app::{App, Parts};
use crm_cell::config::{Config, Sources};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::{Kernel, Run};

pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { name: "request_refused", new: request_refused },
    Kernel { name: "request_record", new: request_record },
    Kernel { name: "request_page_of_20", new: request_page_of_20 },
    Kernel { name: "request_new_record", new: request_new_record },
    Kernel { name: "request_change", new: request_change },
    Kernel { name: "request_replay", new: request_replay },
];

/// A service and a connection to it.
struct Cell {
    runtime: Runtime,
    stream: TcpStream,
    answer: Vec<u8>,
    _directory: TempDir,
}

impl Cell {
    /// A service whose tenant has 20 customers. It takes any token, and does not checkpoint by the clock.
    fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let variables = [("PORT", "0"), ("CRM_AUTH_STRICT", "0"), ("CRM__STORAGE__CHECKPOINT_AFTER", "1h")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config = Config::load(&Sources::new(variables, directory.path()))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stream = runtime.block_on(async {
            let app = App::build(config, Parts::of_process(directory.path())?).await?;
            let address = app.address();
            tokio::spawn(app.run(std::future::pending()));
            anyhow::Ok(TcpStream::connect(address).await?)
        })?;
        let mut cell = Self { runtime, stream, answer: Vec::new(), _directory: directory };
        for number in 0..20 {
            cell.create(&format!("first {number}"))?;
        }
        Ok(cell)
    }

    /// Sends a request and returns the object in its answer, whose status must be this one.
    fn send(&mut self, status: &str, line: &str, id: &str, body: &str) -> anyhow::Result<&str> {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: cell\r\nAuthorization: Bearer any\r\nX-Tenant-Id: acme\r\nX-User-Id: u1001\r\n\
             X-Request-ID: {id}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (stream, answer) = (&mut self.stream, &mut self.answer);
        self.runtime.block_on(async {
            stream.write_all(request.as_bytes()).await?;
            answer.clear();
            while !is_whole(answer) {
                ensure!(stream.read_buf(answer).await? > 0, "the service hung up");
            }
            Ok(())
        })?;
        let answer = std::str::from_utf8(&self.answer)?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line} was answered {answer}");
        let object = answer.find('{').zip(answer.rfind('}')).context("an object")?;
        Ok(&answer[object.0..=object.1])
    }

    /// Creates a customer and returns its id.
    fn create(&mut self, name: &str) -> anyhow::Result<String> {
        let body =
            format!(r#"{{"name": "{name}", "contactPhone": "13800135678", "level": "A", "region": "华南"}}"#);
        let answer = self.send("201", "POST /customers", &name.replace(' ', "-"), &body)?;
        let answer: serde_json::Value = serde_json::from_str(answer)?;
        Ok(answer["customerId"].as_str().context("an id")?.to_owned())
    }
}

/// Whether all of an answer is there, by its length or in chunks.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok()) {
        Some(length) => answer.len() == end + 4 + length,
        None => answer.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// Everything but data: a parameter is wrong.
fn request_refused() -> anyhow::Result<Run> {
    let mut cell = Cell::start()?;
    Ok(Box::new(move |_| cell.send("400", "GET /customers?status=1&sort=size", "any", "").map(drop)))
}

fn request_record() -> anyhow::Result<Run> {
    let mut cell = Cell::start()?;
    let line = format!("GET /customers/{}", cell.create("one")?);
    Ok(Box::new(move |_| cell.send("200", &line, "any", "").map(drop)))
}

fn request_page_of_20() -> anyhow::Result<Run> {
    let mut cell = Cell::start()?;
    Ok(Box::new(move |_| cell.send("200", "GET /customers?status=1&count=none", "any", "").map(drop)))
}

fn request_new_record() -> anyhow::Result<Run> {
    let mut cell = Cell::start()?;
    Ok(Box::new(move |number| cell.create(&format!("new {number}")).map(drop)))
}

fn request_change() -> anyhow::Result<Run> {
    let mut cell = Cell::start()?;
    let line = format!("PATCH /customers/{}", cell.create("one")?);
    Ok(Box::new(move |number| {
        let body = format!(r#"{{"level": "L{number}", "remark": null}}"#);
        cell.send("200", &line, &format!("change-{number}"), &body).map(drop)
    }))
}

fn request_replay() -> anyhow::Result<Run> {
    let mut cell = Cell::start()?;
    cell.create("one")?;
    Ok(Box::new(move |_| cell.create("one").map(drop)))
}
