//! All rows of a list, one after the other: read aside, and held nowhere together.

use std::ops::ControlFlow;

use futures_util::TryStreamExt as _;

use super::list::{Filters, List, SortKey};
use crate::domain::Order;
use crate::tenancy::{Read, StoreError};

/// The filter of a list that can be exported.
pub trait Exported: Sync {
    /// A row of the list.
    type Record: Send + 'static;
    /// What its rows can be sorted by.
    type Key: SortKey + Sync;

    /// The list.
    fn list() -> &'static List<Self::Record>;

    /// Adds the conditions.
    fn narrow(&self, filters: &mut Filters<'_>);
}

/// Takes rows one by one.
pub trait Rows<T>: Send {
    /// Takes a row, and says whether another one is wanted.
    fn take(&mut self, row: T) -> impl Future<Output = ControlFlow<()>> + Send;
}

/// A part of a list: so many rows after so many others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows that are passed.
    pub offset: i64,
    /// Rows that are taken at most.
    pub limit: i64,
}

/// Hands the rows that `filter` leaves to `rows`, in this order. Breaks if no more are wanted.
///
/// # Errors
/// See [`StoreError`].
pub async fn each<F: Exported>(
    db: &mut Read,
    filter: &F,
    order: &[Order<F::Key>],
    window: Option<Window>,
    rows: &mut impl Rows<F::Record>,
) -> Result<ControlFlow<()>, StoreError> {
    let scope = db.scope().clone();
    let list = F::list();
    let window = window.map_or((-1, 0), |Window { offset, limit }| (limit, offset));
    let narrow = |filters: &mut Filters<'_>| filter.narrow(filters);
    let mut query = list.all(&scope, order, window, &narrow);
    let mut found = query.build().fetch(&mut *db);
    while let Some(row) = found.try_next().await? {
        let record = (list.read)(&row, 0)?;
        if rows.take(record).await.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Counts the rows that `filter` leaves.
///
/// # Errors
/// See [`StoreError`].
pub async fn count<F: Exported>(db: &mut Read, filter: &F) -> Result<u64, StoreError> {
    let scope = db.scope().clone();
    let narrow = |filters: &mut Filters<'_>| filter.narrow(filters);
    F::list().count(db, &scope, i64::MAX.cast_unsigned(), &narrow).await
}
