//! Answers: JSON bodies, pages, and the replies of writes, which are stored for their retries.

use salvo::http::header::{CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use salvo::http::{HeaderValue, Request, Response, StatusCode};
use salvo::{Depot, Writer, async_trait};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::domain::{Count, Page, Total};
use crate::tenancy::StoreError;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

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

/// What a write answers. It is stored with the write, so that a retry gets the same bytes (contract §8).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reply {
    status: u16,
    /// Relative to the collection's parent: `customers/<id>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<Box<RawValue>>,
}

impl Reply {
    /// 201 with the new resource.
    pub(super) fn created(
        collection: &str,
        id: &str,
        version: i64,
        body: &impl Serialize,
    ) -> Result<Self, StoreError> {
        let body = Some(serde_json::value::to_raw_value(body)?);
        Ok(Self { status: 201, location: Some(format!("{collection}/{id}")), version: Some(version), body })
    }

    /// 200 with the changed resource.
    pub(super) fn changed(version: i64, body: &impl Serialize) -> Result<Self, StoreError> {
        let body = Some(serde_json::value::to_raw_value(body)?);
        Ok(Self { status: 200, location: None, version: Some(version), body })
    }

    /// 204.
    pub(super) fn no_content() -> Self {
        Self { status: 204, location: None, version: None, body: None }
    }
}

/// A reply, and whether it is that of an earlier request.
#[derive(Debug)]
pub(super) struct Replied {
    pub(super) reply: Reply,
    pub(super) replayed: bool,
}

#[async_trait]
impl Writer for Replied {
    async fn write(self, request: &mut Request, depot: &mut Depot, response: &mut Response) {
        let Reply { status, location, version, body } = self.reply;
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
