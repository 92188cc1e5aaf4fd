//! A double of the platform's gateway: what it does to requests and answers, as measured (`USE_REAL_FORWARD=1`).
//!
//! - It wants `Authorization` on everything, and `Content-Type` and `X-Request-ID` on POST, PUT and PATCH.
//! - It decodes the path, resolves `..` in it and encodes it again.
//! - Six headers of the client reach the cell, and `Accept-Encoding: gzip`.
//! - It tries three times where the cell answers 5xx or breaks off, whatever the method.
//! - It copies the answer's headers but `Transfer-Encoding`, `Connection` and `Content-Type`; that one it knows in Title-Case
//!   only. A body of 256 bytes or more it compresses for clients that take gzip, and keeps the length that the cell declared.
//! - Its breaker counts final answers of 10 seconds: two or more of which half are 5xx close the cell for everybody.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PREFIX: &str = "/api/v1/crm/";
const FORWARDED: [&str; 6] =
    ["Authorization", "Content-Type", "X-Request-ID", "X-Tenant-Id", "X-Trace-Id", "X-Span-Id"];
const ATTEMPTS: u32 = 3;
const COMPRESSED_FROM: usize = 256;
const WINDOW: Duration = Duration::from_secs(10);

/// A running gateway in front of a cell.
pub struct Gateway {
    /// `http://127.0.0.1:…/api/v1/crm`
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    cell: String,
    breaker: Mutex<Breaker>,
    /// How many of the cell's next answers are lost on the way.
    cuts: AtomicU64,
    attempts: AtomicU64,
    opened: AtomicU64,
    /// Answers to GETs by cell, path and query, as its cache has them once that is switched on.
    cache: Mutex<Option<HashMap<String, Vec<u8>>>>,
    /// A header that it does not pass on.
    loses: Mutex<Option<&'static str>>,
}

#[derive(Default)]
struct Breaker {
    recent: VecDeque<(Instant, bool)>,
    open_until: Option<Instant>,
}

struct Message {
    first_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Gateway {
    /// A gateway in front of the cell at `address`.
    pub async fn start(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/api/v1/crm", listener.local_addr().expect("an address"));
        let inner = Arc::new(Inner {
            cell: address.to_owned(),
            breaker: Mutex::default(),
            cuts: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            cache: Mutex::default(),
            loses: Mutex::default(),
        });
        let serving = inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = serving.clone();
                tokio::spawn(async move { inner.serve(stream).await });
            }
        });
        Self { url, inner }
    }

    /// The cell's next answers are lost on the way: so many.
    pub fn cut(&self, answers: u64) {
        self.inner.cuts.store(answers, Ordering::SeqCst);
    }

    /// Switches the cache of GETs on.
    pub fn share_cache(&self) {
        *self.inner.cache.lock().expect("not poisoned") = Some(HashMap::new());
    }

    /// Does not pass this header on.
    pub fn lose(&self, header: &'static str) {
        *self.inner.loses.lock().expect("not poisoned") = Some(header);
    }

    /// How often the cell was asked.
    pub fn attempts(&self) -> u64 {
        self.inner.attempts.load(Ordering::SeqCst)
    }

    /// How often the breaker has opened.
    pub fn opened(&self) -> u64 {
        self.inner.opened.load(Ordering::SeqCst)
    }
}

impl Inner {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read_message(&mut stream, false).await else { return };
        let answer = self.answer(&request).await;
        let _gone = stream.write_all(&answer).await;
        let _gone = stream.shutdown().await;
    }

    async fn answer(&self, request: &Message) -> Vec<u8> {
        let mut words = request.first_line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').map_or((target, ""), |(path, query)| (path, query));
        let path = decode(path);
        let Some(path) = path.strip_prefix(PREFIX).filter(|path| !path.is_empty()) else {
            return own(404, "NOT_FOUND");
        };
        let writes = ["POST", "PUT", "PATCH"].contains(&method);
        let has = |name: &str| request.header(name).is_some();
        if !has("authorization") || (writes && !(has("content-type") && has("x-request-id"))) {
            return own(400, "MISSING_HEADER");
        }
        if !self.allows() {
            return own(503, "CIRCUIT_OPEN");
        }
        let mut target = format!("/{}", encode(path));
        if !query.is_empty() {
            target = format!("{target}?{query}");
        }
        let cached =
            self.cache.lock().expect("not poisoned").as_ref().and_then(|cache| cache.get(&target).cloned());
        if method == "GET"
            && let Some(bytes) = cached
        {
            return bytes;
        }
        let loses = *self.loses.lock().expect("not poisoned");
        let kept = |name: &str| loses.is_none_or(|lost| !name.eq_ignore_ascii_case(lost));
        let headers = request.headers.iter().filter(|(name, _)| kept(name)).cloned().collect();
        let passed = Message { first_line: request.first_line.clone(), headers, body: request.body.clone() };
        let head = forwarded_head(method, &target, &self.cell, &passed);
        let answer = self.forward(&head, &request.body).await;
        let (status, bytes) = match answer {
            Some(answer) => {
                let takes_gzip =
                    request.header("accept-encoding").is_some_and(|value| value.contains("gzip"));
                translate(&answer, takes_gzip)
            }
            None => (502, own(502, "CELL_UNREACHABLE")),
        };
        self.record(status < 500);
        if method == "GET"
            && status == 200
            && let Some(cache) = &mut *self.cache.lock().expect("not poisoned")
        {
            cache.insert(target, bytes.clone());
        }
        bytes
    }

    /// Asks the cell, up to three times.
    async fn forward(&self, head: &str, body: &[u8]) -> Option<Message> {
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(20 << attempt)).await; // 200 ms and 400 ms there
            }
            self.attempts.fetch_add(1, Ordering::SeqCst);
            let answer = self.ask(head, body).await;
            let is_cut =
                self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |cuts| cuts.checked_sub(1));
            last = if is_cut.is_ok() { None } else { answer };
            if last.as_ref().is_some_and(|answer| answer.status() < 500) {
                break;
            }
        }
        last
    }

    async fn ask(&self, head: &str, body: &[u8]) -> Option<Message> {
        let mut stream = TcpStream::connect(&self.cell).await.ok()?;
        stream.write_all(head.as_bytes()).await.ok()?;
        let _refused = stream.write_all(body).await;
        read_message(&mut stream, head.starts_with("HEAD ")).await
    }

    fn allows(&self) -> bool {
        let mut breaker = self.breaker.lock().expect("not poisoned");
        match breaker.open_until {
            Some(until) if Instant::now() < until => false,
            _ => {
                breaker.open_until = None;
                true
            }
        }
    }

    fn record(&self, success: bool) {
        let mut breaker = self.breaker.lock().expect("not poisoned");
        let now = Instant::now();
        breaker.recent.push_back((now, success));
        breaker.recent.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        let failures = breaker.recent.iter().filter(|(_, success)| !success).count();
        if breaker.recent.len() >= 2 && failures * 2 >= breaker.recent.len() {
            breaker.open_until = Some(now + WINDOW);
            breaker.recent.clear();
            self.opened.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The value of a header in exactly this letter case.
    fn exact(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(502)
    }
}

fn forwarded_head(method: &str, target: &str, cell: &str, request: &Message) -> String {
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nHost: {cell}\r\nUser-Agent: python-urllib3/2.8\r\n");
    for name in FORWARDED {
        if let Some(value) = request.header(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("Accept-Encoding: gzip\r\nConnection: close\r\n");
    if !request.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&method) {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    head + "\r\n"
}

/// The cell's answer as the client gets it, and its status.
fn translate(answer: &Message, takes_gzip: bool) -> (u16, Vec<u8>) {
    let status = answer.status();
    let dropped = ["transfer-encoding", "connection", "content-type", "x-response-time"];
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !dropped.contains(&name.to_ascii_lowercase().as_str()))
        .cloned()
        .collect();
    let mut body = answer.body.clone();
    let was_encoded = answer.header("content-encoding").is_some();
    if was_encoded {
        // Its client library decodes the body, and the header stays.
        body = decompress(&body);
    }
    if takes_gzip && body.len() >= COMPRESSED_FROM {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body).expect("compressed");
        body = encoder.finish().expect("compressed");
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-encoding"));
        headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    }
    if answer.header("content-length").is_none() && status != 204 && status != 304 {
        headers.push(("Content-Length".to_owned(), body.len().to_string()));
    } // else the length that the cell declared stays, whatever became of the body
    headers.push((
        "Content-Type".to_owned(),
        answer.exact("Content-Type").unwrap_or("application/json").to_owned(),
    ));
    headers.push(("X-Response-Time".to_owned(), "1".to_owned()));
    headers.push(("Connection".to_owned(), "close".to_owned()));
    let mut bytes = format!("HTTP/1.1 {status} X\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    (status, bytes)
}

pub fn decompress(body: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(body).expect("gzip");
    decoder.finish().expect("gzip")
}

/// An answer of the gateway's own.
fn own(status: u16, code: &str) -> Vec<u8> {
    let body = format!(r#"{{"code":"{code}","message":"","details":"","requestId":""}}"#);
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A whole message, its chunks joined; `None` if it broke off.
async fn read_message(stream: &mut TcpStream, has_no_body: bool) -> Option<Message> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.split("\r\n");
    let first_line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut message = Message { first_line, headers, body: Vec::new() };
    let without_body =
        has_no_body || message.first_line.contains(" 204 ") || message.first_line.contains(" 304 ");
    if without_body {
        return Some(message);
    }
    if message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        message.body = read_chunks(stream).await?;
    } else if let Some(length) = message.header("content-length") {
        message.body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut message.body).await.ok()?;
    } else if message.first_line.starts_with("HTTP/") {
        stream.read_to_end(&mut message.body).await.ok()?;
    }
    Some(message)
}

async fn read_chunks(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.ok()?);
        }
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + size + 2, 0);
        stream.read_exact(&mut body[start..]).await.ok()?;
        body.truncate(start + size);
        if size == 0 {
            return Some(body);
        }
    }
}

/// The path with its percent escapes decoded.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut decoded, mut place) = (Vec::new(), 0);
    while place < bytes.len() {
        let hex = bytes.get(place + 1..place + 3).and_then(|hex| str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[place] == b'%' => {
                decoded.push(byte);
                place += 3;
            }
            _ => {
                decoded.push(bytes[place]);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The path as urllib3 writes it: `.` and `..` resolved, and what cannot stand in a path encoded.
fn encode(path: &str) -> String {
    let is_dir = path.ends_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut joined = parts.join("/");
    if is_dir && !joined.ends_with('/') {
        joined.push('/');
    }
    let keeps = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let encode = |byte: u8| if keeps(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") };
    joined.bytes().map(encode).collect()
}
