//! One question to the platform and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use crate::identity::claims::{Members, Nonsense, TenantMember};
use crate::identity::error::IdentityError;
use crate::identity::principal::{Principal, SourceKind, user_name};
use crate::upstream::{self, Failure};

const SETTING: &str = "PLATFORM_AUTH_URL";

/// No more of a body is read.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// What a 429 without a usable `Retry-After` is taken to mean.
const BUSY_FOR: Duration = Duration::from_secs(5);

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

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Outage(failure.0)
    }
}

/// Asks the platform.
pub(super) struct PlatformClient {
    client: Client,
    url: Url,
}

impl PlatformClient {
    pub(super) fn new(base: &str, timeout: Duration) -> Result<Self, IdentityError> {
        let base = upstream::base_url(base).map_err(|invalid| invalid.of(SETTING))?;
        let url = upstream::below(&base, "/api/auth/me");
        let client = upstream::client(SETTING, &url, timeout)?;
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
            Err(error) => Failure::from(error).into(),
        }
    }
}

async fn read(response: Response) -> Reply {
    match response.status() {
        StatusCode::OK => match upstream::body(response, MAX_BODY_BYTES).await {
            Ok(body) => understand(&body),
            Err(failure) => failure.into(),
        },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reply::Answer(Answer::No),
        StatusCode::TOO_MANY_REQUESTS => {
            Reply::Busy(upstream::retry_after(response.headers()).unwrap_or(BUSY_FOR))
        }
        _ => Reply::Outage("status"),
    }
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
