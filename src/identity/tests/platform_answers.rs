//! What the platform's answers mean.

use std::time::Instant;

use super::upstream::{Act, Upstream, respond, respond_with, yes_to_all};
use super::*;
use crate::identity::{Binding, Role, SourceKind};

fn auth_at(upstream: &Upstream) -> config::Auth {
    config::Auth {
        platform_url: Some(upstream.url.clone()),
        platform_timeout: Duration::from_millis(300),
        ..auth()
    }
}

fn is_outage(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Denied::Unavailable { retry_after }) if *retry_after >= Duration::from_secs(1))
}

/// Every way not to answer.
fn outages() -> Vec<(&'static str, Act)> {
    let ok = |body: &str| respond(200, body);
    let elsewhere =
        |status| respond_with(status, "Location: http://127.0.0.1:9/api/auth/me\r\n", r#"{"username":"u"}"#);
    vec![
        ("hangs", Act::Hang),
        ("closes", Act::Close),
        ("floods", Act::Flood),
        ("not HTTP", Act::Send("SSH-2.0-x\r\n".to_owned())),
        (
            "late",
            Act::SendAfter(Duration::from_secs(2), "HTTP/1.1 200 X\r\n\r\n{\"username\":\"u\"}".to_owned()),
        ),
        (
            "broken off",
            Act::Send("HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\n{\"username\":\"u\"}".to_owned()),
        ),
        ("500", respond(500, r#"{"username":"u"}"#)),
        ("503", respond(503, "")),
        ("404", respond(404, r#"{"username":"u"}"#)),
        ("400", respond(400, "{}")),
        ("201", respond(201, r#"{"username":"u"}"#)),
        ("204", respond(204, "")),
        ("301", elsewhere(301)),
        ("302", elsewhere(302)),
        ("307", elsewhere(307)),
        ("10 MB", ok(&format!(r#"{{"username":"u","x":"{}"}}"#, "x".repeat(10 << 20)))),
        ("just over 64 KiB", ok(&format!(r#"{{"username":"u"}}{}"#, " ".repeat(65_536)))),
        ("HTML", respond_with(200, "Content-Type: text/html\r\n", "<html>login</html>")),
        ("empty", ok("")),
        ("array", ok(r#"["u"]"#)),
        ("text", ok(r#""u""#)),
        ("null", ok("null")),
        ("two values", ok(r#"{"username":"u"}{}"#)),
        ("no user", ok(r#"{"error":"unknown","role":"admin"}"#)),
        ("empty user", ok(r#"{"username":""}"#)),
        ("blank user", ok(r#"{"username":"  "}"#)),
        ("null user", ok(r#"{"username":null}"#)),
        ("number as user", ok(r#"{"username":5}"#)),
        ("user twice", ok(r#"{"username":"u","username":"root"}"#)),
        ("long user", ok(&format!(r#"{{"username":"{}"}}"#, "x".repeat(129)))),
        ("user with line end", ok(r#"{"username":"a\nb"}"#)),
        ("role of no name", ok(r#"{"username":"u","role":{"code":"readonly"}}"#)),
        ("cells of no list", ok(r#"{"username":"u","allowedCells":"crm"}"#)),
        ("tenant of no id", ok(r#"{"username":"u","tenantId":"../x"}"#)),
        ("empty tenant", ok(r#"{"username":"u","tenantId":""}"#)),
        ("tenants disagree", ok(r#"{"username":"u","tenantId":"a","tid":"b"}"#)),
        ("switch of no kind", ok(r#"{"username":"u","enabled":"false"}"#)),
    ]
}

#[tokio::test]
async fn a_yes_names_the_caller() {
    let upstream = Upstream::always(Act::Close).await;
    let to = |ids: &[&str]| Binding::To(ids.iter().map(|id| id.parse().expect("an id")).collect());
    let table = [
        (r#"{"username":"u","role":"client","allowedCells":["crm","erp"]}"#, Role::Member, Binding::Unbound),
        (r#"{"username":"u","role":"admin","allowedCells":[]}"#, Role::Admin, Binding::Unbound),
        (r#"{"username":"u","role":"root","tenantId":"acme"}"#, Role::Member, to(&["acme"])),
        (
            r#"{"username":null,"userId":"u","role":null,"tenant_id":"acme","isActive":true}"#,
            Role::Member,
            to(&["acme"]),
        ),
        (r#"{"sub":"u","role":"READONLY","tid":"acme","tenantId":null}"#, Role::Readonly, to(&["acme"])),
        (r#"{"username":"u","userId":5,"tenantId":["a","b"],"enabled":true}"#, Role::Member, to(&["a", "b"])),
    ];
    for (number, (body, role, tenants)) in table.into_iter().enumerate() {
        upstream.now(move |_| respond(200, body));
        let principal = ask(&identity(&auth_at(&upstream)), &number.to_string()).await.expect(body);
        let expected =
            Principal { user: "u".into(), role, source: SourceKind::Platform, tenants, own_rows_only: false };
        assert_eq!(*principal, expected, "{body}");
    }
}

#[tokio::test]
async fn the_question_carries_the_token_and_nothing_else_of_the_caller() {
    let upstream = Upstream::start(yes_to_all).await;
    for suffix in ["", "/", "/gate", "/gate/"] {
        let mut auth = auth_at(&upstream);
        auth.platform_url = Some(format!("{}{suffix}", upstream.url));
        let credentials = Credentials { authorization: Some(b"bEARER  opaque"), user_id: Some("canary") };
        assert_eq!(user(identity(&auth).authenticate(&credentials).await), "opaque");
    }
    let paths: Vec<String> =
        upstream.requests().iter().map(|head| head.lines().next().unwrap_or("").to_owned()).collect();
    let (plain, prefixed) = ("GET /api/auth/me HTTP/1.1", "GET /gate/api/auth/me HTTP/1.1");
    assert_eq!(paths, [plain, plain, prefixed, prefixed]);
    for request in upstream.requests() {
        let mut names: Vec<&str> =
            request.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "authorization", "host"]);
        assert!(request.contains("authorization: Bearer opaque\r\n"));
    }
}

#[tokio::test]
async fn only_401_and_403_and_a_disabled_user_are_a_no() {
    let refusals = [
        respond(401, ""),
        respond(403, r#"{"username":"u"}"#),
        respond(200, r#"{"username":"u","isActive":false}"#),
        respond(200, r#"{"username":"u","enabled":false,"role":"admin"}"#),
    ];
    for refusal in refusals {
        let upstream = Upstream::always(refusal).await;
        assert_eq!(ask(&identity(&auth_at(&upstream)), "t").await, Err(Denied::Invalid));
    }
}

#[tokio::test]
async fn cells_without_crm_are_forbidden_not_unauthorised() {
    let upstream =
        Upstream::always(respond(200, r#"{"username":"u","role":"client","allowedCells":["erp"]}"#)).await;
    let identity = identity(&auth_at(&upstream));
    assert_eq!(ask(&identity, "t").await, Err(Denied::CellNotAllowed));
    assert_eq!(ask(&identity, "t").await, Err(Denied::CellNotAllowed));
    assert_eq!(upstream.hits(), 1);
}

#[tokio::test]
async fn whatever_is_no_answer_is_an_outage_and_neither_yes_nor_no() {
    for (name, outage) in outages() {
        let upstream = Upstream::always(outage).await;
        let identity = identity(&auth_at(&upstream));
        let begun = Instant::now();
        let outcome = ask(&identity, "t").await;
        assert!(is_outage(&outcome), "{name}: {outcome:?}");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{name} took {:?}", begun.elapsed());
        assert_eq!(upstream.hits(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_yes_outlives_every_kind_of_outage_for_ten_minutes() {
    for (name, outage) in outages() {
        let (upstream, uptime) = (Upstream::start(yes_to_all).await, Uptime::default());
        let identity = uptime.identity(&auth_at(&upstream));
        assert_eq!(user(ask(&identity, "u").await), "u");

        upstream.now(move |_| outage.clone());
        uptime.pass(61);
        assert_eq!(user(ask(&identity, "u").await), "u", "{name}");
        uptime.pass(600 - 61 - 1);
        assert_eq!(user(ask(&identity, "u").await), "u", "{name}");
        assert_eq!(upstream.hits(), 3, "{name}: the platform is tried first");
        uptime.pass(1);
        assert!(is_outage(&ask(&identity, "u").await), "{name}");
    }
}

#[tokio::test]
async fn a_platform_that_is_down_is_an_outage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let outcome = ask(&identity(&config::Auth { platform_url: Some(url), ..auth() }), "t").await;
    assert!(is_outage(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let target = Upstream::start(yes_to_all).await;
    for status in [301, 302, 303, 307, 308] {
        let upstream =
            Upstream::always(respond_with(status, &format!("Location: {}\r\n", target.url), "")).await;
        assert!(is_outage(&ask(&identity(&auth_at(&upstream)), "t").await), "{status}");
    }
    assert_eq!(target.hits(), 0);
}

#[tokio::test]
async fn a_429_is_passed_on_and_not_kept() {
    let table = [
        ("Retry-After: 7\r\n", 7),
        ("Retry-After: 300\r\n", 300),
        ("Retry-After: 301\r\n", 5),
        ("Retry-After: 0\r\n", 5),
        ("Retry-After: -1\r\n", 5),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 5),
        ("", 5),
    ];
    for (header, seconds) in table {
        let upstream = Upstream::always(respond_with(429, header, "")).await;
        let identity = identity(&auth_at(&upstream));
        let expected = Err(Denied::RateLimited { retry_after: Duration::from_secs(seconds) });
        assert_eq!(ask(&identity, "u").await, expected, "{header}");
        upstream.now(yes_to_all);
        assert_eq!(user(ask(&identity, "u").await), "u");
    }
}
