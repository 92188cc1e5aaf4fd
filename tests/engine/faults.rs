//! Faults: a unit that breaks its transaction. What is acknowledged is there, what is refused is not, and the tenant
//! serves again at once.

use std::time::{Duration, Instant};

use crm_cell::tenancy::{Outcome, Reason, StoreError, TenantDb, Write};
use futures_util::future::join_all;

use crate::support::{
    Cell, FOR_EVER, Plug, Queued, Setup, Tables, add, by, count_to, insert, insert_row, key, queue, tables,
    unavailable, write_for_ever,
};

async fn impatient() -> Cell {
    let mut setup = Setup::default();
    setup.storage.write_deadline = Duration::from_millis(50);
    setup.open().await
}

async fn keyed(db: &TenantDb, name: String) -> Result<String, StoreError> {
    let key = key(&name);
    Ok(db.write(by("me"), key, async move |tx| insert(tx, &name).await).await?.value)
}

fn is_deadline(error: &StoreError) -> bool {
    let why = unavailable(error);
    why.is_some_and(|why| matches!(why.reason, Reason::Deadline) && why.outcome == Outcome::NotWritten)
}

fn is_rolled_back(error: &StoreError) -> bool {
    let why = unavailable(error);
    why.is_some_and(|why| matches!(why.reason, Reason::RolledBack) && why.outcome == Outcome::NotWritten)
}

#[tokio::test]
async fn an_interrupted_write_takes_its_group_along_and_says_so() {
    let cell = impatient().await;
    let db = cell.db("acme").await;
    keyed(&db, "early".to_owned()).await.expect("written");

    let plug = Plug::writer(&db).await;
    let mut innocents: Vec<Queued<'_, String>> =
        (0..10).map(|n| queue(keyed(&db, format!("before{n}")))).collect();
    let offender = queue(db.write(by("me"), key("offender"), async |tx: &mut Write| {
        insert(tx, "offender").await?;
        write_for_ever(tx).await
    }));
    innocents.extend((0..10).map(|n| queue(keyed(&db, format!("after{n}")))));
    plug.pull().await;

    let why = offender.await.expect_err("interrupted");
    assert!(is_deadline(&why), "{why:?}");
    let mut acknowledged = vec!["early".to_owned()];
    for answer in join_all(innocents).await {
        match answer {
            Ok(name) => acknowledged.push(name),
            Err(why) => assert!(is_rolled_back(&why), "{why:?}"),
        }
    }
    assert_eq!(tables(&db).await, Tables::of(acknowledged.clone()));
    let start = Instant::now();
    acknowledged.push(keyed(&db, "late".to_owned()).await.expect("the tenant serves again at once"));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(tables(&db).await, Tables::of(acknowledged));
}

#[tokio::test]
async fn an_interrupted_query_fails_its_unit_alone() {
    let cell = impatient().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let before = queue(keyed(&db, "before".to_owned()));
    let offender = queue(db.write(by("me"), key("offender"), async |tx: &mut Write| {
        insert(tx, "offender").await?;
        count_to(tx, FOR_EVER).await
    }));
    let after = queue(keyed(&db, "after".to_owned()));
    let start = Instant::now();
    plug.pull().await;

    assert!(is_deadline(&offender.await.expect_err("interrupted")));
    // Far below what the statement takes, far above the deadline.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let good = vec![before.await.expect("written"), after.await.expect("written")];
    assert_eq!(tables(&db).await, Tables::of(good));
}

#[tokio::test]
async fn a_unit_that_swallows_a_fault_is_refused_all_the_same() {
    let cell = impatient().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let before = queue(keyed(&db, "before".to_owned()));
    let offender = queue(db.write(by("me"), key("offender"), async |tx: &mut Write| {
        insert(tx, "offender").await?;
        write_for_ever(tx).await.expect_err("interrupted");
        // The transaction is gone: this row would commit by itself.
        insert_row(tx, "stray").await.expect_err("refused");
        Ok("all is well".to_owned())
    }));
    let after = queue(keyed(&db, "after".to_owned()));
    plug.pull().await;

    assert!(is_deadline(&offender.await.expect_err("interrupted")));
    let good: Vec<String> = [before.await, after.await].into_iter().flatten().collect();
    assert_eq!(tables(&db).await, Tables::of(good));
}

#[tokio::test]
async fn an_answer_that_is_durable_is_replayed_though_the_group_is_lost() {
    let cell = impatient().await;
    let db = cell.db("acme").await;
    keyed(&db, "early".to_owned()).await.expect("written");

    let plug = Plug::writer(&db).await;
    let retry = queue(keyed(&db, "early".to_owned()));
    let reused =
        queue(db.write(by("me"), crate::support::key_of("early", "other"), async |tx: &mut Write| {
            insert(tx, "other").await
        }));
    let offender = queue(db.write(by("me"), None, write_for_ever_unit));
    let late_retry = queue(keyed(&db, "early".to_owned()));
    plug.pull().await;

    assert!(offender.await.is_err());
    // "Not written" would be a lie: the write of this key is there.
    assert_eq!(retry.await.expect("replayed"), "early");
    assert!(matches!(reused.await, Err(StoreError::KeyReused)));
    assert_eq!(late_retry.await.expect("replayed"), "early");
}

async fn write_for_ever_unit(tx: &mut Write) -> Result<(), StoreError> {
    write_for_ever(tx).await
}

#[tokio::test]
async fn a_unit_that_rolls_back_by_conflict_clause_cannot_leave_strays() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "taken").await.expect("written");

    let plug = Plug::writer(&db).await;
    let before = queue(keyed(&db, "before".to_owned()));
    let offender = queue(db.write(by("me"), None, async |tx: &mut Write| {
        let sql = "insert or rollback into customers (id, name, name_key, owner_id, created_at, updated_at) \
                   values ('x', 'x', 'taken', 'me', 0, 0)";
        sqlx::query(sql).execute(&mut *tx).await.expect_err("the name is taken, or the statement refused");
        insert(tx, "stray").await
    }));
    let after = queue(keyed(&db, "after".to_owned()));
    plug.pull().await;

    let mut acknowledged: Vec<String> =
        [before.await, offender.await.map(|done| done.value), after.await].into_iter().flatten().collect();
    acknowledged.push("taken".to_owned());
    acknowledged.sort();
    let found = tables(&db).await;
    assert_eq!((&found.customers, &found.journal), (&acknowledged, &acknowledged));
    assert_eq!(acknowledged, ["after", "before", "stray", "taken"], "and nobody else is harmed");
}

#[tokio::test]
async fn many_big_changes_do_not_add_up_to_a_group_that_cannot_commit() {
    const UNITS: usize = 90;
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let big: Vec<Queued<'_, String>> = (0..UNITS)
        .map(|n| {
            let unit = async move |tx: &mut Write| {
                let name = format!("big{n:02}");
                insert_row(tx, &name).await?;
                let mut change = crate::support::created(&name);
                change.changes = serde_json::json!({ "remark": [null, "x".repeat(1 << 20)] });
                tx.record(change);
                Ok(name)
            };
            let db = &db;
            queue(async move { Ok(db.write(by("me"), key(&format!("big{n:02}")), unit).await?.value) })
        })
        .collect();
    plug.pull().await;

    let names: Result<Vec<String>, StoreError> = join_all(big).await.into_iter().collect();
    assert_eq!(tables(&db).await, Tables::of(names.expect("all are written")));
}
