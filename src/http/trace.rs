//! The ids of a request: its own, and that of the trace it belongs to.

use salvo::Depot;
use salvo::http::{HeaderMap, Request};

use crate::domain::{Clock, IdSource};

/// Longest `X-Request-ID`, in bytes.
const REQUEST_ID_MAX: usize = 200;
/// Longest trace id that is carried on, in bytes.
const TRACE_ID_MAX: usize = 128;

/// The ids of a request.
#[derive(Debug, Clone)]
pub(super) struct RequestIds {
    /// The caller's `X-Request-ID` if it is valid, else a fresh one: what the answer carries.
    pub(super) request_id: String,
    /// `X-Trace-Id`, else the trace of `traceparent`.
    pub(super) trace_id: Option<String>,
}

impl RequestIds {
    pub(super) fn read(request: &Request, clock: &dyn Clock, ids: &IdSource) -> Self {
        let headers = request.headers();
        let request_id = match Key::header(headers, "x-request-id") {
            Key::Valid(id) => id.to_owned(),
            Key::Absent | Key::Invalid => ids.next(clock.now()).to_string(),
        };
        Self { request_id, trace_id: trace_id(headers) }
    }

    /// The ids that the outermost hoop left.
    pub(super) fn of(depot: &Depot) -> &Self {
        static NONE: RequestIds = RequestIds { request_id: String::new(), trace_id: None };
        depot.get_typed::<Self>().unwrap_or(&NONE)
    }
}

/// The id under which a request can be repeated: `Idempotency-Key`, else `X-Request-ID` (contract §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Absent,
    Valid(&'a str),
    Invalid,
}

impl<'a> Key<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        match Self::header(headers, "idempotency-key") {
            Self::Absent => Self::header(headers, "x-request-id"),
            key => key,
        }
    }

    fn header(headers: &'a HeaderMap, name: &str) -> Self {
        let mut values = headers.get_all(name).iter();
        let (value, second) = (values.next(), values.next());
        let Some(value) = value else { return Self::Absent };
        let Ok(text) = value.to_str() else {
            return Self::Invalid;
        };
        let text = text.trim();
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if text.is_empty() {
            Self::Absent
        } else if second.is_none()
            && text.len() <= REQUEST_ID_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            Self::Valid(text)
        } else {
            Self::Invalid
        }
    }
}

fn trace_id(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let traceparent = || text("traceparent")?.split('-').nth(1);
    let id = text("x-trace-id").filter(|id| !id.is_empty()).or_else(traceparent)?;
    let fits = !id.is_empty() && id.len() <= TRACE_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.to_owned())
}
