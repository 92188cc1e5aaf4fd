//! Records that are added together: one statement for all that wait, and yet each succeeds or fails alone.

use std::time::Duration;

use crm_cell::tenancy::{Addition, Done, StoreError, TenantDb, Write};
use futures_util::future::join_all;
use serde::Serialize;

use crate::support::{
    Cell, Plug, Queued, Setup, Tables, add as add_alone, by, created, key, key_of, queue, rule, tables,
};

/// A customer whose id and name are this, and what is special about it.
#[derive(Debug, Clone)]
struct New(String, Way);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// Its rules refuse it.
    Refused,
    /// Its rules panic.
    Panics,
    /// The table refuses it.
    Invalid,
}

impl Addition for New {
    const INSERT: &'static str = "with r(v) as materialized (select value from json_each(?1)) \
        insert into customers (id, name, name_key, status, owner_id, created_at, updated_at) \
        select v->>0, v->>0, v->>0, v->>1, 'me', 0, 0 from r where true";
    type Record = Self;

    fn prepare(self, tx: &mut Write) -> Result<Self, StoreError> {
        assert_ne!(self.1, Way::Panics, "this one panics");
        if self.1 == Way::Refused {
            return Err(rule());
        }
        tx.record(created(&self.0));
        Ok(self)
    }

    fn row(new: &Self) -> (&str, impl Serialize) {
        (&new.0, (&new.0, if new.1 == Way::Invalid { 9 } else { 1 }))
    }

    async fn insert(self, tx: &mut Write) -> Result<Self, StoreError> {
        let new = self.prepare(tx)?;
        let rows = serde_json::json!([Self::row(&new).1]).to_string();
        sqlx::query(Self::INSERT).bind(rows).execute(&mut *tx).await?;
        Ok(new)
    }
}

/// Adds a customer whose key is its name.
async fn add(db: &TenantDb, name: String, way: Way) -> Result<String, StoreError> {
    Ok(add_as(db, &name.clone(), name, way).await?.value)
}

async fn add_as(db: &TenantDb, of_key: &str, name: String, way: Way) -> Result<Done<String>, StoreError> {
    db.add(by("me"), key(of_key), New(name, way), |new| Ok(new.0)).await
}

#[tokio::test]
async fn records_that_are_added_at_once_share_one_statement() {
    const RECORDS: usize = 100;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let plug = Plug::writer(&db).await;
    let answers: Vec<Queued<'_, String>> =
        (0..RECORDS).map(|n| queue(add(&db, format!("{n}"), Way::Plain))).collect();
    let counts =
        || (cell.counter(|c| &c.statements), cell.counter(|c| &c.commits), cell.counter(|c| &c.units));

    let before = counts();
    plug.pull().await;
    for (n, answer) in join_all(answers).await.into_iter().enumerate() {
        assert_eq!(answer.expect("added"), format!("{n}"));
    }

    let after = counts();
    // The plug's own rollback is the third.
    assert!(after.0 - before.0 <= 3, "{} statements", after.0 - before.0);
    assert_eq!((after.1 - before.1, after.2 - before.2), (1, RECORDS as u64), "commits and units");
    assert_eq!(tables(&db).await, Tables::of((0..RECORDS).map(|n| format!("{n}")).collect()));
}

#[tokio::test]
async fn what_is_in_the_way_of_one_record_is_told_to_it_alone() {
    for with_an_invalid_one in [false, true] {
        let cell = Cell::open().await;
        let db = cell.db("acme").await;
        add_alone(&db, "taken").await.expect("added");
        let plug = Plug::writer(&db).await;
        let others = if with_an_invalid_one { Way::Invalid } else { Way::Plain };
        let wanted = [
            ("a", Way::Plain),
            ("taken", Way::Plain),
            ("refused", Way::Refused),
            ("b", Way::Plain),
            ("panics", Way::Panics),
            ("other", others),
            ("c", Way::Plain),
        ];
        let answers: Vec<Queued<'_, String>> =
            wanted.iter().map(|(name, way)| queue(add(&db, (*name).to_owned(), *way))).collect();
        let failing = queue(async {
            let unit = async move |tx: &mut Write| {
                crate::support::insert(tx, "undone").await?;
                Err::<String, _>(rule())
            };
            Ok(db.write(by("me"), key("undone"), unit).await?.value)
        });
        plug.pull().await;
        let answers = join_all(answers).await;
        assert!(matches!(failing.await, Err(StoreError::NotFound(_))));

        let mut good = Vec::new();
        for ((name, way), answer) in wanted.into_iter().zip(answers) {
            match (name, way, answer) {
                ("taken", _, Err(StoreError::Sql(error))) => {
                    assert!(error.to_string().contains("UNIQUE"), "{error}");
                }
                (_, Way::Refused, Err(StoreError::NotFound(_))) => {}
                (_, Way::Panics, Err(StoreError::Panicked)) => {}
                (_, Way::Invalid, Err(StoreError::Sql(error))) => {
                    assert!(error.to_string().contains("CHECK"), "{error}");
                }
                (_, Way::Plain, Ok(id)) => good.push(id),
                (name, way, answer) => panic!("{name} {way:?}: {answer:?}"),
            }
        }
        let Tables { customers, journal, outbox, idempotency } = tables(&db).await;
        good.sort();
        assert_eq!(idempotency, good, "the keys of those that were added");
        good.push("taken".to_owned());
        assert_eq!(customers, good);
        assert_eq!((journal, outbox), (good.clone(), good));
    }
}

#[tokio::test]
async fn the_same_request_at_once_adds_one_record() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let plug = Plug::writer(&db).await;
    let answers: Vec<Queued<'_, Done<String>>> =
        (0..20).map(|n| queue(add_as(&db, "k", format!("{n}"), Way::Plain))).collect();
    plug.pull().await;

    let answers: Vec<Done<String>> =
        join_all(answers).await.into_iter().map(|answer| answer.expect("answered")).collect();
    assert_eq!(answers.iter().filter(|done| !done.replayed).count(), 1);
    assert!(answers.iter().all(|done| done.value == answers[0].value), "{answers:?}");
    assert_eq!(tables(&db).await.customers, [answers[0].value.clone()]);
}

#[tokio::test]
async fn a_request_that_was_answered_adds_nothing() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let first = add_as(&db, "k", "one".to_owned(), Way::Plain).await.expect("added");
    let again = add_as(&db, "k", "two".to_owned(), Way::Plain).await.expect("answered");
    let other =
        db.add(by("me"), key_of("k", "another body"), New("three".into(), Way::Plain), |new| Ok(new.0)).await;

    assert_eq!((first.value.as_str(), first.replayed), ("one", false));
    assert_eq!((again.value.as_str(), again.replayed), ("one", true));
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    assert_eq!(tables(&db).await.customers, ["one"]);
}

/// A customer that takes for ever to be added.
#[derive(Debug, Clone)]
struct Endless;

impl Addition for Endless {
    const INSERT: &'static str = "with recursive \
        r(v) as materialized (select value from json_each(?1)), \
        c(n) as (select 1 union all select n + 1 from c where n < 500000000) \
        insert into customers (id, name, name_key, status, owner_id, created_at, updated_at) \
        select v->>0, v->>0, v->>0, 1, 'me', 0, 0 from r where (select count(*) from c) > 0";
    type Record = Self;

    fn prepare(self, _tx: &mut Write) -> Result<Self, StoreError> {
        Ok(self)
    }

    fn row(_: &Self) -> (&str, impl Serialize) {
        ("x", ["x"])
    }

    async fn insert(self, _tx: &mut Write) -> Result<Self, StoreError> {
        Ok(self)
    }
}

#[tokio::test]
async fn an_addition_past_its_deadline_is_aborted_and_the_tenant_goes_on() {
    let mut setup = Setup::default();
    setup.storage.write_deadline = Duration::from_millis(100);
    let cell = setup.open().await;
    let db = cell.db("acme").await;

    let endless = db.add(by("me"), key("endless"), Endless, |_| Ok("added".to_owned())).await;

    assert!(matches!(endless, Err(StoreError::Unavailable(_))), "{endless:?}");
    assert_eq!(add(&db, "one".to_owned(), Way::Plain).await.expect("added"), "one");
    assert_eq!(tables(&db).await, Tables::of(vec!["one".to_owned()]));
}
