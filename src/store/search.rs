//! Keywords in lists: by the index of their characters, or by reading the rows one after the other.
//!
//! What few rows hold is found by the index, and those rows are sorted. What many hold is met soon in whatever order the list
//! has: the index would name all of them, to sort them and to throw all but a page away.

use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite};

use super::list::Filters;
use crate::domain::{Keyword, search_parts};
use crate::tenancy::{Read, StoreError};

/// Rows that are sorted for a page rather than met in its order: some hundreds, so that either way stays far from reading all of
/// 100,000. Not tuned; `cargo bench --bench lists` has words on both sides of it.
const FEW: i64 = 600;

/// How a list's keyword is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// There is none.
    Nothing,
    /// By the index.
    Index,
    /// In the text of every row that is met.
    Walk,
}

impl Search {
    /// How all rows that `filter` leaves are found.
    pub(super) fn of(table: &'static str, filter: &impl Fn(&mut Filters<'_>)) -> Self {
        if keyword_of(table, filter).is_some() { Self::Index } else { Self::Nothing }
    }

    /// How a page of the rows is found that `keyword` leaves.
    pub(super) async fn choose(
        db: &mut Read,
        table: &'static str,
        keyword: &Keyword,
    ) -> Result<Self, StoreError> {
        let sql = format!(
            "select count(*) from (select 1 from {table}_search where {table}_search match ?1 limit ?2)"
        );
        let count = sqlx::query_scalar(AssertSqlSafe(sql)).bind(expression(keyword)).bind(FEW + 1);
        let found: i64 = count.fetch_one(&mut *db).await?;
        Ok(if found > FEW { Self::Walk } else { Self::Index })
    }

    /// The index, before the table that it leads to: `cross join` keeps this order.
    pub(super) fn push_index(self, query: &mut QueryBuilder<Sqlite>, table: &'static str) {
        if self == Self::Index {
            query.push(table).push("_search cross join ");
        }
    }

    /// The condition that the row is found.
    pub(super) fn push_condition(
        self,
        query: &mut QueryBuilder<Sqlite>,
        table: &'static str,
        keyword: &Keyword,
    ) {
        match self {
            Self::Nothing => {}
            Self::Index => {
                query
                    .push(" and seq = ")
                    .push(table)
                    .push("_search.rowid and ")
                    .push(table)
                    .push("_search match ");
                query.push_bind(expression(keyword));
                push_text_condition(query, table, keyword);
            }
            Self::Walk => push_text_condition(query, table, keyword),
        }
    }
}

/// The condition that the row's text holds every word.
fn push_text_condition(query: &mut QueryBuilder<Sqlite>, table: &'static str, keyword: &Keyword) {
    for word in keyword.words() {
        for (position, needle) in word.iter().enumerate() {
            query.push(if position == 0 { " and (" } else { " or " });
            query.push("instr(").push(table).push(".search, ").push_bind(needle.clone()).push(") > 0");
        }
        query.push(")");
    }
}

/// The keyword among the conditions of `filter`.
pub(super) fn keyword_of(table: &'static str, filter: &impl Fn(&mut Filters<'_>)) -> Option<Keyword> {
    let mut unused = QueryBuilder::new("");
    let mut filters = Filters::new(&mut unused, table, Search::Nothing);
    filter(&mut filters);
    filters.into_keyword()
}

/// What the index is asked for, as FTS5 takes it: <https://sqlite.org/fts5.html#full_text_query_syntax>. All rows that are found, and
/// some that only hold the same pairs of characters elsewhere.
fn expression(keyword: &Keyword) -> String {
    let quoted = |part: String| format!("\"{}\"", part.replace('"', "\"\""));
    let all_of = |needle: &String| {
        let parts: Vec<_> = search_parts(needle).into_iter().map(quoted).collect();
        format!("({})", parts.join(" AND "))
    };
    let words = keyword.words().iter().map(|word| {
        let needles: Vec<_> = word.iter().map(all_of).collect();
        format!("({})", needles.join(" OR "))
    });
    words.collect::<Vec<_>>().join(" AND ")
}
