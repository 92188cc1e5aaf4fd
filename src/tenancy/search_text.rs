//! The searchable text of rows that were written before there was one: SQL cannot fold names.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::rows::{fields, rows};
use crate::domain::search_text;

/// The schema whose tables have a place for the text, but no index of it yet.
pub(super) const UNFILLED: i64 = 6;

/// Tables, and where a row has its name, its e-mail address and its phone.
const TABLES: [(&str, &str); 3] = [
    ("customers", "name, contact_email, contact_phone"),
    ("contacts", "name, email, phone"),
    ("opportunities", "title, '', ''"),
];
/// Rows that are held in memory at once.
const SLICE: i64 = 1000;

/// Fills in the text of every row of a file that has the schema [`UNFILLED`], in one transaction. Does nothing to a later one.
pub(super) async fn fill(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: i64 = sqlx::query_scalar("pragma user_version").fetch_one(&mut *connection).await?;
    if version != UNFILLED {
        return Ok(());
    }
    let mut change = connection.begin().await?;
    for (table, columns) in TABLES {
        let slice = format!("select seq, {columns} from {table} where seq > ?1 order by seq limit {SLICE}");
        let update = [
            rows!("?1"),
            "update ",
            table,
            " set search = ",
            fields!(1),
            " from r where seq = json_extract(v, '$[0]')",
        ]
        .concat();
        let mut last = 0;
        loop {
            let found: Vec<(i64, String, String, String)> =
                sqlx::query_as(AssertSqlSafe(slice.clone())).bind(last).fetch_all(&mut *change).await?;
            let Some((seq, ..)) = found.last() else { break };
            last = *seq;
            let texts: Vec<_> = found
                .iter()
                .map(|(seq, name, email, phone)| (seq, search_text(name, email, phone)))
                .collect();
            let texts = serde_json::to_string(&texts).map_err(|error| sqlx::Error::Encode(error.into()))?;
            sqlx::query(AssertSqlSafe(update.clone())).bind(texts).execute(&mut *change).await?;
        }
    }
    change.commit().await
}
