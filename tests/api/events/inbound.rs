//! Events of other systems and their effects (contract §10).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Setup, TestApp, clock_at, eventually, token_with};

struct World {
    app: TestApp,
    client: Client,
    service: Client,
}

impl World {
    async fn new() -> Self {
        Self::of(TestApp::start().await)
    }

    fn of(app: TestApp) -> Self {
        let (client, service) = (app.tenant("acme"), app.service("acme"));
        Self { app, client, service }
    }

    async fn deal(&self, customer: &str, title: &str, amount: i64) -> String {
        let deal = json!({"customerId": customer, "title": title, "amountCents": amount});
        let answer = self.client.post("/opportunities", &deal).await.expect(201);
        answer.json()["opportunityId"].as_str().expect("an id").to_owned()
    }

    async fn opportunity(&self, id: &str) -> Value {
        self.client.get(&format!("/opportunities/{id}")).await.expect(200).json()
    }

    /// Sends an event and returns what came of it.
    async fn send(&self, event: &Value) -> Value {
        self.service.send(Method::POST, "/events", Some(event.to_string())).await.expect(202).json()
    }

    async fn inbox(&self, query: &str) -> Vec<Value> {
        let page = self.service.get(&format!("/events/inbox?{query}")).await.expect(200).json();
        page["data"].as_array().expect("rows").clone()
    }

    async fn outbox(&self, kind: &str) -> u64 {
        let path = format!("/events/outbox?eventType={kind}&count=exact");
        self.service.get(&path).await.expect(200).json()["total"].as_u64().expect("counted")
    }
}

fn contract(event_id: &str, data: &Value) -> Value {
    json!({"eventId": event_id, "eventType": "erp.contract.signed", "timestamp": "2026-03-02T00:00:00Z", "data": data})
}

fn task(event_id: &str, data: &Value) -> Value {
    json!({"eventId": event_id, "eventType": "oa.task.completed", "timestamp": "2026-03-02T00:00:00Z", "data": data})
}

fn outcome(received: &Value) -> (&str, &str) {
    (received["state"].as_str().unwrap_or("-"), received["reason"].as_str().unwrap_or("-"))
}

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

#[tokio::test]
async fn one_event_several_and_cloud_events_are_taken_and_each_is_answered() {
    let world = World::new().await;
    let customer = world.client.create_customer("华为").await;
    let several = json!([
        task("a", &json!({"taskId": "1", "customerId": customer})),
        {"eventId": "b", "eventType": "wms.stock.moved", "data": {}},
        task("c", &json!({"taskId": "2", "customerId": customer, "tenantId": "globex"})),
        task("d", &json!({"taskId": "3", "customerId": customer, "tenantId": "acme"})),
        task("a", &json!({"taskId": "9", "customerId": customer})),
    ]);
    let received = world.send(&several).await;
    let states: Vec<_> = received.as_array().expect("an array").iter().map(outcome).collect();
    assert_eq!(
        states,
        [
            ("applied", "-"),
            ("ignored", "not-subscribed"),
            ("failed", "tenant-mismatch"),
            ("applied", "-"),
            ("applied", "-"),
        ]
    );
    assert_eq!((&received[0]["duplicate"], &received[4]["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(world.client.get("/follow-ups").await.expect(200).json()["total"], 2);

    let cloud = json!({
        "specversion": "1.0", "id": "ce-1", "type": "oa.task.completed", "source": "/oa", "tenantid": "acme",
        "data": {"taskId": "4", "customerId": customer},
    });
    let typed = world.service.clone().with("Content-Type", "application/cloudevents+json; charset=utf-8");
    let received = typed.send(Method::POST, "/events", Some(cloud.to_string())).await.expect(202).json();
    assert_eq!(outcome(&received), ("applied", "-"));
    let typed = world.service.clone().with("Content-Type", "application/cloudevents-batch+json");
    let received =
        typed.send(Method::POST, "/events", Some(json!([cloud]).to_string())).await.expect(202).json();
    assert_eq!(
        (received[0]["duplicate"].as_bool(), received.as_array().map(Vec::len)),
        (Some(true), Some(1))
    );
    assert_eq!(world.send(&json!([])).await, json!([]));
}

#[tokio::test]
async fn what_is_no_event_is_named_by_its_place() {
    let world = World::new().await;
    for (sent, fields) in [
        (json!({"eventType": "x"}), vec!["eventId"]),
        (json!({"eventId": "a b", "eventType": "x"}), vec!["eventId"]),
        (json!([{"eventId": "a", "eventType": "x"}, 5, {"eventId": "b"}]), vec!["[1]", "[2].eventType"]),
        (json!({"eventId": "a", "eventType": "x", "data": "text"}), vec!["data"]),
    ] {
        let answer = world.service.send(Method::POST, "/events", Some(sent.to_string())).await;
        let answer = answer.expect_error(400, "VALIDATION_FAILED").json();
        let found: Vec<_> =
            answer["errors"].as_array().expect("errors").iter().map(|e| &e["field"]).collect();
        assert_eq!(found, fields, "{sent}");
    }
    let many: Vec<_> = (0..101).map(|n| json!({"eventId": format!("e{n}"), "eventType": "x"})).collect();
    let answer = world.service.send(Method::POST, "/events", Some(json!(many).to_string())).await;
    answer.expect_error(400, "BAD_REQUEST");
}

#[tokio::test]
async fn only_services_and_administrators_send_and_see_events() {
    let app = TestApp::start().await;
    let event = task("e-1", &json!({"taskId": "1"})).to_string();
    for (role, allowed) in
        [("member", false), ("manager", false), ("readonly", false), ("admin", true), ("service", true)]
    {
        let claims = json!({"sub": "u", "tenantId": "acme", "role": role, "exp": 4_000_000_000_u64});
        let client = app.anonymous().with_token(&token_with(&claims));
        let sent = client.send(Method::POST, "/events", Some(event.clone())).await;
        let lists = [client.get("/events/inbox").await, client.get("/events/outbox").await];
        if allowed {
            sent.expect(202);
            lists.into_iter().for_each(|list| drop(list.expect(200)));
        } else {
            sent.expect_error(403, "FORBIDDEN");
            lists.into_iter().for_each(|list| drop(list.expect_error(403, "FORBIDDEN")));
            // Whatever it sends: that is not looked at.
            let client = client.with("Content-Type", "text/plain");
            client.send(Method::POST, "/events", Some(event.clone())).await.expect_error(403, "FORBIDDEN");
        }
    }
    let confined = json!({"sub": "u", "tenantId": "acme", "role": "service", "dataScope": "self", "exp": 4_000_000_000_u64});
    let confined = app.anonymous().with_token(&token_with(&confined));
    confined.send(Method::POST, "/events", Some(event)).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test]
async fn an_event_for_another_tenant_touches_neither() {
    let app = TestApp::start().await;
    let sent = task("e-1", &json!({"taskId": "1", "tenantId": "globex"})).to_string();
    let received = app.service("acme").send(Method::POST, "/events", Some(sent)).await.expect(202).json();
    assert_eq!(outcome(&received), ("failed", "tenant-mismatch"));
    assert_eq!(crate::support::files(&app.tenants()), Vec::<String>::new());
}

#[tokio::test]
async fn types_that_are_not_subscribed_have_no_effect() {
    let app = Setup::default().with("CRM__EVENTS__SUBSCRIBE", "oa.task.completed").start().await;
    let world = World::of(app);
    let customer = world.client.create_customer("华为").await;
    let deal = world.deal(&customer, "A", 1).await;
    let received = world.send(&contract("e-1", &json!({"contractId": "1", "opportunityId": deal}))).await;
    assert_eq!(outcome(&received), ("ignored", "not-subscribed"));
    assert_eq!(world.opportunity(&deal).await["status"], 1);
}

#[tokio::test]
async fn what_names_a_record_that_is_not_here_yet_comes_right_by_itself_within_a_day() {
    comes_right("").await;
}

#[tokio::test]
async fn that_does_not_wait_for_a_bus_that_is_down() {
    comes_right("http://127.0.0.1:1").await;
}

async fn comes_right(bus: &str) {
    let clock = clock_at("2026-03-01T00:00:00Z");
    let setup = || Setup::default().with("EVENT_BUS_URL", bus).at(clock.clone());
    let world = World::of(setup().start().await);
    let customer = world.client.create_customer("华为").await;
    world.client.delete(&format!("/customers/{customer}")).await.expect(204);
    let deal_of_nobody = task("e-1", &json!({"taskId": "1", "customerId": "imported-later"}));
    let received = world.send(&deal_of_nobody).await;
    assert_eq!(outcome(&received), ("needs_review", "record-unknown"));
    let [row] = world.inbox("").await.try_into().expect("one row");
    assert_eq!(row["retryAt"], "2026-03-01T00:01:00.000Z");
    let directory = world.app.stop().await;
    // As an import does.
    crate::support::db_execute(
        directory.path(),
        "acme",
        "update customers set id = 'imported-later', deleted_at = null, deleted_with = null",
    )
    .await;

    // A cache, and found again in the files.
    std::fs::remove_file(directory.path().join("crm_cell/catalog.db")).expect("removed");

    let world = World::of(setup().over(&directory).start().await);
    clock.advance(std::time::Duration::from_secs(61));
    eventually("it is applied", async || world.inbox("state=applied").await.len() == 1).await;
    assert_eq!(world.client.get("/follow-ups").await.expect(200).json()["total"], 1);

    world.send(&task("e-2", &json!({"taskId": "2", "customerId": "never"}))).await;
    for _ in 0..30 {
        clock.advance(std::time::Duration::from_secs(3601));
        let now = crm_cell::domain::Clock::now(&*clock).to_string();
        eventually("it was tried", async || {
            let row = world.inbox("state=needs_review").await.remove(0);
            row["retryAt"].is_null() || row["retryAt"].as_str() > Some(&now)
        })
        .await;
    }
    assert_eq!(world.inbox("state=needs_review").await[0]["retryAt"], Value::Null, "parked after a day");
}
