//! An operator who does everything to a tenant of their own while the clients write to theirs: after each step, and after a
//! process that died within one, the tenant is as before it or as after it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_cell::tenancy::{BackupOrder, FleetError, Source, State, Tenants};

use crate::support::{Setup, by, insert, tables, tenant};
use crate::workload::say;

/// What the operator works on, and what they make of it.
const FLEET: &str = "fleet";
const BRANCH: &str = "branch";
pub(crate) const TENANTS: [&str; 2] = [FLEET, BRANCH];
/// A step that failed succeeds when it is repeated, within this.
const RECOVERY: Duration = Duration::from_secs(8);

/// The customers of a tenant; `None`: there is no such tenant.
type Customers = Option<&'static [&'static str]>;

/// What the operator does, and which customers the two tenants have afterwards.
const STEPS: [(Step, Customers, Customers); 14] = [
    (Step::Create, Some(&[]), None),
    (Step::Write("a"), Some(&["a"]), None),
    (Step::BackUp, Some(&["a"]), None),
    (Step::Write("b"), Some(&["a", "b"]), None),
    (Step::Restore, Some(&["a"]), None),
    (Step::Undo, Some(&["a", "b"]), None),
    (Step::SetState(State::ReadOnly), Some(&["a", "b"]), None),
    (Step::SetState(State::Active), Some(&["a", "b"]), None),
    (Step::Branch, Some(&["a", "b"]), Some(&["a", "b"])),
    (Step::Copy, Some(&["a", "b"]), Some(&["a", "b"])),
    (Step::Delete, Some(&["a", "b"]), None),
    (Step::Undelete, Some(&["a", "b"]), Some(&["a", "b"])),
    (Step::Delete, Some(&["a", "b"]), None),
    (Step::Purge, Some(&["a", "b"]), None),
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Write(&'static str),
    BackUp,
    Restore,
    Undo,
    SetState(State),
    Branch,
    Copy,
    Delete,
    Undelete,
    Purge,
}

/// Does all steps. Each one that fails is repeated.
pub(crate) async fn run(tenants: &Arc<Tenants>) {
    for (number, (step, ..)) in STEPS.into_iter().enumerate() {
        let start = Instant::now();
        loop {
            let tenants = tenants.clone();
            let done = tokio::spawn(async move { act(&tenants, step).await }).await;
            match done {
                Ok(Ok(())) => break,
                Ok(Err(why)) => say(format_args!("unread {FLEET} {step:?} {why:?}")),
                Err(_panic) => say(format_args!("unread {FLEET} {step:?} panicked")),
            }
            assert!(start.elapsed() < RECOVERY, "{step:?} does not succeed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        say(format_args!("operated {}", number + 1));
    }
}

async fn act(tenants: &Tenants, step: Step) -> Result<(), FleetError> {
    let (fleet, branch) = (tenant(FLEET), tenant(BRANCH));
    // Repeated after a failure, a step may find that it was done.
    let unless_done = |done: Result<(), FleetError>| match done {
        Err(FleetError::Exists(_) | FleetError::NoSuchTenant(_) | FleetError::Deleted(_)) => Ok(()),
        done => done,
    };
    match step {
        Step::Create => tenants.create(&fleet).await.map(drop),
        Step::Write(name) => {
            let db = tenants.find_or_create(&fleet).await?;
            let key = crate::support::key(name);
            db.write(by("me"), key, async move |tx| insert(tx, name).await).await?;
            Ok(())
        }
        Step::BackUp => {
            let order = BackupOrder { tenants: Some(vec![fleet]), ..BackupOrder::default() };
            let made = tenants.back_up(order, drop).await?;
            match made.backup.manifest.failed.first() {
                Some(failure) => Err(FleetError::Unfit(failure.error.clone())),
                None => Ok(()),
            }
        }
        Step::Restore => {
            let source = Source::Backup { directory: None, name: None };
            tenants.restore(&fleet, &source, false).await.map(drop)
        }
        // What it replaced last may be what a failed try had put there: the content says whether it is done.
        Step::Undo => {
            let restored = tenants.restore(&fleet, &Source::Undo, true).await?;
            match restored.rows.get("customers") {
                Some(rows) if rows.before == Some(2) => Ok(()),
                _ => tenants.restore(&fleet, &Source::Undo, false).await.map(drop),
            }
        }
        Step::SetState(state) => tenants.set_state(&fleet, state, None).await.map(drop),
        Step::Branch => unless_done(tenants.create_from(&branch, &fleet, &Source::Live).await.map(drop)),
        Step::Copy => Ok(tenants.copy(&branch).await.map(drop)?),
        Step::Delete => unless_done(tenants.delete(&branch, None).await.map(drop)),
        Step::Undelete => unless_done(tenants.undelete(&branch).await.map(drop)),
        Step::Purge => unless_done(tenants.purge(&branch).await.map(drop)),
    }
}

/// Holds the operator's tenants against what is known: `operated` steps were done, and the next one may have been.
pub(crate) async fn verify(operated: usize, directory: &Path) {
    let tenants = Setup::default().tenants_of(directory).await;
    let mut found: Vec<Option<BTreeSet<String>>> = Vec::new();
    for of in TENANTS {
        let db = tenants.visit(&tenant(of)).await.expect("the tenant opens, if there is one");
        found.push(match db {
            Some(db) => Some(tables(&db).await.customers.into_iter().collect()),
            None => None,
        });
    }
    let names =
        |names: Option<&[&str]>| names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let after = |steps: usize| match steps.checked_sub(1) {
        Some(last) => {
            let (_, fleet, branch) = STEPS[last];
            vec![names(fleet), names(branch)]
        }
        None => vec![None, None],
    };
    let (before, then) = (after(operated), after((operated + 1).min(STEPS.len())));
    assert!(
        found == before || found == then,
        "after {operated} steps: {found:?}, and neither {before:?} nor {then:?}"
    );
    // Whatever was broken off, everything can be done again.
    for of in TENANTS {
        match tenants.undelete(&tenant(of)).await {
            Ok(_) | Err(FleetError::NoSuchTenant(_) | FleetError::Exists(_)) => {}
            Err(error) => panic!("{of} was deleted and cannot be brought back: {error:?}"),
        }
    }
    tenants.create(&tenant(FLEET)).await.expect("made, or there");
    let made = tenants.back_up(BackupOrder::default(), drop).await.expect("backed up");
    assert!(made.backup.manifest.failed.is_empty(), "{:?}", made.backup.manifest.failed);
    let source = Source::Backup { directory: None, name: None };
    tenants.restore(&tenant(FLEET), &source, false).await.expect("restored");
    assert_eq!(tenants.close(crate::support::PATIENCE).await, 0, "all tenants close");
    for part in ["copying", "incoming"] {
        let left = std::fs::read_dir(directory.join(part)).expect("a directory").count();
        assert_eq!(left, 0, "{part}");
    }
}
