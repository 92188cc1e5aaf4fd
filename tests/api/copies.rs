//! Copying `copies/` while the cell writes, as operators do (contract §4).

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Cell, Client, eventually};

/// What was acknowledged, and when: by the clock that stamps files, as the copies are.
type Acknowledged = Arc<Mutex<Vec<(String, SystemTime)>>>;

async fn keep_writing(client: Client, stamp: std::path::PathBuf, stop: Arc<AtomicBool>, done: Acknowledged) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("客户{number}");
        client.create_customer(&name).await;
        fs::write(&stamp, b"").expect("written");
        let now = fs::metadata(&stamp).and_then(|stamp| stamp.modified()).expect("a time");
        done.lock().expect("not poisoned").push((name, now));
    }
}

/// The names of the customers in a file, which must be sound.
async fn names(file: &Path) -> HashSet<String> {
    let mut connection =
        SqliteConnectOptions::new().filename(file).read_only(true).connect().await.expect("a database");
    let sound: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await.expect("checked");
    assert_eq!(sound, "ok", "{}", file.display());
    let names = sqlx::query_scalar("select name from customers").fetch_all(&mut connection).await;
    connection.close().await.expect("closed");
    names.expect("rows").into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_of_copies_can_be_copied_at_any_time_and_lacks_nothing_older_than_it_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::spawn(Cell::command(directory.path()).env("CRM__BACKUP__COPY_EVERY", "200ms"));
    let copies = directory.path().join("crm_cell/copies");
    let stop = Arc::<AtomicBool>::default();
    let writers = ["acme", "globex"].map(|tenant| {
        let (done, stamp) = (Acknowledged::default(), directory.path().join(format!("stamp-{tenant}")));
        let writing = keep_writing(cell.tenant(tenant), stamp, stop.clone(), done.clone());
        (tenant, done, tokio::spawn(writing))
    });
    eventually("both have a copy", async || fs::read_dir(&copies).is_ok_and(|files| files.count() == 2))
        .await;
    let mut checked = 0;
    for round in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let taken = directory.path().join(format!("taken-{round}"));
        let copied = Command::new("cp").arg("-rp").args([&copies, &taken]).status().expect("cp");
        assert!(copied.success());
        assert_eq!(fs::read_dir(&taken).expect("readable").count(), 2, "nothing but finished copies");
        for (tenant, done, _) in &writers {
            let file = taken.join(format!("{tenant}.db"));
            let as_of = fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
            let names = names(&file).await;
            let done = done.lock().expect("not poisoned").clone();
            let before = done.iter().filter(|(_, at)| *at < as_of);
            let missing: Vec<_> = before.clone().filter(|(name, _)| !names.contains(name)).collect();
            assert!(missing.is_empty(), "{tenant}: acknowledged before {as_of:?} and not there: {missing:?}");
            checked += before.count();
        }
    }
    assert!(checked > 20, "too little was written: {checked}");
    stop.store(true, Ordering::Relaxed);
    for (_, _, writing) in writers {
        writing.await.expect("every write is answered");
    }
    assert_eq!(cell.terminate(), Some(0));
}
