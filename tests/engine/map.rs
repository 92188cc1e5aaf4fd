//! The map of open tenants: one opener a file, at most `capacity` files, nothing for tenants that do not exist.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crm_cell::config::Provision;
use crm_cell::tenancy::{OpenError, Reason};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::support::{Cell, PATIENCE, Setup, add, count, tenant, until};

/// This process's descriptors of files below `directory`.
fn descriptors(directory: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").expect("procfs");
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(directory))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_first_touches_create_and_open_a_tenant_once() {
    let cell = Cell::open().await;

    let callers = (0..64).map(|n| {
        let tenants = cell.tenants.clone();
        tokio::spawn(async move {
            let db = tenants.find_or_create(&tenant("acme")).await.expect("opened");
            add(&db, &format!("c{n}")).await.expect("written");
        })
    });
    for caller in join_all(callers).await {
        caller.expect("no panic");
    }

    assert_eq!((cell.stat(|s| &s.creations), cell.stat(|s| &s.opens), cell.stat(|s| &s.open)), (1, 1, 1));
    assert_eq!(cell.db("acme").await.read(count).await.expect("counted"), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_goes_on_though_its_caller_is_gone() {
    let cell = Cell::open().await;
    let acme = tenant("acme");

    let mut caller = Box::pin(cell.tenants.find_or_create(&acme));
    assert!((&mut caller).now_or_never().is_none());
    drop(caller);

    until("the tenant is open", async || cell.stat(|s| &s.opens) == 1).await;
    add(&*cell.db("acme").await, "one").await.expect("written");
    assert_eq!(cell.stat(|s| &s.opens), 1);
}

#[tokio::test]
async fn an_unknown_tenant_leaves_no_trace() {
    let cell = Cell::open().await;

    for id in ["acme", "A:b@c~d", "a.db", "a.db-wal"] {
        let found = cell.tenants.find(&tenant(id)).await.expect("found out");
        assert!(found.is_none(), "{id}");
    }

    assert_eq!(fs::read_dir(cell.files()).expect("the directory").count(), 0);
    assert_eq!((cell.stat(|s| &s.failures), cell.stat(|s| &s.opens)), (0, 0));
}

#[tokio::test]
async fn only_operators_create_tenants_under_explicit_provisioning() {
    let mut setup = Setup::default();
    setup.tenants.provision = Provision::Explicit;
    let cell = setup.open().await;

    let found = cell.tenants.find(&tenant("acme")).await;
    let made = cell.tenants.find_or_create(&tenant("acme")).await;

    assert!(matches!(found, Err(OpenError::Unknown)), "{found:?}");
    assert!(matches!(made, Err(OpenError::Unknown)), "{made:?}");
    assert_eq!(fs::read_dir(cell.files()).expect("the directory").count(), 0);
}

#[tokio::test]
async fn tenants_are_created_at_a_limited_rate() {
    let mut setup = Setup::default();
    (setup.tenants.create_burst, setup.tenants.create_per_minute) = (2, 1);
    let cell = setup.open().await;
    cell.db("a").await;
    cell.db("b").await;

    let refused = cell.tenants.find_or_create(&tenant("c")).await;

    let Err(OpenError::TooManyNew { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(
        retry_after > Duration::from_secs(50) && retry_after <= Duration::from_secs(60),
        "{retry_after:?}"
    );
    assert!(!cell.file("c").exists());
    assert!(cell.tenants.find(&tenant("c")).await.expect("found out").is_none());
    add(&*cell.db("a").await, "known tenants are not affected").await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_new_tenants_stays_within_the_capacity() {
    const CAPACITY: u64 = 4;
    // Few enough to be done within the ten seconds that an opening may wait, on a machine under load too.
    const TENANTS: usize = 60;
    let cell = Setup { capacity: CAPACITY, ..Setup::default() }.open().await;
    let directory = cell.files();
    let done = AtomicBool::new(false);

    let (most_descriptors, most_open) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut files, mut open) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                files = files.max(descriptors(&directory));
                open = open.max(cell.stat(|s| &s.open));
                std::thread::sleep(Duration::from_millis(1));
            }
            (files, open)
        });
        let callers = (0..TENANTS).map(|n| {
            let tenants = cell.tenants.clone();
            tokio::spawn(async move { tenants.find_or_create(&tenant(&format!("t{n}"))).await.map(drop) })
        });
        let answers =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(join_all(callers)));
        done.store(true, Ordering::Relaxed);
        for answer in answers {
            answer.expect("no panic").expect("created");
        }
        watch.join().expect("no panic")
    });

    println!(
        "{TENANTS} new tenants, capacity {CAPACITY}: at most {most_descriptors} descriptors, {most_open} open"
    );
    assert!(most_open <= CAPACITY, "{most_open} tenants open");
    assert!(most_descriptors as u64 <= CAPACITY * 6, "{most_descriptors} descriptors for {CAPACITY} tenants");
}

#[tokio::test]
async fn a_tenant_forgotten_while_it_was_opening_is_closed_like_any_other() {
    let cell = Setup { capacity: 1, ..Setup::default() }.open().await;
    for id in ["a", "b", "held"] {
        cell.db(id).await;
    }
    let held = cell.db("held").await;

    // Both wait for the one place, where nobody can see them; the second pushes the first out of the cache.
    let (a, b) = (tenant("a"), tenant("b"));
    let mut first = Box::pin(cell.tenants.find_or_create(&a));
    assert!((&mut first).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut second = Box::pin(cell.tenants.find_or_create(&b));
    assert!((&mut second).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(held);

    let start = Instant::now();
    drop(first.await.expect("opened"));
    drop(second.await.expect("opened when the first is closed"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn all_places_in_use_is_overload_and_passes() {
    let cell = Setup { capacity: 2, ..Setup::default() }.open().await;
    let (a, b) = (cell.db("a").await, cell.db("b").await);

    let refused = cell.tenants.find_or_create(&tenant("c")).await;
    assert!(matches!(refused, Err(OpenError::Overloaded)), "{refused:?}");
    add(&a, "one").await.expect("the open ones serve");
    add(&b, "one").await.expect("the open ones serve");

    drop(a);
    add(&*cell.db("c").await, "one").await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_opens_once_the_map_is_closed() {
    for round in 0..40 {
        let cell = Cell::open().await;
        let callers: Vec<_> = (0..8)
            .map(|n| {
                let tenants = cell.tenants.clone();
                tokio::spawn(async move { tenants.find_or_create(&tenant(&format!("t{n}"))).await.map(drop) })
            })
            .collect();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }

        assert_eq!(cell.tenants.close(PATIENCE).await, 0);
        let opens = cell.stat(|s| &s.opens);

        for caller in callers {
            match caller.await.expect("no panic") {
                Ok(()) => {}
                Err(OpenError::Unavailable(why)) => {
                    assert!(matches!(why.reason, Reason::Stopping), "{why:?}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(
            cell.stat(|s| &s.opens),
            opens,
            "round {round}: a tenant was opened after the map was closed"
        );
        assert_eq!(cell.stat(|s| &s.open), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_open_is_shared_and_not_repeated_at_once() {
    let cell = Cell::open().await;
    fs::write(cell.file("acme"), vec![b'x'; 8192]).expect("written");

    let callers = (0..64).map(|_| {
        let tenants = cell.tenants.clone();
        tokio::spawn(async move { tenants.find(&tenant("acme")).await.map(drop) })
    });
    let answers = join_all(callers).await;

    assert!(answers.iter().all(|answer| matches!(answer, Ok(Err(OpenError::Unavailable(_))))), "{answers:?}");
    assert_eq!((cell.stat(|s| &s.failures), cell.stat(|s| &s.opens)), (1, 0));
    until("the failed open gave its place back", async || cell.stat(|s| &s.open) == 0).await;
}
