//! Events, out and in (contract §10).

mod bus;
mod effects;
mod governance;
mod inbound;
mod outage;
mod outbound;
mod poison;
mod poll;
mod review;

pub use bus::{Bus, Verdict};

use serde_json::{Value, json};

use crate::support::{Client, Setup, TestApp, token_with};

/// A service that delivers to this bus.
pub async fn publishing_to(bus: &Bus) -> TestApp {
    Setup::default().with("EVENT_BUS_URL", &bus.url).with("EVENT_BUS_TOKEN", "bus-token").start().await
}

impl TestApp {
    /// A client with the role `service`, bound to a tenant.
    pub fn service(&self, tenant: &str) -> Client {
        let claims = json!({
            "sub": "erp-sync", "tenantId": tenant, "role": "service", "exp": 4_000_000_000_u64,
        });
        self.anonymous().with_token(&token_with(&claims)).with_tenant(tenant)
    }
}

/// The types of events, in their order.
pub fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["eventType"].as_str().expect("a type")).collect()
}
