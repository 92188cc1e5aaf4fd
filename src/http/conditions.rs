//! Which record a request means, and which version of it.

use salvo::extract::Metadata;
use salvo::http::header::IF_MATCH;
use salvo::http::{Method, Request};
use salvo::routing::{Filter, PathState};
use salvo::{Depot, Extractible, Router, async_trait};
use salvo_oapi::{BasicType, Components, EndpointArgRegister, Object, Operation, ParameterIn};
use serde_json::Value;

use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::openapi;
use super::payload::JsonBody;
use crate::domain::{InputType as _, Invalid, Precondition, Problem};

/// The place of a record in a path. Anything that is no id is an unknown path (contract §2).
const RECORD: &str = "{id|[A-Za-z0-9_-]{1,64}}";
/// What stands in the place of an id in the paths of some collections, and is no id in any.
const WORDS: [&str; 4] = ["export", "forecast", "import", "win-rate"];

/// The routes of one record of a collection.
pub(super) fn of_record() -> Router {
    Router::with_path(RECORD).filter(IsId)
}

/// What stands in the place of an id is one.
#[derive(Debug)]
struct IsId;

impl IsId {
    fn holds(request: &Request) -> bool {
        let mut parts = request.uri().path().split('/').filter(|part| !part.is_empty());
        parts.nth(1).is_none_or(|id| !WORDS.contains(&id))
    }
}

#[async_trait]
impl Filter for IsId {
    async fn filter_for_method(
        &self,
        request: &mut Request,
        _path: &mut PathState<'_>,
        _method: &Method,
    ) -> Option<bool> {
        Some(Self::holds(request))
    }

    async fn filter(&self, request: &mut Request, _path: &mut PathState<'_>) -> bool {
        Self::holds(request)
    }
}

/// The id of a record in a path.
#[derive(Debug)]
pub(super) struct RecordId(pub(super) String);

impl<'ex> Extractible<'ex> for RecordId {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("RecordId");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, _depot: &'ex mut Depot) -> ApiResult<Self> {
        request.param("id").map(Self).ok_or_else(ApiError::internal)
    }
}

impl EndpointArgRegister for RecordId {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        let id = openapi::text().min_length(1).max_length(64).pattern("^[A-Za-z0-9_-]{1,64}$");
        operation.parameters.insert(openapi::parameter("id", ParameterIn::Path, true, id));
        openapi::errors(operation, &[Code::NotFound]);
    }
}

/// The place of an event's id in a path: other systems choose the ids of theirs.
pub(super) const EVENT: &str = "{id|[A-Za-z0-9._:@~-]{1,200}}";

/// The id in [`EVENT`].
#[derive(Debug)]
pub(super) struct EventId(pub(super) String);

impl<'ex> Extractible<'ex> for EventId {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("EventId");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, _depot: &'ex mut Depot) -> ApiResult<Self> {
        request.param("id").map(Self).ok_or_else(ApiError::internal)
    }
}

impl EndpointArgRegister for EventId {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        let id = openapi::text().min_length(1).max_length(200).pattern("^[A-Za-z0-9._:@~-]{1,200}$");
        operation.parameters.insert(openapi::parameter("id", ParameterIn::Path, true, id));
        openapi::errors(operation, &[Code::NotFound, Code::StateConflict]);
    }
}

/// What the record must be like. Its version: `If-Match: "v7"`, `ifVersion` in the body or `?ifVersion=7` (contract §6; the
/// gateway drops `If-Match`). What a PATCH is based on: `baseVersion` in its body. Takes both out of the body: ask for it
/// before the body.
#[derive(Debug)]
pub(super) struct Expected(pub(super) Precondition);

impl<'ex> Extractible<'ex> for Expected {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("Expected");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let invalid = || ApiError::bad_request(Message::IfMatchInvalid);
        let mut headers = request.headers().get_all(IF_MATCH).iter();
        let header = match (headers.next(), headers.next()) {
            (Some(value), None) => if_match(value.to_str().map_err(|_| invalid())?).ok_or_else(invalid)?,
            (None, _) => None,
            (Some(_), Some(_)) => return Err(invalid()),
        };
        let query = match request.queries().get_vec("ifVersion").map(Vec::as_slice) {
            Some([_, _, ..]) => {
                let name = "ifVersion".to_owned();
                return Err(ApiError::bad_request(Message::ParameterTwice(name)));
            }
            Some([text]) => Some(text.clone()),
            _ => None,
        };
        let query = match query.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => Some(text.parse::<i64>().map_err(|_| invalid())?),
            None => None,
        };
        let patches = request.method() == Method::PATCH;
        let (body, base) = match depot.get_typed_mut::<JsonBody>() {
            Ok(JsonBody(json)) if patches => {
                (take_version(&mut json.0, "ifVersion")?, take_version(&mut json.0, "baseVersion")?)
            }
            Ok(JsonBody(json)) => (take_version(&mut json.0, "ifVersion")?, None),
            Err(_) => (None, None),
        };
        let mut versions = [header, query, body].into_iter().flatten();
        let version = versions.next();
        if versions.any(|other| Some(other) != version) {
            return Err(invalid());
        }
        Ok(Self(Precondition { version, base }))
    }
}

impl EndpointArgRegister for Expected {
    fn register(_: &mut Components, operation: &mut Operation, _: &str) {
        let version = openapi::text().pattern(r#"^("v[0-9]{1,18}"|\*)$"#);
        let header = openapi::parameter("If-Match", ParameterIn::Header, false, version);
        let query = Object::with_type(BasicType::Integer).minimum(1);
        let query = openapi::parameter("ifVersion", ParameterIn::Query, false, query);
        operation.parameters.insert(header.description("The version that the record must have: `\"v7\"`."));
        operation.parameters.insert(query.description("The same, where `If-Match` does not get through."));
        let codes = [Code::BadRequest, Code::ValidationFailed, Code::VersionMismatch];
        openapi::errors(operation, &codes);
    }
}

/// `"v7"`, `v7`, `7`; `*` asks only that the record exists, which every change does.
fn if_match(text: &str) -> Option<Option<i64>> {
    let text = text.trim().trim_start_matches("W/").trim_matches('"');
    if text == "*" { Some(None) } else { text.trim_start_matches('v').parse().ok().map(Some) }
}

fn take_version(json: &mut Value, field: &'static str) -> ApiResult<Option<i64>> {
    let Some(value) = json.as_object_mut().and_then(|object| object.remove(field)) else {
        return Ok(None);
    };
    match value {
        Value::Null => Ok(None),
        value => match i64::from_json(value) {
            Some(version) => Ok(Some(version)),
            None => Err(Invalid::field(field, Problem::NotInteger).into()),
        },
    }
}
