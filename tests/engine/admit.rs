//! `admit`, the gate of every statement: a unit cannot end, leave or escape its group's transaction.

use crm_cell::tenancy::{StoreError, TenantDb, Write};
use futures_util::FutureExt;
use sqlx::AssertSqlSafe;

use crate::support::{Cell, Plug, add, by, ids, insert, insert_row, queue, rule, tables};

const FORBIDDEN: [&str; 26] = [
    "commit",
    "COMMIT",
    " \t\n commit ",
    "end",
    "rollback",
    "rollback to u",
    "release u",
    "savepoint x",
    "begin",
    "begin immediate",
    "pragma user_version = 7",
    "pragma max_page_count = 20",
    "pragma query_only = off",
    "attach ':memory:' as other",
    "detach main",
    "vacuum",
    "create temp table t (x)",
    "drop table journal",
    "alter table customers add column x",
    "analyze",
    "reindex",
    "explain select 1",
    "/* a comment */ commit",
    "-- a comment\ncommit",
    "select 1; commit",
    "insert or rollback into customers (id, name, name_key, owner_id, created_at, updated_at) values ('x', 'x', 'good', 'me', 0, 0)",
];

/// Runs a statement, whatever it is, and a write after it, whatever came of it.
async fn try_to_escape(db: &TenantDb, sql: &'static str) -> Result<String, StoreError> {
    let unit = async move |tx: &mut Write| {
        insert(tx, "before").await?;
        let refused = sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await;
        insert_row(tx, "after").await?;
        refused?;
        Ok("escaped".to_owned())
    };
    Ok(db.write(by("me"), None, unit).await?.value)
}

#[tokio::test]
async fn a_unit_that_meddles_with_the_transaction_is_refused_alone() {
    for sql in FORBIDDEN {
        let cell = Cell::open().await;
        let db = cell.db("acme").await;

        let plug = Plug::writer(&db).await;
        let good = queue(add(&db, "good"));
        let meddler = queue(try_to_escape(&db, sql));
        let better = queue(add(&db, "better"));
        plug.pull().await;

        good.await.expect("written");
        let refused = meddler.await.expect_err(sql);
        better.await.expect("written");
        assert!(
            matches!(&refused, StoreError::Sql(error) if error.to_string().contains("refused")),
            "{sql}: {refused:?}"
        );
        let found = tables(&db).await;
        assert_eq!(found.customers, ["better", "good"], "{sql}");
        assert_eq!(found.journal, ["better", "good"], "{sql}");
        assert_eq!(cell.counter(|c| &c.discarded), 0, "{sql}");
    }
}

#[tokio::test]
async fn a_refusal_that_the_unit_swallows_does_not_harm_it() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let done = db
        .write(by("me"), None, async |tx: &mut Write| {
            sqlx::query("commit").execute(&mut *tx).await.expect_err("refused");
            sqlx::raw_sql("select 1; rollback").execute(&mut *tx).await.expect_err("refused");
            insert(tx, "one").await
        })
        .await;

    done.expect("written");
    assert_eq!(tables(&db).await.journal, ["one"]);
}

#[tokio::test]
async fn several_statements_in_one_string_are_admitted() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let done = db
        .write(by("me"), None, async |tx: &mut Write| {
            insert(tx, "one").await?;
            let sql = "update customers set remark = ?1; UPDATE customers set region = ?1; with x as (select 1) delete from outbox;";
            sqlx::query(sql).bind("here").execute(&mut *tx).await?;
            Ok(())
        })
        .await;

    done.expect("written");
    let places: Vec<(String, String)> = db
        .read(async |read| {
            Ok(sqlx::query_as("select remark, region from customers").fetch_all(&mut *read).await?)
        })
        .await
        .expect("read");
    assert_eq!(places, [("here".to_owned(), "here".to_owned())]);
}

#[tokio::test]
async fn a_read_cannot_write() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");

    for sql in [
        "delete from customers",
        "with x as (select 1) delete from customers",
        "select 1; delete from customers",
        "pragma query_only = off",
        "begin immediate",
        "commit",
        "create temp table t (x)",
        "attach ':memory:' as other",
    ] {
        let plug = Plug::reader(&db).await;
        let before = queue(db.read(async |read| ids(read, "select id from customers").await));
        let refused = queue(db.read(async move |read| {
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *read).await?;
            Ok(())
        }));
        let after = queue(db.read(async |read| ids(read, "select id from customers").await));
        plug.pull().await;

        assert_eq!(before.await.expect("read"), ["one"], "{sql}");
        let refused = refused.await;
        let Err(StoreError::Sql(error)) = &refused else { panic!("{sql}: {refused:?}") };
        // What begins like a query is SQLite's to refuse.
        let by = if sql.starts_with("with") { "readonly database" } else { "refused" };
        assert!(error.to_string().contains(by), "{sql}: {error}");
        assert_eq!(after.await.expect("innocent of the same batch"), ["one"], "{sql}");
    }
    assert_eq!(cell.counter(|c| &c.discarded), 0);
}

#[tokio::test]
async fn a_statement_that_is_never_sent_does_not_keep_an_earlier_units_rows() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let refused = queue(db.write(by("me"), None, async |tx: &mut Write| {
        insert(tx, "refused").await?;
        Err::<(), _>(rule())
    }));
    let careless = queue(db.write(by("me"), None, async |tx: &mut Write| {
        drop(sqlx::query("select id from customers").fetch(&mut *tx)); // sqlx sends nothing before the first poll
        Ok(())
    }));
    let good = queue(add(&db, "good"));
    plug.pull().await;

    assert!(refused.await.is_err());
    let _either = careless.await;
    let good = good.await.is_ok();
    let found = tables(&db).await;
    assert_eq!(found.customers, found.journal, "no row without its journal entry");
    assert_eq!(found.customers, if good { vec!["good"] } else { vec![] });
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_cannot_publish_half_a_group() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    for round in 0..20 {
        let plug = Plug::writer(&db).await;
        let (first, stray, last) = (format!("first{round}"), format!("stray{round}"), format!("last{round}"));
        let good = queue(add(&db, &first));
        let careless = queue(db.write(by("me"), None, async move |tx: &mut Write| {
            let sent = insert_row(tx, &stray).now_or_never(); // polled once: sent, and then given up
            assert!(sent.is_none(), "SQLite runs in another thread");
            Err::<(), _>(rule())
        }));
        let other = queue(add(&db, &last));
        plug.pull().await;

        let acknowledged = [(good.await, first), (other.await, last)];
        assert!(careless.await.is_err());
        let found = tables(&db).await;
        assert_eq!(found.customers, found.journal);
        for (answer, name) in acknowledged {
            assert_eq!(found.customers.contains(&name), answer.is_ok(), "{name}: {answer:?}");
        }
        assert!(!found.customers.contains(&format!("stray{round}")));
    }
}
