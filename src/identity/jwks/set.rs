//! A key set (RFC 7517) becomes keys: only what can prove a token here, the rest is skipped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::identity::claims::Members;
use crate::identity::key::{self, Key};
use crate::identity::proven::Proven;
use crate::upstream::Failure;

/// No larger set is read; those of the field have a tenth of it.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// No set of more keys is taken: a token without `kid` is tried with each of them.
const MAX_KEYS: usize = 32;

/// Members that hold a secret: the private half of a key, or a symmetric one.
const SECRETS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The keys of a set, and the tokens that they have proven lately. Another set brings another memory of tokens with it,
/// so that a key that left the set proves nothing any more.
pub(in crate::identity) struct KeySet {
    pub(in crate::identity) keys: Vec<Key>,
    pub(in crate::identity) proven: Proven,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads the document. Keys of other kinds, for other uses, too weak ones and secrets are skipped, perhaps all of them.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Failure> {
        let document: Document<'_> = serde_json::from_slice(json).map_err(|_| Failure("not a key set"))?;
        if document.keys.len() > MAX_KEYS {
            return Err(Failure("too many keys"));
        }
        let mut keys = Vec::new();
        for text in &document.keys {
            let jwk =
                Members::parse(text.get().as_bytes()).ok_or(Skipped("not an object without duplicates"));
            match jwk.and_then(|jwk| public_key(&jwk)) {
                Ok(key) => keys.push(key),
                Err(Skipped(reason)) => tracing::debug!(reason, "a key of the key set was skipped"),
            }
        }
        Ok(Self { keys, proven: Proven::default() })
    }

    /// Whether one of the keys is called `id`.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

/// Why a key was skipped, for the log; never a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Skipped(&'static str);

fn public_key(jwk: &Members) -> Result<Key, Skipped> {
    if SECRETS.iter().any(|name| jwk.get(name).is_some()) {
        tracing::warn!(
            "the key set holds a secret; whoever can read the set can make tokens, so that key is not used"
        );
        return Err(Skipped("secret"));
    }
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err(Skipped("use"));
    }
    let verifies =
        |operations: &Value| operations.as_array().is_some_and(|list| list.iter().any(|o| o == "verify"));
    if !jwk.get("key_ops").is_none_or(verifies) {
        return Err(Skipped("key_ops"));
    }
    let (all, decoding) = material(jwk)?;
    let algorithms = match jwk.get("alg") {
        None => all,
        Some(named) => {
            let named: Option<Algorithm> = named.as_str().and_then(|name| name.parse().ok());
            let place = all.iter().position(|algorithm| Some(*algorithm) == named).ok_or(Skipped("alg"))?;
            &all[place..=place]
        }
    };
    let id = match jwk.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.as_str().into()),
        Some(_) => return Err(Skipped("kid")),
    };
    Ok(Key { id, algorithms, decoding })
}

/// The key itself and the algorithms of its kind.
fn material(jwk: &Members) -> Result<(&'static [Algorithm], DecodingKey), Skipped> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let bytes = |name| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(Skipped(name));
    let sized =
        |name, length| bytes(name).and_then(|b| if b.len() == length { Ok(b) } else { Err(Skipped(name)) });
    let point = |length| Ok([vec![4], sized("x", length)?, sized("y", length)?].concat()); // SEC 1: uncompressed
    match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            if !key::RSA_BITS.contains(&key::bits(&n)) {
                return Err(Skipped("size"));
            }
            Ok((key::RSA, DecodingKey::from_rsa_raw_components(&n, &e)))
        }
        (Some("EC"), Some("P-256")) => Ok((key::P256, DecodingKey::from_ec_der(&point(32)?))),
        (Some("EC"), Some("P-384")) => Ok((key::P384, DecodingKey::from_ec_der(&point(48)?))),
        (Some("OKP"), Some("Ed25519")) => Ok((key::ED25519, DecodingKey::from_ed_der(&sized("x", 32)?))),
        _ => Err(Skipped("kty")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::tests::jwks::jwk;

    type Named = (Option<String>, &'static [Algorithm]);

    fn read(keys: &Value) -> Result<Vec<Named>, &'static str> {
        let set =
            KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).map_err(|failure| failure.0)?;
        Ok(set.keys.into_iter().map(|key| (key.id.map(String::from), key.algorithms)).collect())
    }

    fn with(mut jwk: Value, more: Value) -> Value {
        let (Value::Object(members), Value::Object(more)) = (&mut jwk, more) else { panic!("objects") };
        members.extend(more);
        jwk
    }

    #[test]
    fn the_algorithms_follow_from_the_key_and_alg_narrows_them() {
        for (algorithm, all) in [
            (Algorithm::RS256, key::RSA),
            (Algorithm::ES256, key::P256),
            (Algorithm::ES384, key::P384),
            (Algorithm::EdDSA, key::ED25519),
        ] {
            assert_eq!(read(&json!([jwk(algorithm)])), Ok(vec![(None, all)]), "{algorithm:?}");
            let narrow = with(jwk(algorithm), json!({"alg": algorithm, "kid": "a", "use": "sig"}));
            assert_eq!(read(&json!([narrow])), Ok(vec![(Some("a".to_owned()), &[algorithm][..])]));
        }
    }

    #[test]
    fn keys_that_cannot_prove_a_token_are_skipped_and_the_others_are_not() {
        let rsa = || jwk(Algorithm::RS256);
        let p256 = || jwk(Algorithm::ES256);
        let table = [
            ("another use", with(rsa(), json!({"use": "enc"}))),
            ("use of another type", with(rsa(), json!({"use": ["sig"]}))),
            ("operations without verify", with(rsa(), json!({"key_ops": ["sign", "encrypt"]}))),
            ("operations of another type", with(rsa(), json!({"key_ops": "verify"}))),
            ("an algorithm of another kind", with(rsa(), json!({"alg": "ES256"}))),
            ("a public key as a secret", with(rsa(), json!({"alg": "HS256"}))),
            ("an algorithm that is not taken", with(rsa(), json!({"alg": "PS512"}))),
            ("an algorithm for encryption", with(rsa(), json!({"alg": "RSA-OAEP"}))),
            ("a kid of another type", with(rsa(), json!({"kid": 7}))),
            ("a private RSA key", with(rsa(), json!({"d": "AQAB"}))),
            ("a private EC key", with(p256(), json!({"d": "AQAB"}))),
            ("a symmetric key", json!({"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})),
            ("an RSA key of 1024 bits", with(rsa(), json!({"n": URL_SAFE_NO_PAD.encode([0xff; 128])}))),
            (
                "an RSA key with zeros in front",
                with(rsa(), json!({"n": URL_SAFE_NO_PAD.encode([&[0; 128][..], &[0xff; 128]].concat())})),
            ),
            ("an RSA key of 16384 bits", with(rsa(), json!({"n": URL_SAFE_NO_PAD.encode([0xff; 2048])}))),
            ("an RSA key without exponent", with(rsa(), json!({"e": null}))),
            ("another curve", with(p256(), json!({"crv": "P-521"}))),
            ("a curve of the same size", with(p256(), json!({"crv": "secp256k1"}))),
            ("a short coordinate", with(p256(), json!({"x": "AQAB"}))),
            ("not base64url", with(p256(), json!({"x": "+/+/"}))),
            ("another kind of key", json!({"kty": "AKP", "pub": "AQAB"})),
            ("no kind of key", json!({})),
            ("no object", json!("key")),
        ];
        for (name, skipped) in table {
            assert_eq!(read(&json!([skipped])), Ok(Vec::new()), "{name}");
            let beside = read(&json!([skipped, jwk(Algorithm::EdDSA), { "kty": "?" }]));
            assert_eq!(beside, Ok(vec![(None, key::ED25519)]), "{name}");
        }
        let verifies = with(rsa(), json!({"key_ops": ["verify"], "x5c": ["!"], "unheard-of": {"a": 1}}));
        assert_eq!(read(&json!([verifies])), Ok(vec![(None, key::RSA)]));
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let good = jwk(Algorithm::ES256).to_string();
        let doubled = format!(r#"{{"kty":"EC",{}"#, &good[1..]);
        for (text, reason) in [
            (String::new(), "not a key set"),
            ("not JSON".to_owned(), "not a key set"),
            ("[]".to_owned(), "not a key set"),
            ("{}".to_owned(), "not a key set"),
            (r#"{"keys":{}}"#.to_owned(), "not a key set"),
            (good.clone(), "not a key set"),
            (format!(r#"{{"keys":[{good}],"keys":[]}}"#), "not a key set"),
            (format!(r#"{{"keys":[{good}]}} trailing"#), "not a key set"),
            (format!(r#"{{"keys":[{}]}}"#, vec![good; MAX_KEYS + 1].join(",")), "too many keys"),
        ] {
            let refused = KeySet::parse(text.as_bytes()).err();
            assert_eq!(refused, Some(Failure(reason)), "{}", &text[..text.len().min(60)]);
        }
        // A key that could be read in two ways is none.
        let keys = KeySet::parse(format!(r#"{{"keys":[{doubled}]}}"#).as_bytes()).expect("a set").keys;
        assert!(keys.is_empty());
    }
}
