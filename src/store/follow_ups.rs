//! Follow-ups.

use sqlx::Sqlite;
use sqlx::sqlite::SqliteRow;

use super::customers;
use super::export::Exported;
use super::list::{Filters, LIVE, List, SortKey};
use super::record::{Columns, Record, check_base, check_owner, columns, get, get_expected, keep_change};
use super::trash;
use crate::domain::{
    Contact, Customer, FollowUp, FollowUpPatch, Invalid, NewFollowUp, Opportunity, Page, PageRequest,
    Precondition, Problem, Resource, Timestamp, Violation,
};
use crate::tenancy::{PointRead, Read, StoreError, Write};

columns!("follow_ups", own "owner_id = ?1 or customer_id in (select id from customers where owner_id = ?1 and deleted_at is null) or opportunity_id in (select id from opportunities where owner_id = ?1 and deleted_at is null)":
    "customer_id", "opportunity_id", "contact_id", "content", "follow_up_type", "occurred_at", "next_follow_up_at",
    "owner_id", "version", "created_at", "updated_at",
);

pub(super) const FOLLOW_UPS: List<FollowUp> =
    List { table: "follow_ups", base: LIVE, columns: COLUMNS, own: OWN, lasts: true, read: FollowUp::read };

impl Record for FollowUp {
    const RESOURCE: Resource = Resource::FollowUp;
    const GET: &'static str = GET;
    const GET_OWN: &'static str = GET_OWN;

    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            id: columns.next()?,
            customer_id: columns.next()?,
            opportunity_id: columns.next()?,
            contact_id: columns.next()?,
            content: columns.next()?,
            follow_up_type: columns.next()?,
            occurred_at: columns.moment()?,
            next_follow_up_at: columns.optional_moment()?,
            owner_id: columns.next()?,
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

impl PointRead for FollowUp {
    const SQL: &'static str = POINT_READ;

    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Self::read(row, 1)
    }
}

/// Creates a follow-up.
///
/// # Errors
/// [`Violation::NoSuch`] record that it refers to, [`StoreError::Invalid`] if those disagree; see [`StoreError`].
pub async fn insert(tx: &mut Write, new: NewFollowUp) -> Result<FollowUp, StoreError> {
    let mut follow_up = new.into_follow_up(tx.new_id().to_string(), tx.now());
    check_owner(tx, None, &follow_up.owner_id)?;
    resolve_references(tx, &mut follow_up).await?;
    insert_row(tx, &follow_up).await?;
    keep_change(tx, "follow_up.create", None, &follow_up, None);
    refresh_customers(tx, &[&follow_up]).await?;
    Ok(follow_up)
}

/// Adds the row alone.
pub(super) async fn insert_row(tx: &mut Write, follow_up: &FollowUp) -> Result<(), sqlx::Error> {
    let insert = bind(
        sqlx::query(
            "insert into follow_ups (id, customer_id, opportunity_id, contact_id, content, follow_up_type, occurred_at, \
             next_follow_up_at, owner_id, version, updated_at, created_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        ),
        follow_up,
    );
    insert.bind(follow_up.created_at.millis()).execute(&mut *tx).await?;
    Ok(())
}

/// Changes a follow-up, if anything in `patch` differs from what is stored. `expected` is what it must be like.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`], [`StoreError::Invalid`], [`Violation::NoSuch`] record that
/// it refers to; see [`StoreError`].
pub async fn update(
    tx: &mut Write,
    id: &str,
    expected: Precondition,
    patch: FollowUpPatch,
) -> Result<FollowUp, StoreError> {
    let before: FollowUp = get_expected(tx, id, expected.version).await?;
    let mut after = before.clone();
    patch.apply(&mut after);
    if after == before {
        return Ok(before);
    }
    check_base(tx, &before, &after, expected.base).await?;
    check_owner(tx, Some(&before.owner_id), &after.owner_id)?;
    let refers_elsewhere = (&after.customer_id, &after.opportunity_id, &after.contact_id)
        != (&before.customer_id, &before.opportunity_id, &before.contact_id);
    if refers_elsewhere {
        resolve_references(tx, &mut after).await?;
    }
    after.version += 1;
    after.updated_at = tx.now();
    bind(
        sqlx::query(
            "update follow_ups set customer_id = ?2, opportunity_id = ?3, contact_id = ?4, content = ?5, \
             follow_up_type = ?6, occurred_at = ?7, next_follow_up_at = ?8, owner_id = ?9, version = ?10, \
             updated_at = ?11 where id = ?1",
        ),
        &after,
    )
    .execute(&mut *tx)
    .await?;
    keep_change(tx, "follow_up.update", Some(&before), &after, None);
    refresh_customers(tx, &[&before, &after]).await?;
    Ok(after)
}

/// Puts a follow-up into the trash.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`]; see [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str, expected: Option<i64>) -> Result<(), StoreError> {
    let follow_up: FollowUp = get_expected(tx, id, expected).await?;
    trash::put(tx, Resource::FollowUp, &follow_up).await?;
    refresh_customers(tx, &[&follow_up]).await
}

/// A page of the live follow-ups.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &FollowUpFilter,
    request: &PageRequest<FollowUpKey>,
    list: u64,
) -> Result<Page<FollowUp>, StoreError> {
    FOLLOW_UPS.page(db, request, list, |filters| filter.add_to(filters)).await
}

/// Checks that what the follow-up refers to exists and belongs together; an opportunity or a contact without a customer
/// brings its own.
async fn resolve_references(tx: &mut Write, follow_up: &mut FollowUp) -> Result<(), StoreError> {
    let no_such = |resource| StoreError::Violation(Violation::NoSuch(resource));
    let disagrees = |field| StoreError::from(Invalid::field(field, Problem::Contradicts("customerId")));
    if let Some(id) = &follow_up.customer_id {
        get::<Customer>(tx, id).await?.ok_or(no_such(Resource::Customer))?;
    }
    if let Some(id) = &follow_up.opportunity_id {
        let opportunity: Opportunity = get(tx, id).await?.ok_or(no_such(Resource::Opportunity))?;
        match &follow_up.customer_id {
            None => follow_up.customer_id = Some(opportunity.customer_id),
            Some(customer) if *customer != opportunity.customer_id => return Err(disagrees("opportunityId")),
            Some(_) => {}
        }
    }
    if let Some(id) = &follow_up.contact_id {
        let contact: Contact = get(tx, id).await?.ok_or(no_such(Resource::Contact))?;
        match &follow_up.customer_id {
            None => follow_up.customer_id = Some(contact.customer_id),
            Some(customer) if *customer != contact.customer_id => return Err(disagrees("contactId")),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Keeps the customers' dates of their latest and next follow-up.
async fn refresh_customers(tx: &mut Write, touched: &[&FollowUp]) -> Result<(), StoreError> {
    let mut ids: Vec<&str> =
        touched.iter().filter_map(|follow_up| follow_up.customer_id.as_deref()).collect();
    ids.dedup();
    for id in ids {
        customers::refresh_follow_ups(tx, id).await?;
    }
    Ok(())
}

/// Binds the columns in the order that `insert` and `update` share.
fn bind<'q>(
    query: sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>,
    follow_up: &'q FollowUp,
) -> sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments> {
    query
        .bind(&follow_up.id)
        .bind(&follow_up.customer_id)
        .bind(&follow_up.opportunity_id)
        .bind(&follow_up.contact_id)
        .bind(&follow_up.content)
        .bind(&follow_up.follow_up_type)
        .bind(follow_up.occurred_at.millis())
        .bind(follow_up.next_follow_up_at.map(Timestamp::millis))
        .bind(&follow_up.owner_id)
        .bind(follow_up.version)
        .bind(follow_up.updated_at.millis())
}

/// The documented sort keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowUpKey {
    /// `createdAt`
    CreatedAt,
    /// `updatedAt`
    UpdatedAt,
    /// `occurredAt`
    OccurredAt,
}

impl SortKey for FollowUpKey {
    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::OccurredAt => "occurred_at",
        }
    }

    fn is_text(self) -> bool {
        false
    }
}

/// What a list of follow-ups can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct FollowUpFilter {
    /// This follow-up.
    pub id: Option<String>,
    /// About this customer.
    pub customer_id: Option<String>,
    /// About this opportunity.
    pub opportunity_id: Option<String>,
    /// With this contact.
    pub contact_id: Option<String>,
    /// Of this owner.
    pub owner_id: Option<String>,
    /// Of this type.
    pub follow_up_type: Option<String>,
    /// Took place at this moment or later.
    pub occurred_from: Option<Timestamp>,
    /// Took place before this moment.
    pub occurred_to: Option<Timestamp>,
    /// Created at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Created before this moment.
    pub created_to: Option<Timestamp>,
    /// Changed at this moment or later.
    pub updated_from: Option<Timestamp>,
    /// Changed before this moment.
    pub updated_to: Option<Timestamp>,
}

impl FollowUpFilter {
    pub(super) fn add_to(&self, filters: &mut Filters<'_>) {
        let Self {
            id,
            customer_id,
            opportunity_id,
            contact_id,
            owner_id,
            follow_up_type,
            occurred_from,
            occurred_to,
            created_from,
            created_to,
            updated_from,
            updated_to,
        } = self;
        filters.text("id = ", id);
        filters.text("customer_id = ", customer_id);
        filters.text("opportunity_id = ", opportunity_id);
        filters.text("contact_id = ", contact_id);
        filters.text("owner_id = ", owner_id);
        filters.text("follow_up_type = ", follow_up_type);
        filters.moment("occurred_at >= ", *occurred_from);
        filters.moment("occurred_at < ", *occurred_to);
        filters.moment("created_at >= ", *created_from);
        filters.moment("created_at < ", *created_to);
        filters.moment("updated_at >= ", *updated_from);
        filters.moment("updated_at < ", *updated_to);
    }
}

impl Exported for FollowUpFilter {
    type Record = FollowUp;
    type Key = FollowUpKey;

    fn list() -> &'static List<FollowUp> {
        &FOLLOW_UPS
    }

    fn narrow(&self, filters: &mut Filters<'_>) {
        self.add_to(filters);
    }
}
