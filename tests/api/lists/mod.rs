//! Lists: pages, cursors, counts, filters and orders (contract §7), by the example of customers.

mod counts;
mod cursors;
mod filters;
mod large;
mod moments;
mod paging;
mod parameters;

use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Answer, Client, TestApp, db_execute};

/// A stopped service whose tenant `acme` has one customer and, below it, the rows that `select` makes of `i` = 1, 2, ….
async fn stopped_with(rows: usize, columns: &str, select: &str) -> Arc<TempDir> {
    let app = TestApp::start().await;
    let id = app.tenant("acme").create_customer("first").await;
    app.tenant("acme").delete(&format!("/customers/{id}")).await.expect(204);
    let directory = app.stop().await;
    let sql = format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}) \
         insert into customers (id, name_key, {columns}) \
         select printf('c%05d', i), printf('key %05d', i), {select} from n"
    );
    db_execute(directory.path(), "acme", &sql).await;
    directory
}

/// The rows of a page.
#[track_caller]
fn rows(answer: &Answer) -> Vec<Value> {
    let answer = answer.clone().expect(200).json();
    answer["data"].as_array().expect("rows").clone()
}

/// One field of each row.
#[track_caller]
fn column(answer: &Answer, field: &str) -> Vec<String> {
    let text = |row: &Value| row[field].as_str().expect("text").to_owned();
    rows(answer).iter().map(text).collect()
}

/// The names on a page.
async fn names(client: &Client, path: &str) -> Vec<String> {
    column(&client.get(path).await, "name")
}
