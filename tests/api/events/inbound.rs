//! Events of other systems: how they come, who may send them, what is kept of them (contract §10).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Setup, TestApp, clock_at, eventually, token_with};

pub struct World {
    pub app: TestApp,
    pub client: Client,
    pub service: Client,
}

impl World {
    pub async fn new() -> Self {
        Self::of(TestApp::start().await)
    }

    pub fn of(app: TestApp) -> Self {
        let (client, service) = (app.tenant("acme"), app.service("acme"));
        Self { app, client, service }
    }

    pub async fn deal(&self, customer: &str, title: &str, amount: i64) -> String {
        let deal = json!({"customerId": customer, "title": title, "amountCents": amount});
        let answer = self.client.post("/opportunities", &deal).await.expect(201);
        answer.json()["opportunityId"].as_str().expect("an id").to_owned()
    }

    pub async fn opportunity(&self, id: &str) -> Value {
        self.client.get(&format!("/opportunities/{id}")).await.expect(200).json()
    }

    /// Sends an event and returns what came of it.
    pub async fn send(&self, event: &Value) -> Value {
        self.service.send(Method::POST, "/events", Some(event.to_string())).await.expect(202).json()
    }

    pub async fn inbox(&self, query: &str) -> Vec<Value> {
        let page = self.service.get(&format!("/events/inbox?{query}")).await.expect(200).json();
        page["data"].as_array().expect("rows").clone()
    }

    pub async fn outbox(&self, kind: &str) -> u64 {
        let path = format!("/events/outbox?eventType={kind}&count=exact");
        self.service.get(&path).await.expect(200).json()["total"].as_u64().expect("counted")
    }
}

pub fn contract(event_id: &str, data: &Value) -> Value {
    json!({"eventId": event_id, "eventType": "erp.contract.signed", "timestamp": "2026-03-02T00:00:00Z", "data": data})
}

pub fn task(event_id: &str, data: &Value) -> Value {
    json!({"eventId": event_id, "eventType": "oa.task.completed", "timestamp": "2026-03-02T00:00:00Z", "data": data})
}

pub fn outcome(received: &Value) -> (&str, &str) {
    (received["state"].as_str().unwrap_or("-"), received["reason"].as_str().unwrap_or("-"))
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
    // Time goes on while one waits: a turn that met the bus comes again a second later.
    let pass = || clock.advance(std::time::Duration::from_secs(1));
    clock.advance(std::time::Duration::from_secs(61));
    eventually("it is applied", async || {
        pass();
        world.inbox("state=applied").await.len() == 1
    })
    .await;
    assert_eq!(world.client.get("/follow-ups").await.expect(200).json()["total"], 1);

    world.send(&task("e-2", &json!({"taskId": "2", "customerId": "never"}))).await;
    for _ in 0..30 {
        clock.advance(std::time::Duration::from_secs(3601));
        let now = crm_cell::domain::Clock::now(&*clock).to_string();
        eventually("it was tried", async || {
            pass();
            let row = world.inbox("state=needs_review").await.remove(0);
            row["retryAt"].is_null() || row["retryAt"].as_str() > Some(&now)
        })
        .await;
    }
    assert_eq!(world.inbox("state=needs_review").await[0]["retryAt"], Value::Null, "parked after a day");
}
