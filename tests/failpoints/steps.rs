//! Every step, failing once in the middle of a workload.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use tokio::sync::OnceCell;

use crate::child::{Action, Order, Script};
use crate::points::{Point, points};
use crate::workload::{Room, prepare};

/// Processes that run at a time, for each test: they wait for pauses and syncs most of the time.
const AT_ONCE: usize = 2;

/// How often the workload passes each point when nothing fails.
async fn hits(room: Room) -> &'static BTreeMap<String, usize> {
    static HITS: [OnceCell<BTreeMap<String, usize>>; 2] = [const { OnceCell::const_new() }; 2];
    let [little, enough] = &HITS;
    let hits = if room == Room::Little { little } else { enough };
    hits.get_or_init(async || {
        let directory = prepare().await;
        let script = Script::Workload(room);
        let order = Order { action: Action::Count, point: "all".to_owned(), hit: 0, script };
        let (_, history) = order.run(directory.path()).await;
        assert!(history.troubled.is_empty() && history.closed, "nothing failed: {history:?}");
        history.verify(directory.path()).await;
        history.hits
    })
    .await
}

/// Orders for each of `points`, at up to `at_most` of the times at which it is passed.
async fn orders(action: Action, points: &[Point], room: Room, at_most: usize) -> Vec<Order> {
    let hits = hits(room).await;
    let mut orders = Vec::new();
    for Point { name, .. } in points {
        let passed = hits.get(name).copied().unwrap_or_default();
        assert!(passed > 0, "the workload does not come to {name}");
        // Later ones may not be reached in a run in which something failed.
        let last = passed.div_ceil(2);
        let mut chosen: Vec<_> = (1..=at_most).map(|n| (last * n / at_most).max(1)).collect();
        chosen.dedup();
        let script = Script::Workload(room);
        orders.extend(chosen.into_iter().map(|hit| Order { action, point: name.clone(), hit, script }));
    }
    orders
}

async fn carry_out(orders: Vec<Order>) {
    let runs = stream::iter(orders).map(|order| async move {
        let action = order.action;
        let name = order.to_string();
        let run = tokio::spawn(async move {
            let directory = prepare().await;
            let (_, history) = order.run(directory.path()).await;
            assert_eq!(history.fired, matches!(action, Action::Panic | Action::Die), "{order}");
            if action == Action::Die {
                assert!(!history.closed, "{order}");
            } else {
                assert!(history.closed, "{order}");
                let most = if action == Action::Sleep { 0 } else { 1 };
                assert!(history.troubled.len() <= most, "{order}: others noticed: {:?}", history.troubled);
            }
            history.verify(directory.path()).await;
        });
        run.await.err().map(|error| format!("{name}: {error}"))
    });
    let results: Vec<_> = runs.buffer_unordered(AT_ONCE).collect().await;
    println!("{} runs", results.len());
    let failed: Vec<_> = results.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Lets each of `points` fail: once where tenants are opened and closed all the time, once where they stay open.
async fn try_each(action: Action, points: Vec<Point>) {
    let mut chosen = orders(action, &points, Room::Little, 1).await;
    chosen.extend(orders(action, &points, Room::Enough, 1).await);
    carry_out(chosen).await;
}

fn those_with_an_error() -> Vec<Point> {
    points().into_iter().filter(|point| point.can_fail).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_troubles_one_tenant_for_a_moment_and_loses_nothing() {
    try_each(Action::Error, those_with_an_error()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_panics_troubles_one_tenant_for_a_moment_and_loses_nothing() {
    try_each(Action::Panic, points()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_takes_long_troubles_nobody() {
    carry_out(orders(Action::Sleep, &points(), Room::Little, 1).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_at_any_step_loses_nothing() {
    try_each(Action::Die, points()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form: every step, at ten of the times that it is passed"]
async fn every_step_at_many_times() {
    for action in [Action::Error, Action::Panic, Action::Sleep, Action::Die] {
        let points = if action == Action::Error { those_with_an_error() } else { points() };
        for room in [Room::Little, Room::Enough] {
            carry_out(orders(action, &points, room, 10).await).await;
        }
    }
}
