//! What goes wrong at start ([`IdentityError`]) and with a caller ([`Denied`]).

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use crate::upstream::UpstreamError;

/// Why a caller is not let in. The texts are for the log; the client's are made where the response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The request carries no bearer token.
    #[error("no bearer token")]
    Missing,
    /// The token is malformed, unknown, expired or revoked.
    #[error("the bearer token is not valid")]
    Invalid,
    /// The caller is known and confined to cells other than this one.
    #[error("the caller's cells do not include crm")]
    CellNotAllowed,
    /// The caller is not bound to the tenant of the request.
    #[error("the caller is not bound to the tenant of the request")]
    TenantMismatch,
    /// Only somebody else can tell (the platform, or whoever publishes the key set), and does not answer.
    #[error("who could tell does not answer")]
    Unavailable {
        /// When asking again makes sense; whole seconds, at least one.
        retry_after: Duration,
    },
    /// Only the platform can tell, and it may not be asked now.
    #[error("too many questions to the platform")]
    RateLimited {
        /// When asking again makes sense; whole seconds, at least one.
        retry_after: Duration,
    },
}

impl Denied {
    pub(super) fn unavailable(wait: Duration) -> Self {
        Self::Unavailable { retry_after: whole_seconds(wait) }
    }

    pub(super) fn rate_limited(wait: Duration) -> Self {
        Self::RateLimited { retry_after: whole_seconds(wait) }
    }
}

/// Rounded up: `Retry-After` has seconds, and 0 would invite a retry at once.
fn whole_seconds(wait: Duration) -> Duration {
    let begun = u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(wait.as_secs().saturating_add(begun).max(1))
}

/// What is wrong with the configured material and what to do about it; never a value.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct IdentityError {
    setting: &'static str,
    problem: Cow<'static, str>,
    source: Option<io::Error>,
}

impl IdentityError {
    pub(super) fn new(setting: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { setting, problem: problem.into(), source: None }
    }

    pub(super) fn because(mut self, source: io::Error) -> Self {
        self.source = Some(source);
        self
    }
}

impl From<UpstreamError> for IdentityError {
    fn from(error: UpstreamError) -> Self {
        Self::new(error.setting(), error.problem())
    }
}

/// The value of an optional text setting.
///
/// Set but blank is refused: it is mostly a variable that failed to expand, and to take it for "not configured" would
/// drop a check silently.
pub(super) fn given(setting: &'static str, value: Option<&str>) -> Result<Option<String>, IdentityError> {
    match value.map(str::trim) {
        Some("") => Err(IdentityError::new(setting, "is set but empty; give it a value or unset it")),
        value => Ok(value.map(str::to_owned)),
    }
}
