//! The body of a request as the type a handler asks for.

use std::fmt;

use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible};
use serde::de::DeserializeOwned;

use super::error::{ApiError, ApiResult};
use super::messages::Message;
use super::payload::JsonBody;
use super::state::State;
use crate::config::UnknownFields;
use crate::domain::{FieldError, Invalid, Problem};

/// A type that a body is read into.
pub(super) trait BodyType: DeserializeOwned + Send {
    /// The resource's fields that clients cannot write, but may send back as they got them.
    const READ_ONLY: &'static [&'static str];
}

/// The body of a request, with unknown fields refused.
pub(super) struct Body<T>(pub(super) T);

impl<T> fmt::Debug for Body<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body") // the content is the client's
    }
}

impl<'ex, T: BodyType> Extractible<'ex> for Body<T> {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("Body");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(_request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        let unknown_fields = State::of(depot)?.api.unknown_fields;
        let Ok(JsonBody(json)) = depot.remove_typed::<JsonBody>() else {
            return Err(ApiError::bad_request(Message::BodyNotJson));
        };
        if !json.0.is_object() {
            return Err(ApiError::bad_request(Message::BodyNotJson));
        }
        let mut unknown = Vec::new();
        let read = serde_ignored::deserialize(json.0, |path| unknown.push(path.to_string()));
        let value: T = read.map_err(|_| ApiError::bad_request(Message::BodyNotJson))?;
        if unknown_fields == UnknownFields::Reject {
            unknown.retain(|field| !T::READ_ONLY.contains(&field.as_str()));
            let errors = unknown.into_iter().map(|field| FieldError { field, problem: Problem::Unknown });
            let invalid = Invalid { errors: errors.collect() };
            if !invalid.errors.is_empty() {
                return Err(invalid.into());
            }
        }
        Ok(Self(value))
    }
}
