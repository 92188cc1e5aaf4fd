//! The gateway's signature of a request (contract §5, "Gate"): proof that the gateway sent it, and of nothing else. It
//! covers neither the token nor the query.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::error::IdentityError;
use crate::config;
use crate::domain::Timestamp;

const SETTING: &str = "CELL_SIGNING_SECRET";
/// As long as the hash (RFC 2104 §3).
const MIN_SECRET_BYTES: usize = 32;
/// How far a signature's time may be from ours, in seconds.
const WINDOW: u64 = 300;

/// Why a request's signature is not taken, for the log; never a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSignature(pub &'static str);

/// What the gateway signed, as it arrived.
#[derive(Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path after percent-decoding, without the query.
    pub path: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// The value of `X-Request-ID`; empty without one.
    pub request_id: &'a [u8],
    /// The value of `X-Tenant-Id`; empty without one.
    pub tenant_id: &'a [u8],
    /// The value of `X-Trace-Id`; empty without one.
    pub trace_id: &'a [u8],
}

impl fmt::Debug for SignedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest").finish_non_exhaustive() // all of it is the caller's
    }
}

/// A signature that is well-formed and of our time, and yet unproved.
#[derive(Clone)]
pub struct Signature {
    mac: Vec<u8>,
    seconds: i64,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").finish_non_exhaustive()
    }
}

impl Signature {
    /// Reads the values of `X-Signature` (hexadecimal) and `X-Signature-Time` (whole seconds since 1970).
    ///
    /// # Errors
    /// One is missing, malformed, or more than five minutes from `now`.
    pub fn read(mac: Option<&[u8]>, time: Option<&[u8]>, now: Timestamp) -> Result<Self, BadSignature> {
        let (Some(mac), Some(time)) = (mac, time) else {
            return Err(BadSignature("missing"));
        };
        let mac = hex::decode(mac).map_err(|_| BadSignature("malformed"))?;
        let digits = str::from_utf8(time).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let seconds: i64 = digits.and_then(|text| text.parse().ok()).ok_or(BadSignature("malformed time"))?;
        if seconds.abs_diff(now.seconds()) > WINDOW {
            return Err(BadSignature("expired"));
        }
        Ok(Self { mac, seconds })
    }
}

/// Verifies that requests come from the gateway.
pub struct Gateway {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// The configured gateway; `None` if signatures are not asked for. A secret that is there is checked in any case.
    pub(super) fn configured(auth: &config::Auth) -> Result<Option<Self>, IdentityError> {
        let keyed = auth.signing_secret.as_ref().map(keyed).transpose()?;
        match (auth.verify_signature, keyed) {
            (false, _) => Ok(None),
            (true, Some(keyed)) => Ok(Some(Self { keyed })),
            (true, None) => Err(IdentityError::new(
                SETTING,
                "is not set, but CELL_VERIFY_SIGNATURE asks for signatures; give the gateway's GATEWAY_SIGNING_SECRET, \
                 or set CELL_VERIFY_SIGNATURE=0",
            )),
        }
    }

    /// Whether the gateway's signature of `request` is this one, in a time that does not depend on where they differ.
    ///
    /// The gateway reads its clock twice, for what it signs and for what it says: the former may be a second earlier.
    ///
    /// # Errors
    /// It is another one.
    pub fn verify(&self, request: &SignedRequest<'_>, signature: &Signature) -> Result<(), BadSignature> {
        let mut mac = self.keyed.clone();
        for part in [request.method.as_bytes(), request.path, request.body].into_iter().chain([
            request.request_id,
            request.tenant_id,
            request.trace_id,
        ]) {
            mac.update(part);
            mac.update(b"|");
        }
        let is_of = |seconds: i64| {
            let signed = mac.clone().chain_update(seconds.to_string());
            signed.verify_slice(&signature.mac).is_ok()
        };
        if is_of(signature.seconds) || is_of(signature.seconds - 1) {
            Ok(())
        } else {
            Err(BadSignature("another signature"))
        }
    }
}

fn keyed(secret: &SecretString) -> Result<Hmac<Sha256>, IdentityError> {
    let text = secret.expose_secret();
    let secret = match text.strip_prefix("base64:") {
        None => text.as_bytes().to_vec(),
        Some(encoded) => STANDARD.decode(encoded.trim()).map_err(|_| {
            IdentityError::new(SETTING, "begins with base64:, but what follows is not base64; correct it")
        })?,
    };
    if secret.len() < MIN_SECRET_BYTES {
        return Err(IdentityError::new(
            SETTING,
            "is shorter than 32 bytes; make one with `openssl rand -hex 32`, for the gateway too",
        ));
    }
    Hmac::new_from_slice(&secret).map_err(|_| IdentityError::new(SETTING, "cannot be a key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::auth;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_800_000_000;

    fn gateway(secret: &str) -> Result<Option<Gateway>, IdentityError> {
        Gateway::configured(&config::Auth {
            verify_signature: true,
            signing_secret: Some(secret.into()),
            ..auth()
        })
    }

    fn request() -> SignedRequest<'static> {
        SignedRequest {
            method: "POST",
            path: "/customers".as_bytes(),
            body: br#"{"name":"A"}"#,
            request_id: b"r-1",
            tenant_id: b"acme",
            trace_id: b"",
        }
    }

    fn read(mac: &str, time: &str) -> Result<Signature, BadSignature> {
        Signature::read(Some(mac.as_bytes()), Some(time.as_bytes()), Timestamp::from_millis(NOW * 1000))
    }

    #[test]
    fn a_known_signature_is_taken_as_text_or_base64_of_the_secret() {
        // printf 'POST|/customers|{"name":"A"}|r-1|acme||1800000000' | openssl dgst -sha256 -hmac $SECRET
        let mac = "4843c4a40dd01a9f12ecd629e4450d0d3f00fa313a2a8ea19c25ee335af98af3";
        for secret in [SECRET, "base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="] {
            let gateway = gateway(secret).expect("valid").expect("configured");
            for (time, taken) in [(NOW, true), (NOW + 1, true), (NOW + 2, false), (NOW - 1, false)] {
                let signature = read(mac, &time.to_string()).expect("well-formed");
                assert_eq!(gateway.verify(&request(), &signature).is_ok(), taken, "{time}");
            }
            let upper = read(&mac.to_uppercase(), "1800000000").expect("well-formed");
            assert_eq!(gateway.verify(&request(), &upper), Ok(()));
        }
    }

    #[test]
    fn only_well_formed_signatures_of_our_time_are_looked_at() {
        for (time, is_read) in [
            ("1800000000", true),
            ("1799999700", true),
            ("1800000300", true),
            ("1799999699", false),
            ("1800000301", false),
            ("0", false),
            ("-1800000000", false),
            ("+1800000000", false),
            ("1800000000.0", false),
            ("", false),
            ("99999999999999999999", false),
        ] {
            assert_eq!(read("00", time).is_ok(), is_read, "{time}");
        }
        for mac in ["0", "0x00", "zz", "é", " 00"] {
            assert_eq!(read(mac, "1800000000").err(), Some(BadSignature("malformed")), "{mac}");
        }
        let now = Timestamp::from_millis(NOW * 1000);
        assert!(Signature::read(None, Some(b"1800000000"), now).is_err());
        assert!(Signature::read(Some(b"00"), None, now).is_err());
    }

    #[test]
    fn a_part_of_a_signature_is_none() {
        let gateway = gateway(SECRET).expect("valid").expect("configured");
        for mac in ["", "00"] {
            let signature = read(mac, "1800000000").expect("well-formed");
            assert!(gateway.verify(&request(), &signature).is_err());
        }
    }

    #[test]
    fn an_unusable_secret_refuses_the_start_whether_or_not_it_is_asked_for() {
        for (secret, says) in [
            ("0123456789abcdef0123456789abcde", "shorter than 32 bytes"),
            ("base64:MDEyMzQ1Njc4OWFiY2RlZg==", "shorter than 32 bytes"),
            ("base64:canary!canary!canary!canary!canary", "not base64"),
        ] {
            let shown = gateway(secret).expect_err(says).to_string();
            assert!(shown.starts_with("CELL_SIGNING_SECRET ") && shown.contains(says), "{shown}");
            assert!(!shown.contains("canary"), "{shown}");
            let off = config::Auth { signing_secret: Some(secret.into()), ..auth() };
            assert!(Gateway::configured(&off).is_err());
        }
        let missing = Gateway::configured(&config::Auth { verify_signature: true, ..auth() });
        assert!(missing.expect_err("refused").to_string().contains("CELL_VERIFY_SIGNATURE"));
        assert!(Gateway::configured(&auth()).expect("valid").is_none());
    }
}
