//! What the records of all resources have in common: how they are read by id, and how their changes are kept.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};

use crate::domain::{Audited, Resource, Timestamp};
use crate::tenancy::{Change, Event, Read, StoreError, Write};

/// A record in a table of its own.
pub(super) trait Record: Audited + Sized {
    /// What kind it is.
    const RESOURCE: Resource;
    /// Selects the live record of an id, scope permitting: `?1` is the id.
    const GET: &'static str;

    /// Reads a row whose first column is at `first`.
    fn read(row: &SqliteRow, first: usize) -> Result<Self, sqlx::Error>;

    fn id(&self) -> &str;

    fn version(&self) -> i64;
}

/// The columns of a table, written once: `id` first, then these. Declares `COLUMNS` for lists, `GET` for one record, and
/// `POINT_READ` for records that are asked for together.
macro_rules! columns {
    ($table:literal: $($column:literal),+ $(,)?) => {
        const COLUMNS: &str = concat!("id", $(", ", $column),+);
        const GET: &str =
            concat!("select id", $(", ", $column),+, " from ", $table, " where id = ?1 and deleted_at is null");
        const POINT_READ: &str = concat!(
            "select j.key, r.id", $(", r.", $column),+,
            " from json_each(?1) j join ", $table, " r on r.id = j.value where r.deleted_at is null"
        );
    };
}
pub(super) use columns;

/// Reads the columns of a row one after the other.
pub(super) struct Columns<'r> {
    row: &'r SqliteRow,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn new(row: &'r SqliteRow, first: usize) -> Self {
        Self { row, next: first }
    }

    pub(super) fn next<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, sqlx::Error> {
        self.next += 1;
        self.row.try_get(self.next - 1)
    }

    pub(super) fn moment(&mut self) -> Result<Timestamp, sqlx::Error> {
        self.next().map(Timestamp::from_millis)
    }

    pub(super) fn optional_moment(&mut self) -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }
}

/// The live record of this id.
pub(super) async fn get<R: Record>(db: &mut Read, id: &str) -> Result<Option<R>, StoreError> {
    let row = sqlx::query(R::GET).bind(id).fetch_optional(&mut *db).await?;
    Ok(row.map(|row| R::read(&row, 0)).transpose()?)
}

/// The live record of this id, if it has the version that the caller expects.
pub(super) async fn get_expected<R: Record>(
    db: &mut Read,
    id: &str,
    expected: Option<i64>,
) -> Result<R, StoreError> {
    let record: R = get(db, id).await?.ok_or(StoreError::NotFound(R::RESOURCE))?;
    match expected {
        Some(version) if version != record.version() => Err(StoreError::VersionMismatch),
        _ => Ok(record),
    }
}

/// Keeps what changed from `before` to `after`, in the transaction of the change; with an event, its kind and data.
pub(super) fn keep_change<R: Record>(
    tx: &mut Write,
    action: &'static str,
    before: Option<&R>,
    after: &R,
    event: Option<Event>,
) {
    let changes = after.changes_since(before, tx.masking());
    tx.record(Change {
        action,
        resource: R::RESOURCE.stem(),
        record_id: after.id().to_owned(),
        version: after.version(),
        changes: Value::Object(changes),
        event,
    });
}

/// Keeps that a record went to the trash; its fields stay as they are.
pub(super) fn keep_deletion(
    tx: &mut Write,
    resource: Resource,
    action: &'static str,
    id: String,
    version: i64,
) {
    tx.record(Change {
        action,
        resource: resource.stem(),
        record_id: id,
        version,
        changes: json!({}),
        event: None,
    });
}
