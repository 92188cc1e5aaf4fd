//! JWTs, roles and cells.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use super::{FAR, assert_unauthorized, jwt, user_of};
use crate::support::{SECRET, Setup, TestApp, files, token};

const RSA: &str = include_str!("../../fixtures/keys/rsa.pem");
const RSA_PUB: &str = include_str!("../../fixtures/keys/rsa.pub.pem");

#[tokio::test]
async fn credentials_that_prove_nothing_are_401_and_touch_no_file() {
    let app = TestApp::start().await;
    let good = token("acme", "tester");
    let (signed, signature) = good.rsplit_once('.').expect("a JWT");
    let unsigned = format!("{}.e30.", "eyJhbGciOiJub25lIn0");
    let other_secret = EncodingKey::from_secret(b"another secret, also longer than 32 bytes");
    let claims = json!({"sub": "tester", "tenantId": "acme", "exp": FAR});
    let forged = encode(&Header::default(), &claims, &other_secret).expect("a token");
    let critical = Header { crit: Some(vec!["b64".to_owned()]), ..Header::default() };
    let critical = encode(&critical, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token");
    let other_hash = EncodingKey::from_secret(SECRET.as_bytes());
    let other_hash = encode(&Header::new(Algorithm::HS512), &claims, &other_hash).expect("a token");
    let long = format!("Bearer {}", "x".repeat(9000));
    let bearer = |token: &str| format!("Bearer {token}");
    for value in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        good.clone(),
        format!("Basic {good}"),
        format!("Token {good}"),
        format!("Bearer{good}"),
        format!("Bearer {good} {good}"),
        format!("Bearer {good},"),
        format!("Bearer \"{good}\""),
        "Bearer opaque".into(),
        "Bearer a.b.c".into(),
        bearer(&unsigned),
        bearer(&format!("{signed}.")),
        bearer(&format!("{signed}.{}", signature.chars().rev().collect::<String>())),
        bearer(&forged),
        bearer(&critical),
        bearer(&other_hash),
        bearer(&jwt(json!({"tenantId": "acme", "exp": 1_600_000_000}))),
        bearer(&jwt(json!({"tenantId": "acme", "exp": null}))),
        bearer(&jwt(json!({"tenantId": "acme", "exp": "4000000000"}))),
        bearer(&jwt(json!({"tenantId": "acme", "nbf": FAR}))),
        bearer(&jwt(json!({"tenantId": "acme", "iat": FAR}))),
        bearer(&jwt(json!({"tenantId": "acme", "sub": ""}))),
        bearer(&jwt(json!({"tenantId": "acme", "sub": 7}))),
        bearer(&jwt(json!({"tenantId": 7}))),
        bearer(&jwt(json!({"tenantId": "../acme"}))),
        bearer(&jwt(json!({"tenantId": []}))),
        bearer(&jwt(json!({"tenantId": "acme", "tid": "other"}))),
        bearer(&jwt(json!({"tenantId": "acme", "role": 7}))),
        bearer(&jwt(json!({"tenantId": "acme", "allowedCells": "crm"}))),
        long,
    ] {
        for client in [app.anonymous(), app.anonymous().with_tenant("acme")] {
            let client = client.with("Authorization", &value);
            assert_unauthorized(client.get("/customers").await);
            assert_unauthorized(client.post("/customers", &json!({"name": "A"})).await);
        }
    }
    assert_unauthorized(app.anonymous().with_tenant("../x").get("/customers").await);
    assert_eq!(files(&app.tenants()), Vec::<String>::new());
}

#[tokio::test]
async fn the_scheme_may_have_any_letter_case() {
    let app = TestApp::start().await;
    let good = token("acme", "tester");
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "] {
        let client = app.anonymous().with("Authorization", &format!("{scheme} {good}"));
        client.get("/customers").await.expect(200);
    }
}

#[tokio::test]
async fn the_user_of_a_jwt_is_its_subject_whatever_a_header_says() {
    let app = TestApp::start().await;
    let client =
        app.anonymous().with_token(&jwt(json!({"sub": "李雷", "tenantId": "acme", "role": "admin"})));

    let user = user_of(&client.with("X-User-Id", "somebody.else"), "A").await;

    assert_eq!(user, "李雷");
}

#[tokio::test]
async fn a_public_key_proves_tokens_and_is_no_secret() {
    let app = Setup::default().with("CRM_JWT_SECRET", "").with("CRM_JWT_PUBLIC_KEY", RSA_PUB).start().await;
    let claims = json!({"sub": "tester", "tenantId": "acme", "exp": FAR});
    let private = EncodingKey::from_rsa_pem(RSA.as_bytes()).expect("a key");
    let signed = |algorithm| encode(&Header::new(algorithm), &claims, &private).expect("a token");
    let confused = EncodingKey::from_secret(RSA_PUB.as_bytes());
    let confused = encode(&Header::new(Algorithm::HS256), &claims, &confused).expect("a token");

    for algorithm in [Algorithm::RS256, Algorithm::RS512, Algorithm::PS256] {
        let client = app.anonymous().with_token(&signed(algorithm));
        client.get("/customers").await.expect(200);
    }
    assert_unauthorized(app.anonymous().with_token(&confused).get("/customers").await);
    assert_unauthorized(app.tenant("acme").get("/customers").await);
}

#[tokio::test]
async fn issuer_and_audience_are_required_once_they_are_configured() {
    let setup = Setup::default().with("CRM_JWT_ISSUER", "https://id.example.org");
    let app = setup.with("CRM_JWT_AUDIENCE", "crm-cell").start().await;
    let iss = "https://id.example.org";
    for (claims, allowed) in [
        (json!({"iss": iss, "aud": "crm-cell"}), true),
        (json!({"iss": iss, "aud": ["other", "crm-cell"]}), true),
        (json!({"iss": iss}), false),
        (json!({"aud": "crm-cell"}), false),
        (json!({}), false),
        (json!({"iss": iss, "aud": "other"}), false),
        (json!({"iss": iss, "aud": []}), false),
        (json!({"iss": "https://id.example.org/", "aud": "crm-cell"}), false),
        (json!({"iss": [iss], "aud": "crm-cell"}), false),
    ] {
        let answer = app.anonymous().with_token(&jwt(claims.clone())).get("/customers").await;
        if allowed {
            answer.expect(200);
        } else {
            assert_unauthorized(answer);
        }
    }
}

#[tokio::test]
async fn a_readonly_caller_reads_and_does_not_write() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    let path = format!("/customers/{id}");
    for claims in
        [json!({"tenantId": "acme", "role": "readonly"}), json!({"tenantId": "acme", "roles": ["READONLY"]})]
    {
        let client = app.anonymous().with_token(&jwt(claims));
        client.get("/customers").await.expect(200);
        client.get(&path).await.expect(200);
        client.send(Method::HEAD, &path, None).await.expect(200);
        for answer in [
            client.post("/customers", &json!({"name": "B"})).await,
            client.patch(&path, &json!({"level": "A"})).await,
            client.delete(&path).await,
        ] {
            answer.expect_error(403, "FORBIDDEN");
        }
    }
    let unchanged = app.tenant("acme").get("/customers").await.json();
    assert_eq!((&unchanged["total"], &unchanged["data"][0]["version"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn every_other_role_writes() {
    let app = TestApp::start().await;
    for (index, role) in [
        json!("admin"),
        json!("manager"),
        json!("member"),
        json!("client"),
        json!("service"),
        json!("unheard-of"),
    ]
    .into_iter()
    .enumerate()
    {
        let client = app.anonymous().with_token(&jwt(json!({"tenantId": "acme", "role": role})));
        client.create_customer(&format!("C{index}")).await;
    }
}

#[tokio::test]
async fn a_caller_of_other_cells_is_kept_out_unless_it_is_an_admin() {
    let app = TestApp::start().await;
    for (claims, allowed) in [
        (json!({}), true),
        (json!({"allowedCells": []}), true),
        (json!({"allowedCells": ["crm"]}), true),
        (json!({"allowedCells": ["erp", "crm"]}), true),
        (json!({"allowedCells": ["erp"], "role": "admin"}), true),
        (json!({"allowedCells": ["erp"]}), false),
        (json!({"allowedCells": ["erp"], "role": "manager"}), false),
        (json!({"allowedCells": ["CRM"]}), false),
        (json!({"allowedCells": ["crm2", "*"]}), false),
    ] {
        let mut all = claims.clone();
        all["tenantId"] = Value::from("acme");
        let answer = app.anonymous().with_token(&jwt(all)).get("/customers").await;
        if allowed {
            answer.expect(200);
        } else {
            answer.expect_error(403, "FORBIDDEN");
        }
    }
}
