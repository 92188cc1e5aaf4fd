//! Creating customers.

use serde_json::{Value, json};

use super::{empty, everything, optional_fields};
use crate::support::{Setup, TestApp, clock_at};

#[tokio::test]
async fn a_customer_with_every_field_comes_back_in_the_documented_order() {
    let clock = clock_at("2026-11-22T08:00:00.007Z");
    let app = Setup::default().at(clock).start().await;
    let client = app.tenant("acme");

    let created = client.post("/customers", &everything()).await.expect(201);

    let id = created.json()["customerId"].as_str().expect("an id").to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).expect("a UUID").get_version_num(), 7, "{id}");
    let expected = concat!(
        r#"{"customerId":"ID","tenantId":"acme","name":"华为技术有限公司","contactPhone":"861****5678","#,
        r#""contactEmail":"li.lei@example.com","status":2,"createdAt":"2026-11-22T08:00:00.007Z","#,
        r#""updatedAt":"2026-11-22T08:00:00.007Z","ownerId":"han.meimei","lifecycle":"prospect","level":"A","#,
        r#""source":"展会","industry":"通信","region":"华南","address":"深圳市龙岗区坂田","#,
        r#""website":"https://www.example.com/?a=1&b=2","remark":"第一行\n第二行","nextFollowUpAt":null,"#,
        r#""lastFollowUpAt":null,"version":1}"#,
    );
    assert_eq!(created.text.replace(&id, "ID"), expected);
    assert_eq!(created.header("location"), format!("customers/{id}"));
    assert_eq!(created.header("etag"), "\"v1\"");
    let read = client.get(&format!("/customers/{id}")).await.expect(200);
    assert_eq!(read.text, created.text);
    assert_eq!(read.header("etag"), "\"v1\"");
}

#[tokio::test]
async fn a_name_is_enough_and_the_rest_has_defaults() {
    let app = TestApp::start().await;

    let created = app.tenant("acme").post("/customers", &json!({"name": "A"})).await;

    let customer = created.expect(201).json();
    assert_eq!(customer["status"], 1);
    assert_eq!(customer["ownerId"], "tester", "the caller owns it");
    assert_eq!(customer["version"], 1);
    for (field, _) in optional_fields() {
        assert_eq!(customer[field], empty(field), "{field}");
    }
}

#[tokio::test]
async fn empty_texts_and_nulls_mean_absent() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (index, nothing) in [json!(""), json!("  \t"), Value::Null].into_iter().enumerate() {
        let mut body = json!({"name": format!("C{index}"), "ownerId": nothing, "status": null});
        for (field, _) in optional_fields() {
            body[field] = nothing.clone();
        }

        let customer = client.post("/customers", &body).await.expect(201).json();

        assert_eq!(customer["ownerId"], "tester");
        assert_eq!(customer["status"], 1);
        for (field, _) in optional_fields() {
            assert_eq!(customer[field], empty(field), "{field}");
        }
    }
}

#[tokio::test]
async fn texts_are_trimmed_and_whole_inside() {
    let app = TestApp::start().await;
    let body = json!({"name": " \u{3000}A  B\t", "level": "\n金牌 客户 ", "remark": " a\n\n b "});

    let customer = app.tenant("acme").post("/customers", &body).await.expect(201).json();

    assert_eq!(customer["name"], "A  B");
    assert_eq!(customer["level"], "金牌 客户");
    assert_eq!(customer["remark"], "a\n\n b");
}

#[tokio::test]
async fn read_only_fields_of_a_body_are_ignored() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock).start().await;
    let client = app.tenant("acme");
    let body = json!({
        "name": "A", "customerId": "mine", "tenantId": "other", "createdAt": "2001-01-01T00:00:00Z", "updatedAt": 7,
        "version": 99, "nextFollowUpAt": "2030-01-01T00:00:00Z", "lastFollowUpAt": {},
    });

    let customer = client.post("/customers", &body).await.expect(201).json();

    assert_ne!(customer["customerId"], "mine");
    assert_eq!(customer["tenantId"], "acme");
    assert_eq!(customer["version"], 1);
    assert_eq!(customer["createdAt"], "2026-11-22T08:00:00.000Z");
    assert_eq!(customer["updatedAt"], "2026-11-22T08:00:00.000Z");
    assert_eq!(customer["nextFollowUpAt"], Value::Null);
    assert_eq!(customer["lastFollowUpAt"], Value::Null);
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name_on_post_and_patch() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;

    for field in ["nickname", "contact_phone", "Name", "deletedAt", "name_key", "seq"] {
        let body = json!({"name": "B", field: "x"});
        for answer in
            [client.post("/customers", &body).await, client.patch(&format!("/customers/{id}"), &body).await]
        {
            let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
            assert_eq!(answer["errors"][0]["field"], field);
            assert_eq!(answer["errors"][0]["code"], "UNKNOWN_FIELD");
        }
    }
    let unchanged = client.get(&format!("/customers/{id}")).await.json();
    assert_eq!((&unchanged["name"], &unchanged["version"]), (&json!("A"), &json!(1)));
}

#[tokio::test]
async fn unknown_fields_are_dropped_if_so_configured() {
    let app = Setup::default().with("CRM_UNKNOWN_FIELDS", "ignore").start().await;
    let client = app.tenant("acme");

    let created = client.post("/customers", &json!({"name": "A", "nickname": "x"})).await;

    let created = created.expect(201).json();
    assert_eq!(created.get("nickname"), None);
    let path = format!("/customers/{}", created["customerId"].as_str().expect("an id"));
    let patched = client.patch(&path, &json!({"level": "A", "nickname": "x"})).await;
    assert_eq!(patched.expect(200).json()["level"], "A");
}

#[tokio::test]
async fn every_text_is_bounded_in_characters_on_post_and_patch() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    let path = format!("/customers/{id}");
    for (field, max) in [
        ("name", 200),
        ("contactPhone", 50),
        ("contactEmail", 200),
        ("ownerId", 200),
        ("level", 200),
        ("source", 200),
        ("industry", 200),
        ("region", 200),
        ("address", 200),
        ("website", 200),
        ("remark", 20_000),
    ] {
        let body = |length: usize| {
            let mut body = json!({ "name": format!("for {field}") });
            body[field] = json!(format!(" {} ", "长".repeat(length)));
            body
        };
        let longest = client.post("/customers", &body(max)).await.expect(201).json();
        if field != "contactPhone" {
            let kept = longest[field].as_str().expect("text");
            assert_eq!(kept.chars().count(), max, "{field}");
        }
        client
            .delete(&format!("/customers/{}", longest["customerId"].as_str().expect("an id")))
            .await
            .expect(204);
        client.patch(&path, &body(max)).await.expect(200);

        let mut patch = body(max + 1);
        patch["name"] = patch[field].clone();
        for answer in
            [client.post("/customers", &body(max + 1)).await, client.patch(&path, &body(max + 1)).await]
        {
            let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
            assert_eq!(answer["errors"][0]["field"], field);
            assert_eq!(answer["errors"][0]["code"], "TOO_LONG");
            let message = answer["errors"][0]["message"].as_str().expect("text");
            assert!(message.contains(&max.to_string()), "{message}");
        }
    }
}

#[tokio::test]
async fn a_field_of_another_type_is_refused() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    let path = format!("/customers/{id}");
    let texts = optional_fields().map(|(field, _)| field);
    for field in texts.iter().chain(&["name", "ownerId"]) {
        for wrong in [json!(1), json!(1.5), json!(true), json!([]), json!({}), json!(["x"])] {
            let mut body = json!({"name": "B"});
            body[*field] = wrong.clone();
            for answer in [client.post("/customers", &body).await, client.patch(&path, &body).await] {
                let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
                assert_eq!(answer["errors"][0]["field"], *field, "{wrong}");
            }
        }
    }
}

#[tokio::test]
async fn statuses_are_the_integers_1_and_2_in_any_notation() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    let path = format!("/customers/{id}");
    for (index, (given, status)) in
        [("1", 1), ("2", 2), ("1.0", 1), ("2e0", 2), ("20e-1", 2)].into_iter().enumerate()
    {
        let given: Value = serde_json::from_str(given).expect("JSON");
        let body = json!({"name": format!("C{index}"), "status": given});
        assert_eq!(client.post("/customers", &body).await.expect(201).json()["status"], status);
        let body = json!({"status": given});
        assert_eq!(client.patch(&path, &body).await.expect(200).json()["status"], status);
    }
    for wrong in [
        json!(0),
        json!(3),
        json!(-1),
        json!(1.5),
        json!("1"),
        json!(true),
        json!([1]),
        json!(1e300),
        json!(4_294_967_297_u64),
        json!(u64::MAX),
    ] {
        for answer in [
            client.post("/customers", &json!({"name": "B", "status": wrong})).await,
            client.patch(&path, &json!({"status": wrong})).await,
        ] {
            let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
            assert_eq!(answer["errors"][0]["field"], "status", "{wrong}");
        }
    }
}

#[tokio::test]
async fn lifecycles_are_four_words() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    let path = format!("/customers/{id}");
    for word in ["lead", "prospect", "customer", "churned"] {
        let created = client.post("/customers", &json!({"name": word, "lifecycle": word})).await;
        assert_eq!(created.expect(201).json()["lifecycle"], word);
        let patched = client.patch(&path, &json!({"lifecycle": word})).await;
        assert_eq!(patched.expect(200).json()["lifecycle"], word);
    }
    for wrong in ["Lead", "won", "1", "线索", "lead,prospect"] {
        for answer in [
            client.post("/customers", &json!({"name": "B", "lifecycle": wrong})).await,
            client.patch(&path, &json!({"lifecycle": wrong})).await,
        ] {
            let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
            assert_eq!(answer["errors"][0]["field"], "lifecycle", "{wrong}");
        }
    }
}
