//! Group commit: waiting writes share one transaction, each succeeds or fails alone, and what one write leaves in four
//! tables is there whole or not at all.

use crm_cell::domain::Resource;
use crm_cell::tenancy::{StoreError, TenantDb, Write};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::support::{
    Cell, Plug, Queued, Tables, add, by, count, created, insert, insert_row, key, queue, rule, tables, until,
};

/// Adds a customer whose key is its name.
async fn keyed(db: &TenantDb, name: String) -> Result<String, StoreError> {
    let key = key(&name);
    let unit = async move |tx: &mut Write| insert(tx, &name).await;
    Ok(db.write(by("me"), key, unit).await?.value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_share_commits() {
    const CALLERS: usize = 64;
    const EACH: usize = 30;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let before = cell.counter(|c| &c.statements);

    let callers = (0..CALLERS).map(|caller| {
        let db = db.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                keyed(&db, format!("{caller}-{n}")).await.expect("written");
            }
        })
    });
    for caller in join_all(callers).await {
        caller.expect("no panic");
    }

    let units = (CALLERS * EACH) as u64;
    let statements = cell.counter(|c| &c.statements) - before;
    let commits = cell.counter(|c| &c.commits);
    println!(
        "{units} units of one statement, {CALLERS} callers: {commits} commits ({:.3} a unit), {statements} statements ({:.2} a unit)",
        commits as f64 / units as f64,
        statements as f64 / units as f64,
    );
    assert_eq!(cell.counter(|c| &c.units), units);
    assert!(commits * 4 < units, "{commits} commits for {units} units");
    assert_eq!(statements, units + 2 * commits, "begin and commit are one statement each a group");
    let all = (0..CALLERS).flat_map(|caller| (0..EACH).map(move |n| format!("{caller}-{n}")));
    assert_eq!(tables(&db).await, Tables::of(all.collect()));
}

#[tokio::test]
async fn a_lone_write_commits_with_its_ledger() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let done = db
        .write(by("ann"), key("k"), async move |tx| {
            insert_row(tx, "one").await?;
            tx.record(created("one"));
            tx.record(created("one"));
            Ok(tx.now().millis())
        })
        .await
        .expect("written");

    let journal: Vec<(i64, String, String, String)> = db
        .read(async move |read| {
            let sql = "select at, actor, action, changes from journal order by seq";
            Ok(sqlx::query_as(sql).fetch_all(&mut *read).await?)
        })
        .await
        .expect("read");
    let row =
        (done.value, "ann".to_owned(), "customer.create".to_owned(), r#"{"name":[null,"one"]}"#.to_owned());
    assert_eq!(journal, [row.clone(), row]);
    let outbox: Vec<(String, String, String)> = db
        .read(async move |read| {
            let sql = "select type, data, state from outbox group by event_id order by seq";
            Ok(sqlx::query_as(sql).fetch_all(&mut *read).await?)
        })
        .await
        .expect("read");
    let event = ("crm.customer.created".to_owned(), r#"{"id":"one"}"#.to_owned(), "pending".to_owned());
    assert_eq!(outbox, [event.clone(), event], "two events with ids of their own");
    assert_eq!(tables(&db).await.idempotency, ["k"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_counts_the_rows_that_it_changed_and_none_of_the_unit_before_it() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "one").await.expect("written");
    add(&db, "two").await.expect("written");
    let change = |only: &'static str, fails: bool| {
        db.write(by("me"), None, async move |tx: &mut Write| {
            let sql = "update customers set region = 'x' where ?1 = '' or name = ?1";
            let rows = sqlx::query(sql).bind(only).execute(&mut *tx).await?.rows_affected();
            if fails { Err(StoreError::NotFound(Resource::Customer)) } else { Ok(rows) }
        })
    };
    let commits = cell.counter(|c| &c.commits);

    let plug = Plug::writer(&db).await;
    let units = [("", false), ("one", false), ("nobody", false), ("", true), ("nobody", false)];
    let answers: Vec<Queued<'_, _>> = units.map(|(only, fails)| queue(change(only, fails))).into();
    plug.pull().await;
    let counted = join_all(answers).await.into_iter().map(|answer| answer.ok().map(|done| done.value));
    assert_eq!(counted.collect::<Vec<_>>(), [Some(2), Some(1), Some(0), None, Some(0)]);
    assert_eq!(cell.counter(|c| &c.commits), commits + 1, "they were one group");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_unit_of_a_group_succeeds_or_fails_alone() {
    const UNITS: usize = 600;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "taken").await.expect("written");
    let commits = cell.counter(|c| &c.commits);

    let plug = Plug::writer(&db).await;
    let answers: Vec<Queued<'_, String>> = (0..UNITS).map(|n| queue(mixed(&db, n))).collect();
    plug.pull().await;
    let answers = join_all(answers).await;

    let mut good = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        match (n % 6, answer) {
            (0, Ok(id)) => good.push(id),
            (1 | 4, Err(StoreError::NotFound(_))) | (3, Err(StoreError::Panicked)) => {}
            (2, Err(StoreError::Sql(error))) => assert!(error.to_string().contains("UNIQUE"), "{error}"),
            (5, Ok(nothing)) => assert_eq!(nothing, ""),
            (kind, answer) => panic!("unit {n} of kind {kind} got {answer:?}"),
        }
    }
    assert_eq!(good.len(), UNITS / 6);
    assert_eq!(cell.counter(|c| &c.commits) - commits, 3, "600 units are three groups");
    assert_eq!(cell.counter(|c| &c.discarded), 0);
    let mut found = tables(&db).await;
    for table in [&mut found.customers, &mut found.journal, &mut found.outbox] {
        table.retain(|id| id != "taken");
    }
    assert_eq!(found, Tables::of(good));
}

/// A unit of one of six kinds; only the first leaves anything behind.
async fn mixed(db: &TenantDb, n: usize) -> Result<String, StoreError> {
    let name = format!("u{n}");
    let key = if n % 6 == 5 { None } else { key(&name) };
    let unit = async move |tx: &mut Write| {
        if n % 6 < 4 {
            insert(tx, &name).await?;
        }
        match n % 6 {
            0 => Ok(name),
            2 => insert(tx, "taken").await,
            // Like a panic, without its message on the terminal.
            3 => std::panic::resume_unwind(Box::new("the unit panics")),
            5 => Ok(String::new()),
            _ => Err(rule()),
        }
    };
    Ok(db.write(by("me"), key, unit).await?.value)
}

#[tokio::test]
async fn a_unit_that_swallows_a_unique_conflict_keeps_its_other_rows() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "taken").await.expect("written");

    let second = db
        .write(by("me"), None, async move |tx| {
            insert(tx, "before").await?;
            insert_row(tx, "taken").await.expect_err("the name is taken");
            insert(tx, "after").await
        })
        .await;

    second.expect("written");
    assert_eq!(tables(&db).await.customers, ["after", "before", "taken"]);
    assert_eq!(tables(&db).await.journal, ["after", "before", "taken"]);
}

/// A function that returns a future may panic before there is one.
fn panics_at_once<'a>(_tx: &'a mut Write) -> futures_util::future::BoxFuture<'a, Result<(), StoreError>> {
    std::panic::resume_unwind(Box::new("the unit panics"))
}

/// An answer that cannot be written as JSON without a panic.
#[derive(Debug, serde::Deserialize)]
struct Unserializable;

impl serde::Serialize for Unserializable {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        std::panic::resume_unwind(Box::new("the answer panics"))
    }
}

#[tokio::test]
async fn a_panic_outside_the_units_future_fails_that_unit_alone() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let before = queue(add(&db, "before"));
    let early = queue(db.write(by("me"), None, panics_at_once));
    let late = queue(db.write(by("me"), key("k"), async move |tx| {
        insert(tx, "late").await?;
        Ok(Unserializable)
    }));
    let after = queue(add(&db, "after"));
    plug.pull().await;

    before.await.expect("written");
    assert!(matches!(early.await, Err(StoreError::Panicked)));
    assert!(matches!(late.await, Err(StoreError::Panicked)));
    after.await.expect("written");
    assert_eq!(tables(&db).await.customers, ["after", "before"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_runs_to_its_end_though_its_caller_is_gone() {
    const CALLERS: usize = 50;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let mut gone_while_running = Vec::new();
    for n in 0..CALLERS {
        let name = format!("c{n:02}");
        let (running, is_running) = oneshot::channel();
        let (leave, has_left) = oneshot::channel::<()>();
        let (db, key, waits) = (&db, key(&name), n % 2 == 1);
        let answer = queue(async move {
            let unit = async move |tx: &mut Write| {
                let _or_gone = running.send(());
                insert_row(tx, &name).await?;
                if waits {
                    let _caller = has_left.await;
                }
                tx.record(created(&name));
                Ok(name)
            };
            db.write(by("me"), key, unit).await
        });
        if waits {
            gone_while_running.push((answer, is_running, leave));
        } else {
            drop(answer); // gone while queued
        }
    }
    plug.pull().await;
    for (answer, is_running, leave) in gone_while_running {
        is_running.await.expect("the unit has its turn");
        drop(answer);
        drop(leave);
    }

    until("every unit has run", async || db.read(count).await.expect("counted") == CALLERS as i64).await;
    assert_eq!(tables(&db).await, Tables::of((0..CALLERS).map(|n| format!("c{n:02}")).collect()));
}
