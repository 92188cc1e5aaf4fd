//! The trash: deleted records, for 30 days (contract §6).

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::customers;
use super::list::{Filters, List, SortKey};
use super::record::{Columns, Record, get};
use crate::domain::{Page, PageRequest, Resource, Timestamp, Violation};
use crate::tenancy::{Change, Read, StoreError, Write};

/// How long a record stays in the trash.
const KEEP_MS: i64 = 30 * 24 * 3600 * 1000;
/// Rows that one deletion removes for good, so that no deletion takes long.
const PURGE_SLICE: i64 = 100;

fn table(resource: Resource) -> &'static str {
    match resource {
        Resource::Customer => "customers",
        Resource::Contact => "contacts",
        Resource::Opportunity => "opportunities",
        Resource::FollowUp => "follow_ups",
    }
}

fn actions(resource: Resource) -> (&'static str, &'static str) {
    match resource {
        Resource::Customer => ("customer.delete", "customer.restore"),
        Resource::Contact => ("contact.delete", "contact.restore"),
        Resource::Opportunity => ("opportunity.delete", "opportunity.restore"),
        Resource::FollowUp => ("follow_up.delete", "follow_up.restore"),
    }
}

/// A record in the trash.
#[derive(Debug)]
pub struct Deleted {
    /// Its id.
    pub id: String,
    /// What kind it is: the stem of a [`Resource`].
    pub resource: String,
    /// What a person knows it by: name, title, or the beginning of the content.
    pub label: String,
    /// The customer it belongs to, if any.
    pub customer_id: Option<String>,
    /// Its owner.
    pub owner_id: String,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// The record whose deletion took it along.
    pub deleted_with: Option<String>,
}

const TRASH: List<Deleted> = List {
    table: "trash",
    base: "true",
    columns: "id, resource, label, customer_id, owner_id, deleted_at, deleted_with",
    own: "owner_id = ?1",
    lasts: false,
    read: Deleted::read,
};

impl Deleted {
    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            id: columns.next()?,
            resource: columns.next()?,
            label: columns.next()?,
            customer_id: columns.next()?,
            owner_id: columns.next()?,
            deleted_at: columns.moment()?,
            deleted_with: columns.next()?,
        })
    }
}

/// When a deleted record entered the trash: its only order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedAt;

impl SortKey for DeletedAt {
    fn column(self) -> &'static str {
        "deleted_at"
    }

    fn is_text(self) -> bool {
        false
    }
}

/// A page of the trash, as it is at `now`.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    resource: Option<Resource>,
    now: Timestamp,
    request: &PageRequest<DeletedAt>,
    list: u64,
) -> Result<Page<Deleted>, StoreError> {
    let oldest = now.millis() - KEEP_MS;
    let filter = |filters: &mut Filters<'_>| {
        filters.and("deleted_at >= ", oldest);
        if let Some(resource) = resource {
            filters.and("resource = ", resource.stem());
        }
    };
    TRASH.page(db, request, list, filter).await
}

/// Whether the record is in the trash.
///
/// # Errors
/// See [`StoreError`].
pub async fn holds(db: &mut Read, resource: Resource, id: &str) -> Result<bool, StoreError> {
    let table = table(resource);
    let sql = format!("select exists (select 1 from {table} where id = ?1 and deleted_at is not null)");
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).bind(id).fetch_one(&mut *db).await?)
}

/// Puts a live record into the trash, and empties the trash of what has been there for too long.
pub(super) async fn put<R: Record>(tx: &mut Write, resource: Resource, record: &R) -> Result<(), StoreError> {
    let table = table(resource);
    let sql = format!(
        "update {table} set deleted_at = ?2, deleted_with = null, updated_at = ?2, version = version + 1 where id = ?1"
    );
    sqlx::query(AssertSqlSafe(sql)).bind(record.id()).bind(tx.now().millis()).execute(&mut *tx).await?;
    keep(tx, resource, actions(resource).0, record.id().to_owned(), record.version() + 1, json!({}));
    purge(tx).await
}

/// Puts a customer's records of one kind into the trash along with it.
pub(super) async fn take_along(tx: &mut Write, resource: Resource, customer: &str) -> Result<(), StoreError> {
    let table = table(resource);
    let sql = format!(
        "update {table} set deleted_at = ?2, deleted_with = ?1, updated_at = ?2, version = version + 1 \
         where customer_id = ?1 and deleted_at is null returning id, version"
    );
    let taken: Vec<(String, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(customer).bind(tx.now().millis()).fetch_all(&mut *tx).await?;
    for (id, version) in taken {
        keep(tx, resource, actions(resource).0, id, version, json!({}));
    }
    Ok(())
}

/// Takes a record out of the trash, and with a customer what was deleted along with it.
///
/// # Errors
/// [`StoreError::NotFound`] if it is not there; [`Violation::ParentDeleted`]; [`Violation::NameTakenMeanwhile`].
pub async fn restore<R: Record>(tx: &mut Write, id: &str) -> Result<R, StoreError> {
    let found: Option<(Option<String>,)> = sqlx::query_as(
        "select customer_id from trash where id = ?1 and resource = ?2 and deleted_at >= ?3 \
         and (?4 is null or owner_id = ?4)",
    )
    .bind(id)
    .bind(R::RESOURCE.stem())
    .bind(tx.now().millis() - KEEP_MS)
    .bind(tx.scope().owner().map(str::to_owned))
    .fetch_optional(&mut *tx)
    .await?;
    let (customer,) = found.ok_or(StoreError::NotFound(R::RESOURCE))?;
    if R::RESOURCE == Resource::Customer {
        restore_customer(tx, id).await?;
    } else {
        restore_child(tx, R::RESOURCE, id, customer.as_deref()).await?;
    }
    get(tx, id).await?.ok_or(StoreError::NotFound(R::RESOURCE))
}

async fn restore_customer(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    match revive(tx, Resource::Customer, "id", id, &json!({})).await {
        Err(StoreError::Sql(error)) => return Err(customers::restored_name_taken(tx, error, id).await),
        done => done?,
    }
    for resource in [Resource::Contact, Resource::Opportunity, Resource::FollowUp] {
        revive(tx, resource, "deleted_with", id, &json!({})).await?;
    }
    customers::refresh_follow_ups(tx, id).await
}

async fn restore_child(
    tx: &mut Write,
    resource: Resource,
    id: &str,
    customer: Option<&str>,
) -> Result<(), StoreError> {
    if let Some(customer) = customer {
        let live: Option<i64> =
            sqlx::query_scalar("select 1 from customers where id = ?1 and deleted_at is null")
                .bind(customer)
                .fetch_optional(&mut *tx)
                .await?;
        live.ok_or(StoreError::Violation(Violation::ParentDeleted))?;
    }
    let mut changes = json!({});
    if resource == Resource::Contact {
        // Another contact may have become the primary one meanwhile: it stays so.
        let demoted: Option<String> = sqlx::query_scalar(
            "update contacts set is_primary = 0 where id = ?1 and is_primary = 1 and exists (select 1 from contacts o \
             where o.customer_id = contacts.customer_id and o.is_primary = 1 and o.deleted_at is null) returning id",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        if demoted.is_some() {
            changes = json!({"isPrimary": [true, false]});
        }
    }
    revive(tx, resource, "id", id, &changes).await?;
    match customer {
        Some(customer) if resource == Resource::FollowUp => customers::refresh_follow_ups(tx, customer).await,
        _ => Ok(()),
    }
}

/// Takes the records out of the trash whose `column` is `id`; `changes` is what else that changes of each.
async fn revive(
    tx: &mut Write,
    resource: Resource,
    column: &str,
    id: &str,
    changes: &Value,
) -> Result<(), StoreError> {
    let table = table(resource);
    let sql = format!(
        "update {table} set deleted_at = null, deleted_with = null, updated_at = ?2, version = version + 1 \
         where {column} = ?1 and deleted_at is not null returning id, version"
    );
    let revived: Vec<(String, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(id).bind(tx.now().millis()).fetch_all(&mut *tx).await?;
    for (id, version) in revived {
        keep(tx, resource, actions(resource).1, id, version, changes.clone());
    }
    Ok(())
}

/// Removes for good what has been in the trash for too long: children before their parents, a slice at a time.
async fn purge(tx: &mut Write) -> Result<(), StoreError> {
    // A live follow-up may refer to a deal or a contact that goes: it keeps its customer.
    const PURGE: &str = "\
        update follow_ups set opportunity_id = null where opportunity_id in \
            (select id from opportunities where deleted_at < ?1 order by deleted_at limit ?2); \
        update follow_ups set contact_id = null where contact_id in \
            (select id from contacts where deleted_at < ?1 order by deleted_at limit ?2); \
        delete from follow_ups where seq in \
            (select seq from follow_ups where deleted_at < ?1 order by deleted_at limit ?2); \
        delete from opportunities where seq in \
            (select seq from opportunities where deleted_at < ?1 order by deleted_at limit ?2); \
        delete from contacts where seq in \
            (select seq from contacts where deleted_at < ?1 order by deleted_at limit ?2); \
        delete from customers where seq in (select seq from customers c where deleted_at < ?1 \
            and not exists (select 1 from contacts where customer_id = c.id) \
            and not exists (select 1 from opportunities where customer_id = c.id) \
            and not exists (select 1 from follow_ups where customer_id = c.id) order by deleted_at limit ?2)";
    let before = tx.now().millis() - KEEP_MS;
    sqlx::query(PURGE).bind(before).bind(PURGE_SLICE).execute(&mut *tx).await?;
    Ok(())
}

fn keep(tx: &mut Write, resource: Resource, action: &'static str, id: String, version: i64, changes: Value) {
    tx.record(Change { action, resource: resource.stem(), record_id: id, version, changes, event: None });
}
