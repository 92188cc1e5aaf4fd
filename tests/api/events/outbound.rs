//! From a write to the bus.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Bus, Verdict, publishing_to, types};
use crate::fleet::Operator;
use crate::support::{Cell, Setup, TestApp, eventually, files};

#[tokio::test]
async fn every_change_of_the_four_kinds_arrives_in_the_platforms_envelope() {
    let bus = Bus::start().await;
    let app = publishing_to(&bus).await;
    let client = app.tenant("acme").with("X-Trace-Id", "trace-1");
    let customer = json!({
        "name": "华为", "contactPhone": "13800135678", "contactEmail": "li.lei@example.com",
        "address": "秘密地址", "remark": "秘密备注",
    });
    let id = client.post("/customers", &customer).await.expect(201).json()["customerId"].clone();
    let path = format!("/customers/{}", id.as_str().expect("an id"));
    client.patch(&path, &json!({"level": "A"})).await.expect(200);
    client.patch(&path, &json!({"level": "A"})).await.expect(200); // changes nothing
    let deal = json!({"customerId": id, "title": "服务器", "amountCents": 5000});
    let deal = client.post("/opportunities", &deal).await.expect(201).json()["opportunityId"].clone();
    let deal = format!("/opportunities/{}", deal.as_str().expect("an id"));
    client.patch(&deal, &json!({"stage": 6, "lostReason": "秘密原因"})).await.expect(200);
    client.patch(&deal, &json!({"status": 2})).await.expect(200);

    eventually("six events arrive", async || bus.kept().len() >= 5).await;

    let events = bus.kept();
    let mut kinds = types(&events);
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "crm.customer.created",
            "crm.customer.updated",
            "crm.opportunity.closed",
            "crm.opportunity.closed",
            "crm.opportunity.created",
        ]
    );
    for event in &events {
        let keys: Vec<_> = event.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["data", "eventId", "eventType", "source", "timestamp", "traceId"]);
        assert_eq!((&event["source"], &event["traceId"]), (&json!("crm"), &json!("trace-1")));
        assert_eq!(event["data"]["tenantId"], "acme");
        assert!(event["data"]["occurredAt"].is_string());
        assert_eq!(event["eventId"].as_str().map(|id| (id.len(), &id[14..15])), Some((36, "7")));
        let text = event.to_string();
        for private in ["13800135678", "li.lei", "秘密"] {
            assert!(!text.contains(private), "{text}");
        }
    }
    let of =
        |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["eventType"] == kind).collect() };
    let created = &of("crm.customer.created")[0]["data"];
    assert_eq!((&created["customerId"], &created["contactPhone"]), (&id, &json!("138****5678")));
    assert_eq!(of("crm.customer.updated")[0]["data"]["changedFields"], json!(["level"]));
    let results: Vec<_> = of("crm.opportunity.closed").iter().map(|event| &event["data"]["result"]).collect();
    assert_eq!(results, [&json!("lost"), &json!("won")], "one for each closing, in their order");
    let head: HashMap<_, _> = bus.heads()[0].clone().into_iter().collect();
    assert_eq!(head["authorization"], "Bearer bus-token");
    assert_eq!((head["x-trace-id"].as_str(), head["x-tenant-id"].as_str()), ("trace-1", "acme"));
    assert!(events.iter().any(|event| event["eventId"] == head["x-request-id"].as_str()));
    assert_eq!(app.figure("events_delivered").await, 5);
    eventually("nothing is pending", async || app.figure("events_pending").await == 0).await;
}

#[tokio::test]
async fn a_request_without_a_trace_is_one_of_its_own() {
    let bus = Bus::start().await;
    let app = publishing_to(&bus).await;
    app.tenant("acme").post_as("req-7", "/customers", &json!({"name": "A"})).await.expect(201);
    eventually("it arrives", async || !bus.kept().is_empty()).await;
    assert_eq!(bus.kept()[0]["traceId"], "req-7");
}

#[tokio::test]
async fn an_event_that_is_refused_holds_up_those_of_its_record_and_no_others() {
    let bus = Bus::start().await;
    bus.now(|event| match event["data"]["name"].as_str() {
        Some("poison") => Verdict::Answer(400),
        _ => Verdict::Accept,
    });
    let app = publishing_to(&bus).await;
    let client = app.tenant("acme");
    let poison = client.create_customer("poison").await;
    client.patch(&format!("/customers/{poison}"), &json!({"name": "antidote"})).await.expect(200);
    client.create_customer("other").await;

    eventually("the other arrives", async || bus.kept().len() == 1).await;

    assert_eq!(bus.kept()[0]["data"]["name"], "other");
    let service = app.service("acme");
    let pending = async || service.get("/events/outbox?state=pending").await.expect(200).json();
    eventually("what came of it is kept", async || pending().await["total"] == 2).await;
    let pending = pending().await;
    let first = pending["data"].as_array().expect("rows").last().expect("the oldest");
    assert_eq!((&first["eventType"], &first["failure"]), (&json!("crm.customer.created"), &json!("400")));
    assert!(first["attempts"].as_i64() >= Some(1) && first["retryAt"].is_string(), "{first}");
    eventually("that is seen", async || app.figure("events_pending").await == 2).await;
    assert!(app.figure("event_failures").await >= 1);

    bus.now(|_| Verdict::Accept);
    let retry = format!("/events/outbox/{}/retry", first["eventId"].as_str().expect("an id"));
    let retried = service.send(Method::POST, &retry, None).await.expect(200).json();
    assert_eq!((&retried["eventId"], &retried["retryAt"]), (&first["eventId"], &Value::Null));
    eventually("all arrive", async || bus.kept().len() == 3).await;
    assert_eq!(types(&bus.kept()[1..]), ["crm.customer.created", "crm.customer.updated"], "in their order");
    service.send(Method::POST, &retry, None).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn an_event_that_the_bus_buries_is_offered_again() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Bury);
    let app = publishing_to(&bus).await;
    app.tenant("acme").create_customer("A").await;
    eventually("it was offered", async || bus.offers() >= 1).await;
    bus.now(|_| Verdict::Accept);
    eventually("it arrives", async || bus.kept().len() == 1).await;
}

#[tokio::test]
async fn requests_are_answered_while_the_bus_is_down_and_what_they_did_arrives_when_it_is_up() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(503));
    let app = publishing_to(&bus).await;
    for tenant in ["acme", "globex"] {
        for number in 0..20 {
            app.tenant(tenant).create_customer(&format!("C{number}")).await;
        }
    }
    eventually("all are pending", async || app.figure("events_pending").await == 40).await;
    assert_eq!(app.figure("events_tenants").await, 2);
    assert!(bus.offers() < 20, "a bus that is down is left alone: {} offers", bus.offers());

    bus.now(|_| Verdict::Accept);

    eventually("all arrive", async || bus.distinct().len() == 40).await;
    eventually("nothing is pending", async || app.figure("events_pending").await == 0).await;
    assert_eq!(app.figure("events_tenants").await, 0);
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_comes_again_with_the_same_id() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::KeepAndAnswer(500));
    let app = publishing_to(&bus).await;
    app.tenant("acme").create_customer("A").await;
    eventually("it was offered", async || bus.offers() >= 1).await;
    bus.now(|_| Verdict::Accept);
    eventually("it comes again", async || bus.kept().len() >= 2).await;
    assert_eq!(bus.distinct().len(), 1);
    assert_eq!(bus.kept()[0], bus.kept()[1]);
}

#[tokio::test]
async fn what_was_pending_at_a_stop_arrives_after_the_start_without_a_request() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(503));
    let app = publishing_to(&bus).await;
    for tenant in ["acme", "globex", "Initech"] {
        app.tenant(tenant).create_customer("A").await;
    }
    let directory = app.stop().await;
    let root = directory.path().join("crm_cell");
    assert!(files(&root).contains(&"catalog.db".to_owned()));
    bus.now(|_| Verdict::Accept);

    let setup = || Setup::default().with("EVENT_BUS_URL", &bus.url).over(&directory);
    let app = setup().start().await;

    eventually("all arrive", async || bus.kept().len() == 3).await;
    app.tenant("acme").create_customer("B").await;
    eventually("that too", async || bus.kept().len() == 4).await;
    app.stop().await;

    // The catalog is a cache: without it, the files tell.
    bus.now(|_| Verdict::Answer(503));
    let app = setup().start().await;
    app.tenant("globex").create_customer("B").await;
    app.stop().await;
    std::fs::remove_file(root.join("catalog.db")).expect("removed");
    bus.now(|_| Verdict::Accept);
    let _app = setup().start().await;
    eventually("it arrives", async || bus.kept().len() == 5).await;
}

#[tokio::test]
async fn the_relay_holds_few_tenants_open_and_takes_nobodys_place() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(503));
    let setup = || {
        Setup::default()
            .with("EVENT_BUS_URL", &bus.url)
            .with("CRM__STORAGE__MAX_OPEN_TENANTS", "8")
            .with("CRM__STORAGE__TENANT_IDLE", "1s")
    };
    let app = setup().start().await;
    for number in 0..30 {
        app.tenant(&format!("t{number}")).create_customer("A").await;
    }
    let directory = app.stop().await;
    bus.now(|_| Verdict::Accept);

    let app = setup().over(&directory).start().await;
    eventually("all arrive", async || {
        assert!(app.figure("tenants_open").await <= 8);
        bus.kept().len() == 30
    })
    .await;
    assert_eq!(app.figure("tenant_claims_overlapping").await, 0);
    app.tenant("t0").create_customer("B").await;
}

#[tokio::test]
async fn without_a_bus_events_are_kept_and_replayed_when_there_is_one() {
    let app = TestApp::start().await;
    app.tenant("acme").create_customer("A").await;
    let service = app.service("acme");
    let kept = service.get("/events/outbox").await.expect(200).json();
    assert_eq!((&kept["total"], &kept["data"][0]["state"]), (&json!(1), &json!("unpublished")));
    let nobody = service.send(Method::POST, "/events/outbox/replay", None).await;
    nobody.expect_error(409, "STATE_CONFLICT");
    assert_eq!(app.figure("events_pending").await, 0);
    let directory = app.stop().await;

    let bus = Bus::start().await;
    let app = Setup::default().with("EVENT_BUS_URL", &bus.url).over(&directory).start().await;
    app.tenant("acme").create_customer("B").await;
    eventually("the new one arrives", async || bus.kept().len() == 1).await;
    assert_eq!(bus.kept()[0]["data"]["name"], "B", "what nobody asked for is not sent");

    let service = app.service("acme");
    let replayed = service.send(Method::POST, "/events/outbox/replay", None).await.expect(202).json();
    assert_eq!(replayed, json!({"replayed": 1}));
    eventually("it arrives", async || bus.kept().len() == 2).await;
    assert_eq!(bus.kept()[1]["data"]["name"], "A");

    let again = json!({"state": "delivered", "eventType": "crm.customer.created", "from": "2020-01-01"});
    let replayed = service.post("/events/outbox/replay", &again).await.expect(202).json();
    assert_eq!(replayed, json!({"replayed": 2}));
    eventually("both come again", async || bus.kept().len() == 4).await;
    assert_eq!(bus.distinct().len(), 2, "with their ids");
    let none = json!({"state": "delivered", "to": "2020-01-01"});
    assert_eq!(service.post("/events/outbox/replay", &none).await.expect(202).json()["replayed"], 0);
}

#[tokio::test]
async fn events_older_than_seven_days_are_forgotten_unless_they_are_still_to_be_delivered() {
    let clock = crate::support::clock_at("2026-03-01T00:00:00Z");
    let app = Setup::default().at(clock.clone()).with("CRM__STORAGE__CHECKPOINT_AFTER", "50ms").start().await;
    let (client, service) = (app.tenant("acme"), app.service("acme"));
    client.create_customer("A").await;
    clock.advance(std::time::Duration::from_secs(7 * 24 * 3600 + 1));
    client.create_customer("B").await;
    eventually("the first is forgotten", async || {
        service.get("/events/outbox?count=exact").await.expect(200).json()["total"] == 1
    })
    .await;
    let directory = app.stop().await;

    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(503));
    let app = Setup::default()
        .at(clock.clone())
        .with("EVENT_BUS_URL", &bus.url)
        .with("CRM__STORAGE__CHECKPOINT_AFTER", "50ms")
        .over(&directory)
        .start()
        .await;
    let (client, service) = (app.tenant("acme"), app.service("acme"));
    client.create_customer("C").await;
    clock.advance(std::time::Duration::from_secs(30 * 24 * 3600));
    client.create_customer("D").await;
    eventually("what nobody is told of is forgotten", async || {
        service.get("/events/outbox?state=unpublished&count=exact").await.expect(200).json()["total"] == 0
    })
    .await;
    assert_eq!(service.get("/events/outbox?state=pending&count=exact").await.expect(200).json()["total"], 2);
}

#[tokio::test]
async fn a_file_can_stand_in_for_the_bus() {
    let setup = Setup::default().with("EVENT_BUS_URL", "file:events.jsonl");
    let app = setup.start().await;
    app.tenant("acme").create_customer("A").await;
    app.tenant("acme").create_customer("B").await;
    let path = app.directory().path().join("events.jsonl");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("two lines", async || lines().lines().count() == 2).await;
    for (line, name) in lines().lines().zip(["A", "B"]) {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&event["data"]["name"], &event["source"]), (&json!(name), &json!("crm")));
    }
}

#[tokio::test]
async fn events_of_a_suspended_tenant_are_no_backlog_until_it_is_resumed() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(503));
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::spawn(Cell::command(directory.path()).env("EVENT_BUS_URL", &bus.url));
    let figure = async |name: &str| cell.anonymous().get("/metrics").await.json()[name].as_u64();
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("华为").await;
    eventually("an event waits", async || figure("events_pending").await == Some(1)).await;

    operator.ok(&["tenants", "suspend", "acme"]);

    eventually("nobody waits", async || figure("events_pending").await == Some(0)).await;
    assert_eq!(
        (figure("events_oldest_age_seconds").await, figure("events_tenants").await),
        (Some(0), Some(0))
    );
    let listed = operator.ok(&["tenants", "list"]);
    assert_eq!(listed["items"][0]["undelivered"], 1, "it is known that there is one: {listed}");
    bus.now(|_| Verdict::Accept);
    operator.ok(&["tenants", "resume", "acme"]);
    eventually("it arrives", async || bus.kept().len() == 1).await;
}
