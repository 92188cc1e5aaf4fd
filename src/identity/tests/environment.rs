//! What the environment of the process may and may not change.

use std::env;

use super::upstream::{Upstream, yes_to_all};
use super::*;

const URL: &str = "IDENTITY_TEST_URL";
const EXPECT: &str = "IDENTITY_TEST_EXPECT";

/// The other half: asks the platform that the environment names.
#[tokio::test]
#[ignore = "run by the tests of this file in a process of its own"]
async fn asks_the_platform_named_by_the_environment() {
    let url = env::var(URL).expect("set by the parent");
    let identity = Identity::new(&config::Auth { platform_url: Some(url), ..auth() }, &tenants(), clock());
    match env::var(EXPECT).expect("set by the parent").as_str() {
        "yes" => assert_eq!(user(ask(&identity.expect("built"), "u").await), "u"),
        problem => assert!(identity.expect_err("refused").to_string().contains(problem)),
    }
}

async fn run(url: &str, expect: &str, variables: &[(&str, &str)]) -> Result<(), String> {
    let mut all = vec![(URL, url), (EXPECT, expect)];
    all.extend_from_slice(variables);
    alone("environment::asks_the_platform_named_by_the_environment", &all).await
}

#[tokio::test]
async fn a_proxy_in_the_environment_gets_no_token() {
    let (upstream, proxy) = (Upstream::start(yes_to_all).await, Upstream::start(yes_to_all).await);
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let variables = names.map(|name| (name, proxy.url.as_str()));

    assert_eq!(run(&upstream.url, "yes", &variables).await, Ok(()));

    assert_eq!((upstream.hits(), proxy.hits()), (1, 0));
}

#[tokio::test]
async fn a_machine_without_certificates_asks_over_http() {
    let upstream = Upstream::start(yes_to_all).await;
    assert_eq!(run(&upstream.url, "yes", &[("SSL_CERT_FILE", "/dev/null")]).await, Ok(()));
}

#[tokio::test]
async fn a_trust_store_that_was_chosen_but_is_empty_refuses_the_start() {
    let refusal = run("https://127.0.0.1:9", "SSL_CERT_FILE", &[("SSL_CERT_FILE", "/dev/null")]).await;
    assert_eq!(refusal, Ok(()));
}
