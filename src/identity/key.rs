//! The keys that prove JWTs: an HS256 secret, public keys, or both.

use std::fs;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::IdentityError;
use crate::config;

const SECRET: &str = "CRM_JWT_SECRET";
const PUBLIC_KEY: &str = "CRM_JWT_PUBLIC_KEY";

/// RFC 7518 §3.2: a key as long as the hash.
const MIN_SECRET_BYTES: usize = 32;
const MIN_RSA_BITS: usize = 2048;
/// Sizes of an RSA key: not too weak, and none that takes long to verify with.
pub(super) const RSA_BITS: RangeInclusive<usize> = MIN_RSA_BITS..=8192;

/// The algorithms of each kind of key.
pub(super) const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256];
pub(super) const P256: &[Algorithm] = &[Algorithm::ES256];
pub(super) const P384: &[Algorithm] = &[Algorithm::ES384];
pub(super) const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// A key and the algorithms it may be used with. They come from the key, never from a token: a public key is nobody's
/// HMAC secret.
pub(super) struct Key {
    /// What a token calls it; one without a name may prove any token of its algorithms.
    pub(super) id: Option<Box<str>>,
    pub(super) algorithms: &'static [Algorithm],
    pub(super) decoding: DecodingKey,
}

/// Makes aws-lc the process's provider for JWTs.
///
/// Fails only where one is installed already. There is only one to choose (`Cargo.toml`), so it is the same.
pub(super) fn install_provider() {
    let _ = DEFAULT_PROVIDER.install_default();
}

/// The configured keys; none if none is configured.
pub(super) fn configured(auth: &config::Auth) -> Result<Vec<Key>, IdentityError> {
    let mut keys = Vec::new();
    if let Some(secret) = &auth.jwt_secret {
        keys.push(Key {
            id: None,
            algorithms: &[Algorithm::HS256],
            decoding: DecodingKey::from_secret(checked_secret(secret)?),
        });
    }
    if let Some(text_or_path) = &auth.jwt_public_key {
        keys.extend(public_keys(text_or_path)?);
    }
    Ok(keys)
}

/// The bytes of the HS256 secret, if it is one.
pub(super) fn checked_secret(secret: &SecretString) -> Result<&[u8], IdentityError> {
    let secret = secret.expose_secret();
    if secret.contains("-----BEGIN ") {
        return Err(IdentityError::new(
            SECRET,
            "holds a PEM key; an HS256 secret is random text, a public key belongs into CRM_JWT_PUBLIC_KEY",
        ));
    }
    if secret.len() < MIN_SECRET_BYTES {
        return Err(IdentityError::new(
            SECRET,
            "is shorter than 32 bytes; make one with `openssl rand -hex 32`",
        ));
    }
    Ok(secret.as_bytes())
}

/// The keys of one or more PEM blocks: several let an old and a new key overlap.
fn public_keys(text_or_path: &str) -> Result<Vec<Key>, IdentityError> {
    let text = if text_or_path.contains("-----BEGIN ") {
        // Environment files often carry the line ends as `\n`; a backslash has no other place in PEM.
        text_or_path.replace("\\n", "\n")
    } else {
        fs::read_to_string(text_or_path.trim()).map_err(|error| {
            // The path is not shown: it may be a key that was pasted without its BEGIN line.
            IdentityError::new(PUBLIC_KEY, "is neither PEM text nor the path of a readable PEM file")
                .because(error)
        })?
    };
    let keys = pem_blocks(&text)
        .map(|(label, block)| public_key(label, block))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|problem| IdentityError::new(PUBLIC_KEY, problem))?;
    if keys.is_empty() {
        return Err(IdentityError::new(
            PUBLIC_KEY,
            "holds no PEM block; it must start with -----BEGIN PUBLIC KEY-----",
        ));
    }
    Ok(keys)
}

/// The label and the whole text of each PEM block.
fn pem_blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices("-----BEGIN ").map(move |(start, opening)| {
        let block = &text[start..];
        let block = block[opening.len()..].find(opening).map_or(block, |next| &block[..opening.len() + next]);
        let label = block[opening.len()..].split("-----").next().unwrap_or_default();
        (label, block)
    })
}

fn public_key(label: &str, block: &str) -> Result<Key, &'static str> {
    const UNREADABLE: &str = "holds a PEM block that is damaged or of a kind that is not supported; \
        RSA, EC P-256, EC P-384 and Ed25519 public keys are";
    if label.ends_with("PRIVATE KEY") {
        return Err("holds a private key; give its public half (`openssl pkey -in key.pem -pubout`)");
    }
    if label != "PUBLIC KEY" && label != "RSA PUBLIC KEY" {
        return Err("holds something other than public keys; \
            take the key out of a certificate with `openssl x509 -in cert.pem -pubkey -noout`");
    }
    let der = der(block).ok_or(UNREADABLE)?;
    if let Some(key) = curve_key(&der) {
        return Ok(key);
    }
    let decoding = DecodingKey::from_rsa_pem(block.as_bytes()).map_err(|_| UNREADABLE)?;
    let pkcs1 = decoding.try_get_as_bytes().map_err(|_| UNREADABLE)?;
    let read_parts = DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
    let (modulus, _) = read_parts(pkcs1).map_err(|_| UNREADABLE)?;
    if bits(&modulus) < MIN_RSA_BITS {
        return Err("holds an RSA key of less than 2048 bits; make a longer one");
    }
    Ok(Key { id: None, algorithms: RSA, decoding })
}

/// The key of a `SubjectPublicKeyInfo` on one of the three supported curves.
///
/// Their encodings differ only in the key itself, so that the bytes before it name the curve: other curves of the same
/// size (secp256k1) do not pass for P-256.
fn curve_key(der: &[u8]) -> Option<Key> {
    const P256_INFO: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    const P384_INFO: &[u8] =
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
    const ED25519_INFO: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let point = |prefix: &[u8], len: usize| der.strip_prefix(prefix).filter(|point| point.len() == len);
    if let Some(point) = point(P256_INFO, 65) {
        return Some(Key { id: None, algorithms: P256, decoding: DecodingKey::from_ec_der(point) });
    }
    if let Some(point) = point(P384_INFO, 97) {
        return Some(Key { id: None, algorithms: P384, decoding: DecodingKey::from_ec_der(point) });
    }
    let point = point(ED25519_INFO, 32)?;
    Some(Key { id: None, algorithms: ED25519, decoding: DecodingKey::from_ed_der(point) })
}

fn der(block: &str) -> Option<Vec<u8>> {
    let (_, body) = block.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, _) = body.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// How many bits a number has.
pub(super) fn bits(big_endian: &[u8]) -> usize {
    let Some(first) = big_endian.iter().position(|&byte| byte != 0) else {
        return 0;
    };
    let leading_zeros = usize::try_from(big_endian[first].leading_zeros()).unwrap_or(0);
    (big_endian.len() - first) * 8 - leading_zeros
}
