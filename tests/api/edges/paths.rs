//! Paths: slashes, malformed ids, methods, and never a redirect (contract §2).

use reqwest::Method;
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_trailing_slash_is_answered_like_the_path_without_it() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    for path in ["/customers", &format!("/customers/{id}"), "/health", "/health/live"] {
        let plain = client.get(path).await.expect(200);
        let slashed = client.get(&format!("{path}/")).await.expect(200);
        assert_eq!(plain.text, slashed.text, "{path}");
    }

    let created = client.post("/customers/", &json!({"name": "B"})).await.expect(201);
    client.patch(&format!("/customers/{id}/"), &json!({"level": "A"})).await.expect(200);
    client.delete(&format!("/customers/{id}/")).await.expect(204);
    client.get(&format!("/customers/{id}")).await.expect_error(404, "NOT_FOUND");
    assert_eq!(created.json()["name"], "B");
}

#[tokio::test]
async fn a_location_leads_to_the_record_with_and_without_a_slash_and_behind_a_prefix() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (name, path) in [("A", "/customers"), ("B", "/customers/"), ("C", "/customers?x=/")] {
        let created = client.post(path, &json!({ "name": name })).await.expect(201);

        let id = created.json()["customerId"].as_str().expect("an id").to_owned();
        for prefix in ["", "/api/v1/crm"] {
            let asked = reqwest::Url::parse(&format!("http://gateway{prefix}{path}")).expect("a URL");
            let leads_to = asked.join(created.header("location")).expect("relative");
            assert_eq!(leads_to.path(), format!("{prefix}/customers/{id}"), "{path}");
        }
    }
}

#[tokio::test]
async fn doubled_slashes_never_lead_past_identity_or_to_another_host() {
    let app = TestApp::start().await;
    for target in ["//customers", "/customers//", "///customers"] {
        let answer = app.wire("GET", target).send().await;
        assert!(matches!(answer.status, 401 | 404), "{target} {answer:?}");
        assert_eq!(answer.header("Location"), None);

        let answer = app.wire("GET", target).of("acme").send().await;
        assert!(matches!(answer.status, 200 | 404), "{target} {answer:?}");
        assert_eq!(answer.header("Location"), None);
    }
}

#[tokio::test]
async fn a_malformed_id_is_not_found_in_the_normal_envelope() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("A").await;
    let too_long = "a".repeat(65);
    for id in [
        "%2f",
        "a%2fb",
        "%00",
        "a%00",
        ".",
        "..",
        "%2e%2e",
        "a.b",
        "%20",
        "a%20b",
        "%E5%AE%A2",
        "%ff",
        "%",
        "a;b",
        "a,b",
        "a:b",
        "*",
        &too_long,
    ] {
        for (method, body) in [("GET", None), ("HEAD", None), ("PATCH", Some("{}")), ("DELETE", None)] {
            let request = app.wire(method, &format!("/customers/{id}")).of("acme");
            let request = match body {
                Some(body) => request.header("X-Request-ID", "r").json(body),
                None => request,
            };
            let answer = request.send().await;
            if method == "HEAD" {
                answer.expect(404);
            } else {
                let answer = answer.expect_error(404, "NOT_FOUND");
                assert!(answer.body.starts_with(r#"{"code":"NOT_FOUND","message":""#), "{id}");
            }
        }
    }
}

#[tokio::test]
async fn a_well_formed_id_of_64_characters_names_a_customer_that_does_not_exist() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("A").await;
    for id in ["a", "A-z_0", &"9".repeat(64)] {
        let path = format!("/customers/{id}");
        let answers = [
            client.get(&path).await,
            client.patch(&path, &json!({"level": "A"})).await,
            client.delete(&path).await,
        ];
        for answer in answers {
            let answer = answer.expect_error(404, "NOT_FOUND");
            assert_eq!(answer.json()["message"], "客户不存在");
        }
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_known_ones_with_another_method_405_before_any_token_is_asked_for() {
    let app = TestApp::start().await;
    for path in ["/nothing", "/customers/a/b", "/Customers", "/customer", "/health/x", "/.env"] {
        for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
            let answer = app.wire(method, path).send().await;
            answer.expect_error(404, "NOT_FOUND");
        }
    }
    for (method, path, allowed) in [
        ("PUT", "/customers", "GET, HEAD, POST"),
        ("DELETE", "/customers", "GET, HEAD, POST"),
        ("OPTIONS", "/customers", "GET, HEAD, POST"),
        ("BREW", "/customers", "GET, HEAD, POST"),
        ("PUT", "/customers/a", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/customers/a", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/health", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ] {
        let answer = app.wire(method, path).send().await;
        let answer = answer.expect_error(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("Allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn head_answers_what_get_answers_without_the_body() {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("A").await;
    for (target, status) in [
        ("/customers", 200),
        ("/customers?pageSize=1", 200),
        (&*format!("/customers/{id}"), 200),
        ("/customers/unknown", 404),
        ("/customers?pageSize=0", 400),
        ("/health", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/metrics", 200),
        ("/", 200),
        ("/nothing", 404),
    ] {
        let get = app.wire("GET", target).of("acme").send().await.expect(status);
        let head = app.wire("HEAD", target).of("acme").send().await.expect(status);

        assert_eq!(head.body, "", "{target}");
        for name in ["Content-Type", "Etag", "Cache-Control"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
    }
}

#[tokio::test]
async fn nothing_is_ever_redirected() {
    let app = TestApp::start().await;
    for target in [
        "",
        "//",
        "//example.org",
        "//example.org/customers",
        "/customers/../health",
        "/\\example.org",
        "/customers/",
        "/health/",
        "http://example.org/customers",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let target = if target.is_empty() { "/" } else { target };
            let answer = app.wire(method, target).of("acme").send().await;
            assert!(!(300..400).contains(&answer.status), "{method} {target} {answer:?}");
            assert_eq!(answer.header("Location"), None, "{method} {target}");
        }
    }
}

#[tokio::test]
async fn parameters_of_single_resources_are_ignored_when_unknown() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;

    let answer = client.get(&format!("/customers/{id}?expand=x&expand=y&page=0")).await;

    answer.expect(200);
    let deleted = client.send(Method::DELETE, &format!("/customers/{id}?force=1&pageSize=0"), None).await;
    deleted.expect(204);
}
