//! What a writing request must bring along: media type, size, request id, JSON (contract §2, in the order of its checks).

use salvo::http::header::CONTENT_TYPE;
use salvo::http::{Method, Request, Response};
use salvo::{Depot, FlowCtrl, Handler, Writer as _, async_trait};
use sha2::{Digest as _, Sha256};

use super::bytes;
use super::error::{ApiError, ApiResult, Code};
use super::json::{Refused, StrictJson};
use super::messages::Message;
use super::trace::Key;
use crate::tenancy::IdempotencyKey;

/// A hoop that reads and checks the body of a write, which a DELETE and an action may leave out, and its request id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload {
    max_size: usize,
    is_action: bool,
    /// Media types of bodies besides JSON.
    media_types: &'static [&'static str],
}

impl Payload {
    /// The most that any route takes.
    pub(super) const LARGEST: usize = 8 << 20;
    /// For the routes of a resource: at most 1 MiB, and a request id is required.
    pub(super) const RESOURCE: Self = Self { max_size: 1 << 20, is_action: false, media_types: &[] };
    /// For actions on a record: an empty body is `{}`, and a request id protects if there is one.
    pub(super) const ACTION: Self = Self { max_size: 1 << 20, is_action: true, media_types: &[] };
    /// For imports: at most 8 MiB, and a request id protects if there is one.
    pub(super) const IMPORT: Self = Self { max_size: Self::LARGEST, is_action: true, media_types: &[] };
    /// For events of other systems.
    pub(super) const EVENTS: Self =
        Self { max_size: Self::LARGEST, is_action: true, media_types: &CLOUD_EVENTS };
}

/// Media types of CloudEvents 1.0: one, and several.
pub(super) const CLOUD_EVENTS: [&str; 2] =
    ["application/cloudevents+json", "application/cloudevents-batch+json"];

/// A body that has been read and is JSON.
#[derive(Debug)]
pub(super) struct JsonBody(pub(super) StrictJson);

/// The request's id with the fingerprint of its body; the user is added where the caller is known.
#[derive(Debug)]
pub(super) struct RequestKey {
    path_and_id: String,
    fingerprint: String,
}

impl RequestKey {
    /// The key under which the answer to this request of `user` is stored. Its parts hold no spaces but the last.
    pub(super) fn of_user(&self, user: &str) -> IdempotencyKey {
        IdempotencyKey { key: format!("{} {user}", self.path_and_id), fingerprint: self.fingerprint.clone() }
    }
}

#[async_trait]
impl Handler for Payload {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        match self.read(request, depot).await {
            Ok((body, key)) => {
                if let Some(body) = body {
                    depot.insert_typed(body);
                }
                if let Some(key) = key {
                    depot.insert_typed(key);
                }
                ctrl.call_next(request, depot, response).await;
            }
            Err(error) => {
                error.write(request, depot, response).await;
                ctrl.skip_rest();
            }
        }
    }
}

impl Payload {
    async fn read(
        self,
        request: &mut Request,
        depot: &mut Depot,
    ) -> ApiResult<(Option<JsonBody>, Option<RequestKey>)> {
        let deletes = match *request.method() {
            Method::POST | Method::PUT | Method::PATCH => false,
            Method::DELETE => true,
            _ => return Ok((None, None)),
        };
        let bytes = if self.is_action || deletes {
            let bytes = bytes::read(request, depot, self.max_size).await?;
            if !bytes.is_empty() {
                check_media_type(request, self.media_types)?;
            }
            bytes
        } else {
            check_media_type(request, self.media_types)?;
            bytes::read(request, depot, self.max_size).await?
        };
        let id = match Key::of(request.headers()) {
            Key::Valid(id) => Some(id.to_owned()),
            Key::Absent if deletes || self.is_action => None,
            Key::Absent => {
                let method = request.method().as_str().to_owned();
                return Err(ApiError::bad_request(Message::RequestIdRequired(method)));
            }
            Key::Invalid if deletes => None,
            Key::Invalid => return Err(ApiError::bad_request(Message::RequestIdInvalid)),
        };
        let body = match &*bytes {
            [] if deletes => None,
            [] if self.is_action => Some(&b"{}"[..]),
            bytes => Some(bytes),
        };
        let body = body.map(StrictJson::parse).transpose();
        let body = body.map_err(|refused| match refused {
            Refused::NotStrict => ApiError::bad_request(Message::BodyNotJson),
            Refused::TooMuch => ApiError::bad_request(Message::TooManyValues),
        })?;
        let body = body.map(JsonBody);
        let key = id.map(|id| request_key(request, &id, body.as_ref()));
        Ok((body, key))
    }
}

/// `application/json`, on PATCH also `application/merge-patch+json`, or one of the others; in UTF-8.
fn check_media_type(request: &Request, others: &[&str]) -> ApiResult<()> {
    let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut parts = header.unwrap_or_default().split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    let known = is("application/json")
        || (request.method() == Method::PATCH && is("application/merge-patch+json"))
        || others.iter().any(|other| is(other));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if known && utf8 { Ok(()) } else { Err(ApiError::new(Code::UnsupportedMediaType, Message::MediaType)) }
}

/// Method, path without query or superfluous slashes, and request id; and the hash of the body with its keys sorted.
fn request_key(request: &Request, id: &str, body: Option<&JsonBody>) -> RequestKey {
    let mut path_and_id = request.method().as_str().to_owned();
    path_and_id.push(' ');
    for part in request.uri().path().split('/').filter(|part| !part.is_empty()) {
        path_and_id.push('/');
        path_and_id.push_str(part);
    }
    path_and_id.push(' ');
    path_and_id.push_str(id);
    let canonical = body.map(|body| body.0.0.to_string()).unwrap_or_default();
    // Half of SHA-256: whoever finds a collision can only confuse their own retries.
    let fingerprint = hex::encode(&Sha256::digest(canonical)[..16]);
    RequestKey { path_and_id, fingerprint }
}
