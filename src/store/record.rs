//! What the records of all resources have in common: how they are read by id, and how their changes are kept.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::domain::{Audited, Resource, Scope, Timestamp, Violation};
use crate::tenancy::{Change, Event, Read, StoreError, Write};

/// A record in a table of its own.
pub trait Record: Audited + Sized {
    /// What kind it is.
    const RESOURCE: Resource;
    /// Selects the live record of the id `?1`.
    const GET: &'static str;
    /// Selects the live record of the id `?2`, if it is in the scope of the user `?1`.
    const GET_OWN: &'static str;

    /// Reads the row in the value at `position`.
    ///
    /// # Errors
    /// A column is missing or of another type.
    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error>;

    /// Its id.
    fn id(&self) -> &str;

    /// Its version.
    fn version(&self) -> i64;
}

/// The columns of a table, written once: `id` first, then these, and the condition that keeps to the rows of the user
/// `?1`. Declares `COLUMNS` and `OWN` for lists, `GET` and `GET_OWN` for one record, and `POINT_READ` for records that are
/// asked for together.
///
/// A row is one value, a JSON array: sqlx copies every value on its own on the way from SQLite's thread, which for twenty
/// columns costs more than finding the row.
macro_rules! columns {
    ($table:literal, own $own:literal: $($column:literal),+ $(,)?) => {
        const OWN: &str = $own;
        const GET_OWN: &str = concat!(
            "select json_array(id", $(", ", $column),+, ") from ", $table, " where id = ?2 and deleted_at is null and (", $own, ")"
        );
        const COLUMNS: &str = concat!("id", $(", ", $column),+);
        const GET: &str = concat!(
            "select json_array(id", $(", ", $column),+, ") from ", $table, " where id = ?1 and deleted_at is null"
        );
        const POINT_READ: &str = concat!(
            "select j.key, json_array(r.id", $(", r.", $column),+,
            ") from json_each(?1) j join ", $table, " r on r.id = j.value where r.deleted_at is null"
        );
    };
}
pub(super) use columns;

/// Reads the columns of a row, which is a JSON array, one after the other.
pub(super) struct Columns<'r>(std::vec::IntoIter<&'r RawValue>);

impl<'r> Columns<'r> {
    /// The row in the value at `position`.
    pub(super) fn of(row: &'r SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let columns: Vec<&RawValue> = serde_json::from_str(row.try_get(position)?).map_err(decode)?;
        Ok(Self(columns.into_iter()))
    }

    pub(super) fn next<T: Deserialize<'r>>(&mut self) -> Result<T, sqlx::Error> {
        let column = self.0.next().ok_or_else(|| decode("a column is missing"))?;
        serde_json::from_str(column.get()).map_err(decode)
    }

    pub(super) fn flag(&mut self) -> Result<bool, sqlx::Error> {
        Ok(self.next::<i64>()? != 0)
    }

    pub(super) fn moment(&mut self) -> Result<Timestamp, sqlx::Error> {
        self.next().map(Timestamp::from_millis)
    }

    pub(super) fn optional_moment(&mut self) -> Result<Option<Timestamp>, sqlx::Error> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }
}

fn decode(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(why.into())
}

/// The live record of this id, if the caller may see it.
///
/// # Errors
/// See [`StoreError`].
pub async fn get<R: Record>(db: &mut Read, id: &str) -> Result<Option<R>, StoreError> {
    let row = match db.scope().clone() {
        Scope::All => sqlx::query(R::GET).bind(id).fetch_optional(&mut *db).await?,
        Scope::Own(user) => sqlx::query(R::GET_OWN).bind(&*user).bind(id).fetch_optional(&mut *db).await?,
    };
    Ok(row.map(|row| R::read(&row, 0)).transpose()?)
}

/// Refuses to hand a record to somebody else while the caller is confined to their own: `before` is its owner so far.
pub(super) fn check_owner(tx: &Write, before: Option<&str>, after: &str) -> Result<(), StoreError> {
    match tx.scope().owner() {
        Some(user) if after != user && before != Some(after) => {
            Err(StoreError::Violation(Violation::OwnerOutOfScope))
        }
        _ => Ok(()),
    }
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

/// Versions that are looked back at to find what has been altered.
const LOOK_BACK: i64 = 500;

/// Refuses a change from `before` to `after` that alters a field which has been altered since the version `base`.
pub(super) async fn check_base<R: Record>(
    tx: &mut Write,
    before: &R,
    after: &R,
    base: Option<i64>,
) -> Result<(), StoreError> {
    let Some(base) = base.filter(|base| *base != before.version()) else {
        return Ok(());
    };
    if !(1..before.version()).contains(&base) {
        return Err(StoreError::VersionMismatch); // there has never been such a version
    }
    let mut fields: Vec<_> = after.changes_since(Some(before), tx.masking()).keys().cloned().collect();
    let (versions, altered): (i64, String) = sqlx::query_as(
        "with since as (select version, changes from journal \
            where record_id = ?1 and resource = ?2 and version > ?3 order by seq desc limit ?4) \
         select (select count(distinct version) from since), \
            (select json_group_array(distinct c.key) from since, json_each(since.changes) c)",
    )
    .bind(before.id())
    .bind(R::RESOURCE.stem())
    .bind(base)
    .bind(LOOK_BACK)
    .fetch_one(&mut *tx)
    .await?;
    // The entries of units that commit together with this one are not written yet, and nobody looks back for ever: then
    // what was altered is not known.
    if versions == before.version() - base {
        let altered: BTreeSet<String> = serde_json::from_str(&altered)?;
        fields.retain(|field| altered.contains(field));
    }
    if fields.is_empty() {
        return Ok(());
    }
    Err(StoreError::Violation(Violation::FieldConflict { fields, version: before.version() }))
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
