//! The map under a storm: many tenants, few places, callers that go away. Nothing is lost, doubled or stale.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{Cell, Name, Setup, add, ids, tables, tenant};

/// What tenants, places and callers there are.
struct Storm {
    tasks: u64,
    tenants: u64,
    capacity: u64,
    /// A tenant without a request for this long is closed.
    idle: Duration,
    /// Between two requests of a caller, at most.
    pause: Duration,
    long: Duration,
}

/// What the callers were promised: tenant → acknowledged ids.
type Promises = Mutex<HashMap<u64, Vec<String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_tenants_come_and_go() {
    let storm = Storm {
        tasks: 64,
        tenants: 64,
        capacity: 4,
        idle: Duration::from_millis(200),
        pause: Duration::ZERO,
        long: Duration::from_secs(10),
    };
    storm.rage().await;
}

/// Room for all of them, so that nothing but the claim on a file keeps its opener behind whoever still closes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_asked_for_while_it_closes_has_one_set_of_connections() {
    let storm = Storm {
        tasks: 4,
        tenants: 2,
        capacity: 64,
        idle: Duration::from_millis(1),
        pause: Duration::from_millis(8),
        long: Duration::from_secs(4),
    };
    storm.rage().await;
}

impl Storm {
    async fn rage(self) {
        let Self { tasks, tenants, capacity, idle, pause, long } = self;
        let mut setup = Setup { capacity, ..Setup::default() };
        setup.storage.tenant_idle = idle;
        setup.storage.writer_idle = Duration::from_millis(20);
        setup.storage.checkpoint_after = Duration::from_millis(10);
        let cell = Arc::new(setup.open().await);
        let promises = Arc::new(Promises::default());
        let operations = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));

        let watch = tokio::spawn({
            let (cell, over) = (cell.clone(), over.clone());
            async move {
                let mut most = 0;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(cell.stat(|s| &s.open));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                most
            }
        });
        let start = Instant::now();
        let tasks = (0..tasks).map(|task| {
            let (cell, promises, operations) = (cell.clone(), promises.clone(), operations.clone());
            tokio::spawn(async move {
                let mut random = task + 1;
                while start.elapsed() < long {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let which = (random >> 33) % tenants;
                    let n = operations.fetch_add(1, Ordering::Relaxed);
                    let operation =
                        tokio::spawn(visit(cell.clone(), promises.clone(), which, format!("{which}-{n}")));
                    if random >> 60 == 0 {
                        // One caller of sixteen goes away in the middle.
                        tokio::time::sleep(Duration::from_micros(random >> 40 & 0xfff)).await;
                        operation.abort();
                    } else {
                        operation.await.expect("no stale read, no error");
                    }
                    if !pause.is_zero() {
                        tokio::time::sleep(pause.mul_f64((random >> 48 & 0xff) as f64 / 255.0)).await;
                    }
                }
            })
        });
        for task in join_all(tasks).await {
            task.expect("no error");
        }
        over.store(true, Ordering::Relaxed);
        let most_open = watch.await.expect("no panic");
        let took = start.elapsed();

        let promised = promises.lock().expect("no panic").clone();
        println!(
            "{} operations in {took:.1?}: {} opens, {} revivals, {} creations, {} acknowledged rows, at most {most_open} open",
            operations.load(Ordering::Relaxed),
            cell.stat(|s| &s.opens),
            cell.stat(|s| &s.revivals),
            cell.stat(|s| &s.creations),
            promised.values().map(Vec::len).sum::<usize>(),
        );
        assert_eq!(cell.stat(|s| &s.overlaps), 0);
        assert_eq!(cell.stat(|s| &s.failures), 0);
        assert!(most_open <= capacity, "{most_open} open at once");
        assert_eq!(promised.len() as u64, tenants, "every tenant was visited");
        for (which, promised) in promised {
            let db = cell.db(&format!("t{which}")).await;
            let found = tables(&db).await;
            assert!(
                promised.iter().all(|id| found.customers.binary_search(id).is_ok()),
                "tenant {which} lost a row"
            );
            assert_eq!(found.customers, found.journal, "tenant {which}");
            assert_eq!(found.customers, found.outbox, "tenant {which}");
        }
        let directory = Arc::into_inner(cell).expect("nobody else holds the cell").stop().await;
        let left: Vec<String> = fs::read_dir(directory.path().join("tenants"))
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".db"))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// One request: writes a row, then sees it and everything promised before, through both lanes of the reader.
async fn visit(cell: Arc<Cell>, promises: Arc<Promises>, which: u64, id: String) {
    let promised = |which| promises.lock().expect("no panic").get(&which).and_then(|ids| ids.last().cloned());
    let before = promised(which);
    let db = cell.tenants.find_or_create(&tenant(&format!("t{which}"))).await.expect("the tenant opens");
    add(&db, &id).await.expect("written");
    promises.lock().expect("no panic").entry(which).or_default().push(id.clone());
    let seen = db.point_read::<Name>(id.clone()).await.expect("read");
    assert_eq!(seen, Some(Name(id.clone())), "a stale point read");
    if let Some(before) = before {
        let seen = db.read(async |read| ids(read, "select id from customers").await).await.expect("read");
        assert!(seen.contains(&before) && seen.contains(&id), "a stale read");
    }
}
