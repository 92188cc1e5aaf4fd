//! What makes two requests the same one.

use reqwest::Method;
use serde_json::{Value, json};

use super::{assert_replays, path_of, send};
use crate::support::{TestApp, token, token_with};

#[tokio::test]
async fn another_body_under_the_same_id_is_a_conflict() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let first = client.post_as("r", "/customers", &json!({"name": "A"})).await.expect(201);
    for body in [
        json!({"name": "B"}),
        json!({"name": "A "}),
        json!({"name": "A", "level": null}),
        json!({"name": "A", "status": 1}),
    ] {
        let answer = client.post_as("r", "/customers", &body).await;
        let answer = answer.expect_error(409, "IDEMPOTENT_CONFLICT");
        assert_eq!(answer.header("idempotent-replayed"), "");
    }
    let path = path_of(&first);
    send(&client, Method::PATCH, &path, r#"{"level":"A"}"#).await.expect(200);
    let answer = send(&client, Method::PATCH, &path, r#"{"level":"B"}"#).await;
    answer.expect_error(409, "IDEMPOTENT_CONFLICT");
    assert_eq!(client.get("/customers").await.json()["total"], 1);
}

#[tokio::test]
async fn the_order_of_keys_white_space_and_escapes_do_not_make_another_body() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let first = send(&client, Method::POST, "/customers", r#"{"name":"A/é","level":"x","status":1}"#).await;
    for body in [
        r#"{"status":1,"level":"x","name":"A/é"}"#,
        "\n { \"name\" : \"A\\/\\u00e9\",\t\"level\":\"x\", \"status\":1 }  ",
    ] {
        assert_replays(&send(&client, Method::POST, "/customers", body).await, &first.clone().expect(201));
    }
}

#[tokio::test]
async fn slashes_query_and_language_do_not_make_another_request() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let first = send(&client, Method::POST, "/customers", r#"{"name":"A"}"#).await.expect(201);
    for path in ["/customers/", "/customers?lang=en", "/customers/?x=1"] {
        let again = send(&client, Method::POST, path, r#"{"name":"A"}"#).await.expect(201);
        assert_eq!(again.text, first.text, "{path}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{path}");
    }
}

#[tokio::test]
async fn the_same_id_of_another_user_tenant_method_or_path_is_another_request() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let of = |user: &str| client.clone().with_token(&token("acme", user));
    let first = send(&of("u1"), Method::POST, "/customers", r#"{"name":"A"}"#).await.expect(201);
    let path = path_of(&first);
    let other_id = client.create_customer("other").await;

    let requests = [
        (of("u2"), Method::POST, "/customers".to_owned(), r#"{"name":"B"}"#, 201),
        (of("u1 "), Method::POST, "/customers".to_owned(), r#"{"name":"C"}"#, 201),
        (app.tenant("other"), Method::POST, "/customers".to_owned(), r#"{"name":"A"}"#, 201),
        (of("u1"), Method::PATCH, path.clone(), r#"{"level":"A"}"#, 200),
        (of("u2"), Method::PATCH, path.clone(), r#"{"level":"B"}"#, 200),
        (of("u1"), Method::PATCH, format!("/customers/{other_id}"), r#"{"level":"C"}"#, 200),
        (of("u1"), Method::DELETE, format!("/customers/{other_id}"), "", 204),
        (of("u1"), Method::DELETE, path.clone(), "", 204),
    ];
    for (client, method, path, body, status) in requests {
        let answer = send(&client, method.clone(), &path, body).await.expect(status);
        assert_eq!(answer.header("idempotent-replayed"), "", "{method} {path} {body}");
    }
    let again = send(&of("u1"), Method::POST, "/customers", r#"{"name":"A"}"#).await;
    assert_replays(&again, &first);
}

#[tokio::test]
async fn ids_are_compared_letter_by_letter() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (id, name) in [("abc", "A"), ("ABC", "B"), ("abc'", "C"), ("%61bc", "D"), ("ab", "E"), ("abc*", "F")]
    {
        let answer = client.post_as(id, "/customers", &json!({ "name": name })).await;
        assert_eq!(answer.expect(201).header("idempotent-replayed"), "", "{id}");
    }
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_id_up() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let taken = client.create_customer("Taken").await;
    let post = async |body: Value| client.post_as("r", "/customers", &body).await;

    post(json!({"name": ""})).await.expect(400);
    post(json!({"name": "A", "status": 9})).await.expect(400);
    post(json!({"name": "Taken"})).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
    post(json!({"name": "Taken"})).await.expect_error(400, "BUSINESS_RULE_VIOLATION");
    client.delete(&format!("/customers/{taken}")).await.expect(204);
    let done = post(json!({"name": "Taken"})).await.expect(201);

    assert_eq!(done.header("idempotent-replayed"), "", "no 4xx was stored");
    let path = path_of(&done);
    let patch = async |body: &str| send(&client, Method::PATCH, &path, body).await;
    patch(r#"{"level":"A","ifVersion":9}"#).await.expect(412);
    patch(r#"{"contactPhone":"1*"}"#).await.expect(400);
    patch(r#"{"level":"A"}"#).await.expect(200);
    let gone = send(&client, Method::DELETE, "/customers/unknown", "").await;
    gone.expect(404);
    send(&client, Method::DELETE, &path, "").await.expect(204);
    let readonly = token_with(
        &json!({"sub": "tester", "tenantId": "acme", "role": "readonly", "exp": 4_000_000_000_u64}),
    );
    let denied =
        client.clone().with_token(&readonly).post_as("r2", "/customers", &json!({"name": "Z"})).await;
    denied.expect_error(403, "FORBIDDEN");
    client.post_as("r2", "/customers", &json!({"name": "Y"})).await.expect(201);
}
