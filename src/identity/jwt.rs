//! JWTs that a key here proves (RFC 7519, RFC 8725).
//!
//! The header is read by our own strict reader and the signature by jsonwebtoken's `verify`; jsonwebtoken's `decode`
//! takes unknown `crit` headers, lets missing or mistyped `iss` and `aud` pass, and reads the system's clock.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::claims::{Caller, Members, TenantMember};
use super::error::{IdentityError, given};
use super::key::{self, Key};
use super::principal::{SourceKind, user_name};
use super::proven::Proven;
use crate::config;
use crate::domain::Timestamp;

/// How far the issuer's clock may be off.
const LEEWAY_MS: i64 = 30_000;

/// Why a JWT is refused, for the log; never a part of it.
pub(super) type Reason = &'static str;

/// Verifies JWTs with the configured keys.
pub(super) struct JwtVerifier {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
    tenant_claim: Option<String>,
    proven: Proven,
}

/// A token of JWT form: three base64url parts, the first of which is a JSON object with `alg`. Nothing in it is proved.
pub(super) struct Jwt<'a> {
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart. `None` if it is not of JWT form.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let (header, payload) = (decode(header)?, decode(payload)?);
        decode(signature)?;
        let fields: HashMap<String, IgnoredAny> = serde_json::from_slice(&header).ok()?;
        fields.contains_key("alg").then_some(Self { header, payload, signature, signed })
    }
}

impl JwtVerifier {
    /// The verifier of the configured keys; `None` without a key.
    pub(super) fn new(auth: &config::Auth) -> Result<Option<Self>, IdentityError> {
        key::install_provider();
        let keys = key::configured(auth)?;
        let verifier = Self {
            keys,
            issuer: given("CRM_JWT_ISSUER", auth.jwt_issuer.as_deref())?,
            audience: given("CRM_JWT_AUDIENCE", auth.jwt_audience.as_deref())?,
            tenant_claim: given("CRM_JWT_TENANT_CLAIM", auth.jwt_tenant_claim.as_deref())?,
            proven: Proven::default(),
        };
        Ok((!verifier.keys.is_empty()).then_some(verifier))
    }

    /// Whether the token is another issuer's: no key here is for its algorithm, or it names an issuer other than ours.
    ///
    /// A token without signature (`none`) or without a readable header is nobody's, so it is not passed on.
    pub(super) fn is_foreign(&self, jwt: &Jwt<'_>) -> bool {
        let Some(header) = Members::parse(&jwt.header) else {
            return false;
        };
        let Some(alg) = header.get("alg").and_then(Value::as_str) else {
            return false;
        };
        if alg.eq_ignore_ascii_case("none") {
            return false;
        }
        let unknown_algorithm = self.keys_for(alg).next().is_none();
        unknown_algorithm
            || self.issuer.as_ref().is_some_and(|ours| unproved_issuer(jwt).as_ref() != Some(ours))
    }

    /// The tokens that these keys have proven lately.
    pub(super) fn proven(&self) -> &Proven {
        &self.proven
    }

    /// The caller a token names, and from when on it is invalid.
    ///
    /// # Errors
    ///
    /// Says which check failed, for the log.
    pub(super) fn verify(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<(Caller, Timestamp), Reason> {
        self.check_signature(jwt)?;
        let claims = Members::parse(&jwt.payload).ok_or("claims are not an object without duplicates")?;
        let expiry = check_times(&claims, now)?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        let user = claims.get("sub").and_then(Value::as_str).and_then(user_name).ok_or("sub")?;
        let caller = claims.caller(user, SourceKind::Jwt, &self.tenant_members());
        Ok((caller.map_err(|nonsense| nonsense.0)?, expiry))
    }

    fn check_signature(&self, jwt: &Jwt<'_>) -> Result<(), Reason> {
        let header = Members::parse(&jwt.header).ok_or("header is not an object without duplicates")?;
        // `crit` names extensions that must be understood; none is.
        if header.get("crit").is_some() {
            return Err("crit");
        }
        // Other types (an ID token, a DPoP proof) are not for access, even if the same key signs them.
        let access = |typ: &str| ["JWT", "at+jwt"].iter().any(|ours| typ.eq_ignore_ascii_case(ours));
        if header.get("typ").is_some_and(|typ| !typ.as_str().is_some_and(access)) {
            return Err("typ");
        }
        let alg = header.get("alg").and_then(Value::as_str).ok_or("alg is not text")?;
        let mut keys = self.keys_for(alg).peekable();
        keys.peek().ok_or("no key for alg")?;
        let proves = |(algorithm, key): (Algorithm, &Key)| {
            crypto::verify(jwt.signature, jwt.signed.as_bytes(), &key.decoding, algorithm).unwrap_or(false)
        };
        if keys.any(proves) { Ok(()) } else { Err("signature") }
    }

    /// The keys that may prove a token with this `alg`.
    fn keys_for(&self, alg: &str) -> impl Iterator<Item = (Algorithm, &Key)> {
        let algorithm = alg.parse::<Algorithm>().ok();
        let for_it = move |key: &&Key| algorithm.is_some_and(|algorithm| key.algorithms.contains(&algorithm));
        self.keys.iter().filter(for_it).filter_map(move |key| Some((algorithm?, key)))
    }

    fn check_issuer(&self, claims: &Members) -> Result<(), Reason> {
        let Some(ours) = &self.issuer else { return Ok(()) };
        let same = claims.get("iss").and_then(Value::as_str) == Some(ours);
        if same { Ok(()) } else { Err("iss") }
    }

    /// `aud` is a text or an array of texts; one must be ours, all must be texts.
    fn check_audience(&self, claims: &Members) -> Result<(), Reason> {
        let Some(ours) = &self.audience else { return Ok(()) };
        let meant = match claims.get("aud") {
            Some(Value::String(aud)) => aud == ours,
            Some(Value::Array(auds)) => {
                auds.iter().all(Value::is_string) && auds.iter().any(|aud| aud == ours)
            }
            _ => false,
        };
        if meant { Ok(()) } else { Err("aud") }
    }

    fn tenant_members(&self) -> Vec<TenantMember<'_>> {
        let mut members = vec![
            TenantMember { name: "tenantId", several: true },
            TenantMember { name: "tenant_id", several: false },
            TenantMember { name: "tid", several: false },
        ];
        if let Some(name) = &self.tenant_claim {
            members.retain(|member| member.name != name);
            members.push(TenantMember { name, several: true });
        }
        members
    }
}

/// The issuer a token claims, good for nothing but to choose who is asked.
fn unproved_issuer(jwt: &Jwt<'_>) -> Option<String> {
    Some(Members::parse(&jwt.payload)?.get("iss")?.as_str()?.to_owned())
}

/// `exp` is required and not passed; `nbf` and `iat`, where given, are not ahead. Returns when the token is passed.
fn check_times(claims: &Members, now: Timestamp) -> Result<Timestamp, Reason> {
    let now = now.millis();
    let read = |name| claims.get(name).map(|value| millis(value).ok_or(name)).transpose();
    let expiry = read("exp")?.ok_or("no exp")?.saturating_add(LEEWAY_MS);
    if now >= expiry {
        return Err("exp");
    }
    for name in ["nbf", "iat"] {
        if read(name)?.is_some_and(|begins| begins > now.saturating_add(LEEWAY_MS)) {
            return Err(name);
        }
    }
    Ok(Timestamp::from_millis(expiry))
}

/// A `NumericDate` (seconds, fractions allowed) in milliseconds.
fn millis(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    match number.as_i64() {
        Some(seconds) => Some(seconds.saturating_mul(1000)),
        // `as` saturates at the ends of i64.
        None => number.as_f64().map(|seconds| (seconds * 1000.0) as i64),
    }
}
