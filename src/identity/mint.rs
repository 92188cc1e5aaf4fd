//! JWTs for development, signed with the configured secret.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::error::{IdentityError, given};
use super::key::{checked_secret, install_provider};
use super::principal::{Role, user_name};
use crate::config;
use crate::domain::{TenantId, Timestamp};

/// What a development token is to say.
#[derive(Debug, Clone)]
pub struct DevToken<'a> {
    /// The user.
    pub user: &'a str,
    /// The tenant the user is bound to.
    pub tenant: Option<&'a TenantId>,
    /// The user's role.
    pub role: Option<Role>,
    /// Whether the user sees only what is the user's own.
    pub own_rows_only: bool,
    /// How long the token is valid; whole seconds.
    pub ttl: Duration,
}

/// Why no token was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No HS256 secret is configured.
    #[error(
        "minting needs the secret that the cell verifies tokens with: \
         export CRM_JWT_SECRET=\"$(openssl rand -hex 32)\" here and for the cell"
    )]
    NoSecret,
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] IdentityError),
    /// The cell would refuse this user.
    #[error("a user's name has 1 to 128 characters, is not blank and has no control characters")]
    User,
    /// The token would be expired when it is made, or valid beyond all calendars.
    #[error("a token is valid for at least one second and at most 3650 days")]
    Ttl,
    /// The token could not be signed.
    #[error("the token could not be signed")]
    Signing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    sub: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_scope: Option<&'static str>,
}

/// Mints a JWT that a cell with the same settings accepts at `now`.
///
/// # Errors
///
/// Says what is missing from the settings, or what such a cell would refuse.
pub fn mint(wanted: &DevToken<'_>, auth: &config::Auth, now: Timestamp) -> Result<String, MintError> {
    const LONGEST_SECONDS: i64 = 3650 * 24 * 3600;
    let secret = checked_secret(auth.jwt_secret.as_ref().ok_or(MintError::NoSecret)?)?;
    user_name(wanted.user).ok_or(MintError::User)?;
    let ttl = i64::try_from(wanted.ttl.as_secs()).unwrap_or(i64::MAX);
    if !(1..=LONGEST_SECONDS).contains(&ttl) {
        return Err(MintError::Ttl);
    }
    let claims = Claims {
        sub: wanted.user,
        iat: now.seconds(),
        exp: now.seconds() + ttl,
        iss: given("CRM_JWT_ISSUER", auth.jwt_issuer.as_deref())?,
        aud: given("CRM_JWT_AUDIENCE", auth.jwt_audience.as_deref())?,
        tenant_id: wanted.tenant,
        role: wanted.role.map(Role::as_str),
        data_scope: wanted.own_rows_only.then_some("self"),
    };
    install_provider();
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| MintError::Signing)
}
