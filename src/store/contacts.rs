//! Contacts.

use sqlx::Sqlite;
use sqlx::sqlite::SqliteRow;

use super::export::Exported;
use super::list::{Filters, LIVE, List, SortKey};
use super::record::{Columns, Record, check_base, check_owner, columns, get, get_expected, keep_change};
use super::trash;
use crate::domain::{
    Contact, ContactPatch, Customer, Keyword, NewContact, Page, PageRequest, Precondition, Resource,
    Timestamp, Violation, search_text,
};
use crate::tenancy::{PointRead, Read, StoreError, Write};

columns!("contacts", own "owner_id = ?1 or customer_id in (select id from customers where owner_id = ?1 and deleted_at is null)":
    "customer_id", "name", "phone", "email", "is_primary", "title", "department", "role", "owner_id", "version",
    "created_at", "updated_at",
);

pub(super) const CONTACTS: List<Contact> =
    List { table: "contacts", base: LIVE, columns: COLUMNS, own: OWN, lasts: true, read: Contact::read };

impl Record for Contact {
    const RESOURCE: Resource = Resource::Contact;
    const GET: &'static str = GET;
    const GET_OWN: &'static str = GET_OWN;

    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        let mut columns = Columns::of(row, position)?;
        Ok(Self {
            id: columns.next()?,
            customer_id: columns.next()?,
            name: columns.next()?,
            phone: columns.next()?,
            email: columns.next()?,
            is_primary: columns.flag()?,
            title: columns.next()?,
            department: columns.next()?,
            role: columns.next()?,
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

impl PointRead for Contact {
    const SQL: &'static str = POINT_READ;

    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Self::read(row, 1)
    }
}

/// Creates a contact. If it is the primary one, the customer's other contacts are not.
///
/// # Errors
/// [`Violation::NoSuch`] customer; see [`StoreError`].
pub async fn insert(tx: &mut Write, new: NewContact) -> Result<Contact, StoreError> {
    let customer: Customer = get(tx, new.customer_id())
        .await?
        .ok_or(StoreError::Violation(Violation::NoSuch(Resource::Customer)))?;
    let contact = new.into_contact(tx.new_id().to_string(), customer.owner_id, tx.now());
    check_owner(tx, None, &contact.owner_id)?;
    if contact.is_primary {
        demote_primary(tx, &contact).await?;
    }
    insert_row(tx, &contact).await?;
    keep_change(tx, "contact.create", None, &contact, None);
    Ok(contact)
}

/// Adds the row alone.
pub(super) async fn insert_row(tx: &mut Write, contact: &Contact) -> Result<(), sqlx::Error> {
    let insert = bind(
        sqlx::query(
            "insert into contacts (id, customer_id, name, phone, email, is_primary, title, department, role, owner_id, \
             version, updated_at, search, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        ),
        contact,
    );
    insert.bind(contact.created_at.millis()).execute(&mut *tx).await?;
    Ok(())
}

/// Changes a contact, if anything in `patch` differs from what is stored. `expected` is what it must be like.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`], [`StoreError::Invalid`]; see [`StoreError`].
pub async fn update(
    tx: &mut Write,
    id: &str,
    expected: Precondition,
    patch: ContactPatch,
) -> Result<Contact, StoreError> {
    let before: Contact = get_expected(tx, id, expected.version).await?;
    let mut after = before.clone();
    patch.apply(&mut after, tx.masking())?;
    if after == before {
        return Ok(before);
    }
    check_base(tx, &before, &after, expected.base).await?;
    check_owner(tx, Some(&before.owner_id), &after.owner_id)?;
    after.version += 1;
    after.updated_at = tx.now();
    if after.is_primary && !before.is_primary {
        demote_primary(tx, &after).await?;
    }
    save(tx, &after).await?;
    keep_change(tx, "contact.update", Some(&before), &after, None);
    Ok(after)
}

/// Puts a contact into the trash.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`]; see [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str, expected: Option<i64>) -> Result<(), StoreError> {
    let contact: Contact = get_expected(tx, id, expected).await?;
    trash::put(tx, Resource::Contact, &contact).await
}

/// A page of the live contacts.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &ContactFilter,
    request: &PageRequest<ContactKey>,
    list: u64,
) -> Result<Page<Contact>, StoreError> {
    CONTACTS.page(db, request, list, |filters| filter.add_to(filters)).await
}

/// Makes way for a new primary contact.
async fn demote_primary(tx: &mut Write, successor: &Contact) -> Result<(), StoreError> {
    let id: Option<String> = sqlx::query_scalar(
        "select id from contacts where customer_id = ?1 and id <> ?2 and is_primary = 1 and deleted_at is null",
    )
    .bind(&successor.customer_id)
    .bind(&successor.id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(id) = id else { return Ok(()) };
    let before: Contact = get_expected(tx, &id, None).await?;
    let after =
        Contact { is_primary: false, version: before.version + 1, updated_at: tx.now(), ..before.clone() };
    save(tx, &after).await?;
    keep_change(tx, "contact.update", Some(&before), &after, None);
    Ok(())
}

async fn save(tx: &mut Write, contact: &Contact) -> Result<(), StoreError> {
    bind(
        sqlx::query(
            "update contacts set customer_id = ?2, name = ?3, phone = ?4, email = ?5, is_primary = ?6, title = ?7, \
             department = ?8, role = ?9, owner_id = ?10, version = ?11, updated_at = ?12, search = ?13 where id = ?1",
        ),
        contact,
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Binds the columns in the order that `insert` and `save` share.
fn bind<'q>(
    query: sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>,
    contact: &'q Contact,
) -> sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments> {
    query
        .bind(&contact.id)
        .bind(&contact.customer_id)
        .bind(&contact.name)
        .bind(&contact.phone)
        .bind(&contact.email)
        .bind(contact.is_primary)
        .bind(&contact.title)
        .bind(&contact.department)
        .bind(&contact.role)
        .bind(&contact.owner_id)
        .bind(contact.version)
        .bind(contact.updated_at.millis())
        .bind(search_text(&contact.name, &contact.email, &contact.phone))
}

/// The documented sort keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactKey {
    /// `createdAt`
    CreatedAt,
    /// `updatedAt`
    UpdatedAt,
    /// `name`
    Name,
}

impl SortKey for ContactKey {
    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Name => "name",
        }
    }

    fn is_text(self) -> bool {
        self == Self::Name
    }
}

/// What a list of contacts can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct ContactFilter {
    /// This contact.
    pub id: Option<String>,
    /// This customer's.
    pub customer_id: Option<String>,
    /// This owner's.
    pub owner_id: Option<String>,
    /// With this part in decisions.
    pub role: Option<String>,
    /// In this department.
    pub department: Option<String>,
    /// The primary ones, or the others.
    pub is_primary: Option<bool>,
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

impl ContactFilter {
    pub(super) fn add_to(&self, filters: &mut Filters<'_>) {
        let Self {
            id,
            customer_id,
            owner_id,
            role,
            department,
            is_primary,
            keyword,
            created_from,
            created_to,
            updated_from,
            updated_to,
        } = self;
        filters.keyword(keyword);
        filters.text("id = ", id);
        filters.text("customer_id = ", customer_id);
        filters.text("owner_id = ", owner_id);
        filters.text("role = ", role);
        filters.text("department = ", department);
        if let Some(is_primary) = is_primary {
            filters.and("is_primary = ", *is_primary);
        }
        filters.moment("created_at >= ", *created_from);
        filters.moment("created_at < ", *created_to);
        filters.moment("updated_at >= ", *updated_from);
        filters.moment("updated_at < ", *updated_to);
    }
}

impl Exported for ContactFilter {
    type Record = Contact;
    type Key = ContactKey;

    fn list() -> &'static List<Contact> {
        &CONTACTS
    }

    fn narrow(&self, filters: &mut Filters<'_>) {
        self.add_to(filters);
    }
}
