//! A tenant's file from below: only where HTTP does not show what is promised, and only while the service is stopped.

use std::path::Path;

use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _};

use super::tenants_in;

/// The rows that a statement selects from a tenant's file, each as an object.
pub async fn db_select(directory: &Path, tenant: &str, sql: &str) -> Vec<Value> {
    let mut connection = db_open(directory, tenant).await;
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("selected");
    connection.close().await.expect("closed");
    rows.iter().map(object).collect()
}

/// Runs statements on a tenant's file.
pub async fn db_execute(directory: &Path, tenant: &str, sql: &str) {
    let mut connection = db_open(directory, tenant).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("executed");
    connection.close().await.expect("closed");
}

/// A connection to a tenant's file.
pub async fn db_open(directory: &Path, tenant: &str) -> SqliteConnection {
    let file = crm_cell::tenancy::file_name(&tenant.parse().expect("a tenant id"));
    SqliteConnectOptions::new()
        .filename(tenants_in(directory).join(file))
        .create_if_missing(false)
        .connect()
        .await
        .expect("opened")
}

fn object(row: &SqliteRow) -> Value {
    let value = |position: usize| {
        row.try_get::<Option<i64>, _>(position)
            .map(Value::from)
            .or_else(|_| row.try_get::<Option<&str>, _>(position).map(Value::from))
            .expect("an integer or a text")
    };
    let columns = row.columns().iter().map(|column| (column.name().to_owned(), value(column.ordinal())));
    Value::Object(columns.collect::<Map<_, _>>())
}
