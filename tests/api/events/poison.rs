//! Events that the bus cannot stand, and what they must not do to others.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Bus, Verdict, publishing_to};
use crate::support::{Setup, eventually};

fn names(bus: &Bus) -> Vec<String> {
    bus.kept().iter().map(|event| event["data"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn one_tenants_events_that_the_bus_fails_on_or_refuses_hold_up_nobody_else() {
    for (status, poisoned) in [(500, 4), (400, 12)] {
        let bus = Bus::start().await;
        bus.now(move |event| match event["data"]["name"].as_str() {
            Some(name) if name.starts_with("poison") => Verdict::Answer(status),
            _ => Verdict::Accept,
        });
        let app = publishing_to(&bus).await;
        for number in 0..poisoned {
            app.tenant("acme").create_customer(&format!("poison {number}")).await;
        }
        eventually("the bus meets them", async || bus.offers() >= 3).await;
        app.tenant("globex").create_customer("another tenant's").await;
        eventually("it arrives", async || names(&bus).contains(&"another tenant's".to_owned())).await;
        app.tenant("acme").create_customer("another record's").await;
        eventually("so does that", async || names(&bus).contains(&"another record's".to_owned())).await;
        let service = app.service("acme");
        eventually("those alone are pending", async || {
            let pending = service.get("/events/outbox?state=pending").await.expect(200).json();
            pending["total"] == poisoned
        })
        .await;
    }
}

#[tokio::test]
async fn an_event_behind_another_one_does_not_keep_the_relay_busy() {
    let app = Setup::default().start().await;
    let path = format!("/customers/{}", app.tenant("acme").create_customer("A").await);
    let directory = app.stop().await;
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(400));
    let app = Setup::default().with("EVENT_BUS_URL", &bus.url).over(&directory).start().await;
    app.tenant("acme").patch(&path, &json!({"name": "B"})).await.expect(200);
    let attempts = async |kind: &str| {
        let list =
            app.service("acme").get(&format!("/events/outbox?eventType={kind}")).await.expect(200).json();
        list["data"][0]["attempts"].as_u64().expect("a number")
    };
    eventually("the change is refused", async || attempts("crm.customer.updated").await >= 1).await;
    // Now its creation comes before it, and is refused as well.
    app.service("acme").send(Method::POST, "/events/outbox/replay", None).await.expect(202);
    eventually("its creation is refused", async || attempts("crm.customer.created").await >= 1).await;

    let before = app.figure("statements").await;
    tokio::time::sleep(Duration::from_secs(3)).await; // the change would be due
    let sent = app.figure("statements").await - before;
    assert!(sent < 100, "{sent} statements in three seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bus_took_before_a_clean_stop_is_not_offered_again() {
    let bus = Bus::start().await;
    bus.now(|_| Verdict::Answer(503));
    let app = publishing_to(&bus).await;
    let client = app.tenant("acme");
    let path = format!("/customers/{}", client.create_customer("A").await);
    for number in 0..250 {
        client.patch(&path, &json!({"remark": format!("{number}")})).await.expect(200);
    }
    let directory = app.stop().await;
    // Of one record, one after the other: more than can be offered before the relay has to stop.
    bus.now(|_| {
        std::thread::sleep(Duration::from_millis(30));
        Verdict::Accept
    });
    let setup = || Setup::default().with("EVENT_BUS_URL", &bus.url).over(&directory);
    let app = setup().start().await;
    eventually("some arrive", async || bus.kept().len() >= 5).await;
    app.stop().await;
    let arrived = bus.kept().len();
    assert!(arrived < 50, "the turn went on: {arrived}");

    bus.now(|_| Verdict::Accept);
    let _app = setup().start().await;
    eventually("all arrive", async || bus.distinct().len() == 251).await;
    let ids =
        |events: Vec<Value>| events.into_iter().map(|event| event["eventId"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(bus.kept()), ids(bus.distinct()));
}
