//! How commands talk to the operators' router.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::server::Place;
use crate::upstream;

/// How long anything may take that another machine is asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The cell refused, and says why.
    #[error("{message}")]
    Refused {
        /// A word.
        code: String,
        /// A sentence for a person.
        message: String,
    },
    /// There is no cell to talk to.
    #[error("no cell answers there")]
    NoAnswer(#[source] reqwest::Error),
    /// The answer broke off: the cell was stopped.
    #[error(
        "the cell's answer broke off: what was under way may have been done in part; look with `crm-cell audit list`"
    )]
    BrokeOff,
}

/// The operators' side of a cell.
#[derive(Debug)]
pub struct Admin {
    client: Client,
    base: Url,
    token: Option<SecretString>,
    operator: String,
    place: Option<Place>,
}

/// The steps of something that takes a while.
#[derive(Debug)]
pub struct Lines {
    response: reqwest::Response,
    read: Vec<u8>,
}

impl Admin {
    /// That of the cell which listens on this socket.
    ///
    /// # Errors
    /// There is no client to be had.
    pub fn at_socket(socket: &Path, operator: String) -> anyhow::Result<Self> {
        let place = Place::of(socket)?;
        let client = upstream::socket_client(&place.path)?;
        let base = Url::parse("http://cell/")?;
        Ok(Self { client, base, token: None, operator, place: Some(place) })
    }

    /// That of the cell which listens at this URL for operators.
    ///
    /// # Errors
    /// There is no client to be had.
    pub fn at_url(url: Url, token: SecretString, operator: String) -> anyhow::Result<Self> {
        let client = upstream::client("--cell", &url, LONGEST)?;
        Ok(Self { client, base: url, token: Some(token), operator, place: None })
    }

    /// Whether somebody listens on the socket.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.place.as_ref().is_some_and(|place| UnixStream::connect(&place.path).is_ok())
    }

    /// Asks for something.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, AdminError> {
        value(self.request(Method::GET, path, query)).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn send(&self, method: Method, path: &[&str], body: &Value) -> Result<Value, AdminError> {
        value(self.request(method, path, &[]).body(body.to_string())).await
    }

    /// Has something done that takes a while.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn start(&self, path: &[&str], body: &Value) -> Result<Lines, AdminError> {
        let response = self.request(Method::POST, path, &[]).body(body.to_string()).send().await;
        let response = response.map_err(AdminError::NoAnswer)?;
        if response.status().is_success() {
            return Ok(Lines { response, read: Vec::new() });
        }
        let text = response.text().await.map_err(|_| AdminError::BrokeOff)?;
        Err(refused(&text))
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.request(method, url).header("X-Operator", self.operator.as_bytes());
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }
}

impl Lines {
    /// The next step; at the end, what came of it.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn next(&mut self) -> Result<Step, AdminError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let mut line: Value = serde_json::from_slice(&line).map_err(|_| AdminError::BrokeOff)?;
                return match (line["step"].take(), line["done"].take()) {
                    (Value::Null, Value::Null) => Err(refused(&line.to_string())),
                    (Value::Null, done) => Ok(Step::Done(done)),
                    (step, _) => Ok(Step::Step(step)),
                };
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.read.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return Err(AdminError::BrokeOff),
            }
        }
    }
}

/// What comes of something that takes a while.
#[derive(Debug)]
pub enum Step {
    /// So far it is.
    Step(Value),
    /// It has ended.
    Done(Value),
}

async fn value(request: RequestBuilder) -> Result<Value, AdminError> {
    let response = request.send().await.map_err(AdminError::NoAnswer)?;
    let is_success = response.status().is_success();
    let text = response.text().await.map_err(|_| AdminError::BrokeOff)?;
    if !is_success {
        return Err(refused(&text));
    }
    serde_json::from_str(&text).map_err(|_| AdminError::BrokeOff)
}

fn refused(text: &str) -> AdminError {
    let error: Value = serde_json::from_str(text).unwrap_or_default();
    let word = |name: &str| error["error"][name].as_str().map(str::to_owned);
    let code = word("code").unwrap_or_else(|| "FAILED".to_owned());
    AdminError::Refused { code, message: word("message").unwrap_or_else(|| "the cell refused".to_owned()) }
}
