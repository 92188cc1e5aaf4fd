//! Public paths (contract §12).

use serde_json::json;

use crate::support::TestApp;

const TENANT: &str = "whisperwood";

/// A service on which a tenant has been at work.
async fn used() -> TestApp {
    let app = TestApp::start().await;
    let client = app.tenant(TENANT);
    let id = client.create_customer("Jiang & Sons").await;
    client.get(&format!("/customers/{id}")).await.expect(200);
    client.get("/customers").await.expect(200);
    client.get("/customers?unknown=1").await.expect(400);
    app
}

#[tokio::test]
async fn public_paths_need_no_token_and_take_a_bad_one() {
    let app = TestApp::start().await;
    for path in ["/", "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"] {
        app.anonymous().get(path).await.expect(200);
        let client = app.anonymous().with_token("expired").with_tenant("../x");
        client.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn health_is_two_words_of_json() {
    let app = TestApp::start().await;
    for path in ["/health", "/health/live"] {
        let answer = app.anonymous().get(path).await.expect(200);
        assert_eq!(answer.json(), json!({"status": "up", "cell": "crm"}));
    }
    let ready = app.anonymous().get("/health/ready").await.expect(200);
    assert_eq!(ready.json()["status"], "ready");
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

#[tokio::test]
async fn health_and_metrics_are_exposition_text_for_those_who_prefer_it() {
    let app = used().await;
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, media_type) in [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/json, text/plain, */*", JSON), // what axios sends
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        ("application/json;q=0.2, text/plain;q=0.9", CLASSIC),
        ("text/plain;version=0.0.4", CLASSIC),
        ("text/plain, application/openmetrics-text;q=0.5", CLASSIC),
        ("text/plain, application/openmetrics-text", OPEN_METRICS),
        ("application/openmetrics-text", OPEN_METRICS),
        (prometheus, OPEN_METRICS),
    ] {
        for path in ["/health", "/metrics"] {
            let answer = app.anonymous().with("Accept", accept).get(path).await.expect(200);
            assert_eq!(answer.header("content-type"), media_type, "{path} {accept}");
            assert_eq!(answer.text.ends_with("# EOF\n"), media_type == OPEN_METRICS, "{path} {accept}");
            if media_type == JSON {
                assert!(answer.text.contains("\"cell\":\"crm\""), "{path} {accept}: {}", answer.text);
            } else {
                assert!(answer.text.contains("\ncrm_tenants_open 1\n"), "{path} {accept}: {}", answer.text);
            }
        }
    }
    for path in ["/metrics?format=prometheus", "/metrics/?format=prometheus"] {
        let answer = app.anonymous().get(path).await.expect(200);
        assert_eq!(answer.header("content-type"), CLASSIC);
        let answer = app.anonymous().with("Accept", prometheus).get(path).await.expect(200);
        assert_eq!(answer.header("content-type"), OPEN_METRICS);
    }
}

#[tokio::test]
async fn the_classic_text_names_families_as_their_samples_and_holds_nothing_newer() {
    let app = used().await;

    let text = app.anonymous().with("Accept", "text/plain").get("/metrics").await.expect(200).text;

    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    for (name, kind) in families.iter().map(|family| family.split_once(' ').expect("a name and a kind")) {
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{name} {kind}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} {kind}");
        let help = format!("# HELP {name} ");
        assert_eq!(text.lines().filter(|line| line.starts_with(&help)).count(), 1, "{help}");
        let sample = |line: &str| {
            line.split(['{', ' ']).next().is_some_and(|sample| match kind {
                "histogram" => sample == format!("{name}_bucket"),
                _ => sample == name,
            })
        };
        assert!(text.lines().any(sample), "{name} has no sample in {text}");
    }
    assert!(families.contains(&"http_requests_total counter") && families.len() > 15, "{families:?}");
    let comments = text.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(comments, 2 * families.len(), "HELP and TYPE and nothing else: {text}");
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
}

#[tokio::test]
async fn metrics_count_requests_and_never_name_a_tenant_or_a_record() {
    let app = used().await;

    let json = app.anonymous().get("/metrics").await.expect(200);
    let text = app.anonymous().get("/metrics?format=prometheus").await.expect(200);

    assert_eq!(json.json()["tenant_creations"], 1);
    for line in [
        "http_requests_total{cell=\"crm\",method=\"POST\",status=\"201\"} 1",
        "http_requests_total{cell=\"crm\",method=\"GET\",status=\"400\"} 1",
        // The four requests before, and the one for the JSON; `text` itself is counted when it is answered.
        "http_request_duration_seconds_bucket{cell=\"crm\",le=\"+Inf\"} 5",
        "crm_tenant_creations_total 1",
        "crm_identity_unbound_total 0",
    ] {
        assert!(text.text.lines().any(|known| known == line), "{}", text.text);
    }
    for told in [&json.text, &text.text] {
        for secret in [TENANT, "Jiang", "tester"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[tokio::test]
async fn public_paths_touch_no_tenant() {
    let app = used().await;
    let before = app.figure("statements").await;
    for path in ["/", "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"] {
        app.tenant(TENANT).get(path).await.expect(200);
        app.tenant("never-seen").get(path).await.expect(200);
    }

    assert_eq!(app.figure("statements").await, before);
    assert_eq!(app.figure("tenants_open").await, 1);
}

#[tokio::test]
async fn the_root_is_a_page_that_names_the_cell_and_leads_on_by_relative_links() {
    let app = TestApp::start().await;

    let page = app.anonymous().get("/").await.expect(200);

    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text.contains("CRM"), "{}", page.text);
    for link in ["href=\"docs\"", "href=\"health\""] {
        assert!(page.text.contains(link), "behind a gateway the cell's root is not /: {}", page.text);
    }
    for outside in ["http://", "https://", "src=\"//", "href=\"/"] {
        assert!(!page.text.contains(outside), "{outside}: {}", page.text);
    }
}
