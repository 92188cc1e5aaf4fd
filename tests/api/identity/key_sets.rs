//! `CRM_JWKS_URL` and `CRM_JWKS_FILE`, end to end against an issuer on loopback.

use std::fs;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::upstream::{Upstream, answer, yes};
use super::{FAR, assert_unauthorized};
use crate::support::{Answer, Setup, TestApp, eventually, token};

const OLD: &str = include_str!("../../fixtures/keys/p256.pem");
const NEW: &str = include_str!("../../fixtures/keys/ed25519.pem");

fn private(kid: &str) -> (Algorithm, EncodingKey) {
    match kid {
        "old" => (Algorithm::ES256, EncodingKey::from_ec_pem(OLD.as_bytes()).expect("a key")),
        _ => (Algorithm::EdDSA, EncodingKey::from_ed_pem(NEW.as_bytes()).expect("a key")),
    }
}

/// The document with the public halves of these keys.
fn set(kids: &[&str]) -> String {
    // jsonwebtoken needs a provider before it takes a key apart.
    drop(signed(Some("old")));
    let keys = kids.iter().map(|kid| {
        let (algorithm, key) = private(kid);
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).expect("a public half");
        jwk.common.key_id = Some((*kid).to_owned());
        serde_json::to_value(jwk).expect("JSON")
    });
    json!({"keys": keys.collect::<Vec<Value>>()}).to_string()
}

/// A token of the old key or, by whatever name, of the new one.
fn signed(kid: Option<&str>) -> String {
    let (algorithm, key) = private(kid.unwrap_or("new"));
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &json!({"sub": "tester", "tenantId": "acme", "exp": FAR}), &key).expect("a token")
}

fn at(upstream: &Upstream) -> Setup {
    let url = format!("{}/.well-known/jwks.json", upstream.url);
    Setup::default().with("CRM_JWT_SECRET", "").with("CRM_JWKS_URL", &url)
}

async fn ask(app: &TestApp, token: &str) -> Answer {
    app.anonymous().with_token(token).get("/customers").await
}

#[track_caller]
fn assert_unavailable(answer: Answer) {
    let answer = answer.expect_error(503, "AUTH_UNAVAILABLE");
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=30).contains(&seconds)));
}

#[tokio::test]
async fn rotation_old_key_then_both_then_the_new_one() {
    let upstream = Upstream::start(|_| answer(200, &set(&["old"]))).await;
    let setup = at(&upstream).with("CRM__AUTH__JWKS_MIN_PAUSE", "0s").with("CRM__AUTH__JWKS_MAX_AGE", "1ms");
    let app = setup.start().await;
    assert_eq!(upstream.questions().len(), 1, "it is read before the first request");
    // The same token all along: what was proven a moment ago is not proven any more.
    let old = signed(Some("old"));
    ask(&app, &old).await.expect(200);
    assert_unauthorized(ask(&app, &signed(Some("new"))).await);

    upstream.now(|_| answer(200, &set(&["old", "new"])));
    ask(&app, &signed(Some("new"))).await.expect(200);
    ask(&app, &signed(None)).await.expect(200);
    ask(&app, &old).await.expect(200);

    upstream.now(|_| answer(200, &set(&["new"])));
    eventually("a key that left the set proves nothing", async || ask(&app, &old).await.status == 401).await;
    ask(&app, &signed(Some("new"))).await.expect(200);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_the_issuer_twice_at_most() {
    let upstream = Upstream::start(|_| answer(200, &set(&["old"]))).await;
    // Also without the reading at the start being a moment ago.
    let app = at(&upstream).with("CRM__AUTH__JWKS_MIN_PAUSE", "10s").start().await;
    let asked: Vec<_> = (0..200)
        .map(|index| {
            let client = app.anonymous().with_token(&signed(Some(&format!("k{index}"))));
            tokio::spawn(async move { client.get("/customers").await })
        })
        .collect();
    for answer in asked {
        assert_unauthorized(answer.await.expect("no panic"));
    }
    assert!(upstream.questions().len() <= 2);
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_stops_nothing_but_its_tokens() {
    let confusions: [fn() -> Option<String>; 6] = [
        || None,
        || Some(String::new()),
        || answer(503, &set(&["old"])),
        || answer(302, &set(&["old"])),
        || answer(200, "<html>"),
        || answer(200, &format!("{}{}", set(&["old"]), " ".repeat(70_000))),
    ];
    for confusion in confusions {
        let upstream = Upstream::start(move |_| confusion()).await;
        let app = at(&upstream)
            .with("CRM_JWT_SECRET", crate::support::SECRET)
            .with("CRM__AUTH__JWKS_TIMEOUT", "300ms")
            .with("CRM__AUTH__JWKS_MIN_PAUSE", "0s")
            .start()
            .await;
        assert_unavailable(ask(&app, &signed(Some("old"))).await);
        assert_unavailable(ask(&app, &signed(None)).await);
        ask(&app, &token("acme", "tester")).await.expect(200);
        assert_unauthorized(ask(&app, "opaque").await);
        app.anonymous().get("/health").await.expect(200);

        upstream.now(|_| answer(200, &set(&["old"])));
        ask(&app, &signed(Some("old"))).await.expect(200);
    }
}

#[tokio::test]
async fn an_outage_logs_nobody_out_and_slows_nobody_down() {
    let upstream = Upstream::start(|_| answer(200, &set(&["old"]))).await;
    let setup = at(&upstream).with("CRM__AUTH__JWKS_MIN_PAUSE", "0s").with("CRM__AUTH__JWKS_MAX_AGE", "1ms");
    let app = setup.with("CRM__AUTH__JWKS_TIMEOUT", "60s").start().await;
    upstream.now(|_| None);
    let waiting = {
        let client = app.anonymous().with_token(&signed(Some("new")));
        tokio::spawn(async move { client.get("/customers").await })
    };
    eventually("the issuer hangs", async || upstream.questions().len() == 2).await;

    for _ in 0..20 {
        ask(&app, &signed(Some("old"))).await.expect(200);
    }

    assert!(!waiting.is_finished(), "only who needs a newer set waits for it");
    assert_eq!(upstream.questions().len(), 2);
    waiting.abort();
}

#[tokio::test]
async fn a_set_without_keys_counts_at_once_and_logs_nobody_out() {
    let upstream = Upstream::start(|_| answer(200, &set(&["old"]))).await;
    let setup = at(&upstream).with("CRM__AUTH__JWKS_MIN_PAUSE", "0s").with("CRM__AUTH__JWKS_MAX_AGE", "1ms");
    let app = setup.start().await;
    let token = signed(Some("old"));
    ask(&app, &token).await.expect(200);
    for none in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AQAB","kid":"old"}]}"#] {
        upstream.now(move |_| answer(200, none));
        eventually("its keys are taken back", async || ask(&app, &token).await.status != 200).await;
        assert_unavailable(ask(&app, &token).await);
        upstream.now(|_| answer(200, &set(&["old"])));
        eventually("there are keys again", async || ask(&app, &token).await.status == 200).await;
    }
}

#[tokio::test]
async fn a_token_whose_key_may_be_new_is_503_also_where_the_platform_does_not_know_it() {
    let issuer = Upstream::start(|_| answer(200, &set(&["old"]))).await;
    let platform = Upstream::start(|_| answer(401, "{}")).await;
    let setup = at(&issuer).with("CRM__AUTH__JWKS_MIN_PAUSE", "0s");
    let app = setup.with("PLATFORM_AUTH_URL", &platform.url).start().await;
    assert_unauthorized(ask(&app, &signed(Some("theirs"))).await);
    issuer.now(|_| answer(500, ""));
    assert_unavailable(ask(&app, &signed(Some("new"))).await);
    assert_unauthorized(ask(&app, "opaque").await);
}

#[tokio::test]
async fn a_token_of_no_key_of_the_set_is_the_platforms() {
    let issuer = Upstream::start(|_| answer(200, &set(&["old"]))).await;
    let platform = Upstream::start(|_| yes("li.lei")).await;
    let app = at(&issuer).with("PLATFORM_AUTH_URL", &platform.url).start().await;
    ask(&app, &signed(Some("old"))).await.expect(200);
    assert_unauthorized(ask(&app, &format!("{}AAAA", signed(Some("old")))).await);
    assert_eq!(platform.questions().len(), 0);
    ask(&app, &signed(Some("theirs"))).await.expect(200);
    assert_eq!(platform.questions().len(), 1);
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_it_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, fresh) = (directory.path().join("jwks.json"), directory.path().join("fresh"));
    fs::write(&path, set(&["old"])).expect("written");
    let setup = Setup::default().with("CRM_JWT_SECRET", "");
    let app = setup.with("CRM_JWKS_FILE", path.to_str().expect("UTF-8")).start().await;
    ask(&app, &signed(Some("old"))).await.expect(200);

    fs::write(&fresh, set(&["new"])).expect("written");
    fs::rename(&fresh, &path).expect("replaced");

    eventually("the new key is known", async || ask(&app, &signed(Some("new"))).await.status == 200).await;
    assert_unauthorized(ask(&app, &signed(Some("old"))).await);
}
