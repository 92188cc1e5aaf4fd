//! Keywords over HTTP (contract §7).

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{Client, Setup, TestApp, clock_at, db_open, token};

/// The rows that a list finds, as their names.
async fn found(client: &Client, list: &str, keyword: &str) -> Vec<String> {
    let answer = client.get(&format!("/{list}{keyword}")).await.expect(200).json();
    let rows = answer["data"].as_array().expect("rows");
    if let Some(total) = answer["total"].as_u64() {
        assert!(total >= rows.len() as u64, "{list}{keyword}: {total}");
    }
    let name = |row: &Value| row.get("name").or(row.get("title")).and_then(Value::as_str).map(str::to_owned);
    rows.iter().map(|row| name(row).expect("a name")).collect()
}

fn q(keyword: &str) -> String {
    let encoded: String = keyword.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("?keyword={encoded}")
}

async fn create(client: &Client, path: &str, body: &Value) -> String {
    let record = client.post(path, body).await.expect(201).json();
    let id = match path {
        "/contacts" => &record["contactId"],
        "/opportunities" => &record["opportunityId"],
        _ => &record["customerId"],
    };
    id.as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn records_are_found_by_any_part_of_their_names_and_addresses() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let huawei = json!({"name": "华为技术有限公司", "contactEmail": "Sales@Huawei.example"});
    let huawei = create(&client, "/customers", &huawei).await;
    create(&client, "/customers", &json!({"name": "ＡＣＭＥ Café"})).await;
    create(&client, "/customers", &json!({"name": "100%_off"})).await;
    let li = json!({"customerId": huawei, "name": "李雷", "email": "lei.li@huawei.example"});
    create(&client, "/contacts", &li).await;
    create(&client, "/contacts", &json!({"customerId": huawei, "name": "韩梅梅"})).await;
    create(&client, "/opportunities", &json!({"customerId": huawei, "title": "云平台二期"})).await;
    create(&client, "/opportunities", &json!({"customerId": huawei, "title": "ERP"})).await;

    let customers: [(&str, &[&str]); 17] = [
        ("华", &["华为技术有限公司"]),
        ("技术", &["华为技术有限公司"]),
        ("华为技术有限公司", &["华为技术有限公司"]),
        ("华术", &[]),
        ("公司 华为", &["华为技术有限公司"]),
        ("公司 acme", &[]),
        ("acme", &["ＡＣＭＥ Café"]),
        ("cm", &["ＡＣＭＥ Café"]),
        ("ＣＡＦＥ acme", &["ＡＣＭＥ Café"]),
        ("café", &["ＡＣＭＥ Café"]),
        ("huawei", &["华为技术有限公司"]),
        ("SALES@", &["华为技术有限公司"]),
        ("%", &["100%_off"]),
        ("_", &["100%_off"]),
        ("0%_", &["100%_off"]),
        ("\" OR *", &[]),
        ("李雷", &[]),
    ];
    for (keyword, names) in customers {
        assert_eq!(found(&client, "customers", &q(keyword)).await, names, "{keyword}");
        assert_eq!(
            found(&client, "customers", &q(keyword).replace("keyword", "q")).await,
            names,
            "{keyword}"
        );
    }
    for (list, keyword, names) in [
        ("contacts", "雷", &["李雷"] as &[&str]),
        ("contacts", "LEI.", &["李雷"]),
        ("contacts", "梅", &["韩梅梅"]),
        ("contacts", "梅梅梅", &[]),
        ("opportunities", "平台", &["云平台二期"]),
        ("opportunities", "erp", &["ERP"]),
        ("opportunities", "r", &["ERP"]),
    ] {
        assert_eq!(found(&client, list, &q(keyword)).await, names, "{list} {keyword}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_phone_is_found_whole_or_by_its_last_four_digits_and_cannot_be_guessed() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = json!({"name": "张三", "contactPhone": "+86 138-1234-5678"});
    let customer = create(&client, "/customers", &customer).await;
    let contact = json!({"customerId": customer, "name": "李四", "phone": "010-87654321"});
    create(&client, "/contacts", &contact).await;

    for keyword in ["13812345678", "138 1234 5678", "+8613812345678", "5678", "张 5678"] {
        assert_eq!(found(&client, "customers", &q(keyword)).await, ["张三"], "{keyword}");
    }
    for keyword in ["1087654321", "01087654321", "+86 10 8765 4321", "4321"] {
        assert_eq!(found(&client, "contacts", &q(keyword)).await, ["李四"], "{keyword}");
    }
    // Every other part of the number.
    for digits in ["8613812345678", "13812345678"] {
        for (from, to) in
            (0..digits.len()).flat_map(|from| (from + 1..=digits.len()).map(move |to| (from, to)))
        {
            let part = &digits[from..to];
            if !["8613812345678", "13812345678", "5678"].contains(&part) {
                assert_eq!(found(&client, "customers", &q(part)).await, [""; 0], "{part}");
            }
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_masked_address_is_found_whole_only() {
    let app = Setup::default().with("CRM_MASK_EMAIL", "1").start().await;
    let client = app.tenant("acme");
    create(&client, "/customers", &json!({"name": "张三", "contactEmail": "san@example.com"})).await;
    assert_eq!(found(&client, "customers", &q("SAN@example.com")).await, ["张三"]);
    for part in ["san", "s", "@", "san@example.co", "an@example.com"] {
        assert_eq!(found(&client, "customers", &q(part)).await, [""; 0], "{part}");
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_written_is_found_at_once_and_what_was_there_before_is_not() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for round in 0..20 {
        let id = client.create_customer(&format!("甲{round}公司")).await;
        assert_eq!(found(&client, "customers", &q(&format!("甲{round}公"))).await.len(), 1);
        let path = format!("/customers/{id}");
        client.patch(&path, &json!({"name": format!("乙{round}集团")})).await.expect(200);
        assert_eq!(found(&client, "customers", &q(&format!("甲{round}公"))).await.len(), 0);
        assert_eq!(found(&client, "customers", &q(&format!("乙{round}集"))).await.len(), 1);
        client.patch(&path, &json!({"contactPhone": format!("139{round:08}")})).await.expect(200);
        assert_eq!(found(&client, "customers", &q(&format!("139{round:08}"))).await.len(), 1);
        client.delete(&path).await.expect(204);
        assert_eq!(found(&client, "customers", &q(&format!("乙{round}集"))).await.len(), 0);
        client.send(Method::POST, &format!("{path}/restore"), None).await.expect(200);
        assert_eq!(found(&client, "customers", &q(&format!("乙{round}集"))).await.len(), 1);
    }
    app.stop().await;
}

#[tokio::test]
async fn the_index_holds_what_the_tables_hold_after_creating_renaming_deleting_and_purging() {
    let clock = clock_at("2026-01-01T00:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    for round in 0..10 {
        let id = client.create_customer(&format!("甲{round}公司")).await;
        let contact = json!({"customerId": id, "name": "李雷", "phone": "13812345678"});
        let contact = create(&client, "/contacts", &contact).await;
        create(&client, "/opportunities", &json!({"customerId": id, "title": "项目"})).await;
        client.patch(&format!("/contacts/{contact}"), &json!({"name": "韩梅梅"})).await.expect(200);
        client.patch(&format!("/customers/{id}"), &json!({"name": format!("乙{round}")})).await.expect(200);
        if round % 2 == 0 {
            client.delete(&format!("/customers/{id}")).await.expect(204);
        }
    }
    clock.advance(Duration::from_secs(40 * 86_400));
    let last = client.create_customer("last").await;
    for _ in 0..3 {
        // Emptying the trash, a slice at a time.
        let id = client.create_customer("another").await;
        client.delete(&format!("/customers/{id}")).await.expect(204);
    }
    client.delete(&format!("/customers/{last}")).await.expect(204);
    let directory = app.stop().await;

    let mut file = db_open(directory.path(), "acme").await;
    for table in ["customers", "contacts", "opportunities"] {
        // With rank 1, FTS5 compares the index with the table's text: https://sqlite.org/fts5.html#the_integrity_check_command
        let check =
            format!("insert into {table}_search ({table}_search, rank) values ('integrity-check', 1)");
        sqlx::query(sqlx::AssertSqlSafe(check)).execute(&mut file).await.expect("they agree");
        let count = format!("select count(*) from {table} where created_at < 1770000000000");
        let left: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut file).await.expect("counted");
        assert_eq!(left, 5, "{table}: the deleted ones are gone for good");
    }
    file.close().await.expect("closed");
}

#[tokio::test]
async fn one_finds_only_what_one_may_see() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let mine = app.tenant("acme").with_token(&token("acme", "zhang")).with("X-Data-Scope", "self");
    create(&client, "/customers", &json!({"name": "华为", "ownerId": "zhang"})).await;
    create(&client, "/customers", &json!({"name": "华谊", "ownerId": "li"})).await;
    app.tenant("other").create_customer("华润").await;

    assert_eq!(found(&client, "customers", &format!("{}&sort=name", q("华"))).await, ["华为", "华谊"]);
    assert_eq!(found(&mine, "customers", &q("华")).await, ["华为"]);
    let total = mine.get(&format!("/customers{}", q("华"))).await.expect(200).json()["total"].clone();
    assert_eq!(total, 1);
    assert_eq!(found(&mine, "customers", &q("谊")).await, [""; 0]);
    app.stop().await;
}

#[tokio::test]
async fn exports_and_reports_are_narrowed_by_a_keyword_too() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    client.create_customer("中兴").await;
    for (title, amount) in [("云平台", 100), ("数据库", 1000)] {
        let deal = json!({"customerId": customer, "title": title, "amountCents": amount});
        create(&client, "/opportunities", &deal).await;
    }

    let csv = client.get(&format!("/export/customers{}", q("华"))).await.expect(200).text;
    assert!(csv.contains("华为") && !csv.contains("中兴"), "{csv}");
    assert_eq!(found(&client, "customers/export", &q("华")).await, ["华为"]);
    let funnel = client.get(&format!("/reports/funnel{}", q("平台"))).await.expect(200).json();
    let amounts =
        funnel["data"].as_array().expect("stages").iter().map(|row| row["totalAmountCents"].as_i64());
    assert_eq!(amounts.flatten().sum::<i64>(), 100, "{funnel}");
    app.stop().await;
}

/// Whether many rows are found or few, in whatever order, by pages or by cursors: the same rows.
#[tokio::test]
async fn the_pages_of_a_search_hold_every_row_once_in_their_order() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let name = |i: usize| {
        format!(
            "{}{:04}{}",
            if i.is_multiple_of(2) { "华" } else { "中" },
            i * 7919 % 4001,
            if i.is_multiple_of(50) { "少" } else { "" }
        )
    };
    for items in (0..4000).collect::<Vec<_>>().chunks(2000) {
        let items: Vec<_> =
            items.iter().map(|i| json!({"name": name(*i), "level": format!("L{}", i % 3)})).collect();
        let body = json!({ "items": items }).to_string();
        client.send(Method::POST, "/customers/import", Some(body)).await.expect(202);
    }

    for (keyword, rows) in [("华", 2000), ("少", 80), ("华 少", 80), ("中 少", 0), ("华 1", 0), ("华 7", 0)]
    {
        let expected: BTreeSet<String> =
            (0..4000).map(name).filter(|name| keyword.split(' ').all(|word| name.contains(word))).collect();
        assert!(rows == 0 || expected.len() == rows, "{keyword}: {}", expected.len());
        for sort in ["-createdAt", "name", "-name", "-updatedAt,name"] {
            let list = format!("{}&sort={sort}&pageSize=300", q(keyword));
            let (mut by_page, mut by_cursor, mut next) = (Vec::new(), Vec::new(), Some(String::new()));
            while let Some(cursor) = next {
                let answer = client.get(&format!("/customers{list}{cursor}")).await.expect(200).json();
                assert_eq!(answer["total"], expected.len(), "{keyword} {sort}");
                by_cursor.extend(answer["data"].as_array().expect("rows").clone());
                next = answer["nextCursor"].as_str().map(|cursor| format!("&cursor={cursor}"));
            }
            for page in 1..=expected.len().div_ceil(300) {
                by_page.extend(found(&client, "customers", &format!("{list}&page={page}")).await);
            }
            let by_cursor: Vec<_> =
                by_cursor.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect();
            assert_eq!(by_cursor, by_page, "{keyword} {sort}");
            assert_eq!(by_cursor.len(), expected.len(), "{keyword} {sort}");
            assert_eq!(by_cursor.iter().cloned().collect::<BTreeSet<_>>(), expected, "{keyword} {sort}");
            if sort == "name" {
                assert!(by_cursor.is_sorted(), "{keyword}");
            }
        }
        let narrowed = found(&client, "customers", &format!("{}&level=L1&pageSize=500", q(keyword))).await;
        let of_level = (0..4000).filter(|i| i % 3 == 1 && expected.contains(&name(*i))).count();
        assert_eq!(narrowed.len(), of_level.min(500), "{keyword}");
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_keyword_is_refused_and_an_empty_one_is_none() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("华为").await;
    for keyword in ["字".repeat(101), "\u{301}".to_owned(), "\u{7}".to_owned()] {
        client.get(&format!("/customers{}", q(&keyword))).await.expect_error(400, "VALIDATION_FAILED");
    }
    client.get("/customers?keyword=a&q=a").await.expect_error(400, "BAD_REQUEST");
    client.get("/follow-ups?keyword=a").await.expect_error(400, "UNKNOWN_PARAMETER");
    for none in ["?keyword=", "?q=%20%20", "?keyword=&q=为"] {
        assert_eq!(found(&client, "customers", none).await, ["华为"], "{none}");
    }
    app.stop().await;
}
