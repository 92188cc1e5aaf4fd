//! Errors as clients see them: one envelope, and one place that maps every failure to it (contract §3.1).

use std::collections::BTreeMap;
use std::time::Duration;

use salvo::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use salvo::http::{HeaderValue, Request, Response, StatusCode};
use salvo::{Depot, Writer, async_trait};
use salvo_oapi::schema::AdditionalProperties;
use salvo_oapi::{Array, BasicType, Components, EndpointOutRegister, Object, Operation, ToSchema};
use serde::Serialize;

use super::messages::{Language, Message, problem};
use super::trace::RequestIds;
use super::{openapi, respond};
use crate::domain::{FieldError, Invalid, InvalidCursor, Problem, Resource, Violation};
use crate::identity::Denied;
use crate::tenancy::{OpenError, Reason, StoreError, Unavailable};

/// The result of a handler or an extractor.
pub(super) type ApiResult<T> = Result<T, ApiError>;

macro_rules! codes {
    ($($code:ident = $status:ident $word:literal,)+) => {
        /// A stable word that a program can act on. Its status is fixed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code { $($code),+ }

        impl Code {
            /// All there are.
            pub(super) const ALL: &'static [Self] = &[$(Self::$code),+];

            /// The status and the word.
            pub(super) fn parts(self) -> (StatusCode, &'static str) {
                match self { $(Self::$code => (StatusCode::$status, $word)),+ }
            }
        }
    };
}

codes! {
    BadRequest = BAD_REQUEST "BAD_REQUEST",
    ValidationFailed = BAD_REQUEST "VALIDATION_FAILED",
    UnknownParameter = BAD_REQUEST "UNKNOWN_PARAMETER",
    BusinessRuleViolation = BAD_REQUEST "BUSINESS_RULE_VIOLATION",
    MaskedValue = BAD_REQUEST "MASKED_VALUE",
    InvalidCursor = BAD_REQUEST "INVALID_CURSOR",
    InvalidTenantId = BAD_REQUEST "INVALID_TENANT_ID",
    Unauthorized = UNAUTHORIZED "UNAUTHORIZED",
    Forbidden = FORBIDDEN "FORBIDDEN",
    TenantMismatch = FORBIDDEN "TENANT_MISMATCH",
    TenantSuspended = FORBIDDEN "TENANT_SUSPENDED",
    SignatureInvalid = FORBIDDEN "SIGNATURE_INVALID",
    NotFound = NOT_FOUND "NOT_FOUND",
    TenantNotFound = NOT_FOUND "TENANT_NOT_FOUND",
    MethodNotAllowed = METHOD_NOT_ALLOWED "METHOD_NOT_ALLOWED",
    PayloadTooLarge = PAYLOAD_TOO_LARGE "PAYLOAD_TOO_LARGE",
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "UNSUPPORTED_MEDIA_TYPE",
    IdempotentConflict = CONFLICT "IDEMPOTENT_CONFLICT",
    IdempotentInProgress = CONFLICT "IDEMPOTENT_IN_PROGRESS",
    StateConflict = CONFLICT "STATE_CONFLICT",
    FieldConflict = CONFLICT "FIELD_CONFLICT",
    VersionMismatch = PRECONDITION_FAILED "VERSION_MISMATCH",
    TenantUnavailable = LOCKED "TENANT_UNAVAILABLE",
    RateLimit = TOO_MANY_REQUESTS "RATE_LIMIT",
    InternalError = INTERNAL_SERVER_ERROR "INTERNAL_ERROR",
    AuthUnavailable = SERVICE_UNAVAILABLE "AUTH_UNAVAILABLE",
    ServiceUnavailable = SERVICE_UNAVAILABLE "SERVICE_UNAVAILABLE",
}

/// The envelope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorBody<'a> {
    code: &'static str,
    message: String,
    details: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldErrorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    existing: Option<BTreeMap<&'static str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<&'a ConflictBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[salvo(schema(name = FieldError))]
pub(super) struct FieldErrorBody {
    field: String,
    code: &'static str,
    message: String,
}

impl ErrorBody<'_> {
    /// The name of its schema.
    pub(super) const NAME: &'static str = "Error";

    /// Its schema.
    pub(super) fn schema() -> Object {
        let codes = openapi::text().enum_values(Code::ALL.iter().map(|code| code.parts().1));
        let required: [(&str, Object); 4] = [
            ("code", codes.description("A stable word that a program can act on.")),
            ("message", openapi::text().description("A sentence for a person.")),
            ("details", openapi::text()),
            ("requestId", openapi::text().description("As `X-Request-ID`.")),
        ];
        let body = required
            .into_iter()
            .fold(Object::new(), |body, (name, schema)| body.property(name, schema).required(name));
        let field = ["field", "code", "message"]
            .into_iter()
            .fold(Object::new(), |field, name| field.property(name, openapi::text()).required(name));
        let version = Object::with_type(BasicType::Integer);
        let fields = Array::new().items(openapi::text());
        let conflict = Object::new().property("version", version).property("fields", fields);
        let existing = Object::new().description("The id of the record in the way.");
        body.property("errors", Array::new().items(field).description("What is wrong, field by field."))
            .property(
                "existing",
                existing.additional_properties(AdditionalProperties::RefOr(openapi::text().into())),
            )
            .property("conflict", conflict.description("The record's version now, and what is in conflict."))
            .property("retryAfter", openapi::text().description("Seconds, as `Retry-After`."))
    }
}

/// What is wrong with one row of an import.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[salvo(schema(name = RowError))]
pub(super) struct RowError {
    /// Its place among the rows, from 0.
    pub(super) index: usize,
    /// A sentence for a person.
    reason: String,
    code: &'static str,
    errors: Vec<FieldErrorBody>,
    /// The record in the way.
    existing: Option<String>,
}

/// What a patch conflicts with.
#[derive(Debug, Clone, Serialize)]
struct ConflictBody {
    version: i64,
    fields: Vec<String>,
}

/// An error answer. Holds nothing that the client may not see.
#[derive(Debug, Clone)]
pub(super) struct ApiError(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: Code,
    message: Message,
    details: &'static str,
    invalid: Invalid,
    existing: Option<(&'static str, String)>,
    conflict: Option<ConflictBody>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(super) fn new(code: Code, message: Message) -> Self {
        let (details, invalid, existing, conflict, retry_after) = Default::default();
        Self(Box::new(Parts { code, message, details, invalid, existing, conflict, retry_after }))
    }

    pub(super) fn bad_request(message: Message) -> Self {
        Self::new(Code::BadRequest, message)
    }

    pub(super) fn not_found(resource: Resource) -> Self {
        Self::new(Code::NotFound, Message::NotFound(resource))
    }

    fn retry_after(mut self, retry_after: Duration) -> Self {
        self.0.retry_after = Some(retry_after);
        self
    }

    /// The answer for a failure that the framework found: it leaves a status and no body.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::new(Code::NotFound, Message::RouteUnknown),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(Code::MethodNotAllowed, Message::MethodNotAllowed),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(Code::PayloadTooLarge, Message::TooLarge),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(Code::UnsupportedMediaType, Message::MediaType),
            StatusCode::SERVICE_UNAVAILABLE => Self::new(Code::ServiceUnavailable, Message::Overloaded),
            status if status.is_client_error() => Self::bad_request(Message::BodyUnreadable),
            _ => Self::internal(),
        }
    }

    pub(super) fn internal() -> Self {
        Self::new(Code::InternalError, Message::Internal)
    }

    /// Writes the envelope.
    pub(super) fn render(&self, request: &Request, request_id: &str, response: &mut Response) {
        let language = Language::of(request);
        let (status, code) = self.0.code.parts();
        response.status_code(status);
        let headers = response.headers_mut();
        if self.0.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let retry_after = self.0.retry_after.map(|retry_after| {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            seconds.max(1).to_string()
        });
        let body = ErrorBody {
            code,
            message: self.0.message.text(language),
            details: self.details(language),
            request_id,
            errors: self.field_errors(language),
            existing: self.0.existing.as_ref().map(|(field, id)| BTreeMap::from([(*field, id.as_str())])),
            conflict: self.0.conflict.as_ref(),
            retry_after,
        };
        respond::json(response, &body);
    }

    fn field_errors(&self, language: Language) -> Vec<FieldErrorBody> {
        let field_error = |error: &FieldError| FieldErrorBody {
            field: error.field.clone(),
            code: problem_code(error.problem),
            message: problem(error.problem, language),
        };
        self.0.invalid.errors.iter().map(field_error).collect()
    }

    /// What is wrong with one row of an import.
    pub(super) fn of_row(self, index: usize, language: Language) -> RowError {
        RowError {
            index,
            reason: self.0.message.text(language),
            code: self.0.code.parts().1,
            errors: self.field_errors(language),
            existing: self.0.existing.map(|(_, id)| id),
        }
    }

    fn details(&self, language: Language) -> String {
        let fields = self
            .0
            .invalid
            .errors
            .iter()
            .map(|error| format!("{}: {}", error.field, problem(error.problem, language)));
        let fields = fields.collect::<Vec<_>>().join("; ");
        if fields.is_empty() { self.0.details.to_owned() } else { fields }
    }
}

fn problem_code(problem: Problem) -> &'static str {
    match problem {
        Problem::Required => "REQUIRED",
        Problem::NotText | Problem::NotInteger => "WRONG_TYPE",
        Problem::TooLong(_) => "TOO_LONG",
        Problem::NotOneOf(_) => "NOT_ALLOWED",
        Problem::Masked => "MASKED",
        Problem::Fixed => "FIXED",
        Problem::Contradicts(_) => "CONTRADICTION",
        Problem::Unknown => "UNKNOWN_FIELD",
    }
}

impl EndpointOutRegister for ApiError {
    /// Nothing: whatever can fail documents its own errors.
    fn register(_: &mut Components, _: &mut Operation) {}
}

#[async_trait]
impl Writer for ApiError {
    async fn write(self, request: &mut Request, depot: &mut Depot, response: &mut Response) {
        let request_id = RequestIds::of(depot).request_id.clone();
        self.render(request, &request_id, response);
    }
}

impl ApiError {
    /// The answer for a customer's invalid fields: without a name it is the origin's (contract §3.1).
    pub(super) fn of_customer(invalid: Invalid) -> Self {
        let is_nameless = |error: &FieldError| error.field == "name" && error.problem == Problem::Required;
        if !invalid.errors.iter().any(is_nameless) {
            return invalid.into();
        }
        let mut error = Self::bad_request(Message::CustomerNameRequired);
        error.0.invalid = invalid;
        error
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let has = |wanted: Problem| invalid.errors.iter().any(|error| error.problem == wanted);
        let (code, message) = if has(Problem::Masked) {
            (Code::MaskedValue, Message::MaskedValue)
        } else {
            (Code::ValidationFailed, Message::FieldsInvalid)
        };
        let mut error = Self::new(code, message);
        error.0.invalid = invalid;
        error
    }
}

impl From<InvalidCursor> for ApiError {
    fn from(_: InvalidCursor) -> Self {
        Self::new(Code::InvalidCursor, Message::CursorInvalid)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        tracing::debug!(reason = %denied, "request denied");
        match denied {
            Denied::Missing | Denied::Invalid => Self::new(Code::Unauthorized, Message::Unauthorized),
            Denied::CellNotAllowed => Self::new(Code::Forbidden, Message::CellNotAllowed),
            Denied::TenantMismatch => Self::new(Code::TenantMismatch, Message::TenantMismatch),
            Denied::Unavailable { retry_after } => {
                Self::new(Code::AuthUnavailable, Message::AuthUnavailable).retry_after(retry_after)
            }
            Denied::RateLimited { retry_after } => {
                Self::new(Code::RateLimit, Message::RateLimited).retry_after(retry_after)
            }
        }
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unknown | OpenError::Deleted => {
                Self::new(Code::TenantNotFound, Message::TenantNotFound)
            }
            OpenError::Suspended(_) => Self::new(Code::TenantSuspended, Message::TenantSuspended),
            OpenError::Overloaded => overloaded(),
            OpenError::TooManyNew { retry_after } => {
                Self::new(Code::RateLimit, Message::TooManyTenants).retry_after(retry_after)
            }
            OpenError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        let message = match unavailable.reason {
            Reason::ReadOnly => Message::TenantReadOnly,
            _ => {
                tracing::warn!(error = &unavailable as &dyn std::error::Error, "tenant unavailable");
                Message::TenantUnavailable
            }
        };
        let mut error = Self::new(Code::TenantUnavailable, message);
        error.0.details = unavailable.outcome.as_str();
        error.retry_after(unavailable.retry_after)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(resource) => Self::not_found(resource),
            StoreError::VersionMismatch => Self::new(Code::VersionMismatch, Message::VersionMismatch),
            StoreError::Invalid(invalid) => invalid.into(),
            StoreError::Violation(Violation::CustomerNameTaken { existing }) => {
                let mut error = Self::new(Code::BusinessRuleViolation, Message::CustomerNameTaken);
                error.0.existing = existing.map(|existing| ("customerId", existing));
                error
            }
            StoreError::Violation(Violation::NoSuch(resource)) => {
                Self::new(Code::BusinessRuleViolation, Message::NotFound(resource))
            }
            StoreError::Violation(Violation::NameTakenMeanwhile { existing }) => {
                let mut error = Self::new(Code::StateConflict, Message::NameTakenMeanwhile);
                error.0.existing = existing.map(|existing| ("customerId", existing));
                error
            }
            StoreError::Violation(Violation::FieldConflict { fields, version }) => {
                let mut error = Self::new(Code::FieldConflict, Message::FieldConflict);
                error.0.conflict = Some(ConflictBody { version, fields });
                error
            }
            StoreError::Violation(Violation::OwnerOutOfScope) => {
                Self::new(Code::Forbidden, Message::OwnerOutOfScope)
            }
            StoreError::Violation(Violation::NoSuchEvent) => {
                Self::new(Code::NotFound, Message::EventNotFound)
            }
            StoreError::Violation(Violation::EventSettled) => {
                Self::new(Code::StateConflict, Message::EventSettled)
            }
            StoreError::Violation(Violation::NoBus) => Self::new(Code::StateConflict, Message::NoBus),
            StoreError::Violation(Violation::ParentDeleted) => {
                Self::new(Code::StateConflict, Message::ParentDeleted)
            }
            StoreError::KeyReused => Self::new(Code::IdempotentConflict, Message::IdempotentConflict),
            StoreError::InProgress => Self::new(Code::IdempotentInProgress, Message::IdempotentInProgress)
                .retry_after(Duration::from_secs(1)),
            StoreError::Overloaded => overloaded(),
            StoreError::Unavailable(unavailable) => unavailable.into(),
            StoreError::Sql(_) | StoreError::Panicked | StoreError::Answer(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a unit of work failed by a defect"
                );
                Self::internal()
            }
        }
    }
}

/// More waits than can be served.
pub(super) fn overloaded() -> ApiError {
    ApiError::new(Code::RateLimit, Message::Overloaded).retry_after(Duration::from_secs(1))
}
