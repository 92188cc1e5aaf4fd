//! Requests as bytes and answers as they are on the wire, for what a client library adds, repairs or hides.

use serde_json::Value;

use super::{TestApp, raw, token};

/// A request as it will be sent.
#[derive(Debug, Clone)]
pub struct Wire {
    address: String,
    head: Vec<u8>,
    body: Vec<u8>,
}

/// An answer as it was received; the body with its chunks joined.
#[derive(Debug, Clone)]
pub struct WireAnswer {
    pub status: u16,
    /// In the order and letter case of the wire.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl TestApp {
    /// A request on a connection of its own.
    pub fn wire(&self, method: &str, target: &str) -> Wire {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: cell\r\nConnection: close\r\n");
        Wire { address: self.address().to_owned(), head: head.into_bytes(), body: Vec::new() }
    }
}

impl Wire {
    /// Adds a header line; the value may be any bytes.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend_from_slice(name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_ref());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    /// The caller is bound to this tenant by the token; no `X-Tenant-Id` is sent.
    pub fn of(self, tenant: &str) -> Self {
        self.header("Authorization", format!("Bearer {}", token(tenant, "tester")))
    }

    /// Adds a JSON body with its type and length.
    pub fn json(self, body: impl AsRef<[u8]>) -> Self {
        self.header("Content-Type", "application/json").sized(body)
    }

    /// Adds a body with its length.
    pub fn sized(self, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        self.header("Content-Length", length).body(body)
    }

    /// Adds a body, chunked, in chunks of 64 KiB.
    pub fn chunked(self, body: impl AsRef<[u8]>) -> Self {
        let mut framed = Vec::new();
        for chunk in body.as_ref().chunks(64 * 1024) {
            framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked").body(framed)
    }

    /// Adds bytes after the head.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body.extend_from_slice(body.as_ref());
        self
    }

    pub async fn send(self) -> WireAnswer {
        let bytes = [&self.head[..], b"\r\n", &self.body].concat();
        let answer = tokio::task::spawn_blocking(move || raw(&self.address, &bytes));
        WireAnswer::parse(&answer.await.expect("sent"))
    }
}

impl WireAnswer {
    fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let has = |wanted: &str| headers.iter().any(|(name, _)| name == wanted);
        let is_readable = has("Transfer-Encoding") && !has("Content-Encoding");
        Self {
            status: status.expect("a status").parse().expect("a number"),
            body: if is_readable { joined(body) } else { body.to_owned() },
            headers,
        }
    }

    /// The value of a header with exactly this name, letter case included.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        Some(value)
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Asserts that it is an error with this status and code.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json()["code"], code, "{answer:?}");
        answer
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The chunks of a body.
fn joined(mut framed: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = framed.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            break;
        }
        body.push_str(&rest[..size]);
        framed = rest[size..].strip_prefix("\r\n").expect("the end of a chunk");
    }
    body
}
