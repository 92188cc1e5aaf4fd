//! A request id makes a write repeatable: one effect, and the same answer to every repetition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_cell::domain::{ManualClock, Timestamp};
use crm_cell::tenancy::{Done, StoreError, TenantDb, Write};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::support::{
    Cell, Plug, Queued, Setup, by, insert, insert_row, key, key_of, queue, rule, tables, toil, until,
};

/// Adds a customer of a fresh id; the answer tells the runs of the unit apart.
fn fresh(
    db: &TenantDb,
    request: &str,
    fingerprint: &str,
) -> impl Future<Output = Result<Done<String>, StoreError>> + Send {
    let unit = async |tx: &mut Write| {
        let id = tx.new_id().to_string();
        insert(tx, &id).await
    };
    db.write(by("me"), key_of(request, fingerprint), unit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_with_one_key_have_one_effect_and_equal_answers() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let callers = (0..50).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { fresh(&db, "k", "f").await.expect("answered") })
    });
    let answers: Vec<_> = join_all(callers).await.into_iter().map(|done| done.expect("no panic")).collect();

    assert_eq!(answers.iter().filter(|done| done.replayed).count(), 49);
    assert!(answers.iter().all(|done| done.value == answers[0].value), "{answers:?}");
    let found = tables(&db).await;
    assert_eq!(found.customers, [answers[0].value.clone()]);
    assert_eq!((found.journal.len(), found.outbox.len()), (1, 1));
    assert_eq!(found.idempotency, ["k"]);
    assert_eq!(cell.counter(|c| &c.replays), 49);
}

#[tokio::test]
async fn twins_in_one_group_have_one_effect() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let twins: Vec<Queued<'_, _>> = (0..5).map(|_| queue(fresh(&db, "k", "f"))).collect();
    let other = queue(fresh(&db, "k", "g"));
    plug.pull().await;

    let replayed: Vec<bool> =
        join_all(twins).await.into_iter().map(|done| done.expect("answered").replayed).collect();
    assert_eq!(replayed, [false, true, true, true, true]);
    assert!(matches!(other.await, Err(StoreError::KeyReused)));
    assert_eq!(tables(&db).await.customers.len(), 1);
}

#[tokio::test]
async fn a_key_with_another_body_is_refused() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let first = fresh(&db, "k", "f").await.expect("written");

    let other = fresh(&db, "k", "g").await;

    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    assert_eq!(tables(&db).await.customers, std::slice::from_ref(&first.value));
    assert_eq!(fresh(&db, "k", "f").await.expect("answered").value, first.value);
}

#[tokio::test]
async fn an_answer_is_replayed_after_the_tenant_was_closed() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let first = fresh(&db, "k", "f").await.expect("written");
    drop(db);

    let cell = Setup::default().open_at(cell.stop().await).await;

    let again = fresh(&*cell.db("acme").await, "k", "f").await.expect("answered");
    assert_eq!((again.value, again.replayed), (first.value, true));
}

#[tokio::test]
async fn answers_come_back_as_they_were() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let odd = serde_json::json!({
        "big": u64::MAX, "small": i64::MIN, "float": 0.1, "tiny": 5e-324, "null": null, "empty": "",
        "text": "quote \" backslash \\ nul \u{0} line\nseparator \u{2028} 租户 🦀", "list": [[], {}, [1, "1", 1.0, true]],
    });

    for replayed in [false, true] {
        let value = odd.clone();
        let done = db.write(by("me"), key("odd"), async move |_tx| Ok(value)).await.expect("answered");
        assert_eq!((done.value, done.replayed), (odd.clone(), replayed));
        let done = db.write(by("me"), key("unit"), async |_tx: &mut Write| Ok(())).await.expect("answered");
        assert_eq!(done.replayed, replayed);
    }
}

#[tokio::test]
async fn a_refused_write_leaves_its_key_free() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    let plug = Plug::writer(&db).await;
    let refused = queue(db.write(by("me"), key("k"), async |tx: &mut Write| {
        insert_row(tx, "refused").await?;
        Err::<(), _>(rule())
    }));
    let same_group = queue(fresh(&db, "k", "f"));
    plug.pull().await;

    assert!(matches!(refused.await, Err(StoreError::NotFound(_))));
    let done = same_group.await.expect("written");
    assert!(!done.replayed);
    assert_eq!(tables(&db).await.customers, [done.value]);
}

#[tokio::test]
async fn a_key_is_forgotten_after_seven_days() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let cell = Setup { clock: clock.clone(), ..Setup::default() }.open().await;
    let db = cell.db("acme").await;
    let first = fresh(&db, "k", "f").await.expect("written");

    clock.advance(Duration::from_secs(7 * 24 * 3600));
    let last_day = fresh(&db, "k", "f").await.expect("answered");
    clock.advance(Duration::from_millis(1));
    let eighth_day = fresh(&db, "k", "g").await.expect("written");

    assert_eq!((last_day.value, last_day.replayed), (first.value.clone(), true));
    assert!(!eighth_day.replayed && eighth_day.value != first.value);
    assert_eq!(tables(&db).await.idempotency, ["k"], "the old answer is replaced");
    assert_eq!(tables(&db).await.customers.len(), 2);
    assert_eq!(fresh(&db, "k", "g").await.expect("answered").value, eighth_day.value);
}

/// A unit that works for three seconds once it has its turn.
fn slow(
    db: &TenantDb,
    running: oneshot::Sender<()>,
) -> impl Future<Output = Result<Done<String>, StoreError>> + Send {
    let unit = async move |tx: &mut Write| {
        let _test_waits = running.send(());
        toil(tx, Duration::from_secs(3)).await?;
        insert(tx, "slow").await
    };
    db.write(by("me"), key("k"), unit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_waits_two_seconds_and_then_is_told_to_come_back() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let (running, is_running) = oneshot::channel();
    let first = tokio::spawn({
        let db = db.clone();
        async move { slow(&db, running).await }
    });
    is_running.await.expect("the unit has its turn");

    let start = Instant::now();
    let twin = db.write(by("me"), key("k"), async |tx: &mut Write| insert(tx, "twin").await).await;
    let waited = start.elapsed();

    assert!(matches!(twin, Err(StoreError::InProgress)), "{twin:?}");
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2800), "{waited:?}");
    let first = first.await.expect("no panic").expect("written");
    let again = db.write(by("me"), key("k"), async |tx: &mut Write| insert(tx, "again").await).await;
    assert_eq!(again.expect("answered"), Done { value: first.value, replayed: true });
    assert_eq!(tables(&db).await.customers, ["slow"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_of_a_write_whose_caller_is_gone_does_not_wait_longer() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let (running, is_running) = oneshot::channel();
    let first = queue(slow(&db, running));
    is_running.await.expect("the unit has its turn");
    drop(first);

    let start = Instant::now();
    let retry = db.write(by("me"), key("k"), async |tx: &mut Write| insert(tx, "retry").await).await;
    let waited = start.elapsed();

    assert!(matches!(retry, Err(StoreError::InProgress)), "{retry:?} after {waited:?}");
    assert!(waited < Duration::from_millis(2800), "{waited:?}");
}

/// Writes `count` times nothing, each with a key.
async fn remember(db: &Arc<TenantDb>, prefix: &str, count: usize) {
    let plug = Plug::writer(db).await;
    let answers: Vec<_> = (0..count)
        .map(|n| {
            let unit = async |_tx: &mut Write| Ok(());
            queue(db.write(by("me"), key(&format!("{prefix}{n}")), unit))
        })
        .collect();
    plug.pull().await;
    for answer in join_all(answers).await {
        answer.expect("answered");
    }
}

#[tokio::test]
async fn an_idle_tenant_forgets_answers_too_old_to_be_asked_for() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let mut setup = Setup { clock: clock.clone(), ..Setup::default() };
    setup.storage.checkpoint_after = Duration::from_millis(50);
    let cell = setup.open().await;
    let db = cell.db("acme").await;
    remember(&db, "old", 1200).await;

    clock.advance(Duration::from_secs(8 * 24 * 3600));
    fresh(&db, "young", "f").await.expect("written");

    until("only the young answer is kept", async || tables(&db).await.idempotency == ["young"]).await;
    until("the tenant is checkpointed", async || cell.counter(|c| &c.checkpoints) > 0).await;
}

#[tokio::test]
async fn a_tenant_that_never_rests_forgets_as_fast_as_it_learns() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let mut setup = Setup { clock: clock.clone(), ..Setup::default() };
    setup.storage.checkpoint_after = Duration::from_secs(3600);
    let cell = setup.open().await;
    let db = cell.db("acme").await;

    for day in 0..30 {
        remember(&db, &format!("day{day}-"), 300).await;
        clock.advance(Duration::from_secs(24 * 3600));
    }

    let kept = tables(&db).await.idempotency.len();
    assert!(kept <= 8 * 300 + 2 * 500, "{kept} answers of 9000 are kept, 2400 of them may be asked for");
}
