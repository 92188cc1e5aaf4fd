//! The binary: where it listens, and what it logs.

use std::fs::{self, File};
use std::process::Stdio;

use serde_json::json;

use super::upstream::{Upstream, answer, yes};
use crate::support::{Cell, run_to_end, token};

/// Runs the binary until it ends; returns what it said on standard error.
fn refusal(variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Cell::command(directory.path());
    command
        .env_remove("CRM_JWT_SECRET")
        .env_remove("CRM_HOST")
        .envs(variables.iter().copied())
        .stderr(Stdio::piped());
    let output = run_to_end(&mut command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0, "nothing was created");
    String::from_utf8(output.stderr).expect("text")
}

#[tokio::test]
async fn the_network_is_not_served_while_nothing_says_who_may_come_in() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let said = refusal(&[("CRM_HOST", host)]);
        for name in ["CRM_HOST", "CRM_AUTH_STRICT", "CRM_JWT_SECRET", "PLATFORM_AUTH_URL"] {
            assert!(said.contains(name), "{said}");
        }
    }
}

#[tokio::test]
async fn without_a_host_it_listens_on_loopback_until_a_source_is_configured() {
    let directory = tempfile::tempdir().expect("a directory");
    for (variables, address) in [
        (&[][..], "127.0.0.1:"),
        (&[("CRM_AUTH_STRICT", "1")][..], "127.0.0.1:"),
        (&[("CRM_JWT_SECRET", crate::support::SECRET)][..], "0.0.0.0:"),
        (&[("PLATFORM_AUTH_URL", "http://127.0.0.1:1")][..], "0.0.0.0:"),
        (&[("CRM_AUTH_STRICT", "1"), ("CRM_HOST", "0.0.0.0")][..], "0.0.0.0:"),
        (&[("CRM_HOST", "127.0.0.1")][..], "127.0.0.1:"),
    ] {
        let mut command = Cell::command(directory.path());
        command.env_remove("CRM_JWT_SECRET").env_remove("CRM_HOST").envs(variables.iter().copied());
        let cell = Cell::spawn(&mut command);
        assert!(cell.address().starts_with(address), "{variables:?}: {}", cell.address());
        assert_eq!(cell.terminate(), Some(0));
    }
}

#[tokio::test]
async fn weak_or_unreadable_material_refuses_the_start_without_showing_it() {
    for (name, value, says) in [
        ("CRM_JWT_SECRET", "hunter2", "32"),
        ("CRM_SERVICE_TOKENS", "ops:hunter2", "20"),
        ("CRM_JWT_PUBLIC_KEY", "hunter2", "CRM_JWT_PUBLIC_KEY"),
        ("PLATFORM_AUTH_URL", "hunter2", "PLATFORM_AUTH_URL"),
        ("PLATFORM_AUTH_URL", "http://user:hunter2@platform", "PLATFORM_AUTH_URL"),
        ("CELL_VERIFY_SIGNATURE", "1", "CELL_SIGNING_SECRET"),
        ("CELL_SIGNING_SECRET", "hunter2", "32"),
        ("CRM_JWKS_FILE", "hunter2", "CRM_JWKS_FILE"),
        ("CRM_JWKS_URL", "http://user:hunter2@id", "CRM_JWKS_URL"),
        ("CRM_DATABASE_URL", "postgres://user:hunter2@db/crm", "sqlite"),
    ] {
        let said = refusal(&[(name, value)]);
        assert!(said.contains(says), "{name}: {said}");
        if name != "PLATFORM_AUTH_URL" || value.contains('@') {
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

/// Everything that a caller says about people, and every kind of token; each is to be found nowhere in the log.
#[tokio::test]
async fn the_log_at_its_most_talkative_holds_no_token_and_nothing_about_people() {
    const PERSONAL: [&str; 9] = [
        "13812345678",
        "12345678",
        "138****5678",
        "Jiangxiaobai",
        "jiang.xiaobai",
        "spoken in confidence",
        "1 Secret Lane",
        "service-token-of-the-log-test",
        "platform-token-of-the-log-test",
    ];
    let upstream =
        Upstream::start(|token| if token.contains("platform") { yes("li.lei") } else { answer(500, token) })
            .await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let mut command = Cell::command(directory.path());
    command
        .env("CRM__LOG__FILTER", "trace")
        .env("CRM_SERVICE_TOKENS", format!("sync:{}", PERSONAL[7]))
        .env("PLATFORM_AUTH_URL", &upstream.url)
        .stderr(File::create(&log).expect("a file"));
    let cell = Cell::spawn(&mut command);
    let jwt = token("acme", "tester");
    let body = json!({
        "name": "Jiangxiaobai", "contactPhone": "13812345678", "contactEmail": "jiang.xiaobai@example.com",
        "remark": "spoken in confidence", "address": "1 Secret Lane",
    });
    for (index, token) in [&jwt, PERSONAL[7], PERSONAL[8]].into_iter().enumerate() {
        let client = cell.anonymous().with_token(token).with_tenant(&format!("t{index}"));
        let client = if index == 0 { client.with_tenant("acme") } else { client };
        let created = client.post_as("marked-request", "/customers", &body).await.expect(201);
        let path = format!("/customers/{}", created.json()["customerId"].as_str().expect("an id"));
        client.post_as("marked-request", "/customers", &body).await.expect(201);
        client.post("/customers", &body).await.expect(400);
        client.get("/customers?level=Jiangxiaobai&source=13812345678").await.expect(200);
        client.get("/customers?cursor=Jiangxiaobai").await.expect(400);
        client.get("/customers?Jiangxiaobai=13812345678").await.expect(400);
        client.get("/customers/Jiangxiaobai").await.expect(404);
        client.get("/Jiangxiaobai/13812345678").await.expect(404);
        client
            .patch(&path, &json!({"contactPhone": "138****5678", "remark": "spoken in confidence!"}))
            .await
            .expect(200);
        client.patch(&path, &json!({"contactPhone": "13812345678*"})).await.expect(400);
        client.clone().with("If-Match", "Jiangxiaobai").patch(&path, &json!({})).await.expect(400);
        client.clone().with_tenant("Jiangxiaobai/").get("/customers").await.expect(400);
        if index == 0 {
            // Bound elsewhere: only the tenant that a caller is admitted to is logged.
            client.clone().with_tenant("Jiangxiaobai").get("/customers").await.expect(403);
        }
        client.delete(&path).await.expect(204);
    }
    let unproved = format!("{}A", &jwt);
    for wrong in [unproved.as_str(), "unknown-token-of-the-log-test"] {
        let answer = cell.anonymous().with_token(wrong).get("/customers").await;
        assert!(matches!(answer.status.as_u16(), 401 | 503), "{answer:?}");
    }
    assert_eq!(cell.terminate(), Some(0));

    let log = fs::read_to_string(&log).expect("the log");
    assert!(log.contains("DEBUG") && log.contains("marked-request"), "the log was looked at: {log}");
    let tokens = [&jwt[..40], &jwt[jwt.len() - 20..], "unknown-token-of-the-log-test"];
    for secret in PERSONAL.iter().chain(&tokens) {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
