//! How this cell calls other services over HTTP: which URLs may be configured, the client, and how much of an answer is
//! believed.
//!
//! A caller gets one client for one service. It goes straight to the URL it was given: it follows no redirect, reads no
//! proxy from the environment and never asks again by itself. Every call ends within the client's deadline.

use std::env;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, Response, Url, redirect, retry};

/// A connection that takes longer to open is given up: a service that is gone costs no more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections are given up before common servers close them (after 5 s), so that no call meets a closing one.
const IDLE_FOR: Duration = Duration::from_secs(4);
/// Idle connections that are kept.
const IDLE_CONNECTIONS: usize = 16;
/// A `Retry-After` beyond this is not believed.
const LONGEST_RETRY_AFTER_SECONDS: u64 = 300;

/// Why a URL cannot be used and what to do about it; never a part of it, since it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(&'static str);

impl InvalidUrl {
    /// The same, said of the setting that holds the URL.
    #[must_use]
    pub fn of(self, setting: &'static str) -> UpstreamError {
        UpstreamError { setting, problem: self.0 }
    }
}

/// A setting with which another service cannot be called: which one, and what to do about it; never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct UpstreamError {
    setting: &'static str,
    problem: &'static str,
}

impl UpstreamError {
    /// The setting's documented variable.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// What is wrong with it, as the rest of a sentence that begins with its name.
    #[must_use]
    pub fn problem(&self) -> &'static str {
        self.problem
    }
}

/// Why a call came to nothing, in a few words for the log: never a URL, a header or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure(pub &'static str);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<reqwest::Error> for Failure {
    /// reqwest's own text would quote the URL.
    fn from(error: reqwest::Error) -> Self {
        Self(if error.is_timeout() {
            "timeout"
        } else if error.is_connect() {
            "no connection"
        } else if error.is_body() || error.is_decode() {
            "body broke off"
        } else {
            "no response"
        })
    }
}

/// The URL of one document: `http://` or `https://`, without a user and without a fragment.
///
/// # Errors
/// Says what is wrong with it.
pub fn document_url(text: &str) -> Result<Url, InvalidUrl> {
    let text = text.trim();
    // The URL standard drops some of it silently.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(InvalidUrl("must not contain white space"));
    }
    let url = Url::parse(text)
        .map_err(|_| InvalidUrl("is not a URL; write http://host:port/path or https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidUrl("must begin with http:// or https://"));
    }
    // reqwest would send a user in the URL as an `Authorization` of its own.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidUrl("must not contain a user name or password; remove them"));
    }
    if url.fragment().is_some() {
        return Err(InvalidUrl("must not contain #; remove it and what follows"));
    }
    Ok(url)
}

/// The base of a service's URLs: as [`document_url`], and without a query.
///
/// # Errors
/// Says what is wrong with it.
pub fn base_url(text: &str) -> Result<Url, InvalidUrl> {
    let url = document_url(text)?;
    if url.query().is_some() {
        return Err(InvalidUrl(
            "must not contain ?: it is the base of other URLs; remove it and what follows",
        ));
    }
    Ok(url)
}

/// `path`, which begins with a slash, below a [`base_url`]: after its own path, if it has one.
#[must_use]
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// The client for the service at `url`, which `setting` names; each of its calls, its answer's body included, ends after
/// `timeout`.
///
/// Certificates are checked against the machine's trust store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, so that
/// a private CA works. Images without a trust store get Mozilla's roots, compiled in; without any, reqwest builds no
/// client at all, not even for `http://`.
///
/// # Errors
/// No client can be built, mostly because the environment names certificates that are none.
pub fn client(setting: &'static str, url: &Url, timeout: Duration) -> Result<Client, UpstreamError> {
    let builder = || {
        ClientBuilder::new()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_FOR)
    };
    if let Ok(client) = builder().build() {
        return Ok(client);
    }
    let refuse = |problem| UpstreamError { setting, problem };
    let chosen = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| env::var_os(name).is_some());
    if chosen && url.scheme() == "https" {
        return Err(refuse(
            "is https, but SSL_CERT_FILE or SSL_CERT_DIR names no usable certificate; correct or unset them",
        ));
    }
    builder()
        .tls_certs_only(mozilla())
        .build()
        .map_err(|_| refuse("cannot be asked: no HTTP client could be built"))
}

/// The client for whoever listens on the socket at `path`, on this machine; its calls may take as long as they need.
///
/// # Errors
/// No client can be built.
pub fn socket_client(path: &Path) -> Result<Client, reqwest::Error> {
    // It never speaks TLS: no certificates are read.
    ClientBuilder::new()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .tls_certs_only(mozilla())
        .unix_socket(path)
        .build()
}

fn mozilla() -> impl Iterator<Item = Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok())
}

/// The body of an answer, if it has no more than `most` bytes; no more of it is read.
///
/// # Errors
/// It is larger, or does not arrive.
pub async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Err(Failure("body too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// How long an answer's `Retry-After` asks to be left alone; `None` without one that is a sane number of seconds.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    (1..=LONGEST_RETRY_AFTER_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_plain_http_address() {
        for text in ["http://127.0.0.1:8080", "https://platform.example.org/base/", " http://platform\n"] {
            assert!(base_url(text).is_ok(), "{text}");
        }
        for text in [
            "platform",
            "//platform",
            "ftp://platform",
            "http://",
            "unix:/run/x",
            "http://user@platform",
            "http://:canary@platform",
            "http://platform?canary",
            "http://platform/?",
            "http://platform#canary",
            "http://plat\tform",
            "http://platform/a b",
        ] {
            let error = base_url(text).expect_err(text).of("EVENT_BUS_URL");
            let shown = format!("{error} {error:?}");
            assert!(shown.starts_with("EVENT_BUS_URL ") && !shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn a_documents_url_may_have_a_query() {
        assert!(document_url("https://id.example.org/keys?tenant=a").is_ok());
        assert!(document_url("https://id.example.org/keys#a").is_err());
    }

    #[test]
    fn a_path_goes_below_that_of_the_base() {
        for (base, url) in [
            ("http://a", "http://a/api/events"),
            ("http://a/", "http://a/api/events"),
            ("http://a:81/b/c//", "http://a:81/b/c/api/events"),
        ] {
            assert_eq!(below(&base_url(base).expect("valid"), "/api/events").as_str(), url);
        }
    }

    #[test]
    fn only_a_sane_retry_after_is_believed() {
        for (text, seconds) in [
            ("1", Some(1)),
            ("300", Some(300)),
            ("0", None),
            ("301", None),
            ("-1", None),
            ("1.5", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a header"))]);
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
