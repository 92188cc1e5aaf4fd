//! The identity sources, in the order they are asked.

use std::fmt;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::bearer::{Credentials, bearer_token, digest};
use super::binding::{Admission, Admitting};
use super::error::{Denied, IdentityError, given};
use super::gateway::Gateway;
use super::jwt::{Jwt, JwtVerifier, Verdict};
use super::monotonic::Monotonic;
use super::platform::Platform;
use super::principal::{Binding, Principal, Role, SourceKind, visible_user_name};
use super::service_token::ServiceTokens;
use crate::config;
use crate::domain::{Clock, Membership, TenantId};

/// Who callers are and which tenant they are admitted to. Built once at start and shared.
pub struct Identity {
    gateway: Option<Gateway>,
    sources: Vec<SourceKind>,
    service_tokens: Option<ServiceTokens>,
    jwt: Option<JwtVerifier>,
    platform: Option<Platform>,
    takes_any_token: bool,
    admitting: Admitting,
    clock: Arc<dyn Clock>,
}

impl Identity {
    /// Reads the configured material.
    ///
    /// `clock` decides when a JWT is valid. How long the platform's answers are kept is measured by a monotonic clock
    /// instead: setting the machine's clock back must not prolong a yes.
    ///
    /// # Errors
    ///
    /// Says which setting cannot be used and what to do about it.
    pub fn new(
        auth: &config::Auth,
        tenants: &config::Tenants,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        Self::with_monotonic(auth, tenants, clock, Monotonic::from_now())
    }

    pub(super) fn with_monotonic(
        auth: &config::Auth,
        tenants: &config::Tenants,
        clock: Arc<dyn Clock>,
        monotonic: Monotonic,
    ) -> Result<Self, IdentityError> {
        let service_tokens = auth.service_tokens.as_ref();
        let service_tokens =
            service_tokens.map(|text| ServiceTokens::parse(text.expose_secret())).transpose()?;
        let jwt = JwtVerifier::new(auth, &monotonic)?;
        let platform = given("PLATFORM_AUTH_URL", auth.platform_url.as_deref())?;
        let platform = platform.map(|url| Platform::new(&url, auth, monotonic)).transpose()?;

        let sources: Vec<SourceKind> = [
            service_tokens.as_ref().map(|_| SourceKind::ServiceToken),
            jwt.as_ref().map(|_| SourceKind::Jwt),
            platform.as_ref().map(|_| SourceKind::Platform),
        ]
        .into_iter()
        .flatten()
        .collect();
        Ok(Self {
            takes_any_token: sources.is_empty() && auth.strict != Some(true),
            gateway: Gateway::configured(auth)?,
            sources,
            service_tokens,
            jwt,
            platform,
            admitting: Admitting { unbound: tenants.binding, default_id: tenants.default_id.clone() },
            clock,
        })
    }

    /// The configured sources in the order they are asked; none means the development mode, or with
    /// `CRM_AUTH_STRICT=1` that nobody gets in.
    #[must_use]
    pub fn sources(&self) -> &[SourceKind] {
        &self.sources
    }

    /// The gateway that every request must come from; `None` if they may come from anywhere.
    #[must_use]
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// Asks for what is needed to serve and must not stop the start if it cannot be had: the key set of a URL.
    pub async fn prepare(&self) {
        if let Some(verifier) = &self.jwt {
            verifier.prepare().await;
        }
    }

    /// Who the caller with these credentials is.
    ///
    /// # Errors
    ///
    /// Every [`Denied`] but `TenantMismatch`.
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Arc<Principal>, Denied> {
        let token = bearer_token(credentials.authorization)?;
        if self.takes_any_token {
            return Ok(Arc::new(anyone(credentials.user_id)));
        }
        let digest = digest(token);
        if let Some(principal) = self.service_tokens.as_ref().and_then(|tokens| tokens.find(&digest)) {
            return Ok(on_behalf_of(principal, credentials.user_id));
        }
        let mut otherwise = Denied::Invalid;
        if let Some(verifier) = &self.jwt {
            let now = self.clock.now();
            if let Some(principal) = verifier.proven(&digest, now) {
                return Ok(principal);
            }
            if let Some(jwt) = Jwt::parse(token) {
                match verifier.judge(&jwt, digest, now).await {
                    // What a key here answers for is never asked elsewhere: another's yes must not undo our no.
                    Verdict::Ours(outcome) => return outcome,
                    Verdict::Foreign(denied) => otherwise = denied,
                }
            }
        }
        match &self.platform {
            Some(platform) => match platform.ask(token, digest).await {
                // Its no says nothing of a token whose keys cannot be had now.
                Err(Denied::Invalid) => Err(otherwise),
                answer => answer,
            },
            None => Err(otherwise),
        }
    }

    /// The tenant a principal is admitted to, given the one that `X-Tenant-Id` names.
    ///
    /// # Errors
    ///
    /// [`Denied::TenantMismatch`].
    pub fn admit(&self, principal: &Principal, header: Option<&TenantId>) -> Result<Admission, Denied> {
        self.admitting.admit(principal, header)
    }

    /// Whether a principal whose [`Admission`] is unbound may enter the tenant, given what its members say of the
    /// principal's user. Without a source of identities a user's name is the caller's own word and makes nobody a member.
    ///
    /// # Errors
    ///
    /// [`Denied::TenantMismatch`].
    pub fn admit_unbound(&self, principal: &Principal, membership: Membership) -> Result<(), Denied> {
        self.admitting.admit_unbound(principal, membership)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// The principal of a service token, acting for the user of `X-User-Id` if the token is a service's: only a service
/// is trusted to say whom it acts for.
fn on_behalf_of(principal: &Arc<Principal>, user_id: Option<&str>) -> Arc<Principal> {
    match user_id.and_then(visible_user_name) {
        Some(user) if principal.role == Role::Service => {
            Arc::new(Principal { user, ..Principal::clone(principal) })
        }
        _ => Arc::clone(principal),
    }
}

/// Whoever calls where no source is configured.
fn anyone(user_id: Option<&str>) -> Principal {
    Principal {
        user: user_id.and_then(visible_user_name).unwrap_or_else(|| "anonymous".into()),
        role: Role::Admin,
        source: SourceKind::Nobody,
        tenants: Binding::Unbound,
        own_rows_only: false,
    }
}
