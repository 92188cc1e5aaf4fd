//! Pages by number.

use std::time::Duration;

use serde_json::{Value, json};

use super::{column, names, rows, stopped_with};
use crate::support::{Setup, TestApp, clock_at};

#[tokio::test]
async fn a_page_has_twenty_rows_and_says_where_it_stands() {
    let directory =
        stopped_with(45, "name, owner_id, created_at, updated_at", "printf('C%02d', i), 'u', i, i").await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");

    for (path, page, count, more) in [
        ("/customers", 1, 20, true),
        ("/customers?page=1", 1, 20, true),
        ("/customers?page=2", 2, 20, true),
        ("/customers?page=3", 3, 5, false),
        ("/customers?page=4", 4, 0, false),
        ("/customers?page=5000", 5000, 0, false),
    ] {
        let answer = client.get(path).await;
        let body = answer.clone().expect(200).json();
        assert_eq!(rows(&answer).len(), count, "{path}");
        assert_eq!(body["total"], 45);
        assert_eq!(body["page"], page);
        assert_eq!(body["pageSize"], 20);
        assert_eq!(body["hasMore"], more, "{path}");
        assert_eq!(body["nextCursor"].is_string(), more, "{path}");
        let after_data = answer.text.rsplit_once(']').expect("data").1;
        let mut at = 0;
        for key in [",\"total\":", ",\"page\":", ",\"pageSize\":", ",\"hasMore\":", ",\"nextCursor\":"] {
            let found = after_data.find(key).expect(key);
            assert!(found >= at, "{after_data}");
            at = found;
        }
        assert!(answer.text.starts_with("{\"data\":["));
    }
}

#[tokio::test]
async fn the_last_page_that_is_full_has_no_more() {
    let directory =
        stopped_with(40, "name, owner_id, created_at, updated_at", "printf('C%02d', i), 'u', i, i").await;
    let app = Setup::default().over(&directory).start().await;

    let last = app.tenant("acme").get("/customers?page=2").await.expect(200).json();

    assert_eq!(last["data"].as_array().expect("rows").len(), 20);
    assert_eq!((&last["hasMore"], &last["nextCursor"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn page_sizes_are_1_to_500_and_pages_count_from_1() {
    let directory =
        stopped_with(510, "name, owner_id, created_at, updated_at", "printf('C%03d', i), 'u', i, i").await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    for (size, rows) in [("1", 1), ("500", 500), ("7", 7)] {
        let answer = client.get(&format!("/customers?pageSize={size}")).await.expect(200).json();
        assert_eq!(answer["data"].as_array().expect("rows").len(), rows);
        assert_eq!(answer["pageSize"], rows);
    }
    for parameter in ["pageSize", "page"] {
        for wrong in ["0", "-1", "x", "1.5", "1e2", "0x10", "99999999999999999999999", "١"] {
            let answer = client.get(&format!("/customers?{parameter}={wrong}")).await;
            let answer = answer.expect_error(400, "BAD_REQUEST").json();
            let message = answer["message"].as_str().expect("text");
            assert!(message.contains(parameter), "{message}");
        }
    }
    let answer = client.get("/customers?pageSize=501").await;
    answer.expect_error(400, "BAD_REQUEST");
}

#[tokio::test]
async fn pages_beyond_a_hundred_thousand_rows_lead_to_the_cursor() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    client.create_customer("A").await;
    for (page, size) in [(5001_u64, 20), (201, 500), (100_001, 1)] {
        let last = client.get(&format!("/customers?page={page}&pageSize={size}")).await;
        last.expect(200);
        for deeper in [page + 1, 4_294_967_295] {
            let answer = client.get(&format!("/customers?page={deeper}&pageSize={size}")).await;
            let answer = answer.expect_error(400, "BAD_REQUEST").json();
            let message = answer["message"].as_str().expect("text");
            assert!(message.contains("cursor") || message.contains("nextCursor"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_row_is_flat_and_has_the_keys_of_the_resource_in_order() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    let one = client.get(&format!("/customers/{id}")).await.expect(200);

    let list = client.get("/customers").await.expect(200);

    assert!(list.text.starts_with(&format!("{{\"data\":[{}],", one.text)), "{}", list.text);
    for (key, value) in rows(&list)[0].as_object().expect("an object") {
        assert!(!value.is_array() && !value.is_object(), "{key}: {value}");
    }
}

#[tokio::test]
async fn the_default_order_is_newest_first_and_stable_among_equals() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    for name in ["a1", "a2", "a3"] {
        client.create_customer(name).await; // all in the same millisecond
    }
    clock.advance(Duration::from_millis(1));
    let changed_later = client.create_customer("b1").await;
    client.create_customer("b2").await;
    clock.advance(Duration::from_secs(1));
    client.patch(&format!("/customers/{changed_later}"), &json!({"level": "A"})).await.expect(200);

    let all = names(&client, "/customers").await;

    assert_eq!(all, ["b2", "b1", "a3", "a2", "a1"]);
    let mut paged = Vec::new();
    for page in 1..=5 {
        paged.extend(names(&client, &format!("/customers?pageSize=1&page={page}")).await);
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn numbered_pages_make_up_the_list_in_every_order() {
    let directory = stopped_with(
        57,
        "name, owner_id, created_at, updated_at, next_follow_up_at",
        "printf('N%d', i % 7), 'u', i % 5, i % 3, nullif(i % 4, 0)",
    )
    .await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    for sort in
        ["-createdAt", "createdAt", "name,-updatedAt", "-nextFollowUpAt,name,createdAt", "lastFollowUpAt"]
    {
        let whole = column(&client.get(&format!("/customers?sort={sort}&pageSize=100")).await, "customerId");
        let mut paged = Vec::new();
        for page in 1..=6 {
            let path = format!("/customers?sort={sort}&pageSize=10&page={page}");
            paged.extend(column(&client.get(&path).await, "customerId"));
        }
        assert_eq!(paged, whole, "{sort}");
        let mut distinct = whole.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 57);
    }
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_has_an_empty_list() {
    let app = TestApp::start().await;
    let client = app.tenant("nobody");
    for (path, total) in [
        ("/customers", json!(0)),
        ("/customers?count=exact", json!(0)),
        ("/customers?count=none", Value::Null),
        ("/customers?status=1&sort=name&pageSize=5", json!(0)),
    ] {
        let answer = client.get(path).await.expect(200).json();
        let size = if path.contains("pageSize") { 5 } else { 20 };
        let expected = json!({
            "data": [], "total": total, "page": 1, "pageSize": size, "hasMore": false, "nextCursor": null,
        });
        assert_eq!(answer, expected, "{path}");
    }
    client.get("/customers/unknown").await.expect_error(404, "NOT_FOUND");
    assert_eq!(crate::support::files(&app.tenants()), Vec::<String>::new());
}
