//! Opportunities.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::export::Exported;
use super::list::{Filters, LIVE, List, SortKey};
use super::record::{Columns, Record, check_base, check_owner, columns, get, get_expected, keep_change};
use super::trash;
use crate::domain::{
    ContractSigned, Currency, Customer, DealStatus, Keyword, Moved, NewOpportunity, Opportunity,
    OpportunityPatch, Page, PageRequest, Precondition, Resource, Stage, Standing, Timestamp, Violation,
    search_text,
};
use crate::tenancy::rows::{fields, rows};
use crate::tenancy::{Event, PointRead, Read, StoreError, Write};

columns!("opportunities", own "owner_id = ?1":
    "customer_id", "title", "amount_cents", "currency", "stage", "last_open_stage", "probability_pct",
    "expected_close_date", "closed_at", "lost_reason", "owner_id", "version", "created_at", "updated_at",
);

pub(super) const OPPORTUNITIES: List<Opportunity> = List {
    table: "opportunities",
    base: LIVE,
    columns: COLUMNS,
    own: OWN,
    lasts: true,
    read: Opportunity::read,
};

impl Record for Opportunity {
    const RESOURCE: Resource = Resource::Opportunity;
    const GET: &'static str = GET;
    const GET_OWN: &'static str = GET_OWN;

    fn read(row: &SqliteRow, position: usize) -> Result<Self, sqlx::Error> {
        // The table's checks admit no other stages, and only known currencies are written.
        let stage = |code| Stage::from_code(code).unwrap_or(Stage::FirstContact);
        let mut columns = Columns::of(row, position)?;
        let id = columns.next()?;
        let customer_id = columns.next()?;
        let title = columns.next()?;
        let amount_cents = columns.next()?;
        let currency = Currency::parse(&columns.next::<String>()?).unwrap_or(Currency::CNY);
        let (stage, last_open_stage) = (stage(columns.next()?), stage(columns.next()?));
        let probability_pct = columns.next()?;
        let expected_close_date = columns.next::<Option<String>>()?.and_then(|date| date.parse().ok());
        let closed_at = columns.optional_moment()?;
        let lost_reason = columns.next()?;
        Ok(Self {
            id,
            customer_id,
            title,
            amount_cents,
            currency,
            standing: Standing { stage, last_open_stage, probability_pct, closed_at, lost_reason },
            expected_close_date,
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

impl PointRead for Opportunity {
    const SQL: &'static str = POINT_READ;

    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Self::read(row, 1)
    }
}

/// Creates an opportunity; at a closing stage, it is created closed.
///
/// # Errors
/// [`Violation::NoSuch`] customer; see [`StoreError`].
pub async fn insert(tx: &mut Write, new: NewOpportunity) -> Result<Opportunity, StoreError> {
    let customer: Option<Customer> = get(tx, new.customer_id()).await?;
    if customer.is_none() {
        return Err(StoreError::Violation(Violation::NoSuch(Resource::Customer)));
    }
    let opportunity = prepare(tx, new)?;
    insert_row(tx, &opportunity).await?;
    Ok(opportunity)
}

/// Makes the opportunity, whose customer is known to be there, and notes its change. Sends no statement.
pub(super) fn prepare(tx: &mut Write, new: NewOpportunity) -> Result<Opportunity, StoreError> {
    let opportunity = new.into_opportunity(tx.new_id().to_string(), tx.now())?;
    check_owner(tx, None, &opportunity.owner_id)?;
    let data = opportunity.event_data(tx.now());
    let created = Event { kind: "crm.opportunity.created", data: Value::Object(data) };
    keep_change(tx, "opportunity.create", None, &opportunity, Some(created));
    if opportunity.standing.status() != DealStatus::Open {
        let closed = closed_event(tx, &opportunity, Map::new());
        keep_change(tx, "opportunity.close", Some(&opportunity), &opportunity, Some(closed));
    }
    Ok(opportunity)
}

/// Adds the row alone.
pub(super) async fn insert_row(tx: &mut Write, opportunity: &Opportunity) -> Result<(), sqlx::Error> {
    insert_rows(tx, [opportunity]).await
}

/// Adds the rows alone.
pub(super) async fn insert_rows(
    tx: &mut Write,
    opportunities: impl IntoIterator<Item = &Opportunity>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = opportunities.into_iter().map(Row::of).collect();
    let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(INSERT).bind(rows).execute(&mut *tx).await?;
    Ok(())
}

/// Changes an opportunity, if anything in `patch` differs from what is stored. `expected` is what it must be like.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`], [`StoreError::Invalid`]; see [`StoreError`].
pub async fn update(
    tx: &mut Write,
    id: &str,
    expected: Precondition,
    patch: OpportunityPatch,
) -> Result<Opportunity, StoreError> {
    let before: Opportunity = get_expected(tx, id, expected.version).await?;
    let mut after = before.clone();
    let moved = patch.apply(&mut after, tx.now())?;
    if after == before {
        return Ok(before);
    }
    check_base(tx, &before, &after, expected.base).await?;
    check_owner(tx, Some(&before.owner_id), &after.owner_id)?;
    change(tx, before, after, moved, Map::new()).await
}

/// Changes an opportunity to what a signed contract says of it, if it is not like that; what `cause` holds goes into the
/// event of its closing.
///
/// # Errors
/// See [`StoreError`].
pub async fn sign(
    tx: &mut Write,
    before: Opportunity,
    contract: &ContractSigned,
    cause: Map<String, Value>,
) -> Result<Opportunity, StoreError> {
    let ContractSigned { amount_cents, currency, standing, .. } = contract;
    let mut after = before.clone();
    let moved = after.sign(*amount_cents, *currency, standing.signed_at);
    if after == before {
        return Ok(before);
    }
    change(tx, before, after, moved, cause).await
}

/// Writes what an opportunity has become; what `cause` holds goes into the event of its closing.
async fn change(
    tx: &mut Write,
    before: Opportunity,
    mut after: Opportunity,
    moved: Moved,
    cause: Map<String, Value>,
) -> Result<Opportunity, StoreError> {
    after.version += 1;
    after.updated_at = tx.now();
    sqlx::query(UPDATE).bind(json!([Row::of(&after)]).to_string()).execute(&mut *tx).await?;
    let closed = (moved == Moved::Closed).then(|| closed_event(tx, &after, cause));
    let action = if closed.is_some() { "opportunity.close" } else { "opportunity.update" };
    keep_change(tx, action, Some(&before), &after, closed);
    Ok(after)
}

/// A customer's open deals, oldest first; at most `most`.
///
/// # Errors
/// See [`StoreError`].
pub async fn open_of_customer(
    db: &mut Read,
    customer_id: &str,
    most: u32,
) -> Result<Vec<Opportunity>, StoreError> {
    let sql = format!(
        "select json_array({COLUMNS}) from opportunities \
         where customer_id = ?1 and status = 1 and deleted_at is null order by created_at, id limit ?2"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(customer_id).bind(most).fetch_all(&mut *db).await?;
    Ok(rows.iter().map(|row| Opportunity::read(row, 0)).collect::<Result<_, _>>()?)
}

/// Puts an opportunity into the trash.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::VersionMismatch`]; see [`StoreError`].
pub async fn delete(tx: &mut Write, id: &str, expected: Option<i64>) -> Result<(), StoreError> {
    let opportunity: Opportunity = get_expected(tx, id, expected).await?;
    trash::put(tx, Resource::Opportunity, &opportunity).await
}

/// A page of the live opportunities.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    db: &mut Read,
    filter: &OpportunityFilter,
    request: &PageRequest<OpportunityKey>,
    list: u64,
) -> Result<Page<Opportunity>, StoreError> {
    OPPORTUNITIES.page(db, request, list, |filters| filter.add_to(filters)).await
}

/// `crm.opportunity.closed`, once for each closing (contract §10).
fn closed_event(tx: &Write, opportunity: &Opportunity, cause: Map<String, Value>) -> Event {
    let mut data = opportunity.event_data(tx.now());
    data.extend(cause);
    let result = if opportunity.standing.status() == DealStatus::Won { "won" } else { "lost" };
    data.insert("result".to_owned(), result.into());
    Event { kind: "crm.opportunity.closed", data: Value::Object(data) }
}

/// What is written of an opportunity.
#[derive(Serialize)]
struct Row<'a>(
    &'a str,
    &'a str,
    &'a str,
    i64,
    &'static str,
    i64,
    i64,
    i64,
    Option<String>,
    Option<i64>,
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
    "insert into opportunities (id, customer_id, title, amount_cents, currency, stage, last_open_stage, probability_pct, \
     expected_close_date, closed_at, lost_reason, owner_id, version, updated_at, created_at, search) select ",
    fields!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    " from r where true"
);

/// Changes the row of the one [`Row`] in the array `?1`.
const UPDATE: &str = concat!(
    rows!("?1"),
    "update opportunities set (customer_id, title, amount_cents, currency, stage, last_open_stage, probability_pct, \
     expected_close_date, closed_at, lost_reason, owner_id, version, updated_at, search) = (",
    fields!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15),
    ") from r where id = json_extract(v, '$[0]')"
);

impl<'a> Row<'a> {
    fn of(opportunity: &'a Opportunity) -> Self {
        let Standing { stage, last_open_stage, probability_pct, closed_at, lost_reason } =
            &opportunity.standing;
        Self(
            &opportunity.id,
            &opportunity.customer_id,
            &opportunity.title,
            opportunity.amount_cents,
            opportunity.currency.code(),
            stage.code(),
            last_open_stage.code(),
            *probability_pct,
            opportunity.expected_close_date.map(|date| date.to_string()),
            closed_at.map(Timestamp::millis),
            lost_reason,
            &opportunity.owner_id,
            opportunity.version,
            opportunity.updated_at.millis(),
            opportunity.created_at.millis(),
            search_text(&opportunity.title, "", ""),
        )
    }
}

/// The documented sort keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpportunityKey {
    /// `createdAt`
    CreatedAt,
    /// `updatedAt`
    UpdatedAt,
    /// `amountCents`: minor units, whatever the currency.
    AmountCents,
    /// `expectedCloseDate`; opportunities without one come before all others.
    ExpectedCloseDate,
}

impl SortKey for OpportunityKey {
    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::AmountCents => "amount_cents",
            Self::ExpectedCloseDate => "ifnull(expected_close_date, '')",
        }
    }

    fn is_text(self) -> bool {
        self == Self::ExpectedCloseDate
    }
}

/// What a list of opportunities can be narrowed by; all conditions hold together.
#[derive(Debug, Clone, Default)]
pub struct OpportunityFilter {
    /// This opportunity.
    pub id: Option<String>,
    /// This customer's.
    pub customer_id: Option<String>,
    /// This owner's.
    pub owner_id: Option<String>,
    /// At this stage.
    pub stage: Option<Stage>,
    /// Of this status.
    pub status: Option<DealStatus>,
    /// In this currency.
    pub currency: Option<Currency>,
    /// Expected to be won on this day (`YYYY-MM-DD`) or later.
    pub close_from: Option<String>,
    /// Expected to be won before this day.
    pub close_to: Option<String>,
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

impl OpportunityFilter {
    pub(super) fn add_to(&self, filters: &mut Filters<'_>) {
        let Self {
            id,
            customer_id,
            owner_id,
            stage,
            status,
            currency,
            close_from,
            close_to,
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
        if let Some(stage) = stage {
            filters.and("stage = ", stage.code());
        }
        if let Some(status) = status {
            filters.and("status = ", status.code());
        }
        if let Some(currency) = currency {
            filters.and("currency = ", currency.code());
        }
        // The expression that there is an index on: '' without a date, which is before every day.
        filters.text("ifnull(expected_close_date, '') >= ", close_from);
        filters.text("expected_close_date is not null and ifnull(expected_close_date, '') < ", close_to);
        filters.moment("created_at >= ", *created_from);
        filters.moment("created_at < ", *created_to);
        filters.moment("updated_at >= ", *updated_from);
        filters.moment("updated_at < ", *updated_to);
    }
}

impl Exported for OpportunityFilter {
    type Record = Opportunity;
    type Key = OpportunityKey;

    fn list() -> &'static List<Opportunity> {
        &OPPORTUNITIES
    }

    fn narrow(&self, filters: &mut Filters<'_>) {
        self.add_to(filters);
    }
}
