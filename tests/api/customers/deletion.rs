//! Deleting customers: soft, and invisible from then on.

use serde_json::json;

use crate::support::{TestApp, Wire, db_select};

#[tokio::test]
async fn a_deleted_customer_is_gone_from_every_path() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let kept = client.create_customer("kept").await;
    let id = client.create_customer("deleted").await;
    let path = format!("/customers/{id}");

    let answer = client.delete(&path).await.expect(204);

    assert_eq!(answer.text, "");
    assert_eq!(answer.header("content-type"), "");
    let gone = [
        client.get(&path).await,
        client.patch(&path, &json!({"level": "A"})).await,
        client.delete(&path).await,
    ];
    for answer in gone {
        let answer = answer.expect_error(404, "NOT_FOUND");
        assert_eq!(answer.json()["message"], "客户不存在");
    }
    for (list, total) in [
        ("/customers".to_owned(), 1),
        ("/customers?count=exact".to_owned(), 1),
        ("/customers?sort=name".to_owned(), 1),
        (format!("/customers?customerId={id}"), 0),
    ] {
        let list = client.get(&list).await.expect(200).json();
        assert_eq!(list["total"], total);
        for row in list["data"].as_array().expect("rows") {
            assert_eq!(row["customerId"], kept.as_str());
        }
    }
}

#[tokio::test]
async fn a_deleted_customer_stays_in_the_file_with_its_time_and_next_version() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;
    client.delete(&format!("/customers/{id}")).await.expect(204);
    let directory = app.stop().await;

    let rows = db_select(
        directory.path(),
        "acme",
        "select id, name, version, deleted_at is not null as deleted from customers",
    )
    .await;

    assert_eq!(rows, [json!({"id": id, "name": "A", "version": 2, "deleted": 1})]);
}

#[tokio::test]
async fn of_many_that_delete_one_customer_one_succeeds() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let id = client.create_customer("A").await;

    let asked: Vec<_> = (0..20)
        .map(|_| {
            let (client, path) = (client.clone(), format!("/customers/{id}"));
            tokio::spawn(async move { client.delete(&path).await.status.as_u16() })
        })
        .collect();
    let mut statuses = Vec::new();
    for answer in asked {
        statuses.push(answer.await.expect("no panic"));
    }

    statuses.sort_unstable();
    assert_eq!(statuses[0], 204);
    assert!(statuses[1..].iter().all(|status| *status == 404), "{statuses:?}");
}

#[tokio::test]
async fn a_delete_needs_no_body_and_takes_an_object() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    for (index, add) in [
        (|request| request) as fn(Wire) -> Wire,
        |request| request.json("{}"),
        |request| request.json(r#"{"ifVersion": 1}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let id = client.create_customer(&format!("C{index}")).await;
        let request = app.wire("DELETE", &format!("/customers/{id}")).of("acme");
        add(request).send().await.expect(204);
    }
}
