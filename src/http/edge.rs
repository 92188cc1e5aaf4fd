//! The outermost hoop: what every answer has, whatever made it (contract §3).

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use salvo::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use salvo::http::{HeaderValue, Request, ResBody, Response, StatusCode};
use salvo::hyper::body::Body as _;
use salvo::{Depot, FlowCtrl, Handler, async_trait};

use tokio::time::timeout;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::error::ApiError;
use super::messages::Message;
use super::recent::{Answered, Caller};
use super::state::State;
use super::trace::RequestIds;
use crate::domain::TenantId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_RESPONSE_TIME: HeaderName = HeaderName::from_static("x-response-time");
/// Bodies of this many bytes or more go out chunked: the platform's gateway cuts off longer ones that declare a length.
const CHUNKED_FROM: usize = 256;

/// The most that is read of a body that nobody wants, for how long, and how long at most until the next piece.
const READ_AWAY_MAX: usize = 16 << 20;
const READ_AWAY_LIMIT: Duration = Duration::from_secs(5);
const READ_AWAY_PAUSE: Duration = Duration::from_millis(500);

/// Ids and timing, panic guard, error envelope, headers of every answer, framing.
#[derive(Debug)]
pub(super) struct Edge(pub(super) Arc<State>);

#[async_trait]
impl Handler for Edge {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        let start = Instant::now();
        let state = &self.0;
        let at = state.clock.now();
        let ids = RequestIds::read(request, &*state.clock, &state.ids);
        depot.insert_typed(ids.clone());
        depot.insert_typed(state.clone());
        // Whatever is logged in it names the request, and its tenant once somebody is admitted to one.
        let span = tracing::error_span!(
            "request",
            request_id = %ids.request_id,
            trace_id = ids.trace_id.as_deref(),
            tenant_id = Empty,
        );
        if contradicts_itself(request) {
            ApiError::bad_request(Message::HeadersContradict).render(request, &ids.request_id, response);
        } else {
            let answer = AssertUnwindSafe(ctrl.call_next(request, depot, response)).catch_unwind();
            if answer.instrument(span.clone()).await.is_err() {
                span.in_scope(|| tracing::error!("a handler panicked"));
                *response = Response::new();
                response.status_code(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
        let status = response.status_code.unwrap_or(StatusCode::OK);
        let is_error = status.is_client_error() || status.is_server_error();
        if is_error && (response.body.is_none() || response.body.is_error()) {
            ApiError::of_status(status).render(request, &ids.request_id, response);
        }
        if !state.content_length {
            chunk(response);
        }
        read_away(request).await;
        let elapsed = start.elapsed();
        let headers = response.headers_mut();
        headers.insert(
            X_RESPONSE_TIME,
            HeaderValue::from(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
        );
        if let Ok(value) = HeaderValue::from_str(&ids.request_id) {
            headers.insert(X_REQUEST_ID, value);
        }
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        }
        headers.append(VARY, HeaderValue::from_static("Authorization, X-Tenant-Id"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if state.ready.is_parting() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        state.metrics.request(request.method().as_str(), status.as_u16(), elapsed);
        tracing::info!(
            target: "crm_cell::access",
            method = %request.method(),
            route = %request.matched_path(),
            tenant_id = depot.get_typed::<TenantId>().ok().map(TenantId::as_str),
            status = status.as_u16(),
            duration_ms = elapsed.as_secs_f64() * 1000.0,
            request_id = %ids.request_id,
            trace_id = ids.trace_id.as_deref(),
            "request"
        );
        let RequestIds { request_id, trace_id } = ids;
        state.recent.add(Answered {
            request_id,
            trace_id,
            at,
            method: request.method().clone(),
            route: request.matched_path().to_owned(),
            status: status.as_u16(),
            duration_ms: elapsed.as_secs_f64() * 1000.0,
            caller: depot.remove_typed::<Caller>().ok(),
        });
    }
}

/// A length and a chunked body at once, or two lengths: somebody on the way may read another request than we do.
fn contradicts_itself(request: &Request) -> bool {
    let headers = request.headers();
    headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
}

/// Reads what is left of a refused body: a client that still sends would meet a reset, and not see the answer.
async fn read_away(request: &mut Request) {
    if request.headers().contains_key(EXPECT) {
        return; // the client waits for our word before it sends
    }
    let body = request.body_mut();
    if body.is_end_stream() {
        return;
    }
    let read = async {
        let mut left = READ_AWAY_MAX;
        while let Ok(Some(Ok(frame))) = timeout(READ_AWAY_PAUSE, body.next()).await {
            let length = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever sends more, or more slowly, does get the reset.
    let _in_time = timeout(READ_AWAY_LIMIT, read).await;
}

/// Takes the length off longer bodies.
fn chunk(response: &mut Response) {
    match response.take_body() {
        ResBody::Once(bytes) if bytes.len() >= CHUNKED_FROM => {
            response.headers_mut().remove(CONTENT_LENGTH);
            response.body = ResBody::stream(stream::once(std::future::ready(Ok::<_, Infallible>(bytes))));
        }
        body => response.body = body,
    }
}
