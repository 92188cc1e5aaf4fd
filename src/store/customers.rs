//! Customers.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;

use super::export::Exported;
use super::list::{Filters, LIVE, List, SortKey};
use super::record::{Columns, Record, check_base, check_owner, columns, get_expected, keep_change};
use super::trash;
use crate::domain::{
    Audited as _, Customer, CustomerPatch, CustomerStatus, Keyword, Lifecycle, NewCustomer, Page,
    PageRequest, Precondition, Resource, Timestamp, Violation, search_text,
};
use crate::tenancy::rows::{fields, rows};
use crate::tenancy::{Addition, Event, PointRead, Read, StoreError, Write};

columns!("customers", own "owner_id = ?1":
    "name", "contact_phone", "contact_email", "status", "lifecycle", "level", "source", "industry", "region", "address",
    "website", "remark", "owner_id", "next_follow_up_at", "last_follow_up_at", "version", "created_at", "updated_at",
);

pub(super) const CUSTOMERS: List<Customer> =
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

/// Creates a customer. What can be in its way is another's name: [`Violation::CustomerNameTaken`].
impl Addition for NewCustomer {
    const INSERT: &'static str = INSERT;
    type Record = Customer;

    fn prepare(self, tx: &mut Write) -> Result<Customer, StoreError> {
        let customer = self.into_customer(tx.new_id().to_string(), tx.now());
        check_owner(tx, None, &customer.owner_id)?;
        let data = customer.event_data(tx.now());
        let event = Event { kind: "crm.customer.created", data: Value::Object(data) };
        keep_change(tx, "customer.create", None, &customer, Some(event));
        Ok(customer)
    }

    fn row(customer: &Customer) -> (&str, impl Serialize) {
        (&customer.id, Row::of(customer))
    }

    async fn insert(self, tx: &mut Write) -> Result<Customer, StoreError> {
        let customer = self.prepare(tx)?;
        match insert_row(tx, &customer).await {
            Ok(()) => Ok(customer),
            Err(error) => Err(name_taken(tx, error, &customer.name_key()).await),
        }
    }
}

/// Adds the row alone.
pub(super) async fn insert_row(tx: &mut Write, customer: &Customer) -> Result<(), sqlx::Error> {
    insert_rows(tx, [customer]).await
}

/// Adds the rows alone.
pub(super) async fn insert_rows(
    tx: &mut Write,
    customers: impl IntoIterator<Item = &Customer>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = customers.into_iter().map(Row::of).collect();
    let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(INSERT).bind(rows).execute(&mut *tx).await?;
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
    let updated = sqlx::query(UPDATE).bind(json!([Row::of(&after)]).to_string()).execute(&mut *tx).await;
    if let Err(error) = updated {
        return Err(name_taken(tx, error, &after.name_key()).await);
    }
    let mut data = after.event_data(tx.now());
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

/// What is written of a customer; the dates of its follow-ups are written with those.
#[derive(Serialize)]
struct Row<'a>(
    &'a str,
    &'a str,
    String,
    &'a str,
    &'a str,
    i64,
    Option<&'static str>,
    &'a Option<String>,
    &'a Option<String>,
    &'a Option<String>,
    &'a Option<String>,
    &'a Option<String>,
    &'a Option<String>,
    &'a Option<String>,
    &'a str,
    i64,
    i64,
    i64,
    String,
);

/// Adds a row for each [`Row`] of the array `?1`.
const INSERT: &str = concat!(
    rows!("?1"),
    "insert into customers (id, name, name_key, contact_phone, contact_email, status, lifecycle, level, source, industry, \
     region, address, website, remark, owner_id, version, updated_at, created_at, search) select ",
    fields!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18),
    " from r where true"
);

/// Changes the row of the one [`Row`] in the array `?1`.
const UPDATE: &str = concat!(
    rows!("?1"),
    "update customers set (name, name_key, contact_phone, contact_email, status, lifecycle, level, source, industry, \
     region, address, website, remark, owner_id, version, updated_at, search) = (",
    fields!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18),
    ") from r where id = json_extract(v, '$[0]')"
);

impl<'a> Row<'a> {
    fn of(customer: &'a Customer) -> Self {
        Self(
            &customer.id,
            &customer.name,
            customer.name_key(),
            &customer.contact_phone,
            &customer.contact_email,
            customer.status.code(),
            customer.lifecycle.map(Lifecycle::word),
            &customer.level,
            &customer.source,
            &customer.industry,
            &customer.region,
            &customer.address,
            &customer.website,
            &customer.remark,
            &customer.owner_id,
            customer.version,
            customer.updated_at.millis(),
            customer.created_at.millis(),
            search_text(&customer.name, &customer.contact_email, &customer.contact_phone),
        )
    }
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
    /// Found by this keyword.
    pub keyword: Option<Keyword>,
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
    pub(super) fn add_to(&self, filters: &mut Filters<'_>) {
        let Self {
            id,
            owner_id,
            status,
            lifecycle,
            level,
            source,
            industry,
            region,
            keyword,
            created_from,
            created_to,
            updated_from,
            updated_to,
        } = self;
        filters.keyword(keyword);
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

impl Exported for CustomerFilter {
    type Record = Customer;
    type Key = CustomerKey;

    fn list() -> &'static List<Customer> {
        &CUSTOMERS
    }

    fn narrow(&self, filters: &mut Filters<'_>) {
        self.add_to(filters);
    }
}
