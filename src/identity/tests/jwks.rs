//! Key sets that change: which tokens they prove, when they are read, and what holds while they cannot be.

use futures_util::future::join_all;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use super::upstream::{Act, Upstream, respond, respond_with, yes_to_all};
use super::*;

/// The public half of the fixture's key for the algorithm, with no members but those that make the key.
pub(in crate::identity) fn jwk(algorithm: Algorithm) -> Value {
    super::super::key::install_provider();
    let jwk = Jwk::from_encoding_key(&key_for(algorithm), algorithm).expect("a public half");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk.as_object_mut().expect("an object").remove("alg");
    jwk
}

/// A set of the fixtures' keys by these names.
fn set(keys: &[(&str, Algorithm)]) -> String {
    let named = |(kid, algorithm): &(&str, Algorithm)| {
        let mut jwk = jwk(*algorithm);
        jwk["kid"] = (*kid).into();
        jwk
    };
    json!({"keys": keys.iter().map(named).collect::<Vec<_>>()}).to_string()
}

/// A token that names its key.
fn signed_as(kid: &str, algorithm: Algorithm) -> String {
    let header = json!({"alg": algorithm, "kid": kid}).to_string();
    sign(&header, &claims().to_string(), algorithm, &key_for(algorithm))
}

fn says(keys: &[(&str, Algorithm)]) -> Act {
    respond(200, &set(keys))
}

async fn publishing(keys: &'static [(&'static str, Algorithm)]) -> Upstream {
    Upstream::start(move |_| says(keys)).await
}

fn auth_at(upstream: &Upstream) -> config::Auth {
    config::Auth { jwks_url: Some(format!("{}/keys?set=1", upstream.url)), ..auth() }
}

const OLD: (&str, Algorithm) = ("old", Algorithm::RS256);
const NEW: (&str, Algorithm) = ("new", Algorithm::ES256);

fn old() -> String {
    signed_as("old", Algorithm::RS256)
}

fn new() -> String {
    signed_as("new", Algorithm::ES256)
}

#[track_caller]
fn assert_unavailable(outcome: &Outcome) {
    assert!(matches!(outcome, Err(Denied::Unavailable { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_set_proves_the_tokens_of_its_keys_and_is_read_once() {
    let upstream = publishing(&[
        ("r", Algorithm::RS256),
        ("e", Algorithm::ES256),
        ("f", Algorithm::ES384),
        ("d", Algorithm::EdDSA),
    ])
    .await;
    let identity = identity(&auth_at(&upstream));
    identity.prepare().await;
    for (kid, algorithm) in [
        ("r", Algorithm::RS256),
        ("r", Algorithm::PS256),
        ("e", Algorithm::ES256),
        ("f", Algorithm::ES384),
        ("d", Algorithm::EdDSA),
    ] {
        assert_eq!(user(ask(&identity, &signed_as(kid, algorithm)).await), "zhang", "{algorithm:?}");
    }
    let refused = [
        ("another key's name", signed_as("e", Algorithm::RS256)),
        ("another algorithm", signed_as("r", Algorithm::ES256)),
        (
            "a kid that is no text",
            sign(
                r#"{"alg":"ES256","kid":7}"#,
                &claims().to_string(),
                Algorithm::ES256,
                &key_for(Algorithm::ES256),
            ),
        ),
        ("spoiled", signed_as("r", Algorithm::RS256) + "AAAA"),
        ("a secret", hs256_text(r#"{"alg":"HS256","kid":"r"}"#, &claims().to_string())),
        ("opaque", "opaque".to_owned()),
    ];
    for (name, token) in refused {
        assert_eq!(ask(&identity, &token).await, Err(Denied::Invalid), "{name}");
    }
    assert_eq!(upstream.hits(), 1);
    assert!(upstream.requests()[0].starts_with("GET /keys?set=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn rotation_adds_a_key_when_it_is_first_used_and_ends_the_old_one() {
    let (upstream, uptime) = (publishing(&[OLD]).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    assert!(ask(&identity, &old()).await.is_ok());
    assert_eq!(ask(&identity, &new()).await, Err(Denied::Invalid), "not published yet");

    upstream.now(|_| says(&[OLD, NEW]));
    uptime.pass(30);
    assert_eq!(user(ask(&identity, &new()).await), "zhang");
    assert!(ask(&identity, &old()).await.is_ok());
    assert_eq!(upstream.hits(), 2);

    upstream.now(|_| says(&[NEW]));
    uptime.pass(600);
    // This request finds the set old and does not wait; its token was proven, and is as good as the set in use.
    assert!(ask(&identity, &old()).await.is_ok());
    for _ in 0..1000 {
        if ask(&identity, &old()).await == Err(Denied::Invalid) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&identity, &old()).await, Err(Denied::Invalid), "proven lately, but its key is gone");
    assert!(ask(&identity, &new()).await.is_ok());
    assert_eq!(upstream.hits(), 3);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_reads_the_set_once_in_thirty_seconds() {
    let (upstream, uptime) = (publishing(&[OLD]).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    identity.prepare().await;
    for round in 0..6 {
        let tokens: Vec<_> =
            (0..50).map(|index| signed_as(&format!("k{round}-{index}"), Algorithm::ES256)).collect();
        let outcomes = join_all(tokens.iter().map(|token| ask(&identity, token))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err(Denied::Invalid)), "{outcomes:?}");
        uptime.pass(10);
    }
    assert_eq!(upstream.hits(), 2, "at the start, and once in a minute less a moment");
}

#[tokio::test]
async fn a_token_without_kid_is_tried_with_every_key_and_then_with_a_newer_set() {
    let (upstream, uptime) = (publishing(&[OLD]).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    let (rsa, p256) = (signed_with(Algorithm::RS256, &claims()), signed_with(Algorithm::ES256, &claims()));
    assert!(ask(&identity, &rsa).await.is_ok());
    assert_eq!(ask(&identity, &p256).await, Err(Denied::Invalid));
    uptime.pass(30);
    upstream.now(|_| says(&[NEW]));
    assert!(ask(&identity, &p256).await.is_ok());
    assert_eq!(ask(&identity, &rsa).await, Err(Denied::Invalid));
    assert_eq!(upstream.hits(), 2);
}

#[tokio::test]
async fn requests_with_known_keys_do_not_wait_for_a_reading() {
    let (upstream, uptime) = (publishing(&[OLD]).await, Uptime::default());
    let identity =
        Arc::new(uptime.identity(&config::Auth { jwt_secret: Some(SECRET.into()), ..auth_at(&upstream) }));
    identity.prepare().await;
    upstream.now(|_| Act::Hang);
    uptime.pass(601);
    let waiting = {
        let identity = identity.clone();
        tokio::spawn(async move { ask(&identity, &new()).await })
    };
    while upstream.hits() < 2 {
        tokio::task::yield_now().await;
    }

    assert_eq!(user(ask(&identity, &old()).await), "zhang");
    assert_eq!(user(ask(&identity, &hs256(&claims())).await), "zhang");
    assert_eq!(ask(&identity, "opaque").await, Err(Denied::Invalid));
    assert!(!waiting.is_finished(), "the one that needs the newer set waits");

    assert_unavailable(&waiting.await.expect("no panic"));
}

#[tokio::test]
async fn an_outage_is_survived_for_an_hour_and_then_nobody_knows() {
    let (upstream, uptime) = (publishing(&[OLD]).await, Uptime::default());
    let identity = uptime.identity(&auth_at(&upstream));
    identity.prepare().await;
    upstream.now(|_| respond(500, ""));
    uptime.pass(601);
    assert!(ask(&identity, &old()).await.is_ok());
    // It names a key that may have been published meanwhile.
    assert_unavailable(&ask(&identity, &new()).await);
    uptime.pass(2998);
    assert!(ask(&identity, &old()).await.is_ok());
    uptime.pass(1);
    assert_unavailable(&ask(&identity, &old()).await);
    assert_eq!(ask(&identity, "opaque").await, Err(Denied::Invalid));

    upstream.now(|_| says(&[OLD]));
    uptime.pass(5);
    assert!(ask(&identity, &old()).await.is_ok(), "it is asked again soon while there is no set");
}

#[tokio::test]
async fn a_set_that_could_never_be_had_is_an_outage_for_its_tokens_only() {
    let acts: [fn() -> Act; 11] = [
        || Act::Hang,
        || Act::Close,
        || Act::Flood,
        || respond(500, &set(&[OLD])),
        || respond(404, "{}"),
        || respond(204, ""),
        || respond_with(302, "Location: /keys\r\n", ""),
        || respond(200, "not JSON"),
        || respond(200, r#"{"keys":[]}"#),
        || respond(200, &format!("{}{}", set(&[OLD]), " ".repeat(65_536))),
        || Act::Send("HTTP/1.1 200 X\r\nContent-Length: 9000\r\n\r\n{\"keys\":[".to_owned()),
    ];
    for (index, act) in acts.into_iter().enumerate() {
        let upstream = Upstream::start(move |_| act()).await;
        let identity = identity(&config::Auth {
            jwt_secret: Some(SECRET.into()),
            jwks_timeout: Duration::from_millis(300),
            ..auth_at(&upstream)
        });
        identity.prepare().await;
        for _ in 0..3 {
            assert_unavailable(&ask(&identity, &old()).await);
            assert_unavailable(&ask(&identity, &signed_with(Algorithm::ES384, &claims())).await);
        }
        assert!(ask(&identity, &hs256(&claims())).await.is_ok(), "{index}");
        let other = hs256(&claims()) + "AAAA";
        assert_eq!(ask(&identity, &other).await, Err(Denied::Invalid), "{index}: the set has no such keys");
        assert_eq!(ask(&identity, "opaque").await, Err(Denied::Invalid), "{index}");
        assert_eq!(upstream.hits(), 1, "{index}");
    }
}

#[tokio::test]
async fn tokens_of_no_key_of_the_set_are_the_platforms() {
    let (upstream, platform) = (publishing(&[OLD]).await, Upstream::start(yes_to_all).await);
    let auth = config::Auth { platform_url: Some(platform.url.clone()), ..auth_at(&upstream) };
    let both = identity(&auth);
    both.prepare().await;
    let opaque = |outcome: Outcome| outcome.map(|principal| principal.source);
    for (asked, token) in (1..).zip([
        "opaque".to_owned(),
        hs256_text(r#"{"alg":"HS256","kid":"old"}"#, "{}"),
        sign(r#"{"alg":"EdDSA","kid":"theirs"}"#, "{}", Algorithm::EdDSA, &key_for(Algorithm::EdDSA)),
    ]) {
        let source = opaque(ask(&both, &token).await);
        assert!(token.len() > 128 || source == Ok(crate::identity::SourceKind::Platform), "{token}");
        assert_eq!(platform.hits(), asked, "{token}");
    }
    let spoiled = old() + "AAAA";
    assert_eq!(ask(&both, &spoiled).await, Err(Denied::Invalid), "a key here answers for it");
    assert_eq!(platform.hits(), 3);

    upstream.now(|_| respond(500, ""));
    let never = identity(&auth);
    never.prepare().await;
    assert_unavailable(&ask(&never, &new()).await);
    assert_eq!(platform.hits(), 3, "a yes of the platform could be for a token that our issuer refuses");
    assert_eq!(opaque(ask(&never, "opaque-2").await), Ok(crate::identity::SourceKind::Platform));
}

#[tokio::test]
async fn another_issuers_token_reads_no_set() {
    let upstream = publishing(&[OLD]).await;
    let identity = identity(&config::Auth { jwt_issuer: Some("ours".to_owned()), ..auth_at(&upstream) });
    assert_eq!(ask(&identity, &new()).await, Err(Denied::Invalid));
    assert_eq!(upstream.hits(), 0);
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_serves_on_when_it_is_spoiled() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwks.json");
    let write = |text: &str| {
        let fresh = directory.path().join("fresh");
        std::fs::write(&fresh, text).expect("written");
        std::fs::rename(&fresh, &path).expect("renamed");
    };
    write(&set(&[OLD]));
    let uptime = Uptime::default();
    let auth = config::Auth { jwks_file: Some(path.display().to_string()), ..auth() };
    let identity = uptime.identity(&auth);
    assert!(ask(&identity, &old()).await.is_ok());
    assert_eq!(ask(&identity, &new()).await, Err(Denied::Invalid));

    write(&set(&[OLD, NEW]));
    uptime.pass(1);
    assert!(ask(&identity, &new()).await.is_ok());

    write("spoiled");
    uptime.pass(1);
    assert!(ask(&identity, &new()).await.is_ok());
    std::fs::remove_file(&path).expect("removed");
    uptime.pass(3598);
    assert!(ask(&identity, &new()).await.is_ok());
    uptime.pass(2);
    assert_unavailable(&ask(&identity, &new()).await);

    write(&set(&[NEW]));
    uptime.pass(1);
    assert!(ask(&identity, &new()).await.is_ok());
    assert_eq!(ask(&identity, &old()).await, Err(Denied::Invalid));
}

#[test]
fn an_unusable_setting_refuses_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        config::Auth { jwks_file: Some(path.display().to_string()), ..auth() }
    };
    let url = |url: &str| config::Auth { jwks_url: Some(url.to_owned()), ..auth() };
    let path = |path: &str| config::Auth { jwks_file: Some(path.to_owned()), ..auth() };
    for (auth, says) in [
        (url("ftp://canary"), "CRM_JWKS_URL must begin with http"),
        (url("http://canary:canary@id"), "CRM_JWKS_URL must not contain a user"),
        (url(" "), "CRM_JWKS_URL is set but empty"),
        (path(""), "CRM_JWKS_FILE is set but empty"),
        (path("missing/canary.json"), "CRM_JWKS_FILE names no readable file"),
        (path("/dev/null"), "CRM_JWKS_FILE names no readable file"),
        (file("a", "canary"), "CRM_JWKS_FILE cannot be used (not a key set)"),
        (file("b", r#"{"keys":[]}"#), "CRM_JWKS_FILE cannot be used (no key"),
        (file("c", &" ".repeat(65_537)), "CRM_JWKS_FILE names no readable file of at most 64 KiB"),
    ] {
        let error = Identity::new(&auth, &tenants(), clock()).expect_err(says);
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with(says) && !shown.contains("canary"), "{shown}");
    }
}
