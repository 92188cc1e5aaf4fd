//! Customers.

use std::collections::HashSet;

use serde_json::Value;
use sqlx::Sqlite;
use sqlx::sqlite::SqliteRow;

use super::list::{Filters, LIVE, List, SortKey};
use super::record::{Columns, Record, check_base, check_owner, columns, get_expected, keep_change};
use super::trash;
use crate::domain::{
    Audited as _, Customer, CustomerPatch, CustomerStatus, Lifecycle, NewCustomer, Page, PageRequest,
    Precondition, Resource, Timestamp, Violation,
};
use crate::tenancy::{Event, PointRead, Read, StoreError, Write};

columns!("customers", own "owner_id = ?1":
    "name", "contact_phone", "contact_email", "status", "lifecycle", "level", "source", "industry", "region", "address",
    "website", "remark", "owner_id", "next_follow_up_at", "last_follow_up_at", "version", "created_at", "updated_at",
);

const CUSTOMERS: List<Customer> =
    List { table: "customers", base: LIVE, columns: COLUMNS, own: OWN, lasts: true, read: Customer::read };

impl Record for Customer {
    const RESOURCE: Resource = Resource::Customer;
    const GET: &'static str = GET;
    const GET_OWN: &'static str = GET_OWN;

    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            id: columns.next()?,
            name: columns.next()?,
            contact_phone: columns.next()?,
            contact_email: columns.next()?,
            // The table's checks admit no other values.
            status: CustomerStatus::from_code(columns.next()?).unwrap_or(CustomerStatus::Normal),
            lifecycle: columns.next::<Option<&str>>()?.and_then(Lifecycle::from_word),
            level: columns.next()?,
            source: columns.next()?,
            industry: columns.next()?,
            region: columns.next()?,
            address: columns.next()?,
            website: columns.next()?,
            remark: columns.next()?,
            owner_id: columns.next()?,
            next_follow_up_at: columns.optional_moment()?,
            last_follow_up_at: columns.optional_moment()?,
            version: columns.next()?,
            created_at: columns.moment()?,
            updated_at: columns.moment()?,
        })
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> i64 {
        self.version
    }
}

impl PointRead for Customer {
    const SQL: &'static str = POINT_READ;

    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Self::read(row, 1)
    }
}

/// Creates a customer.
///
/// # Errors
/// [`Violation::CustomerNameTaken`]; see [`StoreError`].
pub async fn insert(tx: &mut Write, new: NewCustomer) -> Result<Customer, StoreError> {
    let customer = new.into_customer(tx.new_id().to_string(), tx.now());
    check_owner(tx, None, &customer.owner_id)?;
    if let Err(error) = insert_row(tx, &customer).await {
        return Err(name_taken(tx, error, &customer.name_key()).await);
    }
    let data = customer.event_data(tx.masking(), tx.now());
    let event = Event { kind: "crm.customer.created", data: Value::Object(data) };
    keep_change(tx, "customer.create", None, &customer, Some(event));
    Ok(customer)
}

/// Adds the row alone.
pub(super) async fn insert_row(tx: &mut Write, customer: &Customer) -> Result<(), sqlx::Error> {
    let insert = bind(
        sqlx::query(
            "insert into customers (id, name, contact_phone, contact_email, status, lifecycle, level, source, industry, \
         region, address, website, remark, owner_id, version, updated_at, name_key, created_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        ),
        customer,
    );
    insert.bind(customer.created_at.millis()).execute(&mut *tx).await?;
    Ok(())
}

/// Changes a customer, if anything in `patch` differs from what is stored. `expected` is what it must be like.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`], [`StoreError::Invalid`],
/// [`Violation::CustomerNameTaken`]; see [`StoreError`].
pub async fn update(
    tx: &mut Write,
    id: &str,
    expected: Precondition,
    patch: CustomerPatch,
) -> Result<Customer, StoreError> {
    let before: Customer = get_expected(tx, id, expected.version).await?;
    let mut after = before.clone();
    patch.apply(&mut after, tx.masking())?;
    if after == before {
        return Ok(before);
    }
    check_base(tx, &before, &after, expected.base).await?;
    check_owner(tx, Some(&before.owner_id), &after.owner_id)?;
    after.version += 1;
    after.updated_at = tx.now();
    let updated = bind(sqlx::query(
        "update customers set name = ?2, contact_phone = ?3, contact_email = ?4, status = ?5, lifecycle = ?6, level = ?7, \
         source = ?8, industry = ?9, region = ?10, address = ?11, website = ?12, remark = ?13, owner_id = ?14, \
         version = ?15, updated_at = ?16, name_key = ?17 where id = ?1",
    ), &after).execute(&mut *tx).await;
    if let Err(error) = updated {
        return Err(name_taken(tx, error, &after.name_key()).await);
    }
    let mut data = after.event_data(tx.masking(), tx.now());
    let changed = after.changes_since(Some(&before), tx.masking());
    data.insert("changedFields".to_owned(), changed.keys().cloned().collect::<Vec<_>>().into());
    let event = Event { kind: "crm.customer.updated", data: Value::Object(data) };
    keep_change(tx, "customer.update", Some(&before), &after, Some(event));
    Ok(after)
}

/// Puts a customer into the trash, and with it its contacts, opportunities and follow-ups.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`]; see [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str, expected: Option<i64>) -> Result<(), StoreError> {
    let customer: Customer = get_expected(tx, id, expected).await?;
    for resource in [Resource::Contact, Resource::Opportunity, Resource::FollowUp] {
        trash::take_along(tx, resource, id).await?;
    }
    trash::put(tx, Resource::Customer, &customer).await
}

/// Keeps the dates of a customer's latest follow-up and of the next one that is planned. Moves no version.
pub(super) async fn refresh_follow_ups(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "update customers set \
         last_follow_up_at = (select max(occurred_at) from follow_ups where customer_id = ?1 and deleted_at is null), \
         next_follow_up_at = (select min(next_follow_up_at) from follow_ups \
            where customer_id = ?1 and deleted_at is null and next_follow_up_at > ?2) \
         where id = ?1",
    )
    .bind(id)
    .bind(tx.now().millis())
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// The keys of the names that live customers have.
///
/// # Errors
/// See [`StoreError`].
pub async fn name_keys(db: &mut Read) -> Result<HashSet<String>, StoreError> {
    let sql = "select name_key from customers where deleted_at is null";
    let keys: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *db).await?;
    Ok(keys.into_iter().collect())
}

/// A page of the live customers.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &CustomerFilter,
    request: &PageRequest<CustomerKey>,
    list: u64,
) -> Result<Page<Customer>, StoreError> {
    CUSTOMERS.page(db, request, list, |filters| filter.add_to(filters)).await
}

/// Binds what a client can write and what follows from it, in the order that `insert` and `update` share.
fn bind<'q>(
    query: sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>,
    customer: &'q Customer,
) -> sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments> {
    query
        .bind(&customer.id)
        .bind(&customer.name)
        .bind(&customer.contact_phone)
        .bind(&customer.contact_email)
        .bind(customer.status.code())
        .bind(customer.lifecycle.map(Lifecycle::word))
        .bind(&customer.level)
        .bind(&customer.source)
        .bind(&customer.industry)
        .bind(&customer.region)
        .bind(&customer.address)
        .bind(&customer.website)
        .bind(&customer.remark)
        .bind(&customer.owner_id)
        .bind(customer.version)
        .bind(customer.updated_at.millis())
        .bind(customer.name_key())
}

/// What a refused insert or update means: the name is the only thing that must be unique.
async fn name_taken(tx: &mut Write, error: sqlx::Error, name_key: &str) -> StoreError {
    if !error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) {
        return error.into();
    }
    // Which record has the name is told only to those who may see it.
    let existing: Result<Option<String>, _> = sqlx::query_scalar(
        "select id from customers where name_key = ?1 and deleted_at is null and (?2 is null or owner_id = ?2)",
    )
    .bind(name_key)
    .bind(tx.scope().owner().map(str::to_owned))
    .fetch_optional(&mut *tx)
    .await;
    match existing {
        Ok(existing) => StoreError::Violation(Violation::CustomerNameTaken { existing }),
        Err(error) => error.into(),
    }
}

/// What a refused restoration of the deleted customer `id` means: its name was given to another one meanwhile.
pub(super) async fn restored_name_taken(tx: &mut Write, error: sqlx::Error, id: &str) -> StoreError {
    let key: Result<String, _> =
        sqlx::query_scalar("select name_key from customers where id = ?1").bind(id).fetch_one(&mut *tx).await;
    match key {
        Ok(key) => match name_taken(tx, error, &key).await {
            StoreError::Violation(Violation::CustomerNameTaken { existing }) => {
                StoreError::Violation(Violation::NameTakenMeanwhile { existing })
            }
            other => other,
        },
        Err(error) => error.into(),
    }
}

/// The documented sort keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerKey {
    /// `createdAt`
    CreatedAt,
    /// `updatedAt`
    UpdatedAt,
    /// `name`
    Name,
    /// `nextFollowUpAt`; customers without one come before all others.
    NextFollowUpAt,
    /// `lastFollowUpAt`; customers without one come before all others.
    LastFollowUpAt,
}

impl SortKey for CustomerKey {
    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Name => "name",
            Self::NextFollowUpAt => "ifnull(next_follow_up_at, 0)",
            Self::LastFollowUpAt => "ifnull(last_follow_up_at, 0)",
        }
    }

    fn is_text(self) -> bool {
        self == Self::Name
    }
}

/// What a list of customers can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct CustomerFilter {
    /// This customer.
    pub id: Option<String>,
    /// This owner's.
    pub owner_id: Option<String>,
    /// Of this status.
    pub status: Option<CustomerStatus>,
    /// At this stage.
    pub lifecycle: Option<Lifecycle>,
    /// Of this level.
    pub level: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// In this industry.
    pub industry: Option<String>,
    /// In this region.
    pub region: Option<String>,
    /// Created at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Created before this moment.
    pub created_to: Option<Timestamp>,
    /// Changed at this moment or later.
    pub updated_from: Option<Timestamp>,
    /// Changed before this moment.
    pub updated_to: Option<Timestamp>,
}

impl CustomerFilter {
    fn add_to(&self, filters: &mut Filters<'_>) {
        let Self {
            id,
            owner_id,
            status,
            lifecycle,
            level,
            source,
            industry,
            region,
            created_from,
            created_to,
            updated_from,
            updated_to,
        } = self;
        filters.text("id = ", id);
        filters.text("owner_id = ", owner_id);
        filters.text("level = ", level);
        filters.text("source = ", source);
        filters.text("industry = ", industry);
        filters.text("region = ", region);
        if let Some(status) = status {
            filters.and("status = ", status.code());
        }
        if let Some(lifecycle) = lifecycle {
            filters.and("lifecycle = ", lifecycle.word());
        }
        filters.moment("created_at >= ", *created_from);
        filters.moment("created_at < ", *created_to);
        filters.moment("updated_at >= ", *updated_from);
        filters.moment("updated_at < ", *updated_to);
    }
}
