//! What events of other systems do (contract §10).

use serde_json::{Value, json};

use super::inbound::{World, contract, outcome, task};
use crate::support::token_with;

#[tokio::test]
async fn a_signed_contract_wins_the_customers_only_open_deal_over_what_was_signed() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let deal = world.deal(&customer, "服务器", 100).await;
    let event = contract(
        "e-1",
        &json!({
            "contractId": "C-1", "contractNo": "HT-1", "customerId": customer, "amountCents": 250, "currency": "USD",
            "signedAt": "2026-03-01T08:00:00Z", "unknown": {"is": "ignored"},
        }),
    );

    let received = world.send(&event).await;

    assert_eq!(received, json!({"eventId": "e-1", "state": "applied", "reason": null, "duplicate": false}));
    let won = world.opportunity(&deal).await;
    assert_eq!((&won["stage"], &won["status"], &won["probabilityPct"]), (&json!(5), &json!(2), &json!(100)));
    assert_eq!((&won["amountCents"], &won["currency"]), (&json!(250), &json!("USD")));
    assert_eq!(won["closedAt"], "2026-03-01T08:00:00.000Z");
    let customer = world.client.get(&format!("/customers/{customer}")).await.expect(200).json();
    assert_eq!(customer["lifecycle"], "customer");
    assert_eq!(world.outbox("crm.opportunity.closed").await, 1);
    let [row] = world.inbox("state=applied").await.try_into().expect("one row");
    assert_eq!((&row["resourceId"], &row["subject"]), (&json!(deal), &json!("contract:C-1")));
    assert!(!row.to_string().contains("HT-1"), "what the sender wrote is not shown");
    let manager = world.app.anonymous().with_token(&token_with(&json!({
        "sub": "m", "tenantId": "acme", "role": "manager", "exp": 4_000_000_000_u64,
    })));
    let log = manager.get("/audit-logs?resourceType=contract").await.expect(200).json();
    assert_eq!(
        (&log["data"][0]["operationType"], &log["data"][0]["resourceId"]),
        (&json!("contract.sign"), &json!("C-1"))
    );
    assert_eq!(log["data"][0]["userId"], "erp-sync");
}

#[tokio::test]
async fn which_deal_a_contract_means_is_never_guessed() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let cheap = world.deal(&customer, "A", 100).await;
    let dear = world.deal(&customer, "B", 900).await;
    let named = |id: &str, data: Value| {
        let mut data = data;
        data["contractId"] = json!(id);
        contract(&format!("e-{id}"), &data)
    };

    let several = world.send(&named("1", json!({"customerId": customer, "amountCents": 500}))).await;
    assert_eq!(outcome(&several), ("needs_review", "ambiguous"));
    let [row] = world.inbox("state=needs_review").await.try_into().expect("one row");
    assert_eq!(row["candidateIds"], json!([cheap, dear]));
    let same_amount = world.send(&named("2", json!({"customerId": customer, "amountCents": 900}))).await;
    assert_eq!(outcome(&same_amount), ("applied", "-"), "the only one over the same amount");
    assert_eq!(world.opportunity(&dear).await["status"], 2);

    let lost = world.deal(&customer, "C", 1).await;
    world.client.patch(&format!("/opportunities/{lost}"), &json!({"status": 3})).await.expect(200);
    let of_lost = world.send(&named("3", json!({"opportunityId": lost}))).await;
    assert_eq!(outcome(&of_lost), ("needs_review", "opportunity-lost"));
    assert_eq!(world.opportunity(&lost).await["status"], 3);

    let other = world.client.create_customer("中兴").await;
    let contradiction = world.send(&named("4", json!({"customerId": other, "opportunityId": cheap}))).await;
    assert_eq!(outcome(&contradiction), ("needs_review", "contradiction"));
    let none = world.send(&named("5", json!({"customerId": other}))).await;
    assert_eq!(outcome(&none), ("needs_review", "no-opportunity"));
    let unknown = world.send(&named("6", json!({"customerId": "nobody"}))).await;
    assert_eq!(outcome(&unknown), ("needs_review", "customer-unknown"));
    let nothing = world.send(&named("7", json!({"amountCents": 1}))).await;
    assert_eq!(outcome(&nothing), ("needs_review", "customer-missing"));
    let deleted = world.deal(&customer, "D", 1).await;
    world.client.delete(&format!("/opportunities/{deleted}")).await.expect(204);
    let of_deleted = world.send(&named("8", json!({"opportunityId": deleted, "customerId": customer}))).await;
    assert_eq!(outcome(&of_deleted), ("needs_review", "opportunity-deleted"));
    world.client.delete(&format!("/customers/{other}")).await.expect(204);
    let of_deleted = world.send(&named("9", json!({"customerId": other}))).await;
    assert_eq!(outcome(&of_deleted), ("needs_review", "customer-deleted"));
    assert_eq!(world.opportunity(&cheap).await["status"], 1, "nothing was guessed");
    for (data, reason) in [
        (json!({"contractId": null}), "no-contract"),
        (json!({"amountCents": -5}), "invalid-amount"),
        (json!({"currency": "RMB"}), "invalid-currency"),
        (json!({"signedAt": "soon"}), "invalid-date"),
    ] {
        let mut broken = json!({"contractId": reason, "customerId": customer});
        broken.as_object_mut().expect("an object").extend(data.as_object().expect("an object").clone());
        let received = world.send(&contract(&format!("e-{reason}"), &broken)).await;
        assert_eq!(outcome(&received), ("failed", reason));
    }
}

#[tokio::test]
async fn a_contract_of_a_deal_that_was_won_by_hand_changes_nothing_of_it() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let deal = world.deal(&customer, "服务器", 100).await;
    world.client.patch(&format!("/opportunities/{deal}"), &json!({"status": 2})).await.expect(200);
    let before = world.opportunity(&deal).await;

    let received = world
        .send(&contract("e-1", &json!({"contractId": "1", "opportunityId": deal, "amountCents": 7})))
        .await;

    assert_eq!(outcome(&received), ("applied", "-"));
    assert_eq!(world.opportunity(&deal).await, before);
    assert_eq!(world.outbox("crm.opportunity.closed").await, 1, "the closing by hand");
}

#[tokio::test]
async fn one_contract_wins_one_deal_and_no_other_takes_its_place() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let (first, second) = (world.deal(&customer, "A", 100).await, world.deal(&customer, "B", 900).await);
    let signed = |id: &str, more: Value| {
        let mut data =
            json!({"contractId": "1", "customerId": customer, "signedAt": format!("2026-03-0{id}")});
        data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        contract(&format!("e-{id}"), &data)
    };
    assert_eq!(outcome(&world.send(&signed("1", json!({"amountCents": 100}))).await), ("applied", "-"));
    let other = world.send(&signed("2", json!({"opportunityId": second}))).await;
    assert_eq!(outcome(&other), ("needs_review", "contradiction"));
    let row = world.inbox("state=needs_review").await.remove(0);
    assert_eq!(row["candidateIds"], json!([first, second]));
    assert_eq!(world.opportunity(&second).await["status"], 1);

    world.client.delete(&format!("/opportunities/{first}")).await.expect(204);
    let gone = world.send(&signed("3", json!({"amountCents": 900}))).await;
    assert_eq!(outcome(&gone), ("needs_review", "opportunity-deleted"));
    assert_eq!(world.opportunity(&second).await["status"], 1);
}

#[tokio::test]
async fn of_more_deals_than_can_be_named_none_is_taken_for_the_only_one() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    for number in 0..21 {
        world.deal(&customer, "A", if number == 0 { 7 } else { 100 }).await;
    }
    let event = contract("e-1", &json!({"contractId": "1", "customerId": customer, "amountCents": 7}));
    assert_eq!(outcome(&world.send(&event).await), ("needs_review", "ambiguous"));
    let row = world.inbox("").await.remove(0);
    assert_eq!(row["candidateIds"].as_array().map(Vec::len), Some(20));
}

#[tokio::test]
async fn a_task_about_a_follow_up_whose_contact_was_deleted_is_for_a_person_and_the_others_are_applied() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let contact = json!({"customerId": customer, "name": "李雷"});
    let contact = world.client.post("/contacts", &contact).await.expect(201).json()["contactId"].clone();
    let follow_up = json!({"contactId": contact, "content": "电话"});
    let follow_up =
        world.client.post("/follow-ups", &follow_up).await.expect(201).json()["followUpId"].clone();
    let contact = contact.as_str().expect("an id");
    world.client.delete(&format!("/contacts/{contact}")).await.expect(204);

    let events = json!([
        task("e-1", &json!({"taskId": "1", "followUpId": follow_up})),
        task("e-2", &json!({"taskId": "2", "customerId": customer})),
    ]);
    let received = world.send(&events).await;

    assert_eq!(outcome(&received[0]), ("needs_review", "record-deleted"));
    assert_eq!(outcome(&received[1]), ("applied", "-"));
}

/// The state of a tenant as far as received events could change it.
async fn state_of(world: &World, customer: &str) -> Value {
    let deals = world.client.get("/opportunities?sort=createdAt").await.expect(200).json();
    let rows = deals["data"].as_array().expect("rows").iter();
    let deals: Vec<_> = rows
        .map(|deal| {
            json!([deal["title"], deal["status"], deal["amountCents"], deal["currency"], deal["closedAt"]])
        })
        .collect();
    let follow_ups = world.client.get("/follow-ups").await.expect(200).json();
    let mut follow_ups: Vec<_> = follow_ups["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| json!([row["content"], row["occurredAt"], row["ownerId"]]).to_string())
        .collect();
    follow_ups.sort();
    let customer = world.client.get(&format!("/customers/{customer}")).await.expect(200).json();
    let mut inbox: Vec<_> = world
        .inbox("pageSize=100")
        .await
        .iter()
        .map(|row| {
            json!([row["eventId"], row["state"] == "needs_review" || row["state"] == "failed"]).to_string()
        })
        .collect();
    inbox.sort();
    json!([deals, follow_ups, customer["lifecycle"], inbox, world.outbox("crm.opportunity.closed").await])
}

#[tokio::test]
async fn events_that_come_three_times_and_in_any_order_leave_one_state() {
    let mut states = Vec::new();
    for seed in 0..12_u64 {
        let world = World::new().await;
        let customer = world.client.create_customer("华为").await;
        let deals = [world.deal(&customer, "A", 100).await, world.deal(&customer, "B", 200).await];
        let mut events = Vec::new();
        for (number, deal) in deals.iter().enumerate() {
            for (version, amount, day) in [(1, 1000, 1), (2, 2000, 2), (3, 3000, 3)] {
                events.push(contract(
                    &format!("contract-{number}-{version}"),
                    &json!({
                        "contractId": number, "customerId": customer, "amountCents": amount + number,
                        // Only the last one says which deal.
                        "opportunityId": if version == 3 { json!(deal) } else { Value::Null },
                        "currency": "CNY", "signedAt": format!("2026-02-0{day}T00:00:00Z"),
                    }),
                ));
            }
            events.push(task(
                &format!("task-{number}"),
                &json!({
                    "taskId": number, "title": "盖章", "assigneeId": "li.lei", "opportunityId": deal,
                    "completedAt": "2026-02-05T00:00:00Z",
                }),
            ));
            events.push(task(
                &format!("task-again-{number}"),
                &json!({
                    "taskId": number, "title": "盖章", "assigneeId": "li.lei", "opportunityId": deal,
                    "completedAt": "2026-02-05T00:00:00Z",
                }),
            ));
        }
        let mut order: Vec<_> = (0..events.len() * 3).map(|place| place % events.len()).collect();
        shuffle(&mut order, seed);
        for place in order {
            world.send(&events[place]).await;
        }
        states.push(state_of(&world, &customer).await);
    }
    for state in &states {
        assert_eq!(state, &states[0]);
    }
    let [deals, follow_ups, lifecycle, ..] = states[0].as_array().expect("parts").as_slice() else {
        panic!()
    };
    assert_eq!(deals[0], json!(["A", 2, 3000, "CNY", "2026-02-03T00:00:00.000Z"]));
    assert_eq!(deals[1], json!(["B", 2, 3001, "CNY", "2026-02-03T00:00:00.000Z"]));
    assert_eq!((follow_ups.as_array().map(Vec::len), lifecycle), (Some(2), &json!("customer")));
    assert_eq!(states[0][4], 2, "one closing for each deal");
}

/// Fisher and Yates, with a generator that is good enough for it.
fn shuffle(order: &mut [usize], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    for last in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, usize::try_from(state >> 33).expect("31 bits") % (last + 1));
    }
}

#[tokio::test]
async fn a_completed_task_becomes_a_follow_up_of_what_it_is_about() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let deal = world.deal(&customer, "服务器", 100).await;
    let data = json!({
        "taskId": "T-1", "title": "合同盖章", "result": "已完成", "assigneeId": "li.lei",
        "completedAt": "2026-02-05T09:00:00+08:00",
        "formData": {"sourceCell": "crm", "sourceType": "opportunity", "sourceId": deal},
    });

    let received = world.send(&task("e-1", &data)).await;
    let again = world.send(&task("e-2", &data)).await;

    assert_eq!((outcome(&received), outcome(&again)), (("applied", "-"), ("applied", "-")));
    let rows = world.client.get("/follow-ups").await.expect(200).json();
    assert_eq!(rows["total"], 1, "{rows}");
    let row = &rows["data"][0];
    assert_eq!(
        (&row["followUpType"], &row["content"]),
        (&json!("task"), &json!("OA任务完成：合同盖章\n已完成"))
    );
    assert_eq!((&row["customerId"], &row["opportunityId"]), (&json!(customer), &json!(deal)));
    assert_eq!((&row["ownerId"], &row["occurredAt"]), (&json!("li.lei"), &json!("2026-02-05T01:00:00.000Z")));
    let customer_row = world.client.get(&format!("/customers/{customer}")).await.expect(200).json();
    assert_eq!(customer_row["lastFollowUpAt"], "2026-02-05T01:00:00.000Z");

    let no_link = world.send(&task("e-3", &json!({"taskId": "T-2", "title": "请假"}))).await;
    assert_eq!(outcome(&no_link), ("ignored", "no-link"));
    let unknown = world.send(&task("e-4", &json!({"taskId": "T-3", "customerId": "nobody"}))).await;
    assert_eq!(outcome(&unknown), ("needs_review", "record-unknown"));
    let other = world.client.create_customer("中兴").await;
    let contradiction = json!({"taskId": "T-4", "customerId": other, "opportunityId": deal});
    assert_eq!(outcome(&world.send(&task("e-5", &contradiction)).await), ("needs_review", "contradiction"));
    world.client.delete(&format!("/customers/{other}")).await.expect(204);
    let deleted = world.send(&task("e-6", &json!({"taskId": "T-5", "customerId": other}))).await;
    assert_eq!(outcome(&deleted), ("needs_review", "record-deleted"));
    let nameless = world.send(&task("e-7", &json!({"title": "?"}))).await;
    assert_eq!(outcome(&nameless), ("failed", "no-task"));
}
