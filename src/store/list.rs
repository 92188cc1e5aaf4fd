//! Pages of a table: keyset or numbered, with the same filters for the rows and their count.

use std::fmt;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::record::Columns;
use super::search::{Search, keyword_of};
use crate::domain::{
    Count, Cursor, CursorValue, Keyword, Order, Page, PageRequest, Scope, Start, Timestamp, Total,
};
use crate::tenancy::{CountKey, Read, StoreError};

/// A documented sort key of a resource.
pub trait SortKey: Copy {
    /// The expression that is sorted by: never null, and served by an index of its own together with `id`.
    fn column(self) -> &'static str;
    /// Whether its values are texts; otherwise they are integers.
    fn is_text(self) -> bool;
}

/// A table as a list: which columns make a row, and how to read them.
#[derive(Debug)]
pub struct List<T> {
    /// The table.
    pub table: &'static str,
    /// The rows that are on the list at all: `deleted_at is null`.
    pub base: &'static str,
    /// The columns that make a row, in the order that `read` expects; the id comes first.
    pub columns: &'static str,
    /// The condition that keeps to the rows of the user `?1`.
    pub own: &'static str,
    /// The rows come and go with writes only, and not with time.
    pub lasts: bool,
    /// Reads the row in the value at this position.
    pub read: fn(&SqliteRow, usize) -> Result<T, sqlx::Error>,
}

/// The base of a table whose deleted rows are in the trash.
pub(super) const LIVE: &str = "deleted_at is null";

impl<T> List<T> {
    /// A page of the live rows that `filter` leaves. `list` is the hash that binds cursors to this list.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page<K: SortKey + Sync>(
        &self,
        db: &mut Read,
        request: &PageRequest<K>,
        list: u64,
        filter: impl Fn(&mut Filters<'_>) + Sync,
    ) -> Result<Page<T>, StoreError> {
        let scope = db.scope().clone();
        let search = match keyword_of(self.table, &filter) {
            Some(keyword) => Search::choose(db, self.table, &keyword).await?,
            None => Search::Nothing,
        };
        let mut query = self.rows(&scope, request, search, &filter);
        let mut found = query.build().fetch_all(&mut *db).await?;
        // After the rows: a count that is remembered opens no snapshot, so that it could be older than they are.
        let total = self.total(db, &scope, request.count, list, &filter).await?;
        let size = usize::try_from(request.size).unwrap_or(usize::MAX);
        let has_more = found.len() > size;
        found.truncate(size);
        let next = match found.last() {
            Some(last) if has_more => Some(cursor_of(last, &request.order, list)?),
            _ => None,
        };
        let position = request.order.len();
        let rows = found.iter().map(|row| (self.read)(row, position)).collect::<Result<_, _>>()?;
        let number = match request.start {
            Start::Page(number) => Some(number),
            Start::After(_) => None,
        };
        Ok(Page { rows, total, number, size: request.size, next })
    }

    /// The statement of a page: the sort keys, then the row, of one row more than the page holds.
    fn rows<K: SortKey>(
        &self,
        scope: &Scope,
        request: &PageRequest<K>,
        search: Search,
        filter: &impl Fn(&mut Filters<'_>),
    ) -> QueryBuilder<Sqlite> {
        let cursor = match &request.start {
            Start::After(cursor) => Some(cursor),
            Start::Page(_) => None,
        };
        let mut query = self.ordered(scope, &request.order, cursor, search, filter);
        query.push(" limit ").push_bind(i64::from(request.size) + 1);
        if let Start::Page(number) = request.start {
            query.push(" offset ").push_bind(i64::from(number - 1) * i64::from(request.size));
        }
        query
    }

    /// The statement of a list in its order: the sort keys, then the row.
    pub(super) fn ordered<K: SortKey>(
        &self,
        scope: &Scope,
        order: &[Order<K>],
        after: Option<&Cursor>,
        search: Search,
        filter: &impl Fn(&mut Filters<'_>),
    ) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("select ");
        for order in order {
            query.push(order.key.column()).push(", ");
        }
        query.push("json_array(").push(self.columns).push(")");
        self.push_rows(&mut query, scope, search, filter);
        match after {
            Some(cursor) => {
                query.push(" and ");
                push_after(&mut query, order, cursor);
            }
            None => push_hint(&mut query, order),
        }
        push_order(&mut query, order);
        query
    }

    /// The statement of all rows in their order, or of `limit` after `offset` others: just the row. However many there are,
    /// only where they are is sorted, because the sorter works in memory.
    pub(super) fn all<K: SortKey>(
        &self,
        scope: &Scope,
        order: &[Order<K>],
        (limit, offset): (i64, i64),
        filter: &impl Fn(&mut Filters<'_>),
    ) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("select json_array(");
        query.push(self.columns).push(") from (select ").push(self.table).push(".rowid as place");
        self.push_rows(&mut query, scope, Search::of(self.table, filter), filter);
        push_hint(&mut query, order);
        push_order(&mut query, order);
        // The limit also keeps SQLite from making one statement of both, which would sort the rows.
        query.push(" limit ").push_bind(limit).push(" offset ").push_bind(offset);
        query.push(") cross join ").push(self.table).push(" on ").push(self.table).push(".rowid = place");
        query
    }

    /// `select what from … where …`, of the rows that `scope` and `filter` leave: further conditions, groups and orders come
    /// behind.
    pub(super) fn select(
        &self,
        what: &str,
        scope: &Scope,
        filter: &impl Fn(&mut Filters<'_>),
    ) -> QueryBuilder<Sqlite> {
        let mut conditions = QueryBuilder::new("");
        self.push_scope(&mut conditions, scope);
        let search = Search::of(self.table, filter);
        filter(&mut Filters::new(&mut conditions, self.table, search));
        let mut query = QueryBuilder::new("select ");
        query.push(what);
        if conditions.sql().as_str().is_empty() {
            // All live rows: SQLite would rather walk through an index of live rows, and look up every row from there.
            query.push(" from ").push(self.table).push(" not indexed where ").push(self.base);
        } else {
            self.push_rows(&mut query, scope, search, filter);
        }
        query
    }

    /// ` from … where …`: the rows that `scope` and `filter` leave.
    fn push_rows(
        &self,
        query: &mut QueryBuilder<Sqlite>,
        scope: &Scope,
        search: Search,
        filter: &impl Fn(&mut Filters<'_>),
    ) {
        query.push(" from ");
        search.push_index(query, self.table);
        query.push(self.table).push(" where ").push(self.base);
        self.push_scope(query, scope);
        filter(&mut Filters::new(query, self.table, search));
    }

    /// sqlx counts the plain parameters that the builder writes from 1: the user is bound anew wherever it stands.
    fn push_scope(&self, query: &mut QueryBuilder<Sqlite>, scope: &Scope) {
        let Some(user) = scope.owner() else { return };
        query.push(" and (");
        for (position, part) in self.own.split("?1").enumerate() {
            if position > 0 {
                query.push_bind(user.to_owned());
            }
            query.push(part);
        }
        query.push(")");
    }

    async fn total(
        &self,
        db: &mut Read,
        scope: &Scope,
        count: Count,
        list: u64,
        filter: &impl Fn(&mut Filters<'_>),
    ) -> Result<Total, StoreError> {
        let limit = match count {
            Count::None => return Ok(Total::Unknown),
            Count::Auto => Count::CAP + 1,
            Count::Exact => i64::MAX.cast_unsigned(),
        };
        let key = CountKey { list, owner: scope.owner().map(str::to_owned), limit };
        let known = if self.lasts { db.known_count(&key) } else { None };
        let matches = match known {
            Some(matches) => matches,
            None => {
                let matches = self.count(db, scope, limit, filter).await?;
                db.remember_count(key, matches);
                matches
            }
        };
        Ok(if count == Count::Auto && matches > Count::CAP { Total::Capped } else { Total::Exact(matches) })
    }

    /// Counts the rows that `filter` leaves, up to `limit`.
    pub(super) async fn count(
        &self,
        db: &mut Read,
        scope: &Scope,
        limit: u64,
        filter: &impl Fn(&mut Filters<'_>),
    ) -> Result<u64, StoreError> {
        let mut query = QueryBuilder::new("select count(*) from (select 1");
        self.push_rows(&mut query, scope, Search::of(self.table, filter), filter);
        query.push(" limit ").push_bind(limit.cast_signed()).push(")");
        let matches: i64 = query.build_query_scalar().fetch_one(&mut *db).await?;
        Ok(matches.try_into().unwrap_or(0))
    }
}

/// The conditions of a list, added to its `where` clause.
pub struct Filters<'a> {
    query: &'a mut QueryBuilder<Sqlite>,
    table: &'static str,
    search: Search,
    keyword: Option<Keyword>,
}

impl fmt::Debug for Filters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filters").field(&self.query.sql()).finish()
    }
}

impl<'a> Filters<'a> {
    pub(super) fn new(query: &'a mut QueryBuilder<Sqlite>, table: &'static str, search: Search) -> Self {
        Self { query, table, search, keyword: None }
    }

    /// Adds `condition`, which ends where the value belongs: `"owner_id = "`.
    pub fn and<'v, V>(&mut self, condition: &'static str, value: V)
    where
        V: 'v + sqlx::Encode<'v, Sqlite> + sqlx::Type<Sqlite> + Send,
    {
        self.query.push(" and ").push(condition).push_bind(value);
    }

    /// Adds `condition` if there is a text for it.
    pub fn text(&mut self, condition: &'static str, text: &Option<String>) {
        if let Some(text) = text {
            self.and(condition, text.clone());
        }
    }

    /// Adds `condition` if there is a moment for it.
    pub fn moment(&mut self, condition: &'static str, moment: Option<Timestamp>) {
        if let Some(moment) = moment {
            self.and(condition, moment.millis());
        }
    }

    /// Adds that the row is found by the keyword, if there is one.
    pub fn keyword(&mut self, keyword: &Option<Keyword>) {
        if let Some(keyword) = keyword {
            self.search.push_condition(self.query, self.table, keyword);
            self.keyword = Some(keyword.clone());
        }
    }

    /// The keyword that was added.
    pub(super) fn into_keyword(self) -> Option<Keyword> {
        self.keyword
    }
}

fn push_order<K: SortKey>(query: &mut QueryBuilder<Sqlite>, order: &[Order<K>]) {
    query.push(" order by ");
    for order in order {
        query.push(order.key.column()).push(direction(order.descending)).push(", ");
    }
    query.push("id").push(direction(id_descends(order)));
}

/// A condition on the first key that always holds. Ordered by several keys and without one, SQLite sorts the whole table
/// instead of the few rows at the start of the first key's index. It stands after the filters, whose bounds come first.
fn push_hint<K: SortKey>(query: &mut QueryBuilder<Sqlite>, order: &[Order<K>]) {
    if let [first, _, ..] = order {
        let least = if first.key.is_text() { "''" } else { "-9223372036854775808" };
        query.push(" and ").push(first.key.column()).push(" >= ").push(least);
    }
}

fn direction(descending: bool) -> &'static str {
    if descending { " desc" } else { " asc" }
}

/// The id follows the last key, so that an index on (key, id) serves one key in either direction.
fn id_descends<K>(order: &[Order<K>]) -> bool {
    order.last().is_some_and(|order| order.descending)
}

/// "The row comes after the cursor's": `k1 <= v1 and (k1 < v1 or (k1 = v1 and (… or id < i)))`. The first term lets an
/// index on the first key find the place, whatever the directions of the others are.
fn push_after<K: SortKey>(query: &mut QueryBuilder<Sqlite>, order: &[Order<K>], cursor: &Cursor) {
    let bind = |query: &mut QueryBuilder<Sqlite>, value: &CursorValue| {
        match value {
            CursorValue::Integer(integer) => query.push_bind(*integer),
            CursorValue::Text(text) => query.push_bind(text.clone()),
        };
    };
    if let (Some(first), Some(value)) = (order.first(), cursor.keys.first()) {
        query.push(first.key.column()).push(if first.descending { " <= " } else { " >= " });
        bind(query, value);
        query.push(" and ");
    }
    for (order, value) in order.iter().zip(&cursor.keys) {
        query.push("(").push(order.key.column()).push(if order.descending { " < " } else { " > " });
        bind(query, value);
        query.push(" or (").push(order.key.column()).push(" = ");
        bind(query, value);
        query.push(" and ");
    }
    query.push(if id_descends(order) { "id < " } else { "id > " }).push_bind(cursor.id.clone());
    query.push("))".repeat(order.len().min(cursor.keys.len())));
}

fn cursor_of<K: SortKey>(row: &SqliteRow, order: &[Order<K>], list: u64) -> Result<Cursor, sqlx::Error> {
    let key = |(position, order): (usize, &Order<K>)| {
        Ok(if order.key.is_text() {
            CursorValue::Text(row.try_get(position)?)
        } else {
            CursorValue::Integer(row.try_get(position)?)
        })
    };
    let keys = order.iter().enumerate().map(key).collect::<Result<_, sqlx::Error>>()?;
    Ok(Cursor { list, keys, id: Columns::of(row, order.len())?.next()? })
}
