//! Events fetched from a bus that does not send them.

use serde_json::json;

use super::Bus;
use crate::support::{Setup, TestApp, eventually};

async fn polling(bus: &Bus) -> TestApp {
    setup(bus).start().await
}

fn setup(bus: &Bus) -> Setup {
    Setup::default().with("GATEWAY_URL", &bus.url).with("CRM__EVENTS__POLL_EVERY", "50ms")
}

async fn inbox_size(app: &TestApp, tenant: &str) -> u64 {
    let inbox = app.service(tenant).get("/events/inbox?count=exact").await.expect(200).json();
    inbox["total"].as_u64().expect("counted")
}

#[tokio::test]
async fn each_event_goes_to_its_tenant_once_however_often_it_is_read() {
    let bus = Bus::start().await;
    let app = polling(&bus).await;
    let acme = app.tenant("acme").create_customer("A").await;
    let default = app.tenant("default").create_customer("D").await;
    let entry = |id: &str, ts: f64, payload| json!({"eventId": id, "eventType": "oa.task.completed", "ts": ts, "payload": payload});
    bus.put(entry("e-1", 100.0, json!({"taskId": "1", "tenantId": "acme", "customerId": acme})));
    bus.put(entry("e-2", 100.5, json!({"taskId": "2", "customerId": default})));
    bus.put(entry("e-3", 101.0, json!({"taskId": "3", "tenantId": "nobody-knows", "customerId": "x"})));
    bus.put(entry("e-4", 101.5, json!({"taskId": "4", "tenantId": "../../etc", "customerId": "x"})));
    bus.put(json!({"eventId": "e-5", "eventType": "oa.approval.completed", "ts": 102.0, "payload": {"tenantId": "acme"}}));
    bus.put(json!({"nonsense": true, "eventType": "oa.task.completed", "ts": 103.0}));

    eventually("both arrive", async || {
        inbox_size(&app, "acme").await == 1 && inbox_size(&app, "default").await == 1
    })
    .await;
    let polls = bus.polls().len();
    eventually("it is asked again", async || bus.polls().len() > polls + 4).await;
    assert_eq!(inbox_size(&app, "acme").await, 1);
    assert_eq!(app.tenant("acme").get("/follow-ups").await.json()["total"], 1);
    assert_eq!(app.figure("events_received").await, 2, "what is known is not given again");
    let names = crate::support::files(&app.tenants());
    assert!(
        !names.iter().any(|name| name.contains("nobody")),
        "nobody creates a tenant by an event: {names:?}"
    );
    let (erp, oa): (Vec<_>, Vec<_>) = bus.polls().into_iter().partition(|query| query.contains("topic=erp"));
    assert!(
        !erp.is_empty() && oa.iter().all(|query| query.contains("topic=oa") && query.contains("limit=100"))
    );
    assert!(oa.last().expect("asked").contains("since=93.0"), "with an overlap: {:?}", oa.last());

    let directory = app.stop().await;
    let before = bus.polls().len();
    let app = setup(&bus).over(&directory).start().await;
    eventually("it is asked again", async || bus.polls().len() > before + 4).await;
    let resumed = bus.polls()[before..].iter().find(|query| query.contains("topic=oa")).cloned();
    assert!(resumed.as_ref().is_some_and(|query| query.contains("since=93.0")), "{resumed:?}");
    assert_eq!(app.tenant("acme").get("/follow-ups").await.json()["total"], 1, "the inbox knows it");
}

#[tokio::test]
async fn a_full_page_is_reported_since_older_events_may_be_lost() {
    let bus = Bus::start().await;
    let app = polling(&bus).await;
    app.tenant("acme").create_customer("A").await;
    assert_eq!(app.figure("event_gaps_suspected").await, 0);
    for number in 0..120 {
        bus.put(json!({"eventId": format!("e-{number}"), "eventType": "oa.task.completed", "ts": 1000.0 + f64::from(number) * 60.0,
            "payload": {"tenantId": "acme", "taskId": number}}));
    }
    eventually("it is reported", async || app.figure("event_gaps_suspected").await >= 1).await;
    eventually("the newest hundred arrive", async || inbox_size(&app, "acme").await >= 100).await;
}

#[tokio::test]
async fn neither_nonsense_nor_an_event_of_the_future_stops_what_comes_after_it() {
    let bus = Bus::start().await;
    let app = polling(&bus).await;
    let customer = app.tenant("acme").create_customer("A").await;
    let give = |id: &str, ts: f64| {
        let payload = json!({"tenantId": "acme", "taskId": id, "customerId": customer});
        bus.put(json!({"eventId": id, "eventType": "oa.task.completed", "ts": ts, "payload": payload}));
    };
    for nonsense in [json!({"data": [[], 1]}), json!([])] {
        bus.talk_nonsense(Some(nonsense));
        let polls = bus.polls().len();
        eventually("both topics are asked", async || bus.polls().len() > polls + 3).await;
    }
    bus.talk_nonsense(None);
    give("e-1", 4_000_000_000_000.0); // in milliseconds
    eventually("it arrives", async || inbox_size(&app, "acme").await == 1).await;
    give("e-2", 1000.0);
    eventually("so does the next", async || inbox_size(&app, "acme").await == 2).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_kept_holds_up_no_other() {
    let bus = Bus::start().await;
    let app = polling(&bus).await;
    let client = app.tenant("acme");
    let customer = client.create_customer("A").await;
    let directory = app.stop().await;
    // A defect, or a file that somebody has changed: whatever makes the event impossible.
    let trigger = "create trigger t before insert on inbox when new.event_id = 'e-1' begin select raise(abort, 'no'); end";
    crate::support::db_execute(directory.path(), "acme", trigger).await;
    for id in ["e-1", "e-2"] {
        let payload = json!({"tenantId": "acme", "taskId": id, "customerId": customer});
        bus.put(json!({"eventId": id, "eventType": "oa.task.completed", "ts": 1000.0, "payload": payload}));
    }
    let app = setup(&bus).over(&directory).start().await;
    eventually("the other arrives", async || inbox_size(&app, "acme").await == 1).await;
}
