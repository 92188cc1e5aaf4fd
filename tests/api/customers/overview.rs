//! `GET /customers/{id}/360` (contract §9).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Setup, TestApp, clock_at, token_with};

async fn new(client: &Client, path: &str, body: Value) -> Value {
    client.post(path, &body).await.expect(201).json()
}

#[tokio::test]
async fn a_customer_is_shown_with_what_hangs_on_it_the_newest_first() {
    let clock = clock_at("2026-11-22T08:00:00Z");
    let app = Setup::default().at(clock.clone()).start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    let other = client.create_customer("中兴").await;
    let (mut contacts, mut deals, mut follow_ups) = (Vec::new(), Vec::new(), Vec::new());
    for (n, fields) in [
        json!({"amountCents": 5}),
        json!({"amountCents": 100, "currency": "USD", "stage": 4}),
        json!({"amountCents": 7, "stage": 5}),
        json!({"amountCents": 9, "stage": 6}),
        json!({"amountCents": 11, "stage": 6}),
    ]
    .into_iter()
    .enumerate()
    {
        clock.advance(Duration::from_secs(1));
        let contact = json!({"customerId": customer, "name": format!("n{n}"), "phone": "13812345678"});
        contacts.insert(0, new(&client, "/contacts", contact).await);
        let mut deal = json!({"customerId": customer, "title": format!("t{n}")});
        deal.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        deals.insert(0, new(&client, "/opportunities", deal).await);
        // The later it is written, the earlier it took place.
        let day = format!("2026-11-{:02}", 20 - n);
        let follow_up = json!({"customerId": customer, "content": "c", "occurredAt": day, "nextFollowUpAt": "2026-12-01"});
        follow_ups.push(new(&client, "/follow-ups", follow_up).await);
        new(&client, "/contacts", json!({"customerId": other, "name": "x"})).await;
    }
    let gone = new(&client, "/contacts", json!({"customerId": customer, "name": "gone"})).await;
    client.delete(&format!("/contacts/{}", gone["contactId"].as_str().expect("an id"))).await.expect(204);

    let overview = client.get(&format!("/customers/{customer}/360")).await.expect(200).json();

    let expected = json!({
        "customer": client.get(&format!("/customers/{customer}")).await.json(),
        "contacts": contacts,
        "opportunities": deals,
        "followUps": follow_ups,
        "relationships": [],
        "stats": {
            "contactCount": 5, "opportunityCount": 5, "followUpCount": 5,
            "openCount": 2, "wonCount": 1, "lostCount": 2, "winRatePct": 33.3,
            "openByCurrency": [
                {"currency": "CNY", "count": 1, "totalAmountCents": 5, "weightedCents": 1},
                {"currency": "USD", "count": 1, "totalAmountCents": 100, "weightedCents": 60},
            ],
            "wonByCurrency": [{"currency": "CNY", "count": 1, "totalAmountCents": 7}],
            "lastFollowUpAt": "2026-11-19T16:00:00.000Z",
            "nextFollowUpAt": "2026-11-30T16:00:00.000Z",
        },
    });
    assert_eq!(overview, expected);
    assert_eq!(overview["contacts"][0]["phone"], "138****5678");
    app.stop().await;
}

#[tokio::test]
async fn no_more_than_a_hundred_of_each_kind_are_shown_and_all_are_counted() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let customer = client.create_customer("华为").await;
    for n in 0..101 {
        new(&client, "/contacts", json!({"customerId": customer, "name": format!("n{n}")})).await;
    }
    let overview = client.get(&format!("/customers/{customer}/360")).await.expect(200).json();
    assert_eq!(overview["contacts"].as_array().map(Vec::len), Some(100));
    assert_eq!(overview["contacts"][0]["name"], "n100");
    assert_eq!(overview["stats"]["contactCount"], 101);
    app.stop().await;
}

#[tokio::test]
async fn a_confined_caller_sees_what_is_theirs_of_their_customers_and_no_other_customer() {
    let app = TestApp::start().await;
    let client = app.tenant("acme");
    let theirs = new(&client, "/customers", json!({"name": "华为", "ownerId": "li"})).await;
    let id = theirs["customerId"].as_str().expect("an id");
    let other = client.create_customer("中兴").await;
    new(&client, "/opportunities", json!({"customerId": id, "title": "t", "amountCents": 9})).await;
    new(&client, "/contacts", json!({"customerId": id, "name": "n"})).await;
    let claims = json!({"sub": "li", "tenantId": "acme", "dataScope": "self", "exp": 4_000_000_000_u64});
    let li = app.anonymous().with_token(&token_with(&claims));

    let overview = li.get(&format!("/customers/{id}/360")).await.expect(200).json();

    assert_eq!(overview["contacts"].as_array().map(Vec::len), Some(1), "what hangs on their customer");
    assert_eq!(overview["opportunities"], json!([]), "the deal is somebody else's");
    assert_eq!(
        (&overview["stats"]["opportunityCount"], &overview["stats"]["openByCurrency"]),
        (&json!(0), &json!([]))
    );
    li.get(&format!("/customers/{other}/360")).await.expect_error(404, "NOT_FOUND");
    client.get("/customers/unknown/360").await.expect_error(404, "NOT_FOUND");
    app.tenant("other").get(&format!("/customers/{id}/360")).await.expect_error(404, "NOT_FOUND");
    client.delete(&format!("/customers/{id}")).await.expect(204);
    client.get(&format!("/customers/{id}/360")).await.expect_error(404, "NOT_FOUND");
    app.stop().await;
}
