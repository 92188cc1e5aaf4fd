//! Writers: what they send and what they are told. They live in the suite's process, so their memory outlasts the cell's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cell::{Answer, Client};
use crate::chance::Chance;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Customer,
    Contact,
    Opportunity,
    FollowUp,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Customer, Self::Contact, Self::Opportunity, Self::FollowUp];

    /// The word in the journal, the table, and the column that holds [`Write::text`].
    pub(crate) fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Customer => ("customer", "customers", "name"),
            Self::Contact => ("contact", "contacts", "name"),
            Self::Opportunity => ("opportunity", "opportunities", "title"),
            Self::FollowUp => ("follow_up", "follow_ups", "content"),
        }
    }

    fn id_field(self) -> &'static str {
        match self {
            Self::Customer => "customerId",
            Self::Contact => "contactId",
            Self::Opportunity => "opportunityId",
            Self::FollowUp => "followUpId",
        }
    }
}

/// What a write is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A new record, whose name, title or content is the request id.
    Create(Kind),
    /// This customer's remark becomes the request id.
    Change(String),
    /// This customer and what hangs on it go to the trash.
    Delete(String),
}

/// What a client knows of a write's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It took place: 2xx.
    Acknowledged(Answer),
    /// It did not: every answer said `not-written`.
    Refused,
    /// No answer, or `outcome-unknown`.
    Unknown,
}

/// One write, and what the client was told.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) tenant: String,
    /// Unlike any other of the run.
    pub(crate) request_id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) effect: Effect,
    pub(crate) fate: Fate,
}

impl Write {
    pub(crate) async fn send(&self, client: &Client) -> reqwest::Result<Answer> {
        let (method, id) = (self.method.clone(), Some(self.request_id.as_str()));
        client.send(method, &self.path, &self.tenant, id, self.body.as_ref()).await
    }

    /// The id of the record that was made, as it was acknowledged.
    pub(crate) fn created(&self) -> Option<String> {
        match (&self.effect, &self.fate) {
            (Effect::Create(kind), Fate::Acknowledged(answer)) => answer.field(kind.id_field()),
            _ => None,
        }
    }
}

/// One client, writing to one tenant, one request after the other. It changes and deletes its own customers only, so that
/// the order of its writes is the order of their effects.
pub(crate) struct Writer {
    client: Client,
    tenant: String,
    /// The beginning of its request ids.
    name: String,
    chance: Chance,
    /// Pauses of up to this many milliseconds between writes; 0 for none.
    pace: i64,
    customers: Vec<String>,
    written: Vec<Write>,
    /// Answers that no fault explains.
    wrong: Vec<String>,
}

/// What a writer leaves behind.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) writes: Vec<Write>,
    pub(crate) wrong: Vec<String>,
}

impl Writer {
    pub(crate) fn new(client: Client, tenant: &str, name: String, seed: u64) -> Self {
        Self {
            client,
            tenant: tenant.to_owned(),
            name,
            chance: Chance::of(seed),
            pace: 0,
            customers: Vec::new(),
            written: Vec::new(),
            wrong: Vec::new(),
        }
    }

    pub(crate) fn pausing(mut self, pace: i64) -> Self {
        self.pace = pace;
        self
    }

    /// Writes until it is told to stop, has made `most` writes, or the cell is gone.
    pub(crate) async fn run(mut self, stop: &AtomicBool, most: usize) -> Written {
        while !stop.load(Ordering::Relaxed) && self.written.len() < most {
            let mut write = self.next();
            let is_alive = self.settle(&mut write, stop).await;
            match (&write.effect, &write.fate) {
                (Effect::Create(Kind::Customer), Fate::Acknowledged(_)) => {
                    self.customers.extend(write.created());
                }
                (Effect::Delete(id), _) => self.customers.retain(|known| known != id),
                _ => {}
            }
            self.written.push(write);
            if !is_alive {
                break;
            }
            if self.pace > 0 {
                let pause = self.chance.between(0, self.pace);
                tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
            }
        }
        Written { writes: self.written, wrong: self.wrong }
    }

    fn next(&mut self) -> Write {
        let request_id = format!("{}-{}", self.name, self.written.len());
        let write = |method, path: String, body, effect| Write {
            tenant: self.tenant.clone(),
            request_id: request_id.clone(),
            method,
            path,
            body,
            effect,
            fate: Fate::Unknown,
        };
        let choice = self.chance.between(1, 100);
        if self.customers.is_empty() || choice <= 35 {
            let body = json!({"name": request_id, "contactPhone": "13812345678", "level": "A"});
            return write(Method::POST, "/customers".to_owned(), Some(body), Effect::Create(Kind::Customer));
        }
        let last = i64::try_from(self.customers.len()).unwrap_or(1) - 1;
        let index = usize::try_from(self.chance.between(0, last)).unwrap_or(0);
        let customer = self.customers[index].clone();
        let (path, body, kind) = match choice {
            36..=60 => {
                let path = format!("/customers/{customer}");
                return write(
                    Method::PATCH,
                    path,
                    Some(json!({"remark": request_id})),
                    Effect::Change(customer),
                );
            }
            61..=65 => {
                return write(
                    Method::DELETE,
                    format!("/customers/{customer}"),
                    None,
                    Effect::Delete(customer),
                );
            }
            66..=80 => ("/contacts", json!({"customerId": customer, "name": request_id}), Kind::Contact),
            81..=90 => {
                let body = json!({"customerId": customer, "title": request_id, "amountCents": 100});
                ("/opportunities", body, Kind::Opportunity)
            }
            _ => ("/follow-ups", json!({"customerId": customer, "content": request_id}), Kind::FollowUp),
        };
        write(Method::POST, path.to_owned(), Some(body), Effect::Create(kind))
    }

    /// Sends a write until its outcome is known or, sometimes, is given up. False: the cell is gone.
    async fn settle(&mut self, write: &mut Write, stop: &AtomicBool) -> bool {
        write.fate = Fate::Refused;
        loop {
            let Ok(answer) = write.send(&self.client).await else {
                write.fate = Fate::Unknown;
                return false;
            };
            let details = answer.field("details").unwrap_or_default();
            let is_formed =
                answer.field("code").as_deref() == Some("TENANT_UNAVAILABLE") && answer.retry_after;
            match (answer.status, details.as_str()) {
                (200..300, _) => {
                    write.fate = Fate::Acknowledged(answer);
                    return true;
                }
                (423, "not-written") if is_formed => {}
                (423, "outcome-unknown") if is_formed => write.fate = Fate::Unknown,
                (429, _) => {}
                _ => {
                    write.fate = Fate::Unknown;
                    self.wrong
                        .push(format!("{} {}: {} {}", write.method, write.path, answer.status, answer.body));
                    return true;
                }
            }
            if stop.load(Ordering::Relaxed) || self.chance.percent(30) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
