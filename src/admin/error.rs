//! Answers to operators: JSON, and errors that say what to do.

use std::error::Error;

use salvo::http::header::CONTENT_TYPE;
use salvo::http::{HeaderValue, Request, Response, StatusCode};
use salvo::{Depot, Writer, async_trait};
use serde_json::{Value, json};

use crate::telemetry;
use crate::tenancy::{FleetError, LogError, NotFrozen, OpenError, Reason};

/// What was asked for.
#[derive(Debug)]
pub(super) struct Answer(pub(super) Value);

/// Why it was not done.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message }
    }

    pub(super) fn invalid(what: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID", what.to_owned())
    }

    pub(super) fn not_found(what: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", what)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "name a service token of role admin that is bound to no tenant".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    pub(super) fn forbidden() -> Self {
        let message =
            "only a service token of role admin that is bound to no tenant is an operator's".to_owned();
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    pub(super) fn internal(error: &(dyn Error + 'static)) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "FAILED", telemetry::in_full(error))
    }

    /// A sentence for a person.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    pub(super) fn to_json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        let (status, code) = match &error {
            FleetError::NoSuchTenant(_) | FleetError::NoSuchFile(_) => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            FleetError::Deleted(_) => (StatusCode::CONFLICT, "DELETED"),
            FleetError::Exists(_) => (StatusCode::CONFLICT, "EXISTS"),
            FleetError::Protected(_) => (StatusCode::CONFLICT, "PROTECTED"),
            FleetError::Busy(_) => (StatusCode::CONFLICT, "BUSY"),
            FleetError::Frozen => (StatusCode::CONFLICT, "FROZEN"),
            FleetError::Unfit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "UNFIT"),
            FleetError::LowSpace(_) => (StatusCode::INSUFFICIENT_STORAGE, "LOW_SPACE"),
            FleetError::Open(OpenError::Unavailable(why)) if matches!(why.reason, Reason::Quarantined(_)) => {
                (StatusCode::LOCKED, "QUARANTINED")
            }
            FleetError::Open(_) => (StatusCode::LOCKED, "UNAVAILABLE"),
            FleetError::Read(_) | FleetError::Copy(_) | FleetError::Io(_) | FleetError::Sql(_) => {
                return Self::internal(&error);
            }
        };
        Self { status, code, ..Self::internal(&error) }
    }
}

impl From<NotFrozen> for Refusal {
    fn from(error: NotFrozen) -> Self {
        Self { status: StatusCode::CONFLICT, code: "NOT_FROZEN", ..Self::internal(&error) }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        let code = match error {
            LogError::Io(_) => "FAILED",
            LogError::Broken { .. } | LogError::Missing(_) | LogError::Replaced => "LOG_BROKEN",
        };
        Self { code, ..Self::internal(&error) }
    }
}

impl From<std::convert::Infallible> for Refusal {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

fn write(response: &mut Response, status: StatusCode, value: &Value) {
    response.status_code(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.body(value.to_string());
}

#[async_trait]
impl Writer for Answer {
    async fn write(self, _: &mut Request, _: &mut Depot, response: &mut Response) {
        write(response, StatusCode::OK, &self.0);
    }
}

#[async_trait]
impl Writer for Refusal {
    async fn write(self, _: &mut Request, _: &mut Depot, response: &mut Response) {
        write(response, self.status, &self.to_json());
    }
}
