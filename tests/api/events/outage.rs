//! Ten thousand events through an outage, a flapping bus and two deaths of the cell.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Bus, Verdict};
use crate::support::{Cell, Client, eventually};

const TENANTS: usize = 20;
const CUSTOMERS: usize = 50;
/// Changes of each customer, its creation included.
const CHANGES: usize = 10;
const EVENTS: usize = TENANTS * CUSTOMERS * CHANGES;

/// A port that nobody listens on.
async fn free_address() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// Makes all customers of a tenant and changes each, so that its events carry the numbers 1 to [`CHANGES`].
async fn fill(client: Client) {
    let customers = (0..CUSTOMERS).map(async |number| {
        let new = json!({"name": format!("C{number}"), "level": "1"});
        let id = client.post("/customers", &new).await.expect(201).json()["customerId"].clone();
        let path = format!("/customers/{}", id.as_str().expect("an id"));
        for level in 2..=CHANGES {
            client.patch(&path, &json!({"level": level.to_string()})).await.expect(200);
        }
    });
    futures_util::future::join_all(customers).await;
}

async fn figure(cell: &Cell, name: &str) -> u64 {
    cell.anonymous().get("/metrics").await.json()[name].as_u64().expect("a figure")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_an_outage_arrives_once_after_deduplication_and_in_order_per_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = free_address().await;
    let start = || {
        let mut command = Cell::command(directory.path());
        command.env("EVENT_BUS_URL", format!("http://{address}"));
        // Fewer places than tenants.
        command.env("CRM__STORAGE__MAX_OPEN_TENANTS", "16");
        command.env("CRM__LOG__FILTER", "error");
        Cell::spawn(&mut command)
    };

    // Nobody listens: down.
    let cell = start();
    for tenants in (0..TENANTS).collect::<Vec<_>>().chunks(4) {
        let clients = tenants.iter().map(|tenant| fill(cell.tenant(&format!("t{tenant}"))));
        futures_util::future::join_all(clients).await;
    }
    assert_eq!(figure(&cell, "events_delivered").await, 0);
    cell.kill();

    // Up, and flapping: of every twenty offers, two are not answered well, one of which was taken.
    let bus = Bus::start_at(address).await;
    let offers = AtomicU64::new(0);
    bus.now(move |_| match offers.fetch_add(1, Ordering::Relaxed) % 20 {
        9 => Verdict::Answer(503),
        19 => Verdict::KeepAndAnswer(500),
        _ => Verdict::Accept,
    });
    let cell = start();
    eventually("it is under way", async || bus.distinct().len() > 500).await;
    cell.kill();
    bus.now(|_| Verdict::Accept);

    let cell = start();
    let mut arrived = 0;
    while arrived < EVENTS {
        eventually("more arrive", async || bus.distinct().len() > arrived).await;
        arrived = bus.distinct().len();
    }

    let mut levels: HashMap<(String, String), Vec<Value>> = HashMap::new();
    for event in bus.distinct() {
        let data = &event["data"];
        let key = (data["tenantId"].to_string(), data["customerId"].to_string());
        levels.entry(key).or_default().push(data["level"].clone());
    }
    assert_eq!(levels.len(), TENANTS * CUSTOMERS);
    let in_order: Vec<_> = (1..=CHANGES).map(|level| json!(level.to_string())).collect();
    for (record, found) in levels {
        assert_eq!(found, in_order, "{record:?}");
    }
    eventually("nothing is pending", async || figure(&cell, "events_pending").await == 0).await;
    assert_eq!(cell.terminate(), Some(0));
}
