//! A client of the service, and a raw one for what a client library hides.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// A caller of the service.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    headers: Vec<(String, String)>,
}

/// What the service answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        Self { http, base: base.to_owned(), headers: Vec::new() }
    }

    pub fn with_token(self, token: &str) -> Self {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    pub fn with_tenant(self, tenant: &str) -> Self {
        self.with("X-Tenant-Id", tenant)
    }

    /// The headers that it sends with every request.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Sends this header with every request, in place of an earlier one of that name; an empty value sends none.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// POST with a fresh request id.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.with_request_id().send(Method::POST, path, Some(body.to_string())).await
    }

    /// POST with this request id.
    pub async fn post_as(&self, request_id: &str, path: &str, body: &Value) -> Answer {
        self.clone().with("X-Request-ID", request_id).send(Method::POST, path, Some(body.to_string())).await
    }

    /// PATCH with a fresh request id.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.with_request_id().send(Method::PATCH, path, Some(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Creates a customer of this name and returns its id.
    pub async fn create_customer(&self, name: &str) -> String {
        let answer = self.post("/customers", &serde_json::json!({ "name": name })).await.expect(201);
        answer.json()["customerId"].as_str().expect("an id").to_owned()
    }

    /// Any request.
    pub async fn send(&self, method: Method, path: &str, body: Option<String>) -> Answer {
        self.try_send(method, path, body).await.expect("an answer")
    }

    /// Any request, that may meet a service which is going away.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        let has_type = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if let Some(body) = body {
            if !has_type {
                request = request.header("Content-Type", "application/json");
            }
            request = request.body(body);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    fn with_request_id(&self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-request-id")) {
            return self.clone();
        }
        self.clone().with("X-Request-ID", &format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Answer {
    /// The answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Asserts that it is an error with this status and code.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json()["code"], code, "{}", answer.text);
        answer
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }
}

/// Sends bytes and returns the bytes of the answer; the request must ask for `Connection: close`.
pub fn raw(address: &str, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    // The service may answer, and hang up, before it has read everything.
    let _ = stream.write_all(request.as_ref());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}
