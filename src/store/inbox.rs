//! Events that came in: each once, with what came of it (contract §10).

use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::list::{Filters, List, SortKey};
use super::record::Columns;
use crate::domain::{Page, PageRequest, ReceivedEvent, Timestamp};
use crate::tenancy::{Read, StoreError, Write};

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboxState {
    /// It had its effect.
    Applied,
    /// It has none here.
    Ignored,
    /// A person is to say what it means.
    NeedsReview,
    /// It cannot be acted on.
    Failed,
    /// A person has said what it means.
    Resolved,
}

impl InboxState {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Applied, Self::Ignored, Self::NeedsReview, Self::Failed, Self::Resolved];
    /// Their words.
    pub const WORDS: &[&str] = &["applied", "ignored", "needs_review", "failed", "resolved"];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::NeedsReview => "needs_review",
            Self::Failed => "failed",
            Self::Resolved => "resolved",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// What an event did, or why it did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What came of it.
    pub state: InboxState,
    /// Why: a word; `None` if there is nothing to say.
    pub reason: Option<&'static str>,
    /// The record that it changed or made.
    pub record_id: Option<String>,
    /// The records that it may mean.
    pub candidates: Vec<String>,
    /// It may come right by itself, when what it names is here.
    pub may_come_right: bool,
}

/// An event as operators see it. What the sender wrote is not shown: it may hold personal data.
#[derive(Debug, Clone)]
pub struct InboxEvent {
    /// Its id.
    pub event_id: String,
    /// `erp.contract.signed`
    pub kind: String,
    /// What it is about, in the sender's terms: `contract:HT-1`.
    pub subject: Option<String>,
    /// What it belongs to.
    pub trace_id: Option<String>,
    /// When it was received first.
    pub at: Timestamp,
    /// What came of it.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// The record that it changed or made.
    pub record_id: Option<String>,
    /// The records that it may mean.
    pub candidates: Vec<String>,
    /// When it is tried again by itself.
    pub retry_at: Option<Timestamp>,
}

const COLUMNS: &str = "event_id, type, subject, trace_id, at, state, reason, record_id, candidates, retry_at";

impl InboxEvent {
    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            event_id: columns.next()?,
            kind: columns.next()?,
            subject: columns.next()?,
            trace_id: columns.next()?,
            at: columns.moment()?,
            state: columns.next()?,
            reason: columns.next()?,
            record_id: columns.next()?,
            candidates: serde_json::from_str(&columns.next::<String>()?)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            retry_at: columns.optional_moment()?,
        })
    }
}

/// The event of this id, if it came before.
///
/// # Errors
/// See [`StoreError`].
pub async fn find(db: &mut Read, event_id: &str) -> Result<Option<InboxEvent>, StoreError> {
    let sql = format!("select json_array({COLUMNS}) from inbox where event_id = ?1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(event_id).fetch_optional(&mut *db).await?;
    Ok(row.map(|row| InboxEvent::read(&row, 0)).transpose()?)
}

/// An event as it was received, to be looked at again.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The event.
    pub event: ReceivedEvent,
    /// When it was received first.
    pub received_at: Timestamp,
}

const KEPT: &str =
    "json_array(event_id, type, trace_id, json_extract(data, '$.at'), json_extract(data, '$.data'), at)";

fn kept(row: &SqliteRow) -> Result<Kept, sqlx::Error> {
    let mut columns = Columns::of(row, 0)?;
    let event = ReceivedEvent {
        event_id: columns.next()?,
        kind: columns.next()?,
        trace_id: columns.next()?,
        at: columns.optional_moment()?,
        data: columns.next()?,
    };
    Ok(Kept { event, received_at: columns.moment()? })
}

/// The event of this id as it was received.
///
/// # Errors
/// See [`StoreError`].
pub async fn read_again(db: &mut Read, event_id: &str) -> Result<Option<Kept>, StoreError> {
    let sql = format!("select {KEPT} from inbox where event_id = ?1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(event_id).fetch_optional(&mut *db).await?;
    Ok(row.as_ref().map(kept).transpose()?)
}

/// The events about a subject that wait for a person, as they were received.
///
/// # Errors
/// See [`StoreError`].
pub async fn waiting_about(db: &mut Read, subject: &str) -> Result<Vec<Kept>, StoreError> {
    let sql = format!("select {KEPT} from inbox where subject = ?1 and state = 'needs_review' order by seq");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(subject).fetch_all(&mut *db).await?;
    Ok(rows.iter().map(kept).collect::<Result<_, _>>()?)
}

/// Whether an event is to be tried again by now.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_due(db: &mut Read, now: Timestamp) -> Result<bool, StoreError> {
    let due = sqlx::query("select exists (select 1 from inbox where retry_at <= ?1)").bind(now.millis());
    Ok(due.fetch_one(&mut *db).await?.try_get(0)?)
}

/// The events that are to be tried again by now, as they were received; at most `most`.
///
/// # Errors
/// See [`StoreError`].
pub async fn due(db: &mut Read, now: Timestamp, most: u32) -> Result<Vec<Kept>, StoreError> {
    let sql = format!("select {KEPT} from inbox where retry_at <= ?1 order by retry_at limit ?2");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(now.millis()).bind(most).fetch_all(&mut *db).await?;
    Ok(rows.iter().map(kept).collect::<Result<_, _>>()?)
}

/// Keeps an event that came now, with what came of it. Sends no other statement.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(
    tx: &mut Write,
    event: &ReceivedEvent,
    subject: Option<&str>,
    effect: &Effect,
    retry_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let data = json!({"at": event.at.map(Timestamp::millis), "data": event.data});
    sqlx::query(
        "insert into inbox (event_id, type, subject, trace_id, at, data, state, reason, record_id, candidates, retry_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .bind(&event.event_id)
    .bind(&event.kind)
    .bind(subject)
    .bind(&event.trace_id)
    .bind(tx.now().millis())
    .bind(data.to_string())
    .bind(effect.state.word())
    .bind(effect.reason)
    .bind(&effect.record_id)
    .bind(json!(effect.candidates).to_string())
    .bind(retry_at.map(Timestamp::millis))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Keeps what came of an event that was looked at again.
///
/// # Errors
/// See [`StoreError`].
pub async fn update(
    tx: &mut Write,
    event_id: &str,
    effect: &Effect,
    retry_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update inbox set state = ?2, reason = ?3, record_id = ?4, candidates = ?5, retry_at = ?6 where event_id = ?1",
    )
    .bind(event_id)
    .bind(effect.state.word())
    .bind(effect.reason)
    .bind(&effect.record_id)
    .bind(json!(effect.candidates).to_string())
    .bind(retry_at.map(Timestamp::millis))
    .execute(&mut *tx)
    .await?;
    Ok(())
}

const INBOX: List<InboxEvent> = List {
    table: "inbox_log",
    base: "true",
    columns: "id, type, subject, trace_id, at, state, reason, record_id, candidates, retry_at",
    own: "false", // nobody's own: it is for reviewers
    lasts: true,
    read: InboxEvent::read,
};

/// The order in which events came: the only one of the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxKey;

impl SortKey for InboxKey {
    fn column(self) -> &'static str {
        "seq"
    }

    fn is_text(self) -> bool {
        false
    }
}

/// What the inbox can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct InboxFilter {
    /// Events in this state.
    pub state: Option<InboxState>,
    /// Of this type.
    pub kind: Option<String>,
    /// About this subject.
    pub subject: Option<String>,
    /// Received at this moment or later.
    pub from: Option<Timestamp>,
    /// Received before this moment.
    pub to: Option<Timestamp>,
}

/// A page of the inbox.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &InboxFilter,
    request: &PageRequest<InboxKey>,
    list: u64,
) -> Result<Page<InboxEvent>, StoreError> {
    let add = |filters: &mut Filters<'_>| {
        if let Some(state) = filter.state {
            filters.and("state = ", state.word());
        }
        filters.text("type = ", &filter.kind);
        filters.text("subject = ", &filter.subject);
        filters.moment("at >= ", filter.from);
        filters.moment("at < ", filter.to);
    };
    INBOX.page(db, request, list, add).await
}
