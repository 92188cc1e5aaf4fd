//! What is wrong with a request, and what makes no difference.

use reqwest::Method;
use serde_json::{Value, json};

use super::table::{Kind, TABLE};
use super::world::{METHODS, World};

#[tokio::test]
async fn an_unknown_id_is_404_and_so_is_anything_that_is_no_id() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE.iter().filter(|row| row.has_id()) {
        for id in ["unknown", "0", "019e0000-0000-7000-8000-000000000000", &"x".repeat(64)] {
            world.to(&client, row, &row.path_to(id)).await.expect_error(404, "NOT_FOUND");
        }
        // No media type, request id or body is looked at before.
        for id in ["a.b", "%20", "a%2Fb", "%E5%AE%A2", "a'b", "..%2F..%2Fetc", &"x".repeat(65)] {
            if row.kind == Kind::Review && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
            {
                continue; // an event's id is its sender's
            }
            let answer = world.send(&client, row, &row.path_to(id), None).await;
            answer.expect_error(404, "NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn a_body_must_be_small_enough_json_of_the_right_type() {
    let world = World::new().await;
    let client = world.caller("acme", "admin").with("X-Request-ID", "bad");
    for row in TABLE.iter().filter(|row| row.takes_body() || row.kind == Kind::Action) {
        let path = world.path(row);
        let send = async |client: &_, body: &str| world.send(client, row, &path, Some(body.to_owned())).await;

        let too_long = " ".repeat(row.body_max() + 1);
        send(&client, &too_long).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        for media_type in ["text/plain", "application/xml", "application/json; charset=gbk"] {
            let client = client.clone().with("Content-Type", media_type);
            send(&client, "{}").await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
        }
        for body in ["{", "{} {}", r#"{"name":"a","name":"b"}"#, "{\"name\":\"\\u0000\"}", "nul"] {
            send(&client, body).await.expect_error(400, "BAD_REQUEST");
        }
        if row.takes_body() {
            for body in ["[]", "1", "\"a\"", "null", ""] {
                send(&client, body).await.expect_error(400, "BAD_REQUEST");
            }
        }
    }
}

#[tokio::test]
async fn a_field_that_no_resource_has_is_refused_by_its_name_and_a_read_only_one_is_not() {
    let world = World::new().await;
    let client = world.caller("acme", "admin").with("X-Request-ID", "bad");
    for row in TABLE.iter().filter(|row| row.needs_body()) {
        let mut body: Value = row.body().expect("a body");
        body["nickname"] = json!("x");
        let body = world.fill(&body.to_string());
        let answer = world.send(&client, row, &world.path(row), Some(body)).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
        assert_eq!(answer["errors"][0]["field"], "nickname", "{}", row.operation);
        assert_eq!(answer["errors"][0]["code"], "UNKNOWN_FIELD");
    }
    for row in TABLE.iter().filter(|row| row.kind == Kind::Get) {
        let record = world.good(&client, row).await.expect(200);
        let update = TABLE.iter().find(|other| other.path == row.path && other.kind == Kind::Update);
        let client = client.clone().with("X-Request-ID", "roundtrip");
        let update = update.expect("an update");
        let answer = world.send(&client, update, &world.path(row), Some(record.text.clone())).await;
        assert_eq!(answer.expect(200).json(), record.json(), "{}", row.operation);
    }
}

#[tokio::test]
async fn every_field_of_the_wrong_type_is_refused_by_its_name() {
    let world = World::new().await;
    let client = world.caller("acme", "admin").with("X-Request-ID", "bad");
    for row in TABLE.iter().filter(|row| row.needs_body()) {
        let operation = &world.document["paths"][row.documented_path()][row.method.to_lowercase()];
        let reference = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let pointer = reference.as_str().expect("a reference").trim_start_matches('#').to_owned();
        let schema = world.document.pointer(&pointer).expect("a schema");
        let fields = schema["properties"].as_object().expect("properties");
        let mut tried = 0;
        for (field, _) in fields.iter().filter(|(_, schema)| schema["readOnly"] != true) {
            for wrong in [json!({}), json!([]), json!(1.5)] {
                let mut body: Value =
                    serde_json::from_str(&world.fill(&row.body().expect("a body").to_string()))
                        .expect("JSON");
                body[field] = wrong;
                let answer = world.send(&client, row, &world.path(row), Some(body.to_string())).await;
                let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
                assert_eq!(answer["errors"][0]["field"], json!(field), "{}", row.operation);
                tried += 1;
            }
        }
        assert!(tried >= 24, "{}: {tried}", row.operation);
    }
}

#[tokio::test]
async fn what_creates_or_changes_needs_a_request_id_and_the_rest_does_not() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE.iter().filter(|row| row.needs_body()) {
        let body = world.fill(&row.body().expect("a body").to_string());
        let answer = world.send(&client, row, &world.path(row), Some(body.clone())).await;
        let answer = answer.expect_error(400, "BAD_REQUEST");
        let message = format!("{} 必须包含 X-Request-ID", row.method);
        assert_eq!(answer.json()["message"], message);
        let long = client.clone().with("X-Request-ID", &"x".repeat(201));
        world.send(&long, row, &world.path(row), Some(body)).await.expect_error(400, "BAD_REQUEST");
    }
    for row in TABLE.iter().filter(|row| matches!(row.kind, Kind::Delete | Kind::Action)) {
        let answer = world.send(&client, row, &world.path(row), None).await;
        assert!(answer.status.is_success(), "{} {}", row.operation, answer.text);
    }
}

#[tokio::test]
async fn every_write_with_a_request_id_is_replayed_and_no_other_request_may_use_it() {
    let world = World::new().await;
    let client = world.caller("acme", "admin").with("X-Request-ID", "once");
    for row in TABLE.iter().filter(|row| !row.reads()) {
        let path = world.path(row);
        let first = world.to(&client, row, &path).await;
        assert!(first.status.is_success(), "{} {}", row.operation, first.text);
        let body = row.body().map(|body| world.fill(&body.to_string()));
        let same = client.clone().with("X-Request-ID", request_id(row.needs_body()));
        let again = world.send(&same, row, &path, body).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{}", row.operation);
        assert_eq!(again.header("Idempotent-Replayed"), "true", "{}", row.operation);
        if row.needs_body() {
            let other = client.clone().with("X-Request-ID", request_id(true));
            let other = world.send(&other, row, &path, Some(r#"{"ownerId":"x"}"#.to_owned())).await;
            assert!(matches!(other.status.as_u16(), 400 | 409), "{} {}", row.operation, other.text);
        }
    }
}

/// The id that [`World::to`] sends, or this test's own.
fn request_id(needs_body: bool) -> &'static str {
    if needs_body { "battery" } else { "once" }
}

#[tokio::test]
async fn a_list_ignores_no_parameter() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE.iter().filter(|row| row.is_list()) {
        for (query, code) in [
            ("page=0", "BAD_REQUEST"),
            ("page=x", "BAD_REQUEST"),
            ("page=-1", "BAD_REQUEST"),
            ("pageSize=0", "BAD_REQUEST"),
            ("pageSize=501", "BAD_REQUEST"),
            ("page=2&page=3", "BAD_REQUEST"),
            ("page=1&cursor=x", "BAD_REQUEST"),
            ("page=1001&pageSize=500", "BAD_REQUEST"),
            ("cursor=x", "INVALID_CURSOR"),
            ("count=some", "VALIDATION_FAILED"),
            ("sort=nothing", "VALIDATION_FAILED"),
            ("scope=mine", "BAD_REQUEST"),
            ("pagesize=1", "UNKNOWN_PARAMETER"),
            ("colour=red", "UNKNOWN_PARAMETER"),
        ] {
            let answer = world.to(&client, row, &format!("{}?{query}", row.path)).await;
            assert_eq!(answer.json()["code"], code, "{}?{query} {}", row.path, answer.text);
            answer.expect(400);
        }
        for query in ["page=&pageSize=", "_=1700000000", "page=1&pageSize=500", "count=none", "lang=en"] {
            world.to(&client, row, &format!("{}?{query}", row.path)).await.expect(200);
        }
    }
}

#[tokio::test]
async fn every_documented_parameter_is_known_its_values_are_checked_and_no_other_is_taken() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE.iter().filter(|row| row.is_strict()) {
        for query in ["colour=red", "page_size=1"] {
            let answer = world.to(&client, row, &format!("{}?{query}", row.path)).await;
            answer.expect_error(400, "UNKNOWN_PARAMETER");
        }
        let operation = &world.document["paths"][row.documented_path()]["get"];
        let parameters = operation["parameters"].as_array().expect("parameters");
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let answer = world.to(&client, row, &format!("{}?{name}=", row.path)).await;
            answer.expect(200); // known, and empty is absent
            let allowed = parameter["schema"]["enum"].as_array();
            for value in allowed.into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                world.to(&client, row, &format!("{}?{name}={value}", row.path)).await.expect(200);
            }
            if allowed.is_some() && name != "lang" {
                let answer = world.to(&client, row, &format!("{}?{name}=nonsense", row.path)).await;
                answer.expect(400);
            }
        }
    }
}

#[tokio::test]
async fn a_trailing_slash_makes_no_difference() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE.iter().filter(|row| row.path != "/") {
        let answer = world.to(&client, row, &format!("{}/", world.path(row))).await;
        assert!(answer.status.is_success(), "{} {}", row.operation, answer.text);
    }
}

#[tokio::test]
async fn head_answers_wherever_get_does_and_what_a_path_does_not_know_is_405() {
    let world = World::new().await;
    let client = world.caller("acme", "admin");
    for row in TABLE {
        let path = world.path(row);
        let documented = world.document["paths"][row.documented_path()].as_object().expect("a path");
        let mut allowed: Vec<_> = documented.keys().map(|method| method.to_uppercase()).collect();
        if documented.contains_key("get") {
            allowed.push("HEAD".to_owned());
            let get = client.send(Method::GET, &path, None).await;
            let head = client.send(Method::HEAD, &path, None).await;
            assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
            assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{path}");
        }
        allowed.sort_unstable();
        for method in METHODS.iter().filter(|method| !allowed.iter().any(|known| *known == method.as_str())) {
            let answer =
                client.send(method.clone(), &path, None).await.expect_error(405, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.header("Allow"), allowed.join(", "), "{method} {path}");
        }
    }
}
