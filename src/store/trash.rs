//! The trash: deleted records, for 30 days (contract §6).

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::record::{Record, get};
use super::{customers, follow_ups};
use crate::domain::{Contact, Customer, FollowUp, Opportunity, Resource, Timestamp, Violation};
use crate::tenancy::{Change, Read, StoreError, Write};

/// How long a record stays in the trash.
const KEEP_MS: i64 = 30 * 24 * 3600 * 1000;
/// Rows that one deletion removes for good, so that no deletion takes long.
const PURGE_SLICE: i64 = 100;

/// The table of a resource, and the column that a person knows a record by.
fn table(resource: Resource) -> (&'static str, &'static str) {
    match resource {
        Resource::Customer => ("customers", "name"),
        Resource::Contact => ("contacts", "name"),
        Resource::Opportunity => ("opportunities", "title"),
        Resource::FollowUp => ("follow_ups", "content"),
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
    /// What kind it is.
    pub resource: Resource,
    /// Its id.
    pub id: String,
    /// What a person knows it by: name, title, or the beginning of the content.
    pub label: String,
    /// Its owner.
    pub owner_id: String,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// The record whose deletion took it along.
    pub deleted_with: Option<String>,
}

/// Puts a live record into the trash, and empties the trash of what has been there for too long.
pub(super) async fn put<R: Record>(tx: &mut Write, resource: Resource, record: &R) -> Result<(), StoreError> {
    let (table, _) = table(resource);
    let sql =
        format!("update {table} set deleted_at = ?2, deleted_with = null, updated_at = ?2, version = version + 1 where id = ?1");
    sqlx::query(AssertSqlSafe(sql)).bind(record.id()).bind(tx.now().millis()).execute(&mut *tx).await?;
    keep(tx, resource, actions(resource).0, record.id().to_owned(), record.version() + 1);
    purge(tx).await
}

/// Puts a customer's records of one kind into the trash along with it.
pub(super) async fn take_along(tx: &mut Write, resource: Resource, customer: &str) -> Result<(), StoreError> {
    let (table, _) = table(resource);
    let sql = format!(
        "update {table} set deleted_at = ?2, deleted_with = ?1, updated_at = ?2, version = version + 1 \
         where customer_id = ?1 and deleted_at is null returning id, version"
    );
    let taken: Vec<(String, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(customer).bind(tx.now().millis()).fetch_all(&mut *tx).await?;
    for (id, version) in taken {
        keep(tx, resource, actions(resource).0, id, version);
    }
    Ok(())
}

/// Takes a record out of the trash, and with a customer what was deleted along with it.
///
/// # Errors
/// [`StoreError::NotFound`] if it is not there; [`Violation::ParentDeleted`]; [`Violation::CustomerNameTaken`].
pub async fn restore(tx: &mut Write, resource: Resource, id: &str) -> Result<(), StoreError> {
    let (table, _) = table(resource);
    let with_customer = if resource == Resource::Customer { "null" } else { "customer_id" };
    let sql = format!(
        "select owner_id, {with_customer} from {table} where id = ?1 and deleted_at >= ?2 and (?3 is null or owner_id = ?3)"
    );
    let found: Option<(String, Option<String>)> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(id)
        .bind(tx.now().millis() - KEEP_MS)
        .bind(tx.scope().owner().map(str::to_owned))
        .fetch_optional(&mut *tx)
        .await?;
    let (_, customer) = found.ok_or(StoreError::NotFound(resource))?;
    if let Some(customer) = &customer {
        let live: Option<i64> = sqlx::query_scalar("select 1 from customers where id = ?1 and deleted_at is null")
            .bind(customer)
            .fetch_optional(&mut *tx)
            .await?;
        live.ok_or(StoreError::Violation(Violation::ParentDeleted))?;
    }
    if resource == Resource::Contact {
        // Another contact may have become the primary one meanwhile: it stays so.
        sqlx::query(
            "update contacts set is_primary = 0 where id = ?1 and exists (select 1 from contacts o \
             where o.customer_id = contacts.customer_id and o.is_primary = 1 and o.deleted_at is null)",
        )
        .bind(id)
        .execute(&mut *tx)
        .await?;
    }
    let restored = revive(tx, resource, "id", id).await;
    if let Err(StoreError::Sql(error)) = restored {
        return Err(customers::restored_name_taken(tx, error, id).await);
    }
    restored?;
    if resource == Resource::Customer {
        for resource in [Resource::Contact, Resource::Opportunity, Resource::FollowUp] {
            revive(tx, resource, "deleted_with", id).await?;
        }
    }
    if let Some(customer) = customer.filter(|_| resource == Resource::FollowUp) {
        customers::refresh_follow_ups(tx, &customer).await?;
    }
    Ok(())
}

async fn revive(tx: &mut Write, resource: Resource, column: &str, id: &str) -> Result<(), StoreError> {
    let (table, _) = table(resource);
    let sql = format!(
        "update {table} set deleted_at = null, deleted_with = null, updated_at = ?2, version = version + 1 \
         where {column} = ?1 and deleted_at is not null returning id, version"
    );
    let revived: Vec<(String, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(id).bind(tx.now().millis()).fetch_all(&mut *tx).await?;
    for (id, version) in revived {
        keep(tx, resource, actions(resource).1, id, version);
    }
    Ok(())
}
