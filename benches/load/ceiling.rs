//! What grouped commits can come to on this machine: hand-written rusqlite on one thread, the same rows, no HTTP.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::client::Run;

/// Units in one transaction at most, as in the cell.
const GROUP: usize = 256;

struct Unit {
    name: String,
    done: oneshot::Sender<()>,
}

/// So many callers, each of whom waits for its commit before it writes again, for so long.
pub(crate) async fn run(file: &Path, callers: usize, time: Duration) -> anyhow::Result<Run> {
    let connection = Connection::open(file)?;
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; \
         pragma wal_autocheckpoint = 4000",
    )?;
    let (sender, receiver) = mpsc::channel();
    let writer = std::thread::spawn(move || write(&connection, &receiver));
    let start = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < time {
                    let (done, committed) = oneshot::channel();
                    let from = Instant::now();
                    let name = format!("客户 {}", crate::record_id());
                    if sender.send(Unit { name, done }).is_err() || committed.await.is_err() {
                        break; // the writer says why
                    }
                    times.push(from.elapsed());
                }
                times
            })
        })
        .collect();
    drop(sender);
    let mut times = Vec::new();
    for caller in callers {
        times.append(&mut caller.await?);
    }
    let elapsed = start.elapsed();
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(Run::of(times, elapsed))
}

/// Takes what waits as one transaction, each unit in a savepoint, and answers after the commit.
fn write(connection: &Connection, units: &mpsc::Receiver<Unit>) -> rusqlite::Result<()> {
    let mut waiting = Vec::new();
    while let Ok(first) = units.recv() {
        connection.execute_batch("begin immediate")?;
        let mut unit = Some(first);
        while let Some(next) = unit {
            connection.prepare_cached("savepoint u")?.execute([])?;
            insert(connection, &next.name)?;
            connection.prepare_cached("release u")?.execute([])?;
            waiting.push(next.done);
            unit = if waiting.len() < GROUP { units.try_recv().ok() } else { None };
        }
        connection.execute_batch("commit")?;
        for done in waiting.drain(..) {
            let _gone = done.send(());
        }
    }
    Ok(())
}

/// The look-up of the key and the four rows of a POST.
fn insert(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    let (id, event, now) = (crate::record_id(), crate::record_id(), 1_700_000_000_000_i64);
    let key = format!("POST /customers {event} u1");
    let mut earlier = connection.prepare_cached("select response from idempotency where key = ?1")?;
    if earlier.exists(params![key])? {
        return Ok(());
    }
    let body = format!(
        r#"{{"customerId":"{id}","tenantId":"t0","name":"{name}","contactPhone":"138****1234","contactEmail":"a@example.com","status":1,"createdAt":{now},"updatedAt":{now},"ownerId":"u1","lifecycle":null,"level":null,"source":null,"industry":null,"region":null,"address":null,"website":null,"remark":null,"nextFollowUpAt":null,"lastFollowUpAt":null,"version":1}}"#
    );
    connection
        .prepare_cached(
            "insert into customers (id, name, name_key, contact_phone, contact_email, owner_id, created_at, updated_at) \
             values (?1, ?2, ?2, '13800001234', 'a@example.com', 'u1', ?3, ?3)",
        )?
        .execute(params![id, name, now])?;
    connection
        .prepare_cached(
            "insert into journal (at, actor, action, resource, record_id, version, request_id, changes) \
             values (?1, 'u1', 'customer.create', 'customer', ?2, 1, ?3, ?4)",
        )?
        .execute(params![
            now,
            id,
            key,
            format!(r#"{{"name":[null,"{name}"],"contactPhone":[null,"138****1234"]}}"#)
        ])?;
    connection
        .prepare_cached(
            "insert into outbox (event_id, type, record_id, at, data) values (?1, 'crm.customer.created', ?2, ?3, ?4)",
        )?
        .execute(params![event, id, now, body])?;
    connection
        .prepare_cached("insert into idempotency (key, fingerprint, response, at) values (?1, ?2, ?3, ?4)")?
        .execute(params![key, id, body, now])?;
    Ok(())
}
