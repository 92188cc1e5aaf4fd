//! Names: required, bounded, and unique as people read them.

use serde_json::{Value, json};

use crate::support::{Client, TestApp};

#[tokio::test]
async fn a_missing_or_blank_name_is_asked_for() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for body in [
        json!({}),
        json!({"name": null}),
        json!({"name": ""}),
        json!({"name": "   "}),
        json!({"name": "\t\n"}),
        json!({"name": "\u{3000}\u{a0}"}),
        json!({"level": "A"}),
    ] {
        let answer = client.post("/customers", &body).await;
        let answer = answer.expect_error(400, "BAD_REQUEST").json();
        assert_eq!(answer["message"], "请填写客户名称", "{body}");
        assert_eq!(answer["errors"][0]["field"], "name");
        assert_eq!(answer["errors"][0]["code"], "REQUIRED");
    }
    let english = client.post("/customers?lang=en", &json!({})).await;
    let english = english.expect(400).json();
    assert!(english["message"].as_str().expect("text").is_ascii(), "{english}");
}

#[tokio::test]
async fn a_name_that_is_not_text_is_a_wrong_type_and_not_a_missing_name() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for name in [json!(1), json!(0), json!(true), json!(["A"]), json!({"zh": "A"})] {
        let answer = client.post("/customers", &json!({ "name": name })).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
        assert_eq!(
            answer["errors"],
            json!([{"field": "name", "code": "WRONG_TYPE", "message": "应为字符串"}])
        );
    }
}

#[tokio::test]
async fn a_name_has_at_most_200_characters_whatever_their_bytes() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for c in ["a", "é", "字", "\u{1f600}"] {
        client.post("/customers", &json!({"name": c.repeat(200)})).await.expect(201);
        let longer = client.post("/customers", &json!({"name": c.repeat(201)})).await;
        longer.expect_error(400, "VALIDATION_FAILED");
    }
}

#[track_caller]
fn assert_taken_by(answer: crate::support::Answer, id: &str) {
    let answer = answer.expect_error(400, "BUSINESS_RULE_VIOLATION").json();
    assert_eq!(answer["message"], "客户名称已存在");
    assert_eq!(answer["existing"], json!({"customerId": id}));
}

/// Names that nobody would tell apart.
const ALIKE: [[&str; 2]; 7] = [
    ["acme ltd", "ACME Ltd"],
    ["ＡＢＣ（上海）有限公司", "abc(上海)有限公司"],
    ["caf\u{e9}", "CAFE\u{301}"],
    ["Straße", "STRASSE"],
    ["ｶﾞｽ", "ガス"],
    ["①号店", "1号店"],
    ["  中信 ", "中信"],
];

#[tokio::test]
async fn a_name_alike_in_width_case_or_composition_is_taken() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for [first, second] in ALIKE {
        let id = client.create_customer(first).await;

        assert_taken_by(client.post("/customers", &json!({ "name": second })).await, &id);
        assert_taken_by(client.post("/customers", &json!({ "name": first })).await, &id);
    }
}

#[tokio::test]
async fn a_taken_name_is_refused_on_patch_too_and_changes_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let mine = client.create_customer("mine").await;
    let path = format!("/customers/{mine}");
    for [first, second] in ALIKE {
        let id = client.create_customer(first).await;

        let answer = client.patch(&path, &json!({"name": second, "level": "Z"})).await;

        assert_taken_by(answer, &id);
    }
    let unchanged = client.get(&path).await.json();
    assert_eq!(
        (&unchanged["name"], &unchanged["level"], &unchanged["version"]),
        (&json!("mine"), &Value::Null, &json!(1))
    );
}

#[tokio::test]
async fn names_that_differ_in_accents_spaces_or_characters_are_different() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for name in ["cafe", "café", "华为", "华 为", "華為", "A-B", "A B", "AB", "\u{1f600}", "\u{1f601}"]
    {
        client.post("/customers", &json!({ "name": name })).await.expect(201);
    }
}

#[tokio::test]
async fn a_name_is_free_again_after_its_customer_was_deleted_or_renamed() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let deleted = client.create_customer("Acme").await;
    client.delete(&format!("/customers/{deleted}")).await.expect(204);
    let renamed = client.create_customer("ACME").await;
    client.patch(&format!("/customers/{renamed}"), &json!({"name": "Other"})).await.expect(200);

    let third = client.create_customer("acme").await;

    assert_ne!(third, deleted);
    assert_taken_by(client.post("/customers", &json!({"name": "ACME"})).await, &third);
}

#[tokio::test]
async fn a_name_taken_in_one_tenant_is_free_in_another() {
    let app = TestApp::start().await;
    for tenant in ["a", "A", "b"] {
        app.tenant(tenant).create_customer("Acme").await;
    }
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_name() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let ask = |client: Client, name: &'static str| async move {
        client.post("/customers", &json!({ "name": name })).await
    };
    let names = ["Acme", "ACME", "acme", "ａｃｍｅ"];

    let asked = (0..40).map(|index| tokio::spawn(ask(client.clone(), names[index % names.len()])));
    let mut created = Vec::new();
    let mut refused = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        let answer = answer.await.expect("no panic");
        match answer.status.as_u16() {
            201 => created.push(answer.json()["customerId"].clone()),
            _ => refused.push(answer.expect_error(400, "BUSINESS_RULE_VIOLATION").json()),
        }
    }

    assert_eq!((created.len(), refused.len()), (1, 39));
    for refusal in refused {
        assert_eq!(refusal["existing"]["customerId"], created[0]);
    }
    assert_eq!(client.get("/customers").await.json()["total"], 1);
}
