//! Answers: JSON bodies, pages, and the replies of writes, which are stored for their retries.

use std::marker::PhantomData;

use salvo::http::header::{CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use salvo::http::{HeaderValue, Request, Response, StatusCode};
use salvo::{Depot, Writer, async_trait};
use salvo_oapi::schema::AdditionalProperties;
use salvo_oapi::{
    Array, BasicType, Components, Content, EndpointOutRegister, Object, Operation, ParameterIn, Ref, RefOr,
    RequestBody, Response as DocumentedResponse, Schema, SchemaType, ToSchema,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{ApiError, Code};
use super::openapi;
use crate::domain::{Count, Page, Total};
use crate::tenancy::StoreError;

/// The media type of JSON bodies.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Writes a JSON body.
pub(super) fn json(response: &mut Response, value: &impl Serialize) {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response.body(bytes);
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an answer cannot be written as JSON");
            response.status_code(StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

/// 200 with a resource and its `ETag`.
#[derive(Debug)]
pub(super) struct Single<T> {
    pub(super) version: i64,
    pub(super) body: T,
}

#[async_trait]
impl<T: Serialize + Send> Writer for Single<T> {
    async fn write(self, _request: &mut Request, _depot: &mut Depot, response: &mut Response) {
        response.status_code(StatusCode::OK);
        if let Ok(etag) = HeaderValue::from_str(&etag(self.version)) {
            response.headers_mut().insert(ETAG, etag);
        }
        json(response, &self.body);
    }
}

fn etag(version: i64) -> String {
    format!("\"v{version}\"")
}

/// 200 with figures, or with several records: nothing that has a version.
#[derive(Debug)]
pub(super) struct Found<T>(pub(super) T);

#[async_trait]
impl<T: Serialize + Send> Writer for Found<T> {
    async fn write(self, _request: &mut Request, _depot: &mut Depot, response: &mut Response) {
        response.status_code(StatusCode::OK);
        json(response, &self.0);
    }
}

impl<T: ToSchema> EndpointOutRegister for Found<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let schema = openapi::answer::<T>(components);
        operation.responses.insert("200", openapi::response("The answer", schema));
    }
}

/// 200 with a page of a list (contract §3).
#[derive(Debug)]
pub(super) struct PageBody<T>(pub(super) Page<T>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageJson<T> {
    data: Vec<T>,
    total: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    total_is_capped: bool,
    page: Option<u32>,
    page_size: u32,
    has_more: bool,
    next_cursor: Option<String>,
}

#[async_trait]
impl<T: Serialize + Send> Writer for PageBody<T> {
    async fn write(self, _request: &mut Request, _depot: &mut Depot, response: &mut Response) {
        let Page { rows, total, number, size, next } = self.0;
        let (total, total_is_capped) = match total {
            Total::Exact(total) => (Some(total), false),
            Total::Capped => (Some(Count::CAP), true),
            Total::Unknown => (None, false),
        };
        response.status_code(StatusCode::OK);
        let page = PageJson {
            data: rows,
            total,
            total_is_capped,
            page: number,
            page_size: size,
            has_more: next.is_some(),
            next_cursor: next.map(|cursor| cursor.encode()),
        };
        json(response, &page);
    }
}

/// 201 with the new resource, its place and its version.
#[derive(Debug)]
pub(super) struct Created<T>(PhantomData<T>);

/// 200 with the changed resource and its version.
#[derive(Debug)]
pub(super) struct Changed<T>(PhantomData<T>);

/// 200 with the resource that came back from the trash, and its version.
#[derive(Debug)]
pub(super) struct Restored<T>(PhantomData<T>);

/// 202 with what came of each part.
#[derive(Debug)]
pub(super) struct Accepted<T>(PhantomData<T>);

/// 200 with what the action did.
#[derive(Debug)]
pub(super) struct Acted<T>(PhantomData<T>);

/// 204.
#[derive(Debug)]
pub(super) struct NoContent;

/// What a write answers, of a kind `A`. It is stored with the write, so that a retry gets the same bytes (contract §8).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Reply<A> {
    status: u16,
    /// Relative to the collection's parent: `customers/<id>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<Box<RawValue>>,
    #[serde(skip)]
    kind: PhantomData<fn() -> A>,
}

impl<A> Reply<A> {
    fn new(status: StatusCode, version: i64, body: &impl Serialize) -> Result<Self, StoreError> {
        let body = Some(serde_json::value::to_raw_value(body)?);
        let (status, version) = (status.as_u16(), Some(version));
        Ok(Self { status, location: None, version, body, kind: PhantomData })
    }
}

impl<T: Serialize> Reply<Created<T>> {
    /// The new resource.
    pub(super) fn created(collection: &str, id: &str, version: i64, body: &T) -> Result<Self, StoreError> {
        let reply = Self::new(StatusCode::CREATED, version, body)?;
        Ok(Self { location: Some(format!("{collection}/{id}")), ..reply })
    }
}

impl<T: Serialize> Reply<Changed<T>> {
    /// The changed resource.
    pub(super) fn changed(version: i64, body: &T) -> Result<Self, StoreError> {
        Self::new(StatusCode::OK, version, body)
    }
}

impl<T: Serialize> Reply<Restored<T>> {
    /// The resource that came back.
    pub(super) fn restored(version: i64, body: &T) -> Result<Self, StoreError> {
        Self::new(StatusCode::OK, version, body)
    }
}

impl<T: Serialize> Reply<Accepted<T>> {
    /// What came of each part.
    pub(super) fn accepted(body: &T) -> Result<Self, StoreError> {
        Ok(Self { version: None, ..Self::new(StatusCode::ACCEPTED, 0, body)? })
    }
}

impl<T: Serialize> Reply<Acted<T>> {
    /// What the action did.
    pub(super) fn acted(body: &T) -> Result<Self, StoreError> {
        Ok(Self { version: None, ..Self::new(StatusCode::OK, 0, body)? })
    }
}

impl Reply<NoContent> {
    /// Nothing.
    pub(super) fn no_content() -> Self {
        let status = StatusCode::NO_CONTENT.as_u16();
        Self { status, location: None, version: None, body: None, kind: PhantomData }
    }
}

/// A reply, and whether it is that of an earlier request.
#[derive(Debug)]
pub(super) struct Replied<A> {
    pub(super) reply: Reply<A>,
    pub(super) replayed: bool,
}

#[async_trait]
impl<A> Writer for Replied<A> {
    async fn write(self, request: &mut Request, depot: &mut Depot, response: &mut Response) {
        let Reply { status, location, version, body, kind: _ } = self.reply;
        let Ok(status) = StatusCode::from_u16(status) else {
            return ApiError::internal().write(request, depot, response).await;
        };
        response.status_code(status);
        let headers = response.headers_mut();
        if self.replayed {
            headers.insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
        }
        if let Some(location) = location {
            // Relative to the request: behind a gateway the collection has a prefix that the cell does not know.
            let in_collection = request.uri().path().ends_with('/');
            let id = location.rsplit('/').next().unwrap_or_default();
            if let Ok(value) = HeaderValue::from_str(if in_collection { id } else { &location }) {
                headers.insert(LOCATION, value);
            }
        }
        if let Some(etag) = version.and_then(|version| HeaderValue::from_str(&etag(version)).ok()) {
            headers.insert(ETAG, etag);
        }
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, JSON);
            response.body(Box::<str>::from(body).into_string());
        }
    }
}

impl<T: ToSchema> EndpointOutRegister for Single<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let schema = openapi::answer::<T>(components);
        operation.responses.insert("200", versioned(openapi::response("The resource", schema)));
    }
}

impl<T: ToSchema> EndpointOutRegister for PageBody<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        let row = openapi::answer::<T>(components);
        let name = format!("{}Page", openapi::name_of(&row));
        let reference = Ref::from_schema_name(&name);
        components.schemas.insert(name, page_schema(row));
        operation.responses.insert("200", openapi::response("A page of the list", RefOr::Ref(reference)));
    }
}

/// The schema of [`PageJson`].
fn page_schema(row: RefOr<Schema>) -> Object {
    let or_null = |basic| Object::with_type(SchemaType::Array(vec![basic, BasicType::Null]));
    let properties: [(&str, RefOr<Schema>); 6] = [
        ("data", Array::new().items(row).into()),
        ("total", or_null(BasicType::Integer).description("Rows on all pages; null if not counted.").into()),
        ("page", or_null(BasicType::Integer).description("Null under a cursor.").into()),
        ("pageSize", Object::with_type(BasicType::Integer).into()),
        ("hasMore", Object::with_type(BasicType::Boolean).into()),
        ("nextCursor", or_null(BasicType::String).description("Null on the last page.").into()),
    ];
    let page = properties
        .into_iter()
        .fold(Object::new(), |page, (name, schema)| page.property(name, schema).required(name));
    let capped = Object::with_type(BasicType::Boolean).description("There are more rows than `total`.");
    page.property("totalIsCapped", capped)
}

impl<A: Answer> EndpointOutRegister for Replied<A> {
    fn register(components: &mut Components, operation: &mut Operation) {
        if !operation.parameters.contains("X-Request-ID", ParameterIn::Header) {
            let id = openapi::parameter("X-Request-ID", ParameterIn::Header, false, openapi::request_id());
            operation.parameters.insert(id.description("Protects against doing it twice."));
        }
        let key = openapi::parameter("Idempotency-Key", ParameterIn::Header, false, openapi::request_id());
        operation.parameters.insert(key.description("As `X-Request-ID`, and wins where both are sent."));
        openapi::errors(operation, &[Code::BadRequest, Code::IdempotentConflict, Code::IdempotentInProgress]);
        let replayed =
            openapi::header("`true` if this is the answer to an earlier request with the same id.");
        let response = A::register(components, operation).add_header("Idempotent-Replayed", replayed);
        operation.responses.insert(A::STATUS.as_str(), response);
    }
}

/// A kind of answer to a write.
pub(super) trait Answer {
    const STATUS: StatusCode;

    /// Describes the answer, and what else comes with it.
    fn register(components: &mut Components, operation: &mut Operation) -> DocumentedResponse;
}

impl<T: ToSchema> Answer for Created<T> {
    const STATUS: StatusCode = StatusCode::CREATED;

    fn register(components: &mut Components, _: &mut Operation) -> DocumentedResponse {
        let response = openapi::response("The new resource", openapi::answer::<T>(components));
        versioned(response).add_header("Location", openapi::header("The resource, relative to the request."))
    }
}

impl<T: ToSchema> Answer for Changed<T> {
    const STATUS: StatusCode = StatusCode::OK;

    fn register(components: &mut Components, _: &mut Operation) -> DocumentedResponse {
        versioned(openapi::response("The changed resource", openapi::answer::<T>(components)))
    }
}

impl<T: ToSchema> Answer for Restored<T> {
    const STATUS: StatusCode = StatusCode::OK;

    fn register(components: &mut Components, operation: &mut Operation) -> DocumentedResponse {
        let empty = Content::new(Object::new().additional_properties(AdditionalProperties::FreeForm(true)));
        let body = RequestBody::new().description("Nothing, or `{}`.").add_content(openapi::JSON, empty);
        operation.request_body = Some(body);
        let codes = [Code::StateConflict, Code::PayloadTooLarge, Code::UnsupportedMediaType];
        openapi::errors(operation, &codes);
        versioned(openapi::response("The resource", openapi::answer::<T>(components)))
    }
}

impl<T: ToSchema> Answer for Accepted<T> {
    const STATUS: StatusCode = StatusCode::ACCEPTED;

    fn register(components: &mut Components, _: &mut Operation) -> DocumentedResponse {
        openapi::response("What came of it", openapi::answer::<T>(components))
    }
}

impl<T: ToSchema> Answer for Acted<T> {
    const STATUS: StatusCode = StatusCode::OK;

    fn register(components: &mut Components, _: &mut Operation) -> DocumentedResponse {
        openapi::response("What it did", openapi::answer::<T>(components))
    }
}

impl Answer for NoContent {
    const STATUS: StatusCode = StatusCode::NO_CONTENT;

    fn register(_: &mut Components, _: &mut Operation) -> DocumentedResponse {
        DocumentedResponse::new("Done")
    }
}

fn versioned(response: DocumentedResponse) -> DocumentedResponse {
    response.add_header("ETag", openapi::header("The version, as `\"v7\"`."))
}
