//! The corpus of JWTs: what is accepted, and every way a token can be wrong.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::identity::{Binding, Role, SourceKind};

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

async fn accepted(auth: &config::Auth, tokens: &[(&str, String)]) {
    let identity = identity(auth);
    for (name, token) in tokens {
        let outcome = ask(&identity, token).await;
        assert_eq!(outcome.map(|principal| principal.user.to_string()).as_deref(), Ok("zhang"), "{name}");
    }
}

async fn refused(auth: &config::Auth, tokens: &[(&str, String)]) {
    let identity = identity(auth);
    let sound = claims_with(json!({"iss": auth.jwt_issuer, "aud": auth.jwt_audience}));
    assert!(
        ask(&identity, &hs256(&sound)).await.is_ok(),
        "the corpus must differ from a good token in one thing"
    );
    for (name, token) in tokens {
        assert_eq!(ask(&identity, token).await, Err(Denied::Invalid), "{name}");
    }
}

#[tokio::test]
async fn each_kind_of_key_accepts_its_algorithms_and_no_other() {
    let all = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    let keys: [(&str, &[Algorithm]); 4] = [
        (RSA_PUB, &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256]),
        (P256_PUB, &[Algorithm::ES256]),
        (P384_PUB, &[Algorithm::ES384]),
        (ED25519_PUB, &[Algorithm::EdDSA]),
    ];
    for (pem, own) in keys {
        let identity = identity(&config::Auth { jwt_public_key: Some(pem.to_owned()), ..auth() });
        for algorithm in all {
            let outcome = ask(&identity, &signed_with(algorithm, &claims())).await;
            assert_eq!(outcome.is_ok(), own.contains(&algorithm), "{algorithm:?} with {own:?}");
        }
        assert_eq!(ask(&identity, &hs256(&claims())).await, Err(Denied::Invalid));
    }
}

#[tokio::test]
async fn a_public_key_is_nobodys_hmac_secret() {
    for pem in [RSA_PUB, P256_PUB, ED25519_PUB] {
        let identity = identity(&config::Auth { jwt_public_key: Some(pem.to_owned()), ..auth() });
        let der: Vec<u8> = base64::engine::general_purpose::STANDARD
            .decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
            .expect("base64");
        for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), &der] {
            let key = EncodingKey::from_secret(secret);
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = json!({"alg": algorithm}).to_string();
                let token = sign(&header, &claims().to_string(), algorithm, &key);
                assert_eq!(ask(&identity, &token).await, Err(Denied::Invalid), "{algorithm:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_of_the_same_kind_proves_nothing_of_another() {
    let identity = identity(&config::Auth { jwt_public_key: Some(RSA_OTHER_PUB.to_owned()), ..auth() });
    assert_eq!(ask(&identity, &signed_with(Algorithm::RS256, &claims())).await, Err(Denied::Invalid));
}

#[tokio::test]
async fn accepts_what_is_well_formed() {
    let text = claims().to_string();
    let header = |more: &str| hs256_text(&format!(r#"{{"alg":"HS256"{more}}}"#), &text);
    accepted(&with_secret(), &[
        ("plain", hs256(&claims())),
        ("no typ", header("")),
        ("typ jwt", header(r#","typ":"jwt""#)),
        ("typ at+jwt", header(r#","typ":"AT+JWT""#)),
        ("kid", header(r#","kid":"../../etc/passwd' or 1=1""#)),
        ("foreign keys ignored", header(r#","jku":"http://127.0.0.1:9/","x5u":"http://127.0.0.1:9/","jwk":{"kty":"oct","k":"AA"},"x5c":[1],"b64":true"#)),
        ("fractional times", hs256(&claims_with(json!({"exp": NOW as f64 + 0.5, "nbf": NOW as f64 - 0.5, "iat": 1.5e9})))),
        ("far exp", hs256(&claims_with(json!({"exp": u64::MAX})))),
        ("aud not asked for", hs256(&claims_with(json!({"aud": 5, "iss": 7})))),
        ("unknown claims", hs256(&claims_with(json!({"x": {"a": [1]}})))),
    ]).await;
}

#[tokio::test]
async fn refuses_a_header_that_is_not_right() {
    let text = claims().to_string();
    let header = |header: &str| hs256_text(header, &text);
    refused(
        &with_secret(),
        &[
            ("alg none, unsigned", format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(&text))),
            ("alg None, signed", header(r#"{"alg":"None"}"#)),
            ("alg nOnE, signed", header(r#"{"alg":"nOnE"}"#)),
            ("alg HS384", header(r#"{"alg":"HS384"}"#)),
            ("alg hs256", header(r#"{"alg":"hs256"}"#)),
            ("alg RS256", header(r#"{"alg":"RS256"}"#)),
            ("alg number", header(r#"{"alg":5}"#)),
            ("alg null", header(r#"{"alg":null}"#)),
            ("no alg", header(r#"{"typ":"JWT"}"#)),
            ("alg twice", header(r#"{"alg":"none","alg":"HS256"}"#)),
            ("crit", header(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#)),
            ("crit empty", header(r#"{"alg":"HS256","crit":[]}"#)),
            ("crit null", header(r#"{"alg":"HS256","crit":null}"#)),
            ("typ of a proof", header(r#"{"alg":"HS256","typ":"dpop+jwt"}"#)),
            ("typ number", header(r#"{"alg":"HS256","typ":5}"#)),
            ("typ null", header(r#"{"alg":"HS256","typ":null}"#)),
            ("header array", header(r#"["alg"]"#)),
            ("header text", header("alg")),
        ],
    )
    .await;
}

#[tokio::test]
async fn refuses_a_token_that_is_not_whole() {
    let good = hs256(&claims());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, payload) = signed.split_once('.').expect("three parts");
    let other = hs256(&claims_with(json!({"sub": "root"})));
    let other_payload = other.split('.').nth(1).expect("three parts");
    let mut tokens = vec![
        ("two parts", signed.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{good}.{signature}.{signature}")),
        ("no signature", format!("{signed}.")),
        ("truncated signature", good[..good.len() - 1].to_owned()),
        ("padded", format!("{good}=")),
        ("empty part", format!("{header}..{signature}")),
        ("another payload", format!("{header}.{other_payload}.{signature}")),
        ("standard base64", format!("{header}.{payload}+.{signature}")),
        ("dots", "..".to_owned()),
        ("a megabyte", format!("{signed}.{}", "A".repeat(1 << 20))),
        ("white space inside", format!("{header}. {payload}.{signature}")),
        ("comma list", format!("{good},{good}")),
    ];
    for position in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[position] ^= 1;
        tokens.push(("one bit flipped", String::from_utf8(bytes).expect("ASCII")));
        tokens.push(("truncated", good[..position].to_owned()));
    }
    tokens.retain(|(_, token)| !token.is_empty());
    refused(&with_secret(), &tokens).await;
}

#[tokio::test]
async fn refuses_wrong_times() {
    let raw = |claims: &str| hs256_text(HEADER, claims);
    refused(
        &with_secret(),
        &[
            ("no exp", hs256(&claims_with(json!({"exp": null})))),
            ("exp null", raw(r#"{"sub":"zhang","exp":null}"#)),
            ("exp text", hs256(&claims_with(json!({"exp": (NOW + 600).to_string()})))),
            ("exp bool", hs256(&claims_with(json!({"exp": true})))),
            ("exp array", hs256(&claims_with(json!({"exp": [NOW + 600]})))),
            ("exp beyond numbers", raw(r#"{"sub":"zhang","exp":1e999}"#)),
            ("exp zero", hs256(&claims_with(json!({"exp": 0})))),
            ("exp negative", hs256(&claims_with(json!({"exp": -1})))),
            ("exp beyond negative", raw(r#"{"sub":"zhang","exp":-1e300}"#)),
            ("exp twice", raw(&format!(r#"{{"sub":"zhang","exp":0,"exp":{}}}"#, NOW + 600))),
            ("nbf text", hs256(&claims_with(json!({"nbf": "0"})))),
            ("nbf null", raw(&format!(r#"{{"sub":"zhang","exp":{},"nbf":null}}"#, NOW + 600))),
            ("nbf far ahead", hs256(&claims_with(json!({"nbf": u64::MAX})))),
            ("iat text", hs256(&claims_with(json!({"iat": "0"})))),
            ("iat far ahead", hs256(&claims_with(json!({"iat": 1e300})))),
        ],
    )
    .await;
}

#[tokio::test]
async fn times_have_thirty_seconds_of_leeway_and_not_one_more() {
    let table = [
        (json!({"exp": NOW - 29}), true),
        (json!({"exp": NOW - 30}), false),
        (json!({"exp": NOW as f64 - 29.999}), true),
        (json!({"nbf": NOW + 30}), true),
        (json!({"nbf": NOW + 31}), false),
        (json!({"iat": NOW + 30}), true),
        (json!({"iat": NOW as f64 + 30.001}), false),
    ];
    let identity = identity(&with_secret());
    for (more, valid) in table {
        assert_eq!(ask(&identity, &hs256(&claims_with(more.clone()))).await.is_ok(), valid, "{more}");
    }
}

#[tokio::test]
async fn a_token_expires_by_the_injected_clock() {
    let clock = clock();
    let identity = Identity::new(&with_secret(), &tenants(), Arc::clone(&clock) as _).expect("valid");
    let token = hs256(&claims());

    assert!(ask(&identity, &token).await.is_ok());
    clock.advance(Duration::from_secs(629));
    assert!(ask(&identity, &token).await.is_ok());
    clock.advance(Duration::from_secs(1));

    assert_eq!(ask(&identity, &token).await, Err(Denied::Invalid));
}

#[tokio::test]
async fn a_configured_audience_is_required() {
    let auth = config::Auth { jwt_audience: Some("crm".to_owned()), ..with_secret() };
    let token = |aud: Value| hs256(&claims_with(json!({"aud": aud})));
    accepted(&auth, &[("text", token(json!("crm"))), ("list", token(json!(["erp", "crm"])))]).await;
    refused(
        &auth,
        &[
            ("missing", hs256(&claims())),
            ("other", token(json!("erp"))),
            ("letter case", token(json!("CRM"))),
            ("other list", token(json!(["erp", "crm2"]))),
            ("empty list", token(json!([]))),
            ("list with a number", token(json!(["crm", 5]))),
            ("nested list", token(json!([["crm"]]))),
            ("object", token(json!({"crm": true}))),
            ("number", token(json!(5))),
            ("null", hs256_text(HEADER, &format!(r#"{{"sub":"zhang","exp":{},"aud":null}}"#, NOW + 600))),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_configured_issuer_is_required() {
    let auth = config::Auth { jwt_issuer: Some("https://id.example".to_owned()), ..with_secret() };
    let token = |iss: Value| hs256(&claims_with(json!({"iss": iss})));
    accepted(&auth, &[("text", token(json!("https://id.example")))]).await;
    refused(
        &auth,
        &[
            ("missing", hs256(&claims())),
            ("other", token(json!("https://id.example/"))),
            ("list", token(json!(["https://id.example"]))),
            ("number", token(json!(5))),
            ("object", token(json!({"https://id.example": 1}))),
            ("null", hs256_text(HEADER, &format!(r#"{{"sub":"zhang","exp":{},"iss":null}}"#, NOW + 600))),
        ],
    )
    .await;
}

#[tokio::test]
async fn refuses_claims_of_the_wrong_type() {
    let with = |more: Value| hs256(&claims_with(more));
    refused(
        &with_secret(),
        &[
            ("no sub", with(json!({"sub": null}))),
            ("sub empty", with(json!({"sub": ""}))),
            ("sub blank", with(json!({"sub": " "}))),
            ("sub number", with(json!({"sub": 5}))),
            ("sub long", with(json!({"sub": "x".repeat(129)}))),
            ("sub with a line end", with(json!({"sub": "a\nb"}))),
            ("tenant number", with(json!({"tenantId": 5}))),
            ("tenant empty", with(json!({"tid": ""}))),
            ("tenant path", with(json!({"tenant_id": "../a"}))),
            ("tenant list where one is due", with(json!({"tid": ["a"]}))),
            ("tenants that disagree", with(json!({"tenantId": "a", "tid": "b"}))),
            ("role number", with(json!({"role": 1}))),
            ("cells text", with(json!({"allowedCells": "crm"}))),
            ("scope number", with(json!({"dataScope": 1}))),
            ("claims array", hs256_text(HEADER, "[]")),
            ("claims text", hs256_text(HEADER, "sub")),
            ("claims empty", hs256_text(HEADER, "")),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_claims_become_the_principal() {
    let auth = config::Auth { jwt_tenant_claim: Some("https://id.example/org".to_owned()), ..with_secret() };
    let identity = identity(&auth);
    let token = hs256(&claims_with(json!({
        "tid": "acme", "https://id.example/org": ["acme"], "roles": ["x", "manager"],
        "allowedCells": ["crm"], "dataScope": "self",
    })));

    let principal = ask(&identity, &token).await.expect("valid");

    assert_eq!(
        *principal,
        Principal {
            user: "zhang".into(),
            role: Role::Manager,
            source: SourceKind::Jwt,
            tenants: Binding::To(["acme".parse().expect("an id")].into()),
            own_rows_only: true,
        }
    );
    let several = hs256(&claims_with(json!({"https://id.example/org": ["a", "b"]})));
    let bound = Binding::To(["a", "b"].map(|id| id.parse().expect("an id")).into());
    assert_eq!(ask(&identity, &several).await.expect("valid").tenants, bound);
    assert_eq!(ask(&identity, &hs256(&claims())).await.expect("valid").tenants, Binding::Unbound);
}

#[tokio::test]
async fn cells_without_crm_are_forbidden_to_all_but_admins() {
    let identity = identity(&with_secret());
    let token = |role: &str| hs256(&claims_with(json!({"allowedCells": ["erp"], "role": role})));
    assert_eq!(ask(&identity, &token("manager")).await, Err(Denied::CellNotAllowed));
    assert!(ask(&identity, &token("admin")).await.is_ok());
}
