//! Figures of many records. Read aside: they take longer the more rows there are.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::customers::{CUSTOMERS, CustomerFilter};
use super::follow_ups::{FOLLOW_UPS, FollowUpFilter};
use super::list::{Filters, List};
use super::opportunities::{OPPORTUNITIES, OpportunityFilter};
use crate::domain::{Groups, Pipeline, Stage, Tally, Timestamp, WinRate};
use crate::tenancy::{Read, StoreError};

/// Sums are made of the parts above and below this: SQLite's `sum` of integers fails where 64 bits are too few.
const PART: i128 = 1_000_000_000;

/// What one deal counts for in a forecast: `domain::weigh`, of amounts that are not negative.
macro_rules! weighted {
    () => {
        "((amount_cents * probability_pct + 50) / 100)"
    };
}

/// The columns of [`tally`].
pub(super) const TALLY: &str = concat!(
    "count(*), sum(amount_cents / 1000000000), sum(amount_cents % 1000000000), sum(",
    weighted!(),
    " / 1000000000), sum(",
    weighted!(),
    " % 1000000000)"
);

/// Reads [`TALLY`] from this position on.
pub(super) fn tally(row: &SqliteRow, position: usize) -> Result<Tally, sqlx::Error> {
    let part = |offset: usize| row.try_get::<i64, _>(position + offset).map(i128::from);
    Ok(Tally {
        count: count(row, position)?,
        amount: part(1)? * PART + part(2)?,
        weighted: part(3)? * PART + part(4)?,
    })
}

/// The live deals by stage.
///
/// # Errors
/// See [`StoreError`].
pub async fn pipeline(db: &mut Read, filter: &OpportunityFilter) -> Result<Pipeline, StoreError> {
    gather(db, Pipeline::new(), filter, "").await
}

/// The live deals that are open, by stage.
///
/// # Errors
/// See [`StoreError`].
pub async fn open_pipeline(db: &mut Read, filter: &OpportunityFilter) -> Result<Pipeline, StoreError> {
    gather(db, Pipeline::of_open_deals(), filter, " and status = 1").await
}

async fn gather(
    db: &mut Read,
    mut pipeline: Pipeline,
    filter: &OpportunityFilter,
    condition: &'static str,
) -> Result<Pipeline, StoreError> {
    let what = format!("stage, currency, {TALLY}");
    let mut query =
        OPPORTUNITIES.select(&what, &db.scope().clone(), &|filters: &mut Filters<'_>| filter.add_to(filters));
    query.push(condition).push(" group by stage, currency");
    for row in query.build().fetch_all(&mut *db).await? {
        // The table's checks admit no other stages.
        let stage = Stage::from_code(row.try_get(0)?).unwrap_or(Stage::FirstContact);
        pipeline.add(stage, row.try_get(1)?, tally(&row, 2)?);
    }
    Ok(pipeline)
}

/// The live deals that were closed at `since` or later.
///
/// # Errors
/// See [`StoreError`].
pub async fn win_rate(
    db: &mut Read,
    filter: &OpportunityFilter,
    since: Timestamp,
) -> Result<WinRate, StoreError> {
    let what = "ifnull(sum(status = 2), 0), ifnull(sum(status = 3), 0)";
    let mut query =
        OPPORTUNITIES.select(what, &db.scope().clone(), &|filters: &mut Filters<'_>| filter.add_to(filters));
    query.push(" and closed_at >= ").push_bind(since.millis());
    let row = query.build().fetch_one(&mut *db).await?;
    Ok(WinRate { won: count(&row, 0)?, lost: count(&row, 1)? })
}

/// Reads a number of rows.
fn count(row: &SqliteRow, position: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(position)?.try_into().unwrap_or(0))
}

/// A field of customers that they are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerDimension {
    /// `level`
    Level,
    /// `source`
    Source,
    /// `industry`
    Industry,
    /// `region`
    Region,
    /// `lifecycle`
    Lifecycle,
    /// `ownerId`
    Owner,
}

impl CustomerDimension {
    fn column(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Source => "source",
            Self::Industry => "industry",
            Self::Region => "region",
            Self::Lifecycle => "lifecycle",
            Self::Owner => "owner_id",
        }
    }
}

/// The live customers by a field.
///
/// # Errors
/// See [`StoreError`].
pub async fn customers_by(
    db: &mut Read,
    dimension: CustomerDimension,
    filter: &CustomerFilter,
) -> Result<Groups, StoreError> {
    group(db, &CUSTOMERS, dimension.column(), |filters| filter.add_to(filters)).await
}

/// The live follow-ups by their type.
///
/// # Errors
/// See [`StoreError`].
pub async fn follow_ups_by_type(db: &mut Read, filter: &FollowUpFilter) -> Result<Groups, StoreError> {
    group(db, &FOLLOW_UPS, "follow_up_type", |filters| filter.add_to(filters)).await
}

/// Values that are told one by one; a field of free text may have very many.
const NAMED_MAX: usize = 100;

async fn group<T>(
    db: &mut Read,
    list: &List<T>,
    column: &'static str,
    filter: impl Fn(&mut Filters<'_>) + Sync,
) -> Result<Groups, StoreError> {
    // The window comes before the limit: it counts the rows of all groups.
    let what = format!("nullif({column}, ''), count(*), sum(count(*)) over ()");
    let mut query = list.select(&what, &db.scope().clone(), &filter);
    query
        .push(" group by 1 order by 2 desc, 1 limit ")
        .push_bind(i64::try_from(NAMED_MAX).unwrap_or(i64::MAX));
    let mut groups = Groups::default();
    let mut left = 0_u64;
    for row in query.build().fetch_all(&mut *db).await? {
        if groups.named.is_empty() {
            left = count(&row, 2)?;
        }
        left -= count(&row, 1)?;
        groups.named.push((row.try_get(0)?, count(&row, 1)?));
    }
    groups.others = left;
    Ok(groups)
}
