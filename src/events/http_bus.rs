//! The platform's bus: `POST /api/events` below its base URL.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::bus::{Bus, Delivery};
use super::envelope::Outgoing;
use crate::upstream::{self, UpstreamError};

/// The path of events below a bus's base URL.
pub(super) const PATH: &str = "/api/events";
/// No more of an answer is read.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A bus that is called over HTTP.
pub(super) struct HttpBus {
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

impl HttpBus {
    pub(super) fn new(
        setting: &'static str,
        base: &Url,
        token: Option<&SecretString>,
        timeout: Duration,
    ) -> Result<Self, UpstreamError> {
        let client = upstream::client(setting, base, timeout)?;
        Ok(Self { client, url: upstream::below(base, PATH), authorization: authorization(token) })
    }

    async fn offer(&self, event: &Outgoing) -> Delivery {
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        // A repetition has the same request id: whoever is on the way knows it again.
        for (name, value) in [
            (HeaderName::from_static("x-request-id"), &event.event_id),
            (HeaderName::from_static("x-trace-id"), &event.trace_id),
            (HeaderName::from_static("x-tenant-id"), &event.tenant.to_string()),
        ] {
            headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        }
        let request = self.client.post(self.url.clone()).headers(headers).body(event.body.clone());
        match request.send().await {
            Ok(response) => understand(response).await,
            Err(error) => Delivery::Outage { reason: upstream::Failure::from(error).0, retry_after: None },
        }
    }
}

impl Bus for HttpBus {
    fn publish<'a>(&'a self, event: &'a Outgoing) -> BoxFuture<'a, Delivery> {
        Box::pin(self.offer(event))
    }
}

impl fmt::Debug for HttpBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBus").finish_non_exhaustive()
    }
}

/// The header for a bearer token.
pub(super) fn authorization(token: Option<&SecretString>) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token?.expose_secret().trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What an answer means: 200 and 202 are a yes, unless the body says that the event is dead already (contract §10). What
/// only this event can have caused is a refusal; anything else concerns all events.
async fn understand(response: Response) -> Delivery {
    let retry_after = upstream::retry_after(response.headers());
    let outage = |reason| Delivery::Outage { reason, retry_after };
    match response.status() {
        StatusCode::OK | StatusCode::ACCEPTED => match upstream::body(response, MAX_BODY_BYTES).await {
            Ok(body) if is_dead(&body) => Delivery::Refused("dlq"),
            // One that breaks off or has no end does not take the yes back.
            Ok(_) | Err(_) => Delivery::Accepted,
        },
        StatusCode::BAD_REQUEST => Delivery::Refused("400"),
        StatusCode::CONFLICT => Delivery::Refused("409"),
        StatusCode::PAYLOAD_TOO_LARGE => Delivery::Refused("413"),
        StatusCode::UNPROCESSABLE_ENTITY => Delivery::Refused("422"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => outage("EVENT_BUS_TOKEN is not accepted"),
        StatusCode::NOT_FOUND => outage("there is no /api/events"),
        StatusCode::TOO_MANY_REQUESTS => outage("too many requests"),
        status if status.is_server_error() => outage("server error"),
        _ => outage("unexpected status"),
    }
}

fn is_dead(body: &[u8]) -> bool {
    let status = |body: Value| body.get("status").and_then(Value::as_str).map(str::to_owned);
    serde_json::from_slice(body)
        .ok()
        .and_then(status)
        .is_some_and(|status| status.eq_ignore_ascii_case("dlq"))
}
