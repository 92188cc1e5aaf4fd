//! Who is asked about a token where both keys and the platform are configured.

use serde_json::json;

use super::upstream::{Act, Upstream, respond, yes_to_all};
use super::*;
use crate::identity::SourceKind;

async fn platform_and(auth: config::Auth) -> (Upstream, Identity) {
    let upstream = Upstream::start(yes_to_all).await;
    let identity = identity(&config::Auth { platform_url: Some(upstream.url.clone()), ..auth });
    (upstream, identity)
}

#[tokio::test]
async fn a_local_failure_is_final_even_if_the_platform_says_yes_to_all() {
    let (upstream, identity) = platform_and(config::Auth {
        jwt_issuer: Some("ours".to_owned()),
        jwt_public_key: Some(RSA_PUB.to_owned()),
        ..with_secret()
    })
    .await;
    let ours = |more| hs256(&claims_with(more));
    let good = ours(json!({"iss": "ours"}));
    let header = |header: &str| hs256_text(header, &claims_with(json!({"iss": "ours"})).to_string());
    let tokens = [
        ("expired", ours(json!({"iss": "ours", "exp": 1}))),
        ("no sub", ours(json!({"iss": "ours", "sub": null}))),
        ("tenant", ours(json!({"iss": "ours", "tid": ".."}))),
        ("bad signature", format!("{}A", &good[..good.len() - 1])),
        (
            "signed by another key",
            signed_with(Algorithm::RS256, &claims_with(json!({"iss": "ours"}))) + "AAAA",
        ),
        ("crit", header(r#"{"alg":"HS256","crit":["x"]}"#)),
        ("typ", header(r#"{"alg":"HS256","typ":"x"}"#)),
        ("alg twice", header(r#"{"alg":"HS256","alg":"ES256"}"#)),
        ("alg none", header(r#"{"alg":"none"}"#)),
        ("alg NONE without signature", format!("{}.{}.", base64url(r#"{"alg":"NONE"}"#), base64url("{}"))),
        ("alg number", header(r#"{"alg":1}"#)),
    ];
    for (name, token) in tokens {
        assert_eq!(ask(&identity, &token).await, Err(Denied::Invalid), "{name}");
    }
    assert_eq!(ask(&identity, &good).await.expect("ours").source, SourceKind::Jwt);
    assert_eq!(upstream.hits(), 0);
}

#[tokio::test]
async fn tokens_of_another_issuer_or_algorithm_are_the_platforms() {
    let (upstream, identity) =
        platform_and(config::Auth { jwt_issuer: Some("ours".to_owned()), ..with_secret() }).await;
    let tokens = [
        ("another issuer", hs256(&claims_with(json!({"iss": "theirs"})))),
        ("no issuer", hs256(&claims())),
        ("issuer of another type", hs256(&claims_with(json!({"iss": ["ours"]})))),
        ("another algorithm", signed_with(Algorithm::RS256, &claims_with(json!({"iss": "ours"})))),
        ("unknown algorithm", hs256_text(r#"{"alg":"X1"}"#, r#"{"iss":"ours"}"#)),
        ("opaque", "0123456789abcdef0123456789abcdef".to_owned()),
        ("three words", "a.b.c".to_owned()),
        ("encrypted", "e30.e30.e30.e30.e30".to_owned()),
    ];
    for (asked, (name, token)) in (1..).zip(tokens) {
        // The platform's answer counts, not what the token says of itself.
        let principal = ask(&identity, &token).await;
        // Long tokens make long user names, which are nonsense.
        assert!(principal.is_ok() || token.len() > 128, "{name}: {principal:?}");
        assert_eq!(upstream.hits(), asked, "{name}");
    }
}

#[tokio::test]
async fn the_platforms_word_counts_for_its_tokens_not_the_claims() {
    let (upstream, identity) = platform_and(with_secret()).await;
    upstream.now(|_| respond(200, r#"{"username":"wang","role":"readonly"}"#));
    let token = signed_with(Algorithm::RS256, &claims_with(json!({"role": "admin", "tenantId": "acme"})));

    let principal = ask(&identity, &token).await.expect("a yes");

    assert_eq!((&*principal.user, principal.role), ("wang", crate::identity::Role::Readonly));
    assert_eq!(principal.tenants, crate::identity::Binding::Unbound);
}

#[tokio::test]
async fn without_issuer_every_token_of_our_algorithm_is_ours() {
    let (upstream, identity) = platform_and(with_secret()).await;
    let expired = hs256(&claims_with(json!({"iss": "theirs", "exp": 1})));
    assert_eq!(ask(&identity, &expired).await, Err(Denied::Invalid));
    assert_eq!(upstream.hits(), 0);
}

#[tokio::test]
async fn key_holders_do_not_notice_that_the_platform_is_down() {
    let (upstream, identity) = platform_and(with_secret()).await;
    upstream.now(|_| Act::Hang);
    let outcome = tokio::time::timeout(Duration::from_millis(500), ask(&identity, &hs256(&claims()))).await;
    assert_eq!(user(outcome.expect("at once")), "zhang");
}

#[tokio::test]
async fn without_a_platform_other_tokens_are_refused() {
    let identity = identity(&config::Auth { jwt_issuer: Some("ours".to_owned()), ..with_secret() });
    for token in [
        "opaque".to_owned(),
        "a.b.c".to_owned(),
        hs256(&claims_with(json!({"iss": "theirs"}))),
        signed_with(Algorithm::RS256, &claims_with(json!({"iss": "ours"}))),
    ] {
        assert_eq!(ask(&identity, &token).await, Err(Denied::Invalid));
    }
}
