//! Events that go out: what the relay reads and settles, and what operators see of it (contract §10).

use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::list::{Filters, List, SortKey};
use super::record::Columns;
use crate::domain::{Page, PageRequest, Replay, Timestamp, Violation};
use crate::tenancy::{Backlog, Read, StoreError, Write};

/// An event that is to be delivered.
#[derive(Debug, Clone)]
pub struct PendingEvent {
    /// Its place in the tenant's order of events.
    pub seq: i64,
    /// The same at every delivery.
    pub event_id: String,
    /// `crm.customer.created`
    pub kind: String,
    /// The record that it is about: its events keep their order.
    pub record_id: String,
    /// The trace, or the request, that it came of.
    pub trace_id: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// The envelope's `data`, but for the tenant: a JSON object.
    pub data: String,
    /// How often the bus refused it.
    pub attempts: i64,
    /// When it is to be offered again.
    pub not_before: Option<Timestamp>,
}

/// An event that the bus refused.
#[derive(Debug, Clone)]
pub struct RefusedEvent {
    /// Its place in the tenant's order of events.
    pub seq: i64,
    /// When it is to be offered again.
    pub not_before: Timestamp,
    /// Why it was refused: a word.
    pub failure: &'static str,
}

/// The next events to be delivered after the place `after`, in their order.
///
/// # Errors
/// See [`StoreError`].
pub async fn pending(db: &mut Read, after: i64, most: u32) -> Result<Vec<PendingEvent>, StoreError> {
    let rows = sqlx::query(
        "select json_array(seq, event_id, type, record_id, trace_id, at, data, attempts, not_before) \
         from outbox where state = 'pending' and seq > ?1 order by seq limit ?2",
    );
    let rows = rows.bind(after).bind(most).fetch_all(&mut *db).await?;
    let read = |row: &SqliteRow| {
        let mut columns = Columns::of(row, 0)?;
        Ok(PendingEvent {
            seq: columns.next()?,
            event_id: columns.next()?,
            kind: columns.next()?,
            record_id: columns.next()?,
            trace_id: columns.next()?,
            at: columns.moment()?,
            data: columns.next()?,
            attempts: columns.next()?,
            not_before: columns.optional_moment()?,
        })
    };
    Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
}

/// What of the tenant's events waits: to be delivered, or to be tried again.
///
/// # Errors
/// See [`StoreError`].
pub async fn backlog(db: &mut Read) -> Result<Backlog, StoreError> {
    // Walks along indexes that hold what waits and nothing else. After a long outage that is very much: it is not counted to the end.
    let row = sqlx::query(
        "select (select count(*) from (select 1 from outbox where state = 'pending' limit 100000)), \
            (select at from outbox where state = 'pending' order by seq limit 1), \
            (select min(not_before) from outbox where not_before is not null), \
            (select min(retry_at) from inbox where retry_at is not null)",
    );
    let row = row.fetch_one(&mut *db).await?;
    let pending: i64 = row.try_get(0)?;
    let moment =
        |position| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(position)?.map(Timestamp::from_millis));
    Ok(Backlog {
        pending: pending.try_into().unwrap_or(0),
        oldest: moment(1)?,
        retry_at: moment(2)?,
        review_at: moment(3)?,
    })
}

/// Keeps what came of a batch: these were delivered, those refused.
///
/// # Errors
/// See [`StoreError`].
pub async fn settle(tx: &mut Write, delivered: &[i64], refused: &[RefusedEvent]) -> Result<(), StoreError> {
    if !delivered.is_empty() {
        sqlx::query(
            "update outbox set state = 'delivered', not_before = null, failure = null \
             where seq in (select value from json_each(?1)) and state = 'pending'",
        )
        .bind(json!(delivered).to_string())
        .execute(&mut *tx)
        .await?;
    }
    for RefusedEvent { seq, not_before, failure } in refused {
        sqlx::query(
            "update outbox set attempts = attempts + 1, not_before = ?2, failure = ?3 \
             where seq = ?1 and state = 'pending'",
        )
        .bind(seq)
        .bind(not_before.millis())
        .bind(failure)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Has an event that the bus refused offered again now.
///
/// # Errors
/// [`Violation::NoSuchEvent`] that is still to be delivered; see [`StoreError`].
pub async fn retry(tx: &mut Write, event_id: &str) -> Result<OutboxEvent, StoreError> {
    let row = sqlx::query(
        "update outbox set not_before = null where state = 'pending' and event_id = ?1 \
         returning json_array(event_id, type, record_id, trace_id, at, state, attempts, not_before, failure)",
    );
    let row = row.bind(event_id).fetch_optional(&mut *tx).await?;
    let row = row.ok_or(StoreError::Violation(Violation::NoSuchEvent))?;
    Ok(OutboxEvent::read(&row, 0)?)
}

/// Has events delivered that were delivered before, or never because there was nobody to deliver them to. Returns how
/// many.
///
/// # Errors
/// See [`StoreError`].
pub async fn replay(tx: &mut Write, what: &Replay) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update outbox set state = 'pending', attempts = 0, not_before = null, failure = null \
         where state = ?1 and (?2 is null or type = ?2) and at >= ?3 and at < ?4",
    )
    .bind(what.state)
    .bind(&what.kind)
    .bind(what.from.map_or(i64::MIN, Timestamp::millis))
    .bind(what.to.map_or(i64::MAX, Timestamp::millis))
    .execute(&mut *tx)
    .await?;
    Ok(done.rows_affected())
}

/// An event as operators see it.
#[derive(Debug)]
pub struct OutboxEvent {
    /// Its id, the same at every delivery.
    pub event_id: String,
    /// `crm.customer.created`
    pub kind: String,
    /// The record that it is about.
    pub record_id: String,
    /// The trace, or the request, that it came of.
    pub trace_id: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// `pending`, `delivered` or `unpublished`.
    pub state: String,
    /// How often the bus refused it.
    pub attempts: i64,
    /// When it is offered again.
    pub not_before: Option<Timestamp>,
    /// Why it was refused last: a word.
    pub failure: Option<String>,
}

impl OutboxEvent {
    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            event_id: columns.next()?,
            kind: columns.next()?,
            record_id: columns.next()?,
            trace_id: columns.next()?,
            at: columns.moment()?,
            state: columns.next()?,
            attempts: columns.next()?,
            not_before: columns.optional_moment()?,
            failure: columns.next()?,
        })
    }
}

const OUTBOX: List<OutboxEvent> = List {
    table: "outbox_log",
    base: "true",
    columns: "id, type, record_id, trace_id, at, state, attempts, not_before, failure",
    own: "false", // nobody's own: it is for reviewers
    lasts: true,
    read: OutboxEvent::read,
};

/// The order in which events happened: the only one of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxKey;

impl SortKey for OutboxKey {
    fn column(self) -> &'static str {
        "seq"
    }

    fn is_text(self) -> bool {
        false
    }
}

/// What the outbox can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct OutboxFilter {
    /// Events in this state.
    pub state: Option<&'static str>,
    /// Of this type.
    pub kind: Option<String>,
    /// About this record.
    pub record_id: Option<String>,
    /// That happened at this moment or later.
    pub from: Option<Timestamp>,
    /// That happened before this moment.
    pub to: Option<Timestamp>,
}

/// A page of the outbox.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &OutboxFilter,
    request: &PageRequest<OutboxKey>,
    list: u64,
) -> Result<Page<OutboxEvent>, StoreError> {
    let add = |filters: &mut Filters<'_>| {
        if let Some(state) = filter.state {
            filters.and("state = ", state);
        }
        filters.text("type = ", &filter.kind);
        filters.text("record_id = ", &filter.record_id);
        filters.moment("at >= ", filter.from);
        filters.moment("at < ", filter.to);
    };
    OUTBOX.page(db, request, list, add).await
}
