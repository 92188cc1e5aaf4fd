//! JSON imports over HTTP (contract §9).

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Setup, TestApp, db_select, files, token_with};

async fn import(client: &Client, path: &str, items: Value) -> Value {
    let answer = client.send(Method::POST, path, Some(json!({ "items": items }).to_string())).await;
    answer.expect(202).json()
}

/// The places and codes of the rows that were refused.
fn refused(answer: &Value) -> Value {
    let rows = answer["errorsDetail"].as_array().expect("an array").iter();
    rows.map(|row| json!([row["index"], row["code"]])).collect()
}

#[tokio::test]
async fn good_rows_of_customers_are_added_and_bad_ones_reported() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let stored = client.create_customer("华为").await;

    let answer = import(
        &client,
        "/customers/import",
        json!([
            {"name": "中兴", "contactPhone": "13812345678", "level": "A", "colour": "red"},
            {"name": "ＨＵＡ为"},
            {"name": "华 为"},
            {"name": "  华为 "},
            {"name": "中兴"},
            {"name": ""},
            {"name": 7, "status": 3},
            "text",
            {"name": "联想", "contactPhone": "138****5678"},
            {"name": "小米", "status": "2"},
        ]),
    )
    .await;

    let id = |at: usize| answer["details"][at]["customerId"].clone();
    let detail =
        |at: usize, index: usize, name: &str| json!({"index": index, "customerId": id(at), "name": name});
    assert_eq!(
        answer["details"],
        json!([detail(0, 0, "中兴"), detail(1, 1, "ＨＵＡ为"), detail(2, 2, "华 为"), detail(3, 9, "小米")])
    );
    assert_eq!(
        (&answer["accepted"], &answer["created"], &answer["errors"]),
        (&json!(true), &json!(4), &json!(6))
    );
    let none: [Value; 0] = [];
    let row = |index: usize, reason: &str, code: &str, existing: Value, errors: Value| json!({"index": index, "reason": reason, "code": code, "existing": existing, "errors": errors});
    let field =
        |field: &str, code: &str, message: &str| json!({"field": field, "code": code, "message": message});
    assert_eq!(
        answer["errorsDetail"],
        json!([
            row(3, "客户名称已存在", "BUSINESS_RULE_VIOLATION", json!(stored), json!(none)),
            row(4, "客户名称已存在", "BUSINESS_RULE_VIOLATION", id(0), json!(none)),
            row(5, "请填写客户名称", "BAD_REQUEST", Value::Null, json!([field("name", "REQUIRED", "必填")])),
            row(
                6,
                "部分字段不符合要求",
                "VALIDATION_FAILED",
                Value::Null,
                json!([
                    field("name", "WRONG_TYPE", "应为字符串"),
                    field("status", "NOT_ALLOWED", "应为以下之一：1, 2")
                ]),
            ),
            row(7, "该行应为 JSON 对象", "VALIDATION_FAILED", Value::Null, json!(none)),
            row(
                8,
                "脱敏后的值不能写回，请填写完整的值",
                "MASKED_VALUE",
                Value::Null,
                json!([field("contactPhone", "MASKED", "脱敏后的值不能写回")]),
            ),
        ])
    );
    let added =
        client.get(&format!("/customers/{}", id(0).as_str().expect("an id"))).await.expect(200).json();
    assert_eq!(
        (&added["contactPhone"], &added["ownerId"], &added["version"]),
        (&json!("138****5678"), &json!("tester"), &json!(1))
    );
    assert_eq!(client.get("/customers").await.json()["total"], 5);
    app.stop().await;
}

#[tokio::test]
async fn good_rows_of_opportunities_are_added_and_bad_ones_reported() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;

    let answer = import(
        &client.clone().with("Accept-Language", "en"),
        "/opportunities/import",
        json!([
            {"customerId": customer, "title": "a", "amountCents": "100", "stage": " 3 ", "probabilityPct": ""},
            {"customerId": "unknown", "title": "b"},
            {"customerId": customer, "title": "c", "amountCents": "1.5"},
            {"customerId": customer, "title": "d", "stage": 5, "status": 1},
            {"customerId": customer, "title": "e", "amountCents": -1},
            {"customerId": customer, "title": "f", "stage": "5", "amountCents": 7.0},
            {"title": "g"},
        ]),
    )
    .await;

    assert_eq!((&answer["created"], &answer["errors"]), (&json!(2), &json!(5)));
    assert_eq!(
        refused(&answer),
        json!([
            [1, "BUSINESS_RULE_VIOLATION"],
            [2, "VALIDATION_FAILED"],
            [3, "VALIDATION_FAILED"],
            [4, "VALIDATION_FAILED"],
            [6, "VALIDATION_FAILED"],
        ])
    );
    assert_eq!(answer["errorsDetail"][0]["reason"], "The customer does not exist.");
    assert_eq!(answer["errorsDetail"][2]["errors"][0]["code"], "CONTRADICTION");
    assert_eq!((&answer["details"][1]["index"], &answer["details"][1]["title"]), (&json!(5), &json!("f")));
    let deal = async |at: usize| {
        let id = answer["details"][at]["opportunityId"].as_str().expect("an id");
        client.get(&format!("/opportunities/{id}")).await.expect(200).json()
    };
    let (open, won) = (deal(0).await, deal(1).await);
    assert_eq!(
        json!([open["amountCents"], open["stage"], open["probabilityPct"], open["currency"]]),
        json!([100, 3, 40, "CNY"])
    );
    assert_eq!(json!([won["amountCents"], won["status"], won["closedAt"]]), json!([7, 2, won["createdAt"]]));
    app.stop().await;
}

#[tokio::test]
async fn what_an_export_guarded_comes_back_as_it_was() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let names = ["=1+1", "'=quoted", "''@twice", "'quoted", "-x", "plain"];
    for name in names {
        client.create_customer(name).await;
    }
    let csv = client.get("/export/customers?sort=createdAt").await.expect(200).text;
    let cells = csv.lines().skip(1).map(|line| line.split(',').nth(1).expect("a name"));
    let items: Value = cells.map(|name| json!({"name": name, "level": "'+A"})).collect();

    let other = app.tenant("other");
    assert_eq!(import(&other, "/customers/import", items).await["created"], names.len());

    let page = other.get("/customers?sort=createdAt").await.json();
    let imported: Vec<_> = page["data"].as_array().expect("rows").iter().map(|row| &row["name"]).collect();
    assert_eq!(imported, names);
    assert_eq!(page["data"][0]["level"], "+A");
    app.stop().await;
}

#[tokio::test]
async fn a_request_id_protects_an_import_and_is_not_required() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let body = json!({"data": [{"name": "A"}, {"name": ""}]});
    let first = client.post_as("r", "/customers/import", &body).await.expect(202);
    let again = client.post_as("r", "/customers/import", &body).await.expect(202);
    assert_eq!((again.header("Idempotent-Replayed"), &again.text), ("true", &first.text));
    let other = client.post_as("r", "/customers/import", &json!({"items": [{"name": "B"}]})).await;
    other.expect_error(409, "IDEMPOTENT_CONFLICT");

    let without = import(&client, "/customers/import", json!([{"name": "A"}])).await;
    assert_eq!(refused(&without), json!([[0, "BUSINESS_RULE_VIOLATION"]]));
    assert_eq!(client.get("/customers").await.json()["total"], 1);
    app.stop().await;
}

#[tokio::test]
async fn every_row_leaves_in_the_ledger_what_a_post_leaves() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let by_post = json!({"name": "A", "contactPhone": "13812345678"});
    client.post_as("one", "/customers", &by_post).await.expect(201);
    let customer = client.create_customer("C").await;
    let deal = json!({"customerId": customer, "title": "t", "stage": 5});
    client.post_as("one", "/opportunities", &deal).await.expect(201);

    let rows = json!({"items": [{"name": "B", "contactPhone": "13812345678"}, {"name": "A"}]});
    client.post_as("many", "/customers/import", &rows).await.expect(202);
    client
        .post_as("many", "/opportunities/import", &json!({"items": [deal, {"title": "x"}]}))
        .await
        .expect(202);

    let directory = app.stop().await;
    let ledger = async |request: &str| {
        let journal = format!(
            "select actor, action, resource, version, request_id is not null as named, replace(changes, '\"B\"', '\"A\"') as changes \
             from journal where request_id = '{request}' order by seq"
        );
        let outbox = format!(
            "select type, state from outbox where record_id in (select record_id from journal where request_id = '{request}') order by seq"
        );
        (
            db_select(directory.path(), "acme", &journal).await,
            db_select(directory.path(), "acme", &outbox).await,
        )
    };
    let without_moments = |(journal, outbox): (Vec<Value>, Vec<Value>)| {
        let shown: Vec<_> = journal
            .into_iter()
            .map(|mut row| {
                let mut changes: Value =
                    serde_json::from_str(row["changes"].as_str().expect("a text")).expect("JSON");
                changes.as_object_mut().expect("an object").remove("closedAt");
                row["changes"] = changes;
                row
            })
            .collect();
        (shown, outbox)
    };
    let (one, many) = (without_moments(ledger("one").await), without_moments(ledger("many").await));
    assert_eq!(one.0.len(), 3, "created, created and closed: {one:?}");
    assert_eq!(many, one);
}

#[tokio::test]
async fn a_confined_caller_imports_their_own_and_refers_to_their_own() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let theirs = client.create_customer("华为").await;
    let claims = json!({"sub": "li", "tenantId": "acme", "dataScope": "self", "exp": 4_000_000_000_u64});
    let li = app.anonymous().with_token(&token_with(&claims));

    let customers = json!([{"name": "中兴"}, {"name": "联想", "ownerId": "tester"}, {"name": "华为"}]);
    let answer = import(&li, "/customers/import", customers).await;
    assert_eq!(refused(&answer), json!([[1, "FORBIDDEN"], [2, "BUSINESS_RULE_VIOLATION"]]));
    assert_eq!(answer["errorsDetail"][1]["existing"], Value::Null, "whose name it is, is not told");
    let own = answer["details"][0]["customerId"].clone();
    let deals = json!([{"customerId": own, "title": "a"}, {"customerId": theirs, "title": "b"}]);
    let answer = import(&li, "/opportunities/import", deals).await;
    assert_eq!(refused(&answer), json!([[1, "BUSINESS_RULE_VIOLATION"]]));
    app.stop().await;
}

#[tokio::test]
async fn rows_must_be_few_enough_and_in_the_right_place() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let rows = |count: usize| -> Value { (0..count).map(|n| json!({"name": format!("n{n}")})).collect() };
    let send =
        async |body: Value| client.send(Method::POST, "/customers/import", Some(body.to_string())).await;
    for body in [
        json!({}),
        json!({"items": {}}),
        json!({"items": "x"}),
        json!({"rows": []}),
        json!({"items": null}),
        json!({"items": rows(2001)}),
    ] {
        send(body).await.expect_error(400, "BAD_REQUEST");
    }
    assert!(files(&app.tenants()).is_empty(), "nothing is created");
    for body in [json!({"items": []}), json!({"items": [{"name": ""}]})] {
        assert_eq!(send(body).await.expect(202).json()["created"], 0);
    }
    let deals = import(&client, "/opportunities/import", json!([{"customerId": "x", "title": "t"}])).await;
    assert_eq!(refused(&deals), json!([[0, "BUSINESS_RULE_VIOLATION"]]));
    assert!(
        files(&app.tenants()).is_empty(),
        "nothing that could be written is no reason to create a tenant"
    );
    assert_eq!(send(json!({"items": rows(2000)})).await.expect(202).json()["created"], 2000);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_biggest_imports_are_committed_once_while_others_write() {
    let app = Setup::default().start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let full: Value = (0..2000)
        .map(|n| json!({"name": format!("n{n}"), "contactPhone": "13812345678", "contactEmail": "a@example.com", "level": "A", "source": "展会"}))
        .collect();
    let long: Value =
        (0..250).map(|n| json!({"name": format!("long{n}"), "remark": "\n".repeat(15_000)+ "x"})).collect();
    let deals: Value = (0..2000)
        .map(|n| json!({"customerId": customer, "title": format!("t{n}"), "amountCents": n, "stage": 5}))
        .collect();
    for (path, items) in
        [("/customers/import", full), ("/customers/import", long), ("/opportunities/import", deals)]
    {
        let rows = items.as_array().expect("rows").len();
        let body = json!({ "items": items }).to_string();
        assert!(body.len() < 8 << 20, "{}", body.len());
        let (before, bytes, start) = (app.figure("write_commits").await, body.len(), Instant::now());
        let importing = tokio::spawn({
            let client = client.clone();
            async move { client.send(Method::POST, path, Some(body)).await.expect(202).json() }
        });
        let mut slowest = std::time::Duration::ZERO;
        let mut others = 0;
        while !importing.is_finished() {
            let start = Instant::now();
            client
                .patch(&format!("/customers/{customer}"), &json!({"level": others.to_string()}))
                .await
                .expect(200);
            slowest = slowest.max(start.elapsed());
            others += 1;
        }
        assert_eq!(importing.await.expect("no panic")["created"], rows);
        println!(
            "{rows} rows, {bytes} bytes: {:?}; the slowest of {others} other writes: {slowest:?}",
            start.elapsed()
        );
        assert!(app.figure("write_commits").await - before <= others + 1);
    }
    assert_eq!(client.get("/customers?count=exact").await.json()["total"], 2251);
    assert_eq!(client.get("/opportunities?count=exact&status=2").await.json()["total"], 2000);
    app.stop().await;
}
