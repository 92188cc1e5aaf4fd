//! What every write leaves beside its rows: journal entries, events and the idempotency record.
//!
//! They are collected while the units of a group run and written set-wise at its end, in the string that also commits:
//! three statements and one hand-off for a whole group.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::domain::{Scope, Timestamp};
use crate::tenancy::rows::{fields, rows};

/// How long the answer of a write is kept for its retries (contract §8).
pub(super) const KEEP_ANSWERS_MS: i64 = 7 * 24 * 3600 * 1000;

/// Who writes, and on behalf of which request.
#[derive(Debug, Clone, Default)]
pub struct Actor {
    /// The user, or the name of the service.
    pub user: Arc<str>,
    /// `X-Request-ID`.
    pub request_id: Option<String>,
    /// The trace the request belongs to.
    pub trace_id: Option<String>,
    /// Which rows it may see and change.
    pub scope: Scope,
}

/// One change of one record: a journal row, and the event that tells other systems, if there is one.
#[derive(Debug)]
pub struct Change {
    /// `customer.create`.
    pub action: &'static str,
    /// `customer`.
    pub resource: &'static str,
    /// The record.
    pub record_id: String,
    /// Its version after the change.
    pub version: i64,
    /// `{"field": [old, new]}`, personal data masked.
    pub changes: Value,
    /// The event, if the change is one that other systems are told of.
    pub event: Option<Event>,
}

/// An event for other systems (contract §10).
#[derive(Debug)]
pub struct Event {
    /// `crm.customer.created`.
    pub kind: &'static str,
    /// The envelope's `data`: ids and current scalars, personal data masked.
    pub data: Value,
}

/// Which request this is, so that its retry can be answered alike (contract §8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Method, path, request id and user.
    pub key: String,
    /// Hash of the request's body.
    pub fingerprint: String,
}

/// What an earlier unit with the same key answered.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) fingerprint: String,
    pub(super) response: String,
    /// That unit's transaction has been committed.
    pub(super) is_durable: bool,
}

macro_rules! begin {
    () => {
        "begin immediate; \
         select i.key, i.fingerprint, i.response \
            from json_each(?2) j join idempotency i on i.key = j.value where i.at >= ?3; "
    };
}

/// Begins a group: the transaction, the answers already given to its keys, and the savepoint of its first unit.
pub(super) const BEGIN: &str = concat!(begin!(), "savepoint u");

/// [`BEGIN`] of a group that adds records first, by `insert` (see [`super::Addition::INSERT`]). It returns the ids of those
/// that nothing was in the way of. A request that has been answered before adds nothing.
pub(super) fn begin_with(insert: &str) -> String {
    const UNANSWERED: &str = " and not exists \
        (select 1 from idempotency i where i.key = json_extract(v, '$[#-1]') and i.at >= ?3) \
        on conflict do nothing returning id; ";
    [begin!(), insert, UNANSWERED, "savepoint u"].concat()
}

macro_rules! commit_tail {
    () => {
        concat!(
            rows!("?1"),
            "insert into journal (at, actor, action, resource, record_id, version, request_id, trace_id, changes) select ",
            fields!(0, 1, 2, 3, 4, 5, 6, 7, 8),
            " from r; ",
            rows!("?2"),
            "insert into outbox (event_id, type, record_id, trace_id, at, data, state) select ",
            fields!(0, 1, 2, 3, 4, 5, 6),
            " from r; ",
            rows!("?3"),
            "insert or replace into idempotency (key, fingerprint, response, at) select ",
            fields!(0, 1, 2, 3),
            " from r; commit"
        )
    };
}

/// Ends a group, keeping its last unit.
pub(super) const COMMIT: &str = concat!("release u; ", commit_tail!());
/// Ends a group, undoing its last unit.
pub(super) const COMMIT_WITHOUT_LAST: &str = concat!("rollback to u; release u; ", commit_tail!());

/// How many of the oldest answers [`FORGET_ANSWERS`] looks at, at least.
pub(super) const FORGET_SLICE: usize = 500;

/// Deletes those of the oldest answers that are too old to be asked for. Rows lie in order of age.
pub(super) const FORGET_ANSWERS: &str = "delete from idempotency where at < ?1 \
    and seq in (select seq from idempotency order by seq limit ?2)";

/// How long an event is kept once it has been delivered, or if nobody is to be told of it (contract §10).
pub(super) const KEEP_EVENTS_MS: i64 = 7 * 24 * 3600 * 1000;

/// Deletes those of the oldest events that need not be kept any longer. One that is still to be delivered is.
pub(super) const FORGET_EVENTS: &str = "delete from outbox where at < ?1 \
    and seq < (select max(seq) from outbox) and seq in (select seq from outbox where state <> 'pending' order by seq limit ?2)";

/// The rows that a group adds to the ledger.
#[derive(Debug, Default)]
pub(super) struct Entries {
    journal: Rows,
    outbox: Rows,
    idempotency: Rows,
    /// How many events there are among them.
    events: u64,
}

/// The state in which an event begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventState {
    /// It is to be delivered.
    Pending,
    /// There is nobody to deliver it to.
    Unpublished,
}

impl EventState {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unpublished => "unpublished",
        }
    }
}

/// A JSON array of rows, each an array of its columns. Written row by row, so that its size is known while a group runs.
#[derive(Debug, Default)]
struct Rows(Vec<u8>);

impl Rows {
    fn push(&mut self, row: &impl Serialize) -> Result<(), serde_json::Error> {
        self.0.push(if self.0.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(&mut self.0, row)
    }

    fn json(mut self) -> String {
        if self.0.is_empty() {
            self.0.push(b'[');
        }
        self.0.push(b']');
        String::from_utf8(self.0).expect("serde_json writes UTF-8")
    }
}

impl Entries {
    /// Bytes of JSON.
    pub(super) fn size(&self) -> usize {
        self.journal.0.len() + self.outbox.0.len() + self.idempotency.0.len()
    }

    /// How many events there are.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Adds a successful unit's change; its event begins in the state `begins`.
    pub(super) fn add_change(
        &mut self,
        change: Change,
        by: &Actor,
        now: Timestamp,
        begins: EventState,
        new_id: impl Fn() -> Uuid,
    ) -> Result<(), serde_json::Error> {
        let Change { action, resource, record_id, version, changes, event } = change;
        let (at, trace_id) = (now.millis(), &by.trace_id);
        if let Some(Event { kind, data }) = event {
            // Receivers follow what happened by the trace; a request that belongs to none is one of its own.
            let trace_id = trace_id.as_ref().or(by.request_id.as_ref());
            self.outbox.push(&(new_id(), kind, &record_id, trace_id, at, data.to_string(), begins.word()))?;
            self.events += 1;
        }
        let changes = changes.to_string();
        let row = (at, &by.user, action, resource, record_id, version, &by.request_id, trace_id, changes);
        self.journal.push(&row)
    }

    /// Adds a successful unit's answer.
    pub(super) fn add_answer(
        &mut self,
        key: &IdempotencyKey,
        response: &RawValue,
        now: Timestamp,
    ) -> Result<(), serde_json::Error> {
        let IdempotencyKey { key, fingerprint } = key;
        self.idempotency.push(&(key, fingerprint, response.get(), now.millis()))
    }

    /// The three parameters of [`COMMIT`].
    pub(super) fn parameters(self) -> [String; 3] {
        [self.journal.json(), self.outbox.json(), self.idempotency.json()]
    }
}

/// Reads a row of [`BEGIN`], of three columns.
pub(super) fn stored_answer(row: &SqliteRow) -> Result<(String, Stored), sqlx::Error> {
    Ok((
        row.try_get(0)?,
        Stored { fingerprint: row.try_get(1)?, response: row.try_get(2)?, is_durable: true },
    ))
}

/// A unit's value, and whether it was computed now or is the stored answer of an earlier request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done<T> {
    /// What the unit returned.
    pub value: T,
    /// It is an earlier unit's answer to the same request.
    pub replayed: bool,
}
