//! A request that is repeated under its id is done once and answered alike (contract §8).

mod races;
mod replays;
mod scope;

use reqwest::Method;

use crate::support::{Answer, Client};

/// Asserts that `again` is `first` told once more.
#[track_caller]
fn assert_replays(again: &Answer, first: &Answer) {
    assert_eq!(first.header("idempotent-replayed"), "");
    assert_eq!(again.header("idempotent-replayed"), "true", "{}", again.text);
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    for name in ["location", "etag", "content-type", "x-request-id"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
}

/// Sends text as a JSON body.
async fn send(client: &Client, method: Method, path: &str, body: &str) -> Answer {
    let body = (!body.is_empty()).then(|| body.to_owned());
    client.clone().with("X-Request-ID", "r").send(method, path, body).await
}

fn path_of(created: &Answer) -> String {
    format!("/customers/{}", created.json()["customerId"].as_str().expect("an id"))
}
