//! Paths that need no token (contract §12): never a tenant's figures, never a disk.

use salvo::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use salvo::http::{HeaderValue, Request, Response, StatusCode};
use salvo::{Depot, Writer as _};
use salvo_oapi::{ToSchema, endpoint};
use serde::Serialize;

use super::docs::page_at;
use super::error::ApiError;
use super::openapi::{AnyObject, DOCUMENT};
use super::respond;
use super::state::State;
use crate::telemetry::EXPOSITION_TYPE;

const ROOT: &str = include_str!("root.html");
/// For what is the same for everybody until the next release.
const CACHEABLE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// How the cell is.
#[derive(Debug, Serialize, ToSchema)]
#[salvo(schema(name = CellState))]
struct CellState {
    status: &'static str,
    cell: &'static str,
}

impl CellState {
    fn new(status: &'static str) -> Self {
        Self { status, cell: "crm" }
    }
}

/// Names the cell, for people.
#[endpoint(tags("public"), responses((status_code = 200, description = "A page", content_type = "text/html", body = String)))]
pub(super) async fn root(response: &mut Response) {
    html(response, ROOT);
}

/// Says that the cell is up; metrics if `Accept` wants them.
#[endpoint(tags("public"), responses((status_code = 200, description = "It is", body = CellState)))]
pub(super) async fn health(request: &mut Request, depot: &mut Depot, response: &mut Response) {
    if wants_exposition(request) {
        exposition(request, depot, response).await;
    } else {
        respond::json(response, &CellState::new("up"));
    }
}

/// Says that the process lives.
#[endpoint(tags("public"), responses((status_code = 200, description = "It is", body = CellState)))]
pub(super) async fn live(response: &mut Response) {
    respond::json(response, &CellState::new("up"));
}

/// Says whether the cell takes new work.
#[endpoint(
    tags("public"),
    responses(
        (status_code = 200, description = "It does", body = CellState),
        (status_code = 503, description = "It is about to stop", body = CellState),
    )
)]
pub(super) async fn ready(depot: &mut Depot, response: &mut Response) {
    if State::of(depot).is_ok_and(|state| state.ready.is_ready()) {
        respond::json(response, &CellState::new("ready"));
    } else {
        response.status_code(StatusCode::SERVICE_UNAVAILABLE);
        respond::json(response, &CellState::new("draining"));
    }
}

/// Figures of the process, as JSON or for Prometheus.
#[endpoint(tags("public"), responses((status_code = 200, description = "The figures", body = AnyObject)))]
pub(super) async fn metrics(request: &mut Request, depot: &mut Depot, response: &mut Response) {
    let format: Option<String> = request.query("format");
    if wants_exposition(request) || format.is_some_and(|format| format == "prometheus") {
        exposition(request, depot, response).await;
    } else {
        match State::of(depot) {
            Ok(state) => respond::json(response, &state.metrics.to_json()),
            Err(error) => error.write(request, depot, response).await,
        }
    }
}

/// This document.
#[endpoint(tags("public"), responses((status_code = 200, description = "OpenAPI 3.1", body = AnyObject)))]
pub(super) async fn openapi(response: &mut Response) {
    response.headers_mut().insert(CACHE_CONTROL, CACHEABLE);
    respond::json(response, &*DOCUMENT);
}

/// This document, for people.
#[endpoint(tags("public"), responses((status_code = 200, description = "A page", content_type = "text/html", body = String)))]
pub(super) async fn docs(request: &mut Request, response: &mut Response) {
    response.headers_mut().insert(CACHE_CONTROL, CACHEABLE);
    html(response, page_at(request.uri().path()));
}

fn html(response: &mut Response, page: &'static str) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.body(page);
}

async fn exposition(request: &mut Request, depot: &mut Depot, response: &mut Response) {
    let text =
        State::of(depot).and_then(|state| state.metrics.to_exposition().map_err(|_| ApiError::internal()));
    match text {
        Ok(text) => {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EXPOSITION_TYPE));
            response.body(text);
        }
        Err(error) => error.write(request, depot, response).await,
    }
}

/// Whether `Accept` names what Prometheus reads, and wants it more than JSON. Clients that take anything get JSON, and so
/// do those that list both alike (axios sends `application/json, text/plain, */*`).
fn wants_exposition(request: &Request) -> bool {
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let weight = |wanted: &[&str]| {
        let weights = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next()?;
            let mut weight = || parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            let is_wanted = wanted.iter().any(|name| name.eq_ignore_ascii_case(media_type));
            is_wanted.then(|| weight().unwrap_or(1.0))
        });
        weights.fold(0.0, f32::max)
    };
    weight(&["application/openmetrics-text", "text/plain"]) > weight(&["application/json"])
}
