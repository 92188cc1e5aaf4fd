//! A disk that takes no more: whatever was acknowledged stays, whatever was refused is not there, reads go on, and the
//! tenant serves again as soon as there is room.
//!
//! The limit holds for a whole process, so each test runs itself again in a process of its own.

use std::path::PathBuf;
use std::process::Command;

use crm_cell::tenancy::{Outcome, Reason, StoreError, TenantDb};
use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Setup, add, count, insert_row, key, tables, unavailable};

/// Names the directory to fill, and says that this is the process to fill it.
const DIRECTORY: &str = "CRM_ENGINE_TEST_DIRECTORY";
const ROOM: u64 = 6 << 20;

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Runs the ignored test `name` of this binary by `shell`, in which `"$0" "$@"` is the command to run.
fn run_again(name: &str, command: &mut Command, shell: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let done = command
        .args(["sh", "-c", shell])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", name, "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .expect("the command runs");
    let text = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    println!("{}", text.concat());
    assert!(done.status.success() && text[0].contains("1 passed"), "{name} failed");
}

#[test]
fn writes_past_the_file_size_limit_are_refused_and_nothing_is_lost() {
    // SIGXFSZ ignored: the write fails with EFBIG, which SQLite takes for an I/O error.
    run_again(
        "disk::child_with_a_file_size_limit",
        &mut Command::new("env"),
        r#"trap '' XFSZ; exec "$0" "$@""#,
    );
}

#[test]
#[ignore = "needs user namespaces, which containers often forbid: for the fault suite"]
fn writes_to_a_full_disk_are_refused_and_nothing_is_lost() {
    run_again(
        "disk::child_on_a_small_disk",
        Command::new("unshare").args(["--map-root-user", "--mount"]),
        r#"mount -t tmpfs -o size=8m tmpfs "$CRM_ENGINE_TEST_DIRECTORY" && exec "$0" "$@""#,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by writes_past_the_file_size_limit_are_refused_and_nothing_is_lost"]
async fn child_with_a_file_size_limit() {
    let Some(directory) = directory() else { return };
    let limit = getrlimit(Resource::Fsize);
    let limited = Rlimit { current: Some(ROOM), ..limit };
    setrlimit(Resource::Fsize, limited).expect("limited");
    let makes_room = || setrlimit(Resource::Fsize, limit).expect("unlimited");
    fill(directory, makes_room, |reason| matches!(reason, Reason::Io)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by writes_to_a_full_disk_are_refused_and_nothing_is_lost"]
async fn child_on_a_small_disk() {
    let Some(directory) = directory() else { return };
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).expect("written");
    let makes_room = || std::fs::remove_file(&ballast).expect("removed");
    fill(directory, makes_room, |reason| matches!(reason, Reason::DiskFull)).await;
}

/// Writes until nothing fits any more, compares what was promised with what is there, makes room and goes on.
async fn fill(directory: PathBuf, makes_room: impl FnOnce(), expected: fn(&Reason) -> bool) {
    const CALLERS: usize = 32;
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let cell = Setup::default().open_at(directory).await;
    let db = cell.db("acme").await;

    let callers = (0..CALLERS).map(|caller| {
        let db = db.clone();
        tokio::spawn(async move {
            let (mut kept, mut unknown, mut refused) = (Vec::new(), Vec::new(), 0);
            for n in 0.. {
                let name = format!("{caller:02}-{n:04}");
                // A row bigger than the page cache can hold fails in its statement, a smaller one when its group commits.
                let size = if caller % 8 == 0 && n > 5 { 900_000 } else { 2000 };
                match add_row_of(&db, &name, size).await {
                    Ok(()) => kept.push(name),
                    Err(error) => {
                        let why = unavailable(&error).unwrap_or_else(|| panic!("{error:?}"));
                        let known = expected(&why.reason) || matches!(why.reason, Reason::RolledBack);
                        assert!(known, "{error:?}");
                        if why.outcome == Outcome::Unknown {
                            unknown.push(name);
                        }
                        refused += 1;
                    }
                }
                if refused == 5 {
                    break;
                }
            }
            (kept, unknown)
        })
    });
    let (mut kept, mut unknown) = (Vec::new(), Vec::new());
    for caller in join_all(callers).await {
        let (its_kept, its_unknown) = caller.expect("no panic");
        kept.extend(its_kept);
        unknown.extend(its_unknown);
    }
    assert!(kept.len() > 100, "only {} rows fitted", kept.len());

    let found = tables(&db).await;
    println!(
        "{} acknowledged, {} of unknown outcome, {} found",
        kept.len(),
        unknown.len(),
        found.customers.len()
    );
    assert_eq!(found.customers, found.journal);
    assert_eq!(found.customers, found.outbox);
    assert_eq!(found.customers, found.idempotency);
    for name in &kept {
        assert!(found.customers.binary_search(name).is_ok(), "{name} was acknowledged and is gone");
    }
    for name in &found.customers {
        assert!(kept.contains(name) || unknown.contains(name), "{name} was refused and is there");
    }

    makes_room();
    add(&db, "there is room again").await.expect("written");
    assert_eq!(db.read(count).await.expect("counted"), found.customers.len() as i64 + 1);
    drop(db);
    cell.stop().await;
}

/// A unit that swallows the failure of its statement and writes on, as no unit should.
async fn add_row_of(db: &TenantDb, name: &str, size: usize) -> Result<(), StoreError> {
    let key = key(name);
    let name = name.to_owned();
    let remark = "x".repeat(size);
    let done = db.write(crate::support::by("me"), key, async move |tx| {
        insert_row(tx, &name).await?;
        let swallowed = sqlx::query("update customers set remark = ?1 where id = ?2")
            .bind(remark)
            .bind(&name)
            .execute(&mut *tx)
            .await;
        if swallowed.is_err() {
            // SQLite may have rolled back the whole transaction: this row would commit by itself.
            let _refused = insert_row(tx, &format!("{name}-stray")).await;
        }
        tx.record(crate::support::created(&name));
        Ok(())
    });
    done.await.map(|done| done.value)
}
