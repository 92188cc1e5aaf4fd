//! Events of other systems: the forms in which they come, and what the two that concern this cell say (contract §10;
//! the effects are in `flows`).

use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::money::AMOUNT_MAX;
use super::{Currency, InputType as _, Resource, Timestamp};

/// Longest id of an event, and longest text that is read of one.
const ID_MAX: usize = 200;
const TEXT_MAX: usize = 200;
/// Longest result of a task that is kept.
const RESULT_MAX: usize = 10_000;

/// The types of events that have an effect here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedKind {
    /// `erp.contract.signed`
    ContractSigned,
    /// `oa.task.completed`
    TaskCompleted,
}

impl ReceivedKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ContractSigned, Self::TaskCompleted];

    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ContractSigned => "erp.contract.signed",
            Self::TaskCompleted => "oa.task.completed",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// An event of another system.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedEvent {
    /// Its id: letters, digits and `. _ : @ ~ -`, at most 200.
    pub event_id: String,
    /// Its type, as the sender names it.
    pub kind: String,
    /// What it belongs to.
    pub trace_id: Option<String>,
    /// When it happened, if it says so.
    pub at: Option<Timestamp>,
    /// What it says.
    pub data: Map<String, Value>,
}

/// Why an event cannot be read: the member that is missing or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedEvent(pub &'static str);

impl ReceivedEvent {
    /// Reads an event in one of three forms: the platform's envelope (`eventId, eventType, timestamp, traceId, data`), an
    /// entry of the platform's bus (`eventId, eventType, traceId, payload, ts`), or CloudEvents 1.0 in structured form.
    ///
    /// # Errors
    /// Names the member that is missing or wrong.
    pub fn read(event: Value) -> Result<Self, MalformedEvent> {
        let Value::Object(mut event) = event else {
            return Err(MalformedEvent(""));
        };
        let is_cloud_event = event.contains_key("specversion");
        let (id, kind) = if is_cloud_event { ("id", "type") } else { ("eventId", "eventType") };
        let event_id = event.get(id).and_then(Value::as_str).map(str::trim).filter(|id| is_event_id(id));
        let event_id = event_id.ok_or(MalformedEvent(id))?.to_owned();
        let name = event.get(kind).and_then(Value::as_str).map(str::trim);
        let name = name.filter(|name| !name.is_empty() && name.len() <= TEXT_MAX);
        let kind = name.ok_or(MalformedEvent(kind))?.to_owned();
        let trace_id = text(&event, "traceId").or_else(|| {
            // 00-<trace>-<span>-<flags>
            text(&event, "traceparent")?.split('-').nth(1).map(str::to_owned)
        });
        let written = text(&event, if is_cloud_event { "time" } else { "timestamp" });
        let at = match written {
            Some(written) => Timestamp::parse_rfc3339(&written),
            None => event.get("ts").and_then(Value::as_f64).map(from_seconds),
        };
        let tenant = event.remove("tenantid");
        let data = ["data", "payload"].into_iter().find_map(|name| event.remove(name));
        let mut data = match data {
            Some(Value::Object(data)) => data,
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Err(MalformedEvent("data")),
        };
        // CloudEvents has a place for the tenant outside the data.
        if let Some(tenant) = tenant.filter(|_| is_cloud_event && !data.contains_key("tenantId")) {
            data.insert("tenantId".to_owned(), tenant);
        }
        Ok(Self { event_id, kind, trace_id, at, data })
    }

    /// The tenant that it names, as it names it; `Some("")` for something that is no text.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self.data.get("tenantId")? {
            Value::Null => None,
            Value::String(tenant) if tenant.trim().is_empty() => None,
            Value::String(tenant) => Some(tenant.trim()),
            _ => Some(""),
        }
    }
}

fn is_event_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@~-".contains(&byte);
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

fn from_seconds(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "saturates at the ends of i64, which are no moments")]
    Timestamp::from_millis((seconds * 1000.0) as i64)
}

/// A text, or a number as text: ids of other systems are either. Blank is absent.
fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    let text = match object.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let is_clean = !text.chars().any(char::is_control);
    (!text.is_empty() && text.chars().count() <= TEXT_MAX && is_clean).then_some(text)
}

/// A moment, if the member is there: `Err` if it is there and none. Without an offset it is in `zone`.
fn moment(data: &Map<String, Value>, name: &'static str, zone: Tz) -> Result<Option<Timestamp>, Unreadable> {
    match data.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => {
            Timestamp::parse(text.trim(), zone).map(Some).ok_or(Unreadable("invalid-date"))
        }
        Some(_) => Err(Unreadable("invalid-date")),
    }
}

/// Why the data of an event cannot be acted on: a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

/// `erp.contract.signed`: a contract was signed, or is known better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractSigned {
    /// The contract's id in the ERP, else its number: what makes it the same contract.
    pub key: String,
    /// Its number.
    pub contract_no: Option<String>,
    /// Whose it is.
    pub customer_id: Option<String>,
    /// What it came of.
    pub opportunity_id: Option<String>,
    /// Minor units of the currency.
    pub amount_cents: Option<i64>,
    /// The currency of the amount.
    pub currency: Option<Currency>,
    /// The order that was made of it.
    pub order_id: Option<String>,
    /// Which of several events about a contract is the last.
    pub standing: ContractStanding,
}

/// The order of the events about one contract, whatever the order in which they come: by the moment of signing, then that of
/// the event, then its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContractStanding {
    /// When it was signed.
    pub signed_at: Timestamp,
    /// When the event happened.
    pub said_at: Timestamp,
    /// The event.
    pub event_id: String,
}

impl ContractSigned {
    /// Reads an event that came at `received_at`. Dates without an offset are in `zone`.
    ///
    /// # Errors
    /// What cannot be acted on.
    pub fn read(event: &ReceivedEvent, received_at: Timestamp, zone: Tz) -> Result<Self, Unreadable> {
        let data = &event.data;
        let contract_no = text(data, "contractNo");
        let key =
            text(data, "contractId").or_else(|| contract_no.clone()).ok_or(Unreadable("no-contract"))?;
        let amount = ["amountCents", "totalAmountCents"].into_iter().filter_map(|name| data.get(name));
        let amount_cents = match amount.into_iter().find(|amount| !amount.is_null()) {
            Some(amount) => Some(cents(amount).ok_or(Unreadable("invalid-amount"))?),
            None => None,
        };
        let currency = match text(data, "currency") {
            Some(code) => Some(Currency::parse(&code).ok_or(Unreadable("invalid-currency"))?),
            None => None,
        };
        let signed_at = moment(data, "signedAt", zone)?.or(event.at).unwrap_or(received_at);
        let said_at = event.at.unwrap_or(signed_at);
        Ok(Self {
            key,
            contract_no,
            customer_id: text(data, "customerId"),
            opportunity_id: text(data, "opportunityId"),
            amount_cents,
            currency,
            order_id: text(data, "orderId"),
            standing: ContractStanding { signed_at, said_at, event_id: event.event_id.clone() },
        })
    }
}

/// An integer within the bounds of amounts; `100.0` and `"100"` are.
fn cents(value: &Value) -> Option<i64> {
    let cents = match value {
        Value::String(digits) => digits.trim().parse().ok()?,
        number => i64::from_json(number.clone())?,
    };
    (0..=AMOUNT_MAX).contains(&cents).then_some(cents)
}

/// `oa.task.completed`: somebody has done what they were asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCompleted {
    /// The task's id in the OA.
    pub task_id: String,
    /// What was to be done.
    pub title: String,
    /// What came of it.
    pub result: Option<String>,
    /// Who did it.
    pub assignee_id: Option<String>,
    /// When.
    pub completed_at: Timestamp,
    /// The records that it is about; none: it does not concern this cell.
    pub links: Vec<(Resource, String)>,
}

impl TaskCompleted {
    /// Reads an event that came at `received_at`. Dates without an offset are in `zone`.
    ///
    /// # Errors
    /// What cannot be acted on.
    pub fn read(event: &ReceivedEvent, received_at: Timestamp, zone: Tz) -> Result<Self, Unreadable> {
        let data = &event.data;
        let task_id = text(data, "taskId").ok_or(Unreadable("no-task"))?;
        let result = ["result", "remark"].into_iter().find_map(|name| free_text(data, name, RESULT_MAX));
        let completed_at = moment(data, "completedAt", zone)?.or(event.at).unwrap_or(received_at);
        Ok(Self {
            task_id,
            title: free_text(data, "title", TEXT_MAX).unwrap_or_default(),
            result,
            assignee_id: text(data, "assigneeId"),
            completed_at,
            links: links(data),
        })
    }
}

/// Free text without control characters, cut off where it is too long.
fn free_text(data: &Map<String, Value>, name: &str, most: usize) -> Option<String> {
    let clean = data.get(name)?.as_str()?.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t');
    let text: String = clean.take(most).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The records that a task names: by the names of this cell, or as the platform's forms do (`sourceCell`, `sourceType`,
/// `sourceId`), at the top or under `formData`.
fn links(data: &Map<String, Value>) -> Vec<(Resource, String)> {
    const NAMES: [(&str, Resource); 4] = [
        ("followUpId", Resource::FollowUp),
        ("opportunityId", Resource::Opportunity),
        ("contactId", Resource::Contact),
        ("customerId", Resource::Customer),
    ];
    let form = data.get("formData").and_then(Value::as_object);
    for place in [Some(data), form].into_iter().flatten() {
        let named: Vec<_> =
            NAMES.iter().filter_map(|(name, resource)| Some((*resource, text(place, name)?))).collect();
        if !named.is_empty() {
            return named;
        }
        let of_crm = text(place, "sourceCell").is_some_and(|cell| cell.eq_ignore_ascii_case("crm"));
        let kind = text(place, "sourceType").and_then(|kind| source_type(&kind));
        if of_crm && let (Some(kind), Some(id)) = (kind, text(place, "sourceId")) {
            return vec![(kind, id)];
        }
    }
    Vec::new()
}

fn source_type(word: &str) -> Option<Resource> {
    let word: String = word.chars().filter(char::is_ascii_alphabetic).collect();
    match word.to_ascii_lowercase().trim_end_matches('s') {
        "customer" => Some(Resource::Customer),
        "contact" => Some(Resource::Contact),
        "opportunity" | "opportunitie" => Some(Resource::Opportunity),
        "followup" => Some(Resource::FollowUp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(data: &Value) -> ReceivedEvent {
        let event = json!({
            "eventId": "e-1", "eventType": "erp.contract.signed", "timestamp": "2026-03-01T00:00:00Z", "data": data,
        });
        ReceivedEvent::read(event).expect("an event")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a moment")
    }

    #[test]
    fn the_same_event_reads_alike_in_every_form() {
        let envelope = json!({
            "eventId": "e-1", "eventType": "oa.task.completed", "timestamp": "2026-03-01T08:00:00+08:00",
            "traceId": "t-1", "data": {"taskId": "7", "tenantId": "acme"},
        });
        let entry = json!({
            "eventId": "e-1", "eventType": "oa.task.completed", "ts": 1_772_323_200.0,
            "traceId": "t-1", "payload": {"taskId": "7", "tenantId": "acme"},
        });
        let cloud_event = json!({
            "specversion": "1.0", "id": "e-1", "type": "oa.task.completed", "source": "/oa",
            "time": "2026-03-01T00:00:00Z", "traceparent": "00-t1-s1-01", "tenantid": "acme", "data": {"taskId": "7"},
        });
        let [envelope, entry, mut cloud_event] =
            [envelope, entry, cloud_event].map(|event| ReceivedEvent::read(event).expect("an event"));
        assert_eq!(envelope.at, Some(at("2026-03-01T00:00:00Z")));
        assert_eq!(entry, envelope);
        assert_eq!(cloud_event.trace_id.replace("t-1".into()).as_deref(), Some("t1"));
        assert_eq!(cloud_event, envelope);
        assert_eq!(envelope.tenant(), Some("acme"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (event, member) in [
            (json!([]), ""),
            (json!({"eventType": "x"}), "eventId"),
            (json!({"eventId": "a b", "eventType": "x"}), "eventId"),
            (json!({"eventId": "a/b", "eventType": "x"}), "eventId"),
            (json!({"eventId": "a", "eventType": ""}), "eventType"),
            (json!({"eventId": "a", "eventType": "x", "data": [1]}), "data"),
            (json!({"specversion": "1.0", "id": 1, "type": "x"}), "id"),
        ] {
            assert_eq!(ReceivedEvent::read(event.clone()), Err(MalformedEvent(member)), "{event}");
        }
    }

    #[test]
    fn a_contract_is_known_by_its_id_or_else_its_number() {
        let read = |data| ContractSigned::read(&event(&data), Timestamp::default(), Tz::UTC);
        let contract = read(json!({
            "contractId": 17, "contractNo": "HT-1", "totalAmountCents": 100.0, "currency": "usd", "signedAt": "2026-02-03",
        }));
        let contract = contract.expect("readable");
        assert_eq!((contract.key.as_str(), contract.contract_no.as_deref()), ("17", Some("HT-1")));
        assert_eq!((contract.amount_cents, contract.currency), (Some(100), Currency::parse("USD")));
        assert_eq!(contract.standing.signed_at, at("2026-02-03T00:00:00Z"));
        assert_eq!(read(json!({"contractNo": "HT-1"})).expect("readable").key, "HT-1");
        let undated = read(json!({"contractNo": "HT-1"})).expect("readable").standing;
        assert_eq!(undated.signed_at, at("2026-03-01T00:00:00Z"), "when the event happened");
        for (data, reason) in [
            (json!({}), "no-contract"),
            (json!({"contractId": "1", "amountCents": -1}), "invalid-amount"),
            (json!({"contractId": "1", "amountCents": 1.5}), "invalid-amount"),
            (json!({"contractId": "1", "amountCents": 1e300}), "invalid-amount"),
            (json!({"contractId": "1", "currency": "RMB"}), "invalid-currency"),
            (json!({"contractId": "1", "signedAt": "yesterday"}), "invalid-date"),
            (json!({"contractId": "1", "signedAt": 5}), "invalid-date"),
        ] {
            assert_eq!(read(data.clone()).expect_err("refused"), Unreadable(reason), "{data}");
        }
    }

    #[test]
    fn a_task_names_its_records_in_either_way() {
        let links = |data: Value| {
            let mut data = data;
            data["taskId"] = json!("7");
            TaskCompleted::read(&event(&data), Timestamp::default(), Tz::UTC).expect("readable").links
        };
        let customer = vec![(Resource::Customer, "c".to_owned())];
        for data in [
            json!({"customerId": "c"}),
            json!({"formData": {"customerId": "c"}}),
            json!({"sourceCell": "CRM", "sourceType": "customers", "sourceId": "c"}),
            json!({"formData": {"sourceCell": "crm", "sourceType": "Customer", "sourceId": "c"}}),
        ] {
            assert_eq!(links(data.clone()), customer, "{data}");
        }
        for data in [
            json!({}),
            json!({"sourceCell": "erp", "sourceType": "customer", "sourceId": "c"}),
            json!({"sourceType": "customer", "sourceId": "c"}),
            json!({"sourceCell": "crm", "sourceType": "order", "sourceId": "c"}),
            json!({"customerId": ""}),
        ] {
            assert_eq!(links(data.clone()), [], "{data}");
        }
        let follow_up = json!({"sourceCell": "crm", "sourceType": "follow-up", "sourceId": "f"});
        assert_eq!(links(follow_up), [(Resource::FollowUp, "f".to_owned())]);
        let opportunity = json!({"sourceCell": "crm", "sourceType": "opportunities", "sourceId": "o"});
        assert_eq!(links(opportunity), [(Resource::Opportunity, "o".to_owned())]);
    }
}
