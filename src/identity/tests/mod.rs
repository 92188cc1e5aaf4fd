//! The room's tests from the outside: credentials in, principal or refusal out.

mod environment;
pub(super) mod jwks;
mod keys;
mod logs;
mod minting;
mod modes;
mod platform_answers;
mod platform_limits;
mod routing;
mod tokens;
mod upstream;

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::monotonic::Monotonic;
use super::{Credentials, Denied, Identity, Principal};
use crate::config;
use crate::domain::{ManualClock, Timestamp};

/// The present of every test, in seconds.
const NOW: i64 = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

const RSA: &str = include_str!("../../../tests/fixtures/keys/rsa.pem");
const RSA_PUB: &str = include_str!("../../../tests/fixtures/keys/rsa.pub.pem");
const RSA_OTHER_PUB: &str = include_str!("../../../tests/fixtures/keys/rsa-other.pub.pem");
const P256: &str = include_str!("../../../tests/fixtures/keys/p256.pem");
const P256_PUB: &str = include_str!("../../../tests/fixtures/keys/p256.pub.pem");
const P384: &str = include_str!("../../../tests/fixtures/keys/p384.pem");
const P384_PUB: &str = include_str!("../../../tests/fixtures/keys/p384.pub.pem");
const ED25519: &str = include_str!("../../../tests/fixtures/keys/ed25519.pem");
const ED25519_PUB: &str = include_str!("../../../tests/fixtures/keys/ed25519.pub.pem");

/// Settings with nothing configured.
pub(super) fn auth() -> config::Auth {
    config::Auth {
        verify_signature: false,
        signing_secret: None,
        strict: None,
        service_tokens: None,
        jwt_secret: None,
        jwt_public_key: None,
        jwks_url: None,
        jwks_file: None,
        jwks_timeout: Duration::from_secs(3),
        jwks_max_age: Duration::from_secs(600),
        jwks_min_pause: Duration::from_secs(30),
        jwks_stale: Duration::from_secs(3600),
        jwt_issuer: None,
        jwt_audience: None,
        jwt_tenant_claim: None,
        platform_url: None,
        platform_timeout: Duration::from_secs(3),
        platform_yes_ttl: Duration::from_secs(60),
        platform_no_ttl: Duration::from_secs(10),
        platform_stale: Duration::from_secs(600),
        platform_cache: 10_000,
        platform_unknown_per_minute: 100_000,
    }
}

fn with_secret() -> config::Auth {
    config::Auth { jwt_secret: Some(SECRET.into()), ..auth() }
}

fn with_service_tokens(text: &str) -> config::Auth {
    config::Auth { service_tokens: Some(SecretString::from(text)), ..auth() }
}

fn tenants() -> config::Tenants {
    config::Tenants {
        default_id: "default".parse().expect("an id"),
        provision: config::Provision::Auto,
        binding: config::Binding::Header,
        create_burst: 1000,
        create_per_minute: 600,
        trash_keep: std::time::Duration::from_secs(1),
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(NOW * 1000)))
}

fn identity(auth: &config::Auth) -> Identity {
    Identity::new(auth, &tenants(), clock()).expect("valid settings")
}

/// The time by which the platform's answers age, moved by hand.
#[derive(Clone, Default)]
struct Uptime(Arc<AtomicU64>);

impl Uptime {
    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn identity(&self, auth: &config::Auth) -> Identity {
        let seconds = Arc::clone(&self.0);
        let monotonic = Monotonic::of(move || Duration::from_secs(seconds.load(Ordering::Relaxed)));
        Identity::with_monotonic(auth, &tenants(), clock(), monotonic).expect("valid settings")
    }
}

type Outcome = Result<Arc<Principal>, Denied>;

async fn ask(identity: &Identity, token: &str) -> Outcome {
    ask_as(identity, token, None).await
}

async fn ask_as(identity: &Identity, token: &str, user_id: Option<&str>) -> Outcome {
    let header = format!("Bearer {token}");
    identity.authenticate(&Credentials { authorization: Some(header.as_bytes()), user_id }).await
}

fn user(outcome: Outcome) -> String {
    outcome.expect("a principal").user.to_string()
}

/// Claims that every test's token starts from.
fn claims() -> Value {
    json!({"sub": "zhang", "exp": NOW + 600})
}

/// `claims()` with members of `more` added or, where `null`, taken out.
fn claims_with(more: Value) -> Value {
    let (Value::Object(mut claims), Value::Object(more)) = (claims(), more) else {
        panic!("claims are objects");
    };
    for (name, value) in more {
        match value {
            Value::Null => claims.remove(&name),
            value => claims.insert(name, value),
        };
    }
    claims.into()
}

fn hs256(claims: &Value) -> String {
    hs256_text(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string())
}

/// An HS256 token with exactly this header and these claims.
fn hs256_text(header: &str, claims: &str) -> String {
    sign(header, claims, Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()))
}

fn sign(header: &str, claims: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    super::key::install_provider();
    let signed = format!("{}.{}", base64url(header), base64url(claims));
    let signature = crypto::sign(signed.as_bytes(), key, algorithm).expect("a signature");
    format!("{signed}.{signature}")
}

fn base64url(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn key_for(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_pem(P256.as_bytes()),
        Algorithm::ES384 => EncodingKey::from_ec_pem(P384.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(ED25519.as_bytes()),
        _ => EncodingKey::from_rsa_pem(RSA.as_bytes()),
    }
    .expect("a private key")
}

/// A token signed with the fixture's private key for the algorithm.
fn signed_with(algorithm: Algorithm, claims: &Value) -> String {
    let header = json!({"alg": algorithm}).to_string();
    sign(&header, &claims.to_string(), algorithm, &key_for(algorithm))
}

/// Runs one ignored test of this folder in a process of its own, with these variables and no others that matter here;
/// what it printed if it failed. For what is one per process: the environment and the log.
async fn alone(test: &str, variables: &[(&str, &str)]) -> Result<(), String> {
    let mut child = Command::new(env::current_exe().expect("a test binary"));
    child.args(["--ignored", "--exact", &format!("identity::tests::{test}")]);
    for inherited in ["SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy"] {
        child.env_remove(inherited);
    }
    child.envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || child.output()).await.expect("joined").expect("run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && said.contains("1 passed") { Ok(()) } else { Err(said) }
}
