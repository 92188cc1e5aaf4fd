//! Which key material is accepted at start.

use std::io::Write as _;

use super::*;
use crate::identity::IdentityError;

const SMALL_RSA_PUB: &str = include_str!("../../../tests/fixtures/keys/rsa-1024.pub.pem");
const PKCS1_PUB: &str = include_str!("../../../tests/fixtures/keys/rsa.pkcs1.pub.pem");
const SECP256K1_PUB: &str = include_str!("../../../tests/fixtures/keys/secp256k1.pub.pem");
const CERTIFICATE: &str = include_str!("../../../tests/fixtures/keys/certificate.pem");

fn error(auth: &config::Auth) -> IdentityError {
    Identity::new(auth, &tenants(), clock()).expect_err("refused")
}

fn public_key(text_or_path: &str) -> config::Auth {
    config::Auth { jwt_public_key: Some(text_or_path.to_owned()), ..auth() }
}

#[test]
fn a_short_or_empty_secret_refuses_the_start() {
    for secret in ["", "s3cr3t", "0123456789abcdef0123456789abcde", RSA_PUB, RSA] {
        let auth = config::Auth { jwt_secret: Some(secret.into()), ..auth() };
        let shown = format!("{0} {0:?}", error(&auth));
        assert!(shown.starts_with("CRM_JWT_SECRET "), "{shown}");
        assert!(secret.is_empty() || !shown.contains(secret), "{shown}");
    }
}

#[test]
fn unusable_public_keys_refuse_the_start_and_say_why() {
    let damaged = RSA_PUB.replace("MIIB", "!!!!");
    let cut = RSA_PUB[..RSA_PUB.len() / 2].to_owned();
    let second_is_private = format!("{RSA_PUB}{P256}");
    let table = [
        (SMALL_RSA_PUB, "2048"),
        (SECP256K1_PUB, "not supported"),
        (CERTIFICATE, "certificate"),
        (RSA, "private key"),
        (&second_is_private, "private key"),
        (&damaged, "damaged"),
        (&cut, "damaged"),
        ("-----BEGIN PUBLIC KEY-----", "damaged"),
        ("", "readable"),
        ("missing-directory/key.pem", "readable"),
        ("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", "readable"),
    ];
    for (text, says) in table {
        let shown = format!("{0} {0:?}", error(&public_key(text)));
        assert!(shown.starts_with("CRM_JWT_PUBLIC_KEY ") && shown.contains(says), "{text}: {shown}");
        assert!(text.is_empty() || !shown.contains(text), "{shown}");
    }
}

#[tokio::test]
async fn a_public_key_comes_as_text_or_file_in_either_form() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(RSA_PUB.as_bytes()).expect("written");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    let token = signed_with(Algorithm::RS256, &claims());
    let forms = [
        RSA_PUB.to_owned(),
        RSA_PUB.replace('\n', "\\n"),
        RSA_PUB.replace('\n', "\r\n"),
        format!("a comment\n{RSA_PUB}"),
        PKCS1_PUB.to_owned(),
        path.clone(),
        format!("{path}\n"),
    ];
    for form in forms {
        assert!(ask(&identity(&public_key(&form)), &token).await.is_ok(), "{form}");
    }
}

#[tokio::test]
async fn several_public_keys_and_a_secret_work_side_by_side() {
    let pems = format!("{RSA_OTHER_PUB}{RSA_PUB}\n{P256_PUB}");
    let identity = identity(&config::Auth { jwt_secret: Some(SECRET.into()), ..public_key(&pems) });
    let tokens = [
        signed_with(Algorithm::RS256, &claims()),
        signed_with(Algorithm::ES256, &claims()),
        hs256(&claims()),
    ];
    for token in tokens {
        assert!(ask(&identity, &token).await.is_ok());
    }
}

#[test]
fn settings_that_are_set_but_blank_refuse_the_start() {
    let blank = || Some(" ".to_owned());
    let table = [
        ("CRM_JWT_ISSUER", config::Auth { jwt_issuer: blank(), ..with_secret() }),
        ("CRM_JWT_AUDIENCE", config::Auth { jwt_audience: blank(), ..with_secret() }),
        ("CRM_JWT_TENANT_CLAIM", config::Auth { jwt_tenant_claim: blank(), ..with_secret() }),
        ("PLATFORM_AUTH_URL", config::Auth { platform_url: blank(), ..auth() }),
        ("CRM_SERVICE_TOKENS", config::Auth { service_tokens: Some("".into()), ..auth() }),
    ];
    for (setting, auth) in table {
        assert!(error(&auth).to_string().starts_with(setting), "{setting}");
    }
}

#[test]
fn a_platform_url_is_a_plain_http_address() {
    for url in [
        "platform",
        "ftp://platform",
        "http://",
        "http://user:canary@platform",
        "http://canary@platform",
        "http://platform?canary",
        "http://platform#canary",
        "unix:/run/x",
    ] {
        let auth = config::Auth { platform_url: Some(url.to_owned()), ..auth() };
        let shown = format!("{0} {0:?}", error(&auth));
        assert!(shown.starts_with("PLATFORM_AUTH_URL ") && !shown.contains("canary"), "{shown}");
    }
}
