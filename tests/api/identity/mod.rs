//! Who calls, and in which tenant (contract §4, §5).

mod development;
mod key_sets;
mod members;
mod platform;
mod process;
mod service_tokens;
mod signature;
mod tenants;
mod tokens;
mod upstream;

use serde_json::{Value, json};

use crate::support::{Answer, Client, token_with};

const FAR: u64 = 4_000_000_000;

/// A JWT of the tests' secret with these claims, valid for long.
fn jwt(mut claims: Value) -> String {
    let given = claims.as_object_mut().expect("an object");
    given.entry("sub").or_insert_with(|| json!("tester"));
    given.entry("exp").or_insert_with(|| json!(FAR));
    token_with(&claims)
}

#[track_caller]
fn assert_unauthorized(answer: Answer) {
    let answer = answer.expect_error(401, "UNAUTHORIZED");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

/// The user that a customer of this client gets as its owner.
async fn user_of(client: &Client, name: &str) -> String {
    let created = client.post("/customers", &json!({ "name": name })).await.expect(201);
    created.json()["ownerId"].as_str().expect("text").to_owned()
}
