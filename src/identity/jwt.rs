//! JWTs that a key here proves (RFC 7519, RFC 8725).
//!
//! The header is read by our own strict reader and the signature by jsonwebtoken's `verify`; jsonwebtoken's `decode`
//! takes unknown `crit` headers, lets missing or mistyped `iss` and `aud` pass, and reads the system's clock.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, crypto};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::bearer::Digest;
use super::claims::{Caller, Members, TenantMember};
use super::error::{Denied, IdentityError, given};
use super::jwks::{Jwks, KeySet, Newest};
use super::key::{self, Key};
use super::monotonic::Monotonic;
use super::principal::{Principal, SourceKind, user_name};
use super::proven::Proven;
use crate::config;
use crate::domain::Timestamp;

/// How far the issuer's clock may be off.
const LEEWAY_MS: i64 = 30_000;

/// Why a JWT is refused, for the log; never a part of it.
type Reason = &'static str;

/// Verifies JWTs with the configured keys.
pub(super) struct JwtVerifier {
    /// The keys that do not change.
    keys: Vec<Key>,
    sets: Vec<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
    tenant_claim: Option<String>,
    /// What `keys` have proven lately; sets remember for themselves.
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

/// What a token's header says, as far as it matters.
struct Header {
    /// `None` for one that nobody here knows.
    algorithm: Option<Algorithm>,
    kid: Option<String>,
    /// What of it forbids to take the token.
    forbids: Option<Reason>,
}

impl Header {
    /// Reads the header of a token. One without signature (`none`), or that is read in two ways, is nobody's.
    fn read(jwt: &Jwt<'_>) -> Result<Self, Reason> {
        let header = Members::parse(&jwt.header).ok_or("header is not an object without duplicates")?;
        let alg = header.get("alg").and_then(Value::as_str).ok_or("alg is not text")?;
        if alg.eq_ignore_ascii_case("none") {
            return Err("alg none");
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("kid"),
        };
        // Other types (an ID token, a DPoP proof) are not for access, even if the same key signs them.
        let access = |typ: &str| {
            ["JWT", "at+jwt", "application/at+jwt"].iter().any(|ours| typ.eq_ignore_ascii_case(ours))
        };
        let typ = header.get("typ").is_some_and(|typ| !typ.as_str().is_some_and(access));
        // `crit` names extensions that must be understood; none is.
        let crit = header.get("crit").is_some();
        let forbids = if crit { Some("crit") } else { typ.then_some("typ") };
        Ok(Self { algorithm: alg.parse().ok(), kid, forbids })
    }

    /// Whether this key may prove a token of this header.
    fn allows(&self, key: &Key) -> bool {
        let same_id = match (&key.id, &self.kid) {
            (Some(id), Some(kid)) => **id == **kid,
            _ => true,
        };
        same_id && self.algorithm.is_some_and(|algorithm| key.algorithms.contains(&algorithm))
    }

    /// Whether a key of a set could have made the token: those are public keys.
    fn may_be_of_a_set(&self) -> bool {
        [key::RSA, key::P256, key::P384, key::ED25519]
            .iter()
            .any(|kind| self.algorithm.is_some_and(|algorithm| kind.contains(&algorithm)))
    }
}

/// What the keys here say of a token.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A key here answers for it: this is final.
    Ours(Result<Arc<Principal>, Denied>),
    /// No key here matches its `kid` and `alg`, or it names another issuer: somebody else may know it. If there is nobody
    /// else to ask, this is the outcome.
    Foreign(Denied),
}

impl Verdict {
    fn refused(reason: Reason) -> Self {
        tracing::debug!(reason, "a JWT was refused");
        Self::Ours(Err(Denied::Invalid))
    }
}

/// What came of trying the keys on a token.
enum Trial {
    /// A key proved it: one of this set, or of those that do not change.
    Proven(Option<Arc<KeySet>>),
    /// There are keys for it, and none proved it.
    Unproven,
    /// There is no key for it.
    NoKey,
}

impl JwtVerifier {
    /// The verifier of the configured keys; `None` without a key.
    pub(super) fn new(auth: &config::Auth, clock: &Monotonic) -> Result<Option<Self>, IdentityError> {
        key::install_provider();
        let verifier = Self {
            keys: key::configured(auth)?,
            sets: Jwks::configured(auth, clock)?,
            issuer: given("CRM_JWT_ISSUER", auth.jwt_issuer.as_deref())?,
            audience: given("CRM_JWT_AUDIENCE", auth.jwt_audience.as_deref())?,
            tenant_claim: given("CRM_JWT_TENANT_CLAIM", auth.jwt_tenant_claim.as_deref())?,
            proven: Proven::default(),
        };
        Ok((!verifier.keys.is_empty() || !verifier.sets.is_empty()).then_some(verifier))
    }

    /// Reads the key sets that are not there yet, each within its deadline. One that cannot be read is logged.
    pub(super) async fn prepare(&self) {
        join_all(self.sets.iter().filter(|set| set.current().is_none()).map(Jwks::renew)).await;
    }

    /// Whose token it is, if a key that still counts has proven it lately.
    pub(super) fn proven(&self, token: &Digest, now: Timestamp) -> Option<Arc<Principal>> {
        let in_a_set = || self.sets.iter().find_map(|set| set.current()?.proven.find(token, now));
        self.proven.find(token, now).or_else(in_a_set)
    }

    /// Judges a token. Waits only for a set that is not there, or does not have the key that the token names.
    pub(super) async fn judge(&self, jwt: &Jwt<'_>, token: Digest, now: Timestamp) -> Verdict {
        let header = match Header::read(jwt) {
            Ok(header) => header,
            Err(reason) => return Verdict::refused(reason),
        };
        if self.issuer.as_ref().is_some_and(|ours| unproved_issuer(jwt).as_ref() != Some(ours)) {
            return Verdict::Foreign(Denied::Invalid);
        }
        if let Some(reason) = header.forbids {
            let keys = self.sets.iter().filter_map(Jwks::current);
            let has_key = |keys: &[Key]| keys.iter().any(|key| header.allows(key));
            let ours = has_key(&self.keys) || keys.into_iter().any(|set| has_key(&set.keys));
            return if ours { Verdict::refused(reason) } else { Verdict::Foreign(Denied::Invalid) };
        }
        let mut trial = self.try_keys(jwt, &header);
        let (mut older, mut nothing) = (None, None);
        if !matches!(trial, Trial::Proven(_)) && header.may_be_of_a_set() {
            for set in self.sets.iter().filter(|set| !set.knows(header.kid.as_deref())) {
                match set.renew().await {
                    Newest::Held => {}
                    Newest::Older(wait) => older = older.max(Some(wait)),
                    Newest::Nothing(wait) => nothing = nothing.max(Some(wait)),
                }
            }
            trial = self.try_keys(jwt, &header);
        }
        match (trial, nothing, older) {
            (Trial::Proven(set), ..) => self.believe(jwt, token, now, set.as_deref()),
            // A key of the set that is missing may be the one; without it nobody can tell whose token this is.
            (_, Some(wait), _) | (Trial::Unproven, None, Some(wait)) => {
                Verdict::Ours(Err(Denied::unavailable(wait)))
            }
            (Trial::NoKey, None, Some(wait)) => Verdict::Foreign(Denied::unavailable(wait)),
            (Trial::NoKey, None, None) => Verdict::Foreign(Denied::Invalid),
            (Trial::Unproven, None, None) => Verdict::refused("signature"),
        }
    }

    fn try_keys(&self, jwt: &Jwt<'_>, header: &Header) -> Trial {
        let Some(algorithm) = header.algorithm else { return Trial::NoKey };
        let mut outcome = Trial::NoKey;
        let mut proves = |key: &Key| {
            outcome = Trial::Unproven;
            crypto::verify(jwt.signature, jwt.signed.as_bytes(), &key.decoding, algorithm).unwrap_or(false)
        };
        if self.keys.iter().filter(|key| header.allows(key)).any(&mut proves) {
            return Trial::Proven(None);
        }
        for set in self.sets.iter().filter_map(Jwks::current) {
            if set.keys.iter().filter(|key| header.allows(key)).any(&mut proves) {
                return Trial::Proven(Some(set));
            }
        }
        outcome
    }

    /// Reads the claims of a token that is proven by a key of `set`, or one that does not change.
    fn believe(&self, jwt: &Jwt<'_>, token: Digest, now: Timestamp, set: Option<&KeySet>) -> Verdict {
        let (caller, expiry) = match self.caller(jwt, now) {
            Ok(caller) => caller,
            Err(reason) => return Verdict::refused(reason),
        };
        if !caller.cell_allowed {
            return Verdict::Ours(Err(Denied::CellNotAllowed));
        }
        let principal = Arc::new(caller.principal);
        let proven = set.map_or(&self.proven, |set| &set.proven);
        proven.keep(token, principal.clone(), now, expiry);
        Verdict::Ours(Ok(principal))
    }

    /// The caller a token names, and from when on it is invalid.
    fn caller(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<(Caller, Timestamp), Reason> {
        let claims = Members::parse(&jwt.payload).ok_or("claims are not an object without duplicates")?;
        let expiry = check_times(&claims, now)?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        let user = claims.get("sub").and_then(Value::as_str).and_then(user_name).ok_or("sub")?;
        let caller = claims.caller(user, SourceKind::Jwt, &self.tenant_members());
        Ok((caller.map_err(|nonsense| nonsense.0)?, expiry))
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
