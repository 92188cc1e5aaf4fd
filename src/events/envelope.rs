//! The form in which others get an event.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::{TenantId, Timestamp};
use crate::store::outbox::PendingEvent;

/// Who sends the cell's events.
const SOURCE: &str = "crm";

/// An event as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its id, the same at every delivery.
    pub event_id: String,
    /// What it belongs to.
    pub trace_id: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// The envelope: a JSON object.
    pub body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    event_id: &'a str,
    event_type: &'a str,
    timestamp: Timestamp,
    source: &'static str,
    trace_id: &'a str,
    data: Map<String, Value>,
}

impl Outgoing {
    /// The envelope of `event`. The bus keeps `data` alone, so whose event it is and where it stands in the tenant's order
    /// stand in there.
    ///
    /// # Errors
    /// Its data is no JSON object.
    pub(super) fn new(tenant: &TenantId, event: &PendingEvent) -> Result<Self, serde_json::Error> {
        let mut data: Map<String, Value> = serde_json::from_str(&event.data)?;
        data.insert("tenantId".to_owned(), json!(tenant));
        data.insert("seq".to_owned(), json!(event.seq));
        let trace_id = event.trace_id.as_ref().unwrap_or(&event.event_id);
        let envelope = Envelope {
            event_id: &event.event_id,
            event_type: &event.kind,
            timestamp: event.at,
            source: SOURCE,
            trace_id,
            data,
        };
        let body = serde_json::to_string(&envelope)?;
        Ok(Self {
            event_id: event.event_id.clone(),
            trace_id: trace_id.clone(),
            tenant: tenant.clone(),
            body,
        })
    }
}
