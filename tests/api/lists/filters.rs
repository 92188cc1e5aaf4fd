//! Filters and orders.

use serde_json::json;

use super::{column, names, stopped_with};
use crate::support::{Client, Setup, TestApp};

/// Three customers that differ in every field that can be filtered by.
async fn three(client: &Client) -> Vec<String> {
    let mut ids = Vec::new();
    for (name, owner, status, lifecycle, [level, source, industry, region]) in [
        ("A", "u1", 1, "lead", ["x", "y", "y", "z"]),
        ("B", "u2", 2, "customer", ["y", "x", "z", "y"]),
        ("C", "u1", 2, "lead", ["Y", "z", "x", "x"]),
    ] {
        let body = json!({
            "name": name, "ownerId": owner, "status": status, "lifecycle": lifecycle, "level": level,
            "source": source, "industry": industry, "region": region,
        });
        let created = client.post("/customers", &body).await.expect(201).json();
        ids.push(created["customerId"].as_str().expect("an id").to_owned());
    }
    ids
}

#[tokio::test]
async fn each_filter_selects_what_it_says_and_all_of_them_hold_together() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let ids = three(&client).await;
    for (query, expected) in [
        (String::new(), "ABC"),
        (format!("customerId={}", ids[1]), "B"),
        ("ownerId=u1".into(), "AC"),
        ("status=1".into(), "A"),
        ("status=2".into(), "BC"),
        ("lifecycle=lead".into(), "AC"),
        ("lifecycle=churned".into(), ""),
        ("level=x".into(), "A"),
        ("level=y".into(), "B"),
        ("source=y".into(), "A"),
        ("source=x".into(), "B"),
        ("industry=x".into(), "C"),
        ("industry=z".into(), "B"),
        ("region=x".into(), "C"),
        ("region=z".into(), "A"),
        ("ownerId=u1&status=2".into(), "C"),
        ("ownerId=u2&status=1".into(), ""),
        ("status=2&lifecycle=customer&level=y&source=x&industry=z&region=y&ownerId=u2".into(), "B"),
        (format!("customerId={}&status=1", ids[1]), ""),
        ("status= 1 ".into(), "A"),
    ] {
        let answer = client.get(&format!("/customers?sort=name&{query}")).await;
        assert_eq!(column(&answer, "name").concat(), expected, "{query}");
        assert_eq!(answer.json()["total"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn an_unknown_enum_is_refused_and_an_unknown_id_selects_nothing() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    three(&client).await;
    for query in [
        "status=0",
        "status=3",
        "status=x",
        "status=1.0",
        "status=1,2",
        "lifecycle=LEAD",
        "lifecycle=won",
        "lifecycle=1",
    ] {
        let answer = client.get(&format!("/customers?{query}")).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
        let name = query.split('=').next().expect("a name");
        assert!(answer["message"].as_str().expect("text").contains(name), "{answer}");
    }
    for query in [
        "customerId=unknown",
        "customerId=%2e%2e%2f",
        "ownerId=nobody",
        "ownerId=%00",
        "level=%27%20or%201%3d1%20--",
        "level=%25",
        "level=_",
        "source=*",
    ] {
        let answer = client.get(&format!("/customers?{query}")).await.expect(200).json();
        assert_eq!((&answer["data"], &answer["total"]), (&json!([]), &json!(0)), "{query}");
    }
}

#[tokio::test]
async fn sort_takes_up_to_three_documented_keys_in_either_direction() {
    let directory = stopped_with(
        4,
        "name, owner_id, created_at, updated_at, next_follow_up_at, last_follow_up_at",
        // i:                1  2  3  4
        "substr('bbaa', i, 1), 'u', 1 + (i > 2), 5 - i, nullif(i % 3, 0), nullif(i - 1, 0)",
    )
    .await;
    let app = Setup::default().over(&directory).start().await;
    let client = app.tenant("acme");
    for (sort, expected) in [
        ("createdAt", "1 2 3 4"),
        ("-createdAt", "4 3 2 1"),
        ("updatedAt", "4 3 2 1"),
        ("name", "3 4 1 2"),
        ("-name", "2 1 4 3"),
        ("name,updatedAt", "4 3 2 1"),
        ("-name,updatedAt", "2 1 4 3"),
        ("-createdAt,updatedAt", "4 3 2 1"),
        ("createdAt,-updatedAt", "1 2 3 4"),
        ("nextFollowUpAt", "3 1 4 2"),
        ("-nextFollowUpAt", "2 4 1 3"),
        ("lastFollowUpAt", "1 2 3 4"),
        ("name , -lastFollowUpAt", "4 3 2 1"),
        ("createdAt,name,-updatedAt", "1 2 3 4"),
    ] {
        let ids = column(&client.get(&format!("/customers?sort={sort}")).await, "customerId");
        let expected: Vec<_> = expected.split(' ').map(|i| format!("c0000{i}")).collect();
        assert_eq!(ids, expected, "{sort}");
    }
    for wrong in [
        "phone",
        "contactPhone",
        "created_at",
        "Name",
        "%2Bname",
        "--name",
        "name,name",
        "name,-name",
        "name,",
        ",name",
        "-",
        "name;createdAt",
        "name desc",
        "createdAt,updatedAt,name,nextFollowUpAt",
        "id",
        "version",
    ] {
        let answer = client.get(&format!("/customers?sort={wrong}")).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
        let message = answer["message"].as_str().expect("text");
        assert!(message.contains("sort") && message.contains("createdAt"), "{wrong}: {message}");
    }
}

#[tokio::test]
async fn names_sort_by_their_characters() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for name in ["b", "C", "a", "中", "é", "Z", "10", "9"] {
        client.create_customer(&format!("{name} x{}", name.len())).await;
    }

    let sorted = names(&client, "/customers?sort=name").await;

    let mut expected = sorted.clone();
    expected.sort();
    assert_eq!((sorted.len(), &sorted), (8, &expected));
}
