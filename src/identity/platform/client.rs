//! One question to the platform and what its answer means.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, Response, StatusCode, Url, redirect, retry};
use serde_json::Value;

use crate::identity::claims::{Members, Nonsense, TenantMember};
use crate::identity::error::IdentityError;
use crate::identity::principal::{Principal, SourceKind, user_name};

const SETTING: &str = "PLATFORM_AUTH_URL";

/// No more of a body is read.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Idle connections are given up before common servers close them (after 5 s), so that no question meets a closing one.
const IDLE_FOR: Duration = Duration::from_secs(4);
/// What a 429 without a usable `Retry-After` is taken to mean.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// A `Retry-After` beyond this is not believed.
const LONGEST_RETRY_AFTER_SECONDS: u64 = 300;

/// What the platform said of a token.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// It is this caller's.
    Yes(Arc<Principal>),
    /// It is a caller's who is confined to other cells.
    Confined,
    /// It is nobody's.
    No,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer.
    Answer(Answer),
    /// The platform wants to be left alone for this long.
    Busy(Duration),
    /// No answer; why, for the log.
    Outage(&'static str),
}

/// Asks the platform.
pub(super) struct PlatformClient {
    client: Client,
    url: Url,
}

impl PlatformClient {
    pub(super) fn new(base: &str, timeout: Duration) -> Result<Self, IdentityError> {
        let url = question_url(base)?;
        let client = build(&url, timeout)?;
        Ok(Self { client, url })
    }

    /// Asks who the token's bearer is.
    pub(super) async fn ask(&self, token: &str) -> Reply {
        // `Bearer` exactly: the platform knows the scheme in this letter case only.
        let Ok(mut authorization) = HeaderValue::try_from(format!("Bearer {token}")) else {
            return Reply::Answer(Answer::No);
        };
        authorization.set_sensitive(true);
        match self.client.get(self.url.clone()).header(AUTHORIZATION, authorization).send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_timeout() => Reply::Outage("timeout"),
            Err(error) if error.is_connect() => Reply::Outage("no connection"),
            Err(_) => Reply::Outage("no response"),
        }
    }
}

fn question_url(base: &str) -> Result<Url, IdentityError> {
    let refuse = |problem| IdentityError::new(SETTING, problem);
    let mut url =
        Url::parse(base).map_err(|_| refuse("is not a URL; write http://host:port or https://host"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("is neither http:// nor https://"));
    }
    // reqwest would send a user in the URL as a second Authorization.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("contains a user or a password; remove them"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("contains a query or a fragment; give the base URL only"));
    }
    let path = format!("{}/api/auth/me", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// The client: it goes straight to the one URL it was given, within the deadline.
///
/// Certificates are checked against the machine's trust store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name, so that
/// a private CA works. Images without a trust store get Mozilla's roots, compiled in; without any, reqwest builds no
/// client at all, not even for `http://`.
fn build(url: &Url, timeout: Duration) -> Result<Client, IdentityError> {
    let builder = || {
        ClientBuilder::new()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_secs(1))
            .timeout(timeout)
            .pool_max_idle_per_host(16)
            .pool_idle_timeout(IDLE_FOR)
    };
    if let Ok(client) = builder().build() {
        return Ok(client);
    }
    let chosen = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| env::var_os(name).is_some());
    if chosen && url.scheme() == "https" {
        return Err(IdentityError::new(
            SETTING,
            "is https, but SSL_CERT_FILE or SSL_CERT_DIR names no usable certificate; correct or unset them",
        ));
    }
    let mozilla =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok());
    builder()
        .tls_certs_only(mozilla)
        .build()
        .map_err(|_| IdentityError::new(SETTING, "cannot be asked: no HTTP client could be built"))
}

async fn read(response: Response) -> Reply {
    match response.status() {
        StatusCode::OK => match body(response).await {
            Ok(body) => understand(&body),
            Err(reason) => Reply::Outage(reason),
        },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reply::Answer(Answer::No),
        StatusCode::TOO_MANY_REQUESTS => Reply::Busy(retry_after(&response)),
        _ => Reply::Outage("status"),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "body broke off")? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err("body too large");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let sane = seconds.filter(|seconds| (1..=LONGEST_RETRY_AFTER_SECONDS).contains(seconds));
    sane.map_or(BUSY_FOR, Duration::from_secs)
}

/// What the body of a 200 means: a yes needs an object that names a user.
fn understand(body: &[u8]) -> Reply {
    let Some(members) = Members::parse(body).map(Members::without_nulls) else {
        return Reply::Outage("not a JSON object");
    };
    match answer(&members) {
        Ok(answer) => Reply::Answer(answer),
        Err(Nonsense(member)) => Reply::Outage(member),
    }
}

fn answer(members: &Members) -> Result<Answer, Nonsense> {
    const TENANTS: [TenantMember<'static>; 3] = [
        TenantMember { name: "tenantId", several: true },
        TenantMember { name: "tenant_id", several: false },
        TenantMember { name: "tid", several: false },
    ];
    let names = ["username", "userId", "sub"].iter().filter_map(|name| members.get(name)?.as_str());
    let name = names.into_iter().find(|name| !name.is_empty()).ok_or(Nonsense("no user"))?;
    let user = user_name(name).ok_or(Nonsense("user"))?;
    for switch in ["isActive", "enabled"] {
        match members.get(switch) {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(Answer::No),
            Some(_) => return Err(Nonsense(switch)),
        }
    }
    let caller = members.caller(user, SourceKind::Platform, &TENANTS)?;
    Ok(if caller.cell_allowed { Answer::Yes(Arc::new(caller.principal)) } else { Answer::Confined })
}
