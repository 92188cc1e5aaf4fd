//! The body of a request as the type a handler asks for.

use std::fmt;

use salvo::extract::Metadata;
use salvo::http::Request;
use salvo::{Depot, Extractible};
use salvo_oapi::schema::AdditionalProperties;
use salvo_oapi::{
    BasicType, Components, Content, EndpointArgRegister, Object, Operation, ParameterIn, Ref, RefOr,
    RequestBody, Required, Schema, SchemaType,
};
use serde::de::DeserializeOwned;

use super::error::{ApiError, ApiResult, Code};
use super::messages::Message;
use super::openapi;
use super::payload::JsonBody;
use super::state::State;
use crate::config::UnknownFields;
use crate::domain::{FieldError, FieldRule, Invalid, Problem};

/// Unknown fields that are named: a body has room for very many.
const UNKNOWN_MAX: usize = 20;

/// A type that a body is read into.
pub(super) trait BodyType: DeserializeOwned + Send {
    /// The resource's fields that clients cannot write, but may send back as they got them.
    const READ_ONLY: &'static [&'static str];
    /// The resource, as schemas name it.
    const NAME: &'static str;
    /// It is what an action takes, which needs no request id and not every field.
    const IS_OF_ACTION: bool = false;

    /// The rules of the fields that clients can write.
    fn rules() -> Vec<FieldRule>;
}

/// The body of a POST, with unknown fields refused.
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
            let errors = unknown
                .into_iter()
                .take(UNKNOWN_MAX)
                .map(|field| FieldError { field, problem: Problem::Unknown });
            let invalid = Invalid { errors: errors.collect() };
            if !invalid.errors.is_empty() {
                return Err(invalid.into());
            }
        }
        Ok(Self(value))
    }
}

/// The body of a PATCH, a JSON merge patch (RFC 7396), with unknown fields refused.
pub(super) struct MergePatch<T>(pub(super) T);

impl<T> fmt::Debug for MergePatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MergePatch")
    }
}

impl<'ex, T: BodyType> Extractible<'ex> for MergePatch<T> {
    fn metadata() -> &'static Metadata {
        Body::<T>::metadata()
    }

    #[expect(refining_impl_trait, reason = "the handlers' error is one type")]
    async fn extract(request: &'ex mut Request, depot: &'ex mut Depot) -> ApiResult<Self> {
        Ok(Self(Body::<T>::extract(request, depot).await?.0))
    }
}

impl<T: BodyType> EndpointArgRegister for Body<T> {
    fn register(components: &mut Components, operation: &mut Operation, _: &str) {
        let schema = schema::<T>(false);
        let name = if T::IS_OF_ACTION { T::NAME.to_owned() } else { format!("New{}", T::NAME) };
        document(components, operation, name, schema, &[openapi::JSON], !T::IS_OF_ACTION);
    }
}

impl<T: BodyType> EndpointArgRegister for MergePatch<T> {
    fn register(components: &mut Components, operation: &mut Operation, _: &str) {
        let version = || Object::with_type(BasicType::Integer);
        let base = "Fields that the patch alters must not have been altered since this version.";
        let schema = schema::<T>(true)
            .property("ifVersion", version().description("As `If-Match`."))
            .property("baseVersion", version().description(base));
        openapi::errors(operation, &[Code::FieldConflict]);
        let media_types = [openapi::JSON, "application/merge-patch+json"];
        document(components, operation, format!("{}Patch", T::NAME), schema, &media_types, true);
    }
}

fn schema<T: BodyType>(is_patch: bool) -> Object {
    let mut schema = Object::new().additional_properties(AdditionalProperties::FreeForm(false));
    for rule in T::rules() {
        schema = schema.property(rule.field, openapi::field(&rule, is_patch));
        if rule.is_required && !is_patch {
            schema = schema.required(rule.field);
        }
    }
    for field in T::READ_ONLY {
        let ignored = Object::with_type(SchemaType::any()).read_only(true);
        schema = schema.property(*field, ignored.description("Ignored: answers can be sent back."));
    }
    schema
}

fn document(
    components: &mut Components,
    operation: &mut Operation,
    name: String,
    schema: Object,
    media_types: &[&str],
    is_required: bool,
) {
    let required = if is_required { Required::True } else { Required::False };
    let body = media_types.iter().fold(RequestBody::new().required(required), |body, media_type| {
        body.add_content(*media_type, Content::new(RefOr::<Schema>::Ref(Ref::from_schema_name(&name))))
    });
    operation.request_body = Some(body);
    components.schemas.insert(name, schema);
    let id = openapi::parameter("X-Request-ID", ParameterIn::Header, is_required, openapi::request_id());
    operation.parameters.insert(id.description("The same id again, the same answer; nothing happens twice."));
    let codes = [
        Code::BadRequest,
        Code::ValidationFailed,
        Code::MaskedValue,
        Code::BusinessRuleViolation,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
    ];
    openapi::errors(operation, &codes);
}
