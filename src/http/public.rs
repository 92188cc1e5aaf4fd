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
use crate::telemetry::Exposition;

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
    match wanted(request) {
        Some(form) => exposition(form, request, depot, response).await,
        None => respond::json(response, &CellState::new("up")),
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
    let asked = request.query::<&str>("format").filter(|format| *format == "prometheus");
    let form = wanted(request).or(asked.map(|_| Exposition::Classic));
    match (form, State::of(depot)) {
        (Some(form), _) => exposition(form, request, depot, response).await,
        (None, Ok(state)) => respond::json(response, &state.metrics.to_json()),
        (None, Err(error)) => error.write(request, depot, response).await,
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

async fn exposition(form: Exposition, request: &mut Request, depot: &mut Depot, response: &mut Response) {
    let text = State::of(depot)
        .and_then(|state| state.metrics.to_exposition(form).map_err(|_| ApiError::internal()));
    match text {
        Ok(text) => {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
            response.body(text);
        }
        Err(error) => error.write(request, depot, response).await,
    }
}

/// The text that `Accept` names, if it wants one more than JSON; of both alike, OpenMetrics. Clients that take anything
/// get JSON, and so do those that list JSON and plain text alike (axios sends `application/json, text/plain, */*`).
fn wanted(request: &Request) -> Option<Exposition> {
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let weight = |wanted: &str| {
        let weights = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
            let mut weight = || parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
            is_wanted.then(|| weight().unwrap_or(1.0))
        });
        weights.fold(0.0, f32::max)
    };
    let (open_metrics, classic) = (weight("application/openmetrics-text"), weight("text/plain"));
    if open_metrics.max(classic) <= weight("application/json") {
        None
    } else if open_metrics >= classic {
        Some(Exposition::OpenMetrics)
    } else {
        Some(Exposition::Classic)
    }
}
