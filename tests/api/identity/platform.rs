//! `PLATFORM_AUTH_URL`, end to end against a platform on loopback.

use serde_json::json;

use super::upstream::{Upstream, answer, yes};
use super::{assert_unauthorized, jwt, user_of};
use crate::support::{Answer, Setup, TestApp, eventually};

/// A service that knows nobody but by the platform.
async fn asking(upstream: &Upstream, more: &[(&str, &str)]) -> TestApp {
    let mut setup = Setup::default().with("CRM_JWT_SECRET", "").with("PLATFORM_AUTH_URL", &upstream.url);
    for (name, value) in more {
        setup = setup.with(name, value);
    }
    setup.start().await
}

async fn ask(app: &TestApp, token: &str) -> Answer {
    app.anonymous().with_token(token).with_tenant("acme").get("/customers").await
}

#[track_caller]
fn assert_unavailable(answer: Answer) {
    let answer = answer.expect_error(503, "AUTH_UNAVAILABLE");
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds > 0);
}

#[tokio::test]
async fn the_platforms_yes_names_the_user_and_is_asked_for_once() {
    let upstream = Upstream::start(|_| yes("li.lei")).await;
    let app = asking(&upstream, &[]).await;
    let client = app.anonymous().with("Authorization", "bearer opaque-1").with_tenant("acme");

    assert_eq!(user_of(&client.clone().with("X-User-Id", "somebody.else"), "A").await, "li.lei");
    for _ in 0..5 {
        client.get("/customers").await.expect(200);
    }

    let questions = upstream.questions();
    assert_eq!(questions.len(), 1);
    let question = &questions[0];
    assert!(question.starts_with("GET /api/auth/me HTTP/1.1\r\n"), "{question}");
    assert!(question.contains("authorization: Bearer opaque-1\r\n"), "{question}");
    for private in ["acme", "x-tenant-id", "x-user-id", "x-request-id"] {
        assert!(!question.to_lowercase().contains(private), "{question}");
    }
}

#[tokio::test]
async fn twins_wait_for_one_question() {
    let upstream = Upstream::start(|_| yes("li.lei")).await;
    let app = asking(&upstream, &[]).await;
    let client = app.anonymous().with_token("opaque-1").with_tenant("acme");
    let asked: Vec<_> = (0..30)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("/customers").await.status.as_u16() })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.expect("no panic"), 200);
    }

    assert_eq!(upstream.questions().len(), 1);
}

#[tokio::test]
async fn the_platforms_no_is_401() {
    for status in [401, 403] {
        let upstream = Upstream::start(move |_| answer(status, r#"{"error":"bad token opaque-1"}"#)).await;
        let app = asking(&upstream, &[]).await;
        for _ in 0..3 {
            assert_unauthorized(ask(&app, "opaque-1").await);
        }
        assert_eq!(upstream.questions().len(), 1, "a no is kept for a while");
    }
}

#[tokio::test]
async fn what_the_platform_says_of_a_caller_holds() {
    let upstream = Upstream::start(|token| match token {
        "bound" => answer(200, r#"{"username":"u","tenantId":"globex"}"#),
        "readonly" => answer(200, r#"{"userId":"u","role":"readonly"}"#),
        "other-cells" => answer(200, r#"{"sub":"u","role":"client","allowedCells":["erp"]}"#),
        "admin" => answer(200, r#"{"username":"u","role":"admin","allowedCells":["erp"]}"#),
        "inactive" => answer(200, r#"{"username":"u","role":"admin","isActive":false}"#),
        "disabled" => answer(200, r#"{"username":"u","role":"admin","enabled":false}"#),
        _ => answer(401, "{}"),
    })
    .await;
    let app = asking(&upstream, &[]).await;

    ask(&app, "bound").await.expect_error(403, "TENANT_MISMATCH");
    let globex = app.anonymous().with_token("bound").get("/customers").await;
    globex.expect(200);
    ask(&app, "readonly").await.expect(200);
    let client = app.anonymous().with_token("readonly").with_tenant("acme");
    client.post("/customers", &json!({"name": "A"})).await.expect_error(403, "FORBIDDEN");
    ask(&app, "other-cells").await.expect_error(403, "FORBIDDEN");
    ask(&app, "admin").await.expect(200);
    assert_unauthorized(ask(&app, "inactive").await);
    assert_unauthorized(ask(&app, "disabled").await);
    assert_unauthorized(ask(&app, "unknown").await);
}

#[tokio::test]
async fn a_platform_that_is_down_slow_or_confused_is_503_and_never_401_or_a_yes() {
    let confusions: [fn(&str) -> Option<String>; 11] = [
        |_| None,
        |_| Some(String::new()),
        |_| answer(500, "{}"),
        |_| answer(302, "{}"),
        |_| answer(404, "{}"),
        |_| answer(200, "not JSON"),
        |_| answer(200, "[]"),
        |_| answer(200, r#"{"role":"admin"}"#),
        |_| answer(200, r#"{"username":"","tenantId":"acme"}"#),
        |_| answer(200, r#"{"username":"u","role":"admin","tenantId":"../acme"}"#),
        |_| answer(200, &format!(r#"{{"username":"u","bio":"{}"}}"#, "x".repeat(1 << 16))),
    ];
    for confusion in confusions {
        let upstream = Upstream::start(confusion).await;
        let app = asking(&upstream, &[("CRM__AUTH__PLATFORM_TIMEOUT", "300ms")]).await;
        assert_unavailable(ask(&app, "opaque-1").await);
        app.anonymous().get("/health").await.expect(200);
    }
    let app = Setup::default().with("CRM_JWT_SECRET", "").with("PLATFORM_AUTH_URL", "http://127.0.0.1:1");
    assert_unavailable(ask(&app.start().await, "opaque-1").await);
}

#[tokio::test]
async fn a_known_caller_is_served_while_the_platform_is_down_and_an_unknown_one_is_not() {
    let upstream = Upstream::start(|_| yes("li.lei")).await;
    let app = asking(&upstream, &[("CRM__AUTH__PLATFORM_YES_TTL", "0s")]).await;
    ask(&app, "known").await.expect(200);

    upstream.now(|_| answer(500, "{}"));

    ask(&app, "known").await.expect(200);
    assert_unavailable(ask(&app, "unknown").await);
    upstream.now(|_| answer(401, "{}"));
}

#[tokio::test]
async fn no_outage_logs_a_known_caller_out_until_its_yes_is_too_old() {
    let outages: [fn() -> Option<String>; 6] = [
        || None,
        || Some(String::new()),
        || answer(429, "{}"),
        || answer(500, "{}"),
        || answer(302, "{}"),
        || answer(200, "nonsense"),
    ];
    for outage in outages {
        for (stale, serves) in [("10m", true), ("0s", false)] {
            let upstream = Upstream::start(|_| yes("li.lei")).await;
            let more = [
                ("CRM__AUTH__PLATFORM_YES_TTL", "0s"),
                ("CRM__AUTH__PLATFORM_STALE", stale),
                ("CRM__AUTH__PLATFORM_TIMEOUT", "300ms"),
            ];
            let app = asking(&upstream, &more).await;
            ask(&app, "known").await.expect(200);
            upstream.now(move |_| outage());
            for token in ["known", "unknown"] {
                let answer = ask(&app, token).await;
                match answer.status.as_u16() {
                    200 => assert!(serves && token == "known", "{answer:?}"),
                    429 => drop(answer.expect_error(429, "RATE_LIMIT")),
                    _ => assert_unavailable(answer),
                }
                assert!(!serves || token == "unknown" || ask(&app, token).await.status == 200);
            }
        }
    }
}

#[tokio::test]
async fn callers_with_a_jwt_or_a_service_token_do_not_wait_for_a_platform_that_hangs() {
    let upstream = Upstream::start(|_| None).await;
    let app = Setup::default()
        .with("PLATFORM_AUTH_URL", &upstream.url)
        .with("CRM__AUTH__PLATFORM_TIMEOUT", "60s")
        .with("CRM_SERVICE_TOKENS", "sync:a-service-token-of-the-test")
        .start()
        .await;
    let waiting: Vec<_> = (0..80)
        .map(|index| {
            let client = app.anonymous().with_token(&format!("opaque-{index}")).with_tenant("acme");
            tokio::spawn(async move { client.get("/customers").await })
        })
        .collect();
    eventually("the platform is asked", async || upstream.questions().len() > 30).await;

    for _ in 0..50 {
        ask(&app, &jwt(json!({"tenantId": "acme"}))).await.expect(200);
        ask(&app, "a-service-token-of-the-test").await.expect(200);
    }
    app.anonymous().get("/health").await.expect(200);

    let still = waiting.iter().filter(|question| !question.is_finished()).count();
    assert!(still > 30, "only {still} of the opaque ones still wait");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_platforms_429_and_our_own_budget_are_429() {
    let upstream = Upstream::start(|_| answer(429, "{}")).await;
    let app = asking(&upstream, &[]).await;
    let busy = ask(&app, "opaque-1").await.expect_error(429, "RATE_LIMIT");
    assert_eq!(busy.header("retry-after"), "7");

    let upstream = Upstream::start(yes).await;
    let app = asking(&upstream, &[("CRM__AUTH__PLATFORM_UNKNOWN_PER_MINUTE", "2")]).await;
    ask(&app, "first").await.expect(200);
    ask(&app, "second").await.expect(200);
    let third = ask(&app, "third").await.expect_error(429, "RATE_LIMIT");
    assert!(third.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    ask(&app, "first").await.expect(200);
    assert_eq!(upstream.questions().len(), 2);
}

#[tokio::test]
async fn a_jwt_that_a_key_here_answers_for_is_never_asked_elsewhere() {
    let upstream = Upstream::start(|_| yes("li.lei")).await;
    let setup = Setup::default().with("PLATFORM_AUTH_URL", &upstream.url);
    let app = setup.start().await;
    let expired = jwt(json!({"tenantId": "acme", "exp": 1_600_000_000}));
    let spoiled = format!("{}A", jwt(json!({"tenantId": "acme"})));
    for refused in [&expired, &spoiled] {
        assert_unauthorized(ask(&app, refused).await);
    }
    ask(&app, &jwt(json!({"tenantId": "acme"}))).await.expect(200);
    assert_eq!(upstream.questions(), Vec::<String>::new());

    ask(&app, "opaque").await.expect(200);
    assert_eq!(upstream.questions().len(), 1);
}
