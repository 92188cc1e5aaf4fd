//! The API document, OpenAPI 3.1: put together from the route table, and from what handlers take and answer.
//!
//! Every extractor and every answer documents itself beside its own code (`EndpointArgRegister`, `EndpointOutRegister`);
//! here are the words they share, and the assembly.

use std::sync::LazyLock;

use salvo_oapi::security::{Http, HttpAuthScheme};
use salvo_oapi::{
    BasicType, Components, Content, Header, Info, License, Object, OpenApi, Operation, Parameter,
    ParameterIn, RefOr, Response, Schema, SchemaFormat, SchemaType, SecurityScheme, Server, ToSchema,
};
use serde_json::{Map, Value, json};

use super::error::{Code, ErrorBody};
use crate::domain::{Allowed, FieldRule, JsonType, Lifecycle, Limit, TenantId, Timestamp};

/// Query parameters of every operation on a tenant's data.
pub(super) const COMMON_PARAMETERS: [&str; 2] = ["lang", "scope"];
/// The name of the security scheme of everything but the public paths.
pub(super) const BEARER: &str = "bearer";
/// The media type of bodies.
pub(super) const JSON: &str = "application/json";
const DESCRIPTION: &str = include_str!("openapi/description.md");
/// Real answers, by operation and status; `tests/api/battery` records them, and fails when they are out of date.
const EXAMPLES: &str = include_str!("openapi/examples.json");

/// No control characters but tab and newline, see `StrictJson`.
pub(super) const CLEAN: &str = r"^[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*$";
/// Also something to see.
pub(super) const NOT_BLANK: &str = r"^[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*[^\u0000-\u0020\u007F-\u00A0][^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*$";

/// The document as it is served.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(assemble);

/// A parameter of an operation.
pub(super) fn parameter(name: &str, place: ParameterIn, required: bool, schema: Object) -> Parameter {
    Parameter::new(name).location(place).required(required).schema(schema)
}

/// A text.
pub(super) fn text() -> Object {
    Object::with_type(BasicType::String)
}

/// An `X-Request-ID` that is taken.
pub(super) fn request_id() -> Object {
    text().min_length(1).max_length(200).pattern("^[!-~]{1,200}$")
}

/// What a parameter can be.
pub(super) fn values(allowed: Option<Allowed>) -> Object {
    match allowed {
        None => text(),
        Some(Allowed::Words(words)) => text().enum_values(words.iter().copied()),
        Some(Allowed::Integers(numbers)) => {
            Object::with_type(BasicType::Integer).enum_values(numbers.iter().copied())
        }
        Some(Allowed::Range(least, most)) => {
            Object::with_type(BasicType::Integer).minimum(least).maximum(most)
        }
        Some(Allowed::Form { said, format }) => {
            let text = text().description(said);
            match format {
                Some(format) => text.format(SchemaFormat::Custom(format.to_owned())),
                None => text,
            }
        }
    }
}

/// What a field of a body can be. Also `null`: in a patch for what may be emptied, in a new record for what may be left out.
pub(super) fn field(rule: &FieldRule, is_patch: bool) -> Object {
    let object = match (rule.json_type, rule.limit) {
        (JsonType::Boolean, _) => Object::with_type(BasicType::Boolean),
        (_, Limit::Length(max)) => {
            text().max_length(max).pattern(if rule.is_required { NOT_BLANK } else { CLEAN })
        }
        (_, Limit::Allowed(allowed)) => values(Some(allowed)),
    };
    let nullable = if is_patch { rule.is_clearable } else { !rule.is_required };
    match (&object.schema_type, nullable) {
        (SchemaType::Basic(basic), true) => {
            let types = SchemaType::Array(vec![basic.clone(), BasicType::Null]);
            let object = match object.enum_values.clone() {
                Some(mut values) => {
                    values.push(Value::Null);
                    if rule.json_type == JsonType::Text {
                        values.push(json!(""));
                    }
                    object.enum_values(values)
                }
                None => object,
            };
            object.schema_type(types)
        }
        _ => object,
    }
}

/// The schema of an answer: every key is always there.
pub(super) fn answer<T: ToSchema>(components: &mut Components) -> RefOr<Schema> {
    let schema = T::to_schema(components);
    if let Some(RefOr::Type(Schema::Object(object))) = components.schemas.get_mut(name_of(&schema)) {
        object.required = object.properties.keys().cloned().collect();
    }
    schema
}

/// The name of the component that a schema refers to.
pub(super) fn name_of(schema: &RefOr<Schema>) -> &str {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().unwrap_or_default(),
        RefOr::Type(_) => "",
    }
}

/// A JSON answer.
pub(super) fn response(description: &str, schema: RefOr<Schema>) -> Response {
    Response::new(description).add_content(JSON, Content::new(schema))
}

/// A header of an answer.
pub(super) fn header(description: &str) -> Header {
    Header::new(text()).description(description)
}

/// Adds errors to an operation, each to the answer of its status.
pub(super) fn errors(operation: &mut Operation, codes: &[Code]) {
    for (status, code) in codes.iter().map(|code| code.parts()) {
        let status = status.as_str();
        match operation.responses.get_mut(status) {
            Some(RefOr::Type(response)) => {
                if !response.description.split(", ").any(|known| known == code) {
                    response.description = format!("{}, {code}", response.description);
                }
            }
            _ => {
                let schema = RefOr::Ref(salvo_oapi::Ref::from_schema_name(ErrorBody::NAME));
                operation.responses.insert(status, response(code, schema));
            }
        }
    }
}

fn assemble() -> Value {
    let info = Info::new("CRM cell", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .license(License::new(env!("CARGO_PKG_LICENSE")).identifier(env!("CARGO_PKG_LICENSE")));
    let bearer = Http::new(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(
            "A JWT, a service token, or a token of the platform. Unless it names its bearer's tenant, `X-Tenant-Id` does.",
        );
    let mut components = Components::new();
    components.schemas.insert(ErrorBody::NAME, ErrorBody::schema());
    let mut document = OpenApi::with_info(info)
        .add_server(Server::new("./").description("Relative to this document: gateways add a prefix."))
        .components(components)
        .add_security_scheme(BEARER, SecurityScheme::Http(bearer))
        .merge_router(&super::routes(false));
    for item in document.paths.values_mut() {
        for operation in item.operations.values_mut() {
            operation.securities.get_or_insert_default(); // public, unless something said otherwise
            // The name of its handler, without the module.
            let id = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = id.rsplit('.').next().map(str::to_owned);
        }
    }
    let mut document = serde_json::to_value(&document).unwrap_or_default();
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES).unwrap_or_default();
    document["components"]["headers"] = json!({
        "X-Request-ID": {"description": "The caller's, or a fresh one.", "schema": {"type": "string"}},
        "X-Response-Time": {"description": "Milliseconds.", "schema": {"type": "integer", "minimum": 0}},
    });
    link(&mut document);
    let items = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in items.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        complete(operation, &examples);
    }
    document
}

/// Links every answer that creates a record to the operations on that record.
fn link(document: &mut Value) {
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    for (collection, item) in document["paths"].as_object_mut().into_iter().flatten() {
        let Some(created) = item.pointer_mut("/post/responses/201") else { continue };
        let schema =
            created["content"][JSON]["schema"]["$ref"].as_str().and_then(|schema| schema.rsplit('/').next());
        let Some((first, rest)) = schema.and_then(|name| name.split_at_checked(1)) else { continue };
        let id_of_it = format!("$response.body#/{}{rest}Id", first.to_lowercase());
        let of_record = paths.iter().filter(|(path, _)| path.starts_with(&format!("{collection}/{{id}}")));
        let operations = of_record.flat_map(|(_, item)| item.as_object().into_iter().flatten());
        for id in operations.filter_map(|(_, operation)| operation["operationId"].as_str()) {
            created["links"][id] = json!({"operationId": id, "parameters": {"id": id_of_it}});
        }
    }
}

/// Adds what every answer has, and the examples.
fn complete(operation: &mut Value, examples: &Map<String, Value>) {
    let example = examples.get(operation["operationId"].as_str().unwrap_or_default());
    let of = |part: &str| example.and_then(|example| example.get(part)).cloned();
    if let (Some(request), Some(body)) = (of("request"), operation.get_mut("requestBody")) {
        body["content"][JSON]["example"] = request;
    }
    let responses = operation["responses"].as_object_mut();
    for (status, response) in responses.into_iter().flatten() {
        for name in ["X-Request-ID", "X-Response-Time"] {
            response["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
        if let (Some(body), Some(_)) = (of(status), response.get("content")) {
            response["content"][JSON]["example"] = body;
        }
    }
}

impl ToSchema for Timestamp {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        text().format(SchemaFormat::Custom("date-time".to_owned())).into()
    }
}

impl ToSchema for TenantId {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        text().into()
    }
}

impl ToSchema for Lifecycle {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        values(Some(Self::ALLOWED)).into()
    }
}

/// A JSON object whose keys are not fixed.
#[derive(Debug)]
pub(super) struct AnyObject;

impl ToSchema for AnyObject {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        Object::new().into()
    }
}

/// A day.
#[derive(Debug)]
pub(super) struct Date;

impl ToSchema for Date {
    fn to_schema(_: &mut Components) -> RefOr<Schema> {
        values(Some(Allowed::DATE)).into()
    }
}
