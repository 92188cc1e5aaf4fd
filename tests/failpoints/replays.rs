//! A process that dies after a write was committed and before it was answered.

use std::sync::Arc;

use crm_cell::tenancy::{Done, Tenants};

use crate::child::{Action, Order, Script};
use crate::support::{Setup, by, insert, key, tables, tenant};
use crate::workload::say;

/// Writes a customer of a new id, and answers that.
async fn write_one(tenants: &Tenants, number: usize) -> Done<String> {
    let db = tenants.find_or_create(&tenant("acme")).await.expect("opened");
    let unit = async move |tx: &mut crm_cell::tenancy::Write| {
        let id = tx.new_id().to_string();
        insert(tx, &id).await
    };
    db.write(by("me"), key(&number.to_string()), unit).await.expect("written")
}

/// What the process that dies does.
pub(crate) async fn write(tenants: &Arc<Tenants>, number: usize) {
    write_one(tenants, number).await;
    say(format_args!("acknowledged acme {number}"));
}

async fn replay_after_each_death(runs: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for number in 0..runs {
        let point = if number % 2 == 0 { "commit.after" } else { "answer.before" };
        let order =
            Order { action: Action::Die, point: point.to_owned(), hit: 1, script: Script::Write(number) };
        let (_, history) = order.run(directory.path()).await;
        assert!(history.fired && !history.closed, "{history:?}");

        let tenants = Setup::default().tenants_of(directory.path()).await;
        let replayed = write_one(&tenants, number).await;
        assert!(replayed.replayed, "run {number}: the write ran twice, or was lost and ran again");
        assert_eq!(write_one(&tenants, number).await, replayed);
        ids.push(replayed.value);
        keys.push(number.to_string());
        keys.sort();
        let mut sorted = ids.clone();
        sorted.sort();
        let found = tables(&tenants.find_or_create(&tenant("acme")).await.expect("opened")).await;
        for of in [&found.customers, &found.journal, &found.outbox] {
            assert_eq!(*of, sorted, "run {number}: each row once, under the id that is answered");
        }
        assert_eq!(found.idempotency, keys);
        assert_eq!(tenants.close(crate::support::PATIENCE).await, 0);
    }
    println!("{runs} exact replays of {runs} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_with_the_process_is_replayed_exactly() {
    replay_after_each_death(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form of the test before"]
async fn two_hundred_writes_whose_answers_were_lost_are_replayed_exactly() {
    replay_after_each_death(200).await;
}
