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

#[tokio::test]
async fn health_and_metrics_are_exposition_text_for_those_who_prefer_it() {
    let app = used().await;
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, exposition) in [
        ("", false),
        ("*/*", false),
        ("application/json", false),
        ("application/json, text/plain, */*", false), // what axios sends
        ("text/html,application/xhtml+xml,*/*;q=0.8", false),
        ("application/json;q=0.2, text/plain;q=0.9", true),
        ("text/plain;version=0.0.4", true),
        ("application/openmetrics-text", true),
        (prometheus, true),
    ] {
        for path in ["/health", "/metrics"] {
            let answer = app.anonymous().with("Accept", accept).get(path).await.expect(200);
            let is_text = answer.text.ends_with("# EOF\n") && answer.text.contains("\ncrm_tenants_open 1\n");
            assert_eq!(is_text, exposition, "{path} {accept}: {}", answer.text);
            if !exposition {
                assert_eq!(answer.json()["cell"], "crm", "{path} {accept}");
            }
        }
    }
    for path in ["/metrics?format=prometheus", "/metrics/?format=prometheus"] {
        let answer = app.anonymous().get(path).await.expect(200);
        assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
        assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    }
}

#[tokio::test]
async fn metrics_count_requests_and_never_name_a_tenant_or_a_record() {
    let app = used().await;

    let json = app.anonymous().get("/metrics").await.expect(200);
    let text = app.anonymous().get("/metrics?format=prometheus").await.expect(200);

    assert_eq!(json.json()["tenant_creations"], 1);
    for line in [
        "crm_http_requests_total{method=\"POST\",status=\"201\"} 1",
        "crm_http_requests_total{method=\"GET\",status=\"400\"} 1",
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
