//! The figures that are kept elsewhere, and read when somebody asks for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::domain::{Clock, Timestamp};
use crate::events::Tally;
use crate::telemetry::Reading;
use crate::tenancy::{Backlog, Capacity, Stats, Tenants};

/// The figures of the map and its engines.
pub(super) fn readings(
    tenants: &Tenants,
    tally: &Arc<Tally>,
    clock: &Arc<dyn Clock>,
    capacity: Capacity,
) -> Vec<Reading> {
    let (stats, counters) = (tenants.stats(), tenants.counters());
    let mut readings = Vec::new();
    macro_rules! reading {
        ($kind:expr, $name:literal, $help:literal, $from:ident . $field:ident) => {{
            let source = $from.clone();
            let read = Arc::new(move || load(&source.$field));
            readings.push(Reading { name: $name, help: $help, is_gauge: $kind, read });
        }};
    }
    const GAUGE: bool = true;
    const COUNTER: bool = false;
    reading!(GAUGE, "tenants_open", "Tenants whose file is open", stats.open);
    reading!(COUNTER, "tenant_opens", "Files opened", stats.opens);
    reading!(COUNTER, "tenant_open_failures", "Opens that failed", stats.failures);
    reading!(COUNTER, "tenant_creations", "Tenants created", stats.creations);
    reading!(COUNTER, "tenant_migrations", "Files migrated at opening", stats.migrations);
    reading!(COUNTER, "tenant_revivals", "Forgotten tenants found alive", stats.revivals);
    reading!(COUNTER, "tenant_claims_overlapping", "Files claimed twice; must stay 0", stats.overlaps);
    reading!(COUNTER, "write_commits", "Write transactions committed, one WAL sync each", counters.commits);
    reading!(COUNTER, "write_units", "Units of work committed", counters.units);
    reading!(COUNTER, "write_replays", "Writes answered from a stored answer", counters.replays);
    reading!(COUNTER, "statements", "Statements sent to SQLite", counters.statements);
    reading!(COUNTER, "point_reads", "Records read by id", counters.point_reads);
    reading!(COUNTER, "point_read_batches", "Statements that answered them", counters.point_batches);
    reading!(COUNTER, "checkpoints", "Checkpoints of idle tenants", counters.checkpoints);
    reading!(COUNTER, "connections_discarded", "Connections closed after a fault", counters.discarded);
    reading!(COUNTER, "copies", "Copies of tenants made", stats.copies);
    reading!(COUNTER, "copy_failures", "Copies of tenants that could not be made", stats.copy_failures);
    reading!(GAUGE, "copies_overdue", "Tenants whose copies are too old", stats.copies_overdue);
    reading!(COUNTER, "drills", "Copies restored beside and found equal", stats.drills);
    reading!(COUNTER, "drill_failures", "Copies that were not what they should be", stats.drill_failures);
    reading!(COUNTER, "check_failures", "Files found unsound", stats.check_failures);
    reading!(COUNTER, "events_delivered", "Events that the bus took", tally.delivered);
    reading!(COUNTER, "event_failures", "Events that the bus refused, and outages of it", tally.failures);
    reading!(COUNTER, "events_received", "Events of other systems that came in", tally.received);
    reading!(COUNTER, "event_gaps_suspected", "Times that the bus may have lost events unread", tally.gaps);
    let mut of_event_work = |name, help, read: fn(u64, Backlog, Timestamp) -> u64| {
        let (work, clock) = (tenants.event_work().clone(), clock.clone());
        let read = move || {
            let (tenants, backlog) = work.total();
            read(tenants, backlog, clock.now())
        };
        readings.push(Reading { name, help, is_gauge: GAUGE, read: Arc::new(read) });
    };
    of_event_work("events_tenants", "Tenants with events to see to", |tenants, _, _| tenants);
    of_event_work("events_pending", "Events to be delivered", |_, backlog, _| backlog.pending);
    of_event_work("events_oldest_age_seconds", "Age of the oldest of them", |_, backlog, now| {
        backlog.oldest.map_or(0, |oldest| now.since(oldest).as_secs())
    });
    let mut age = |name, help, last: fn(&Stats) -> &AtomicI64| {
        let (stats, clock) = (stats.clone(), clock.clone());
        let read =
            move || clock.now().since(Timestamp::from_millis(last(&stats).load(Ordering::Relaxed))).as_secs();
        readings.push(Reading { name, help, is_gauge: GAUGE, read: Arc::new(read) });
    };
    age(
        "drill_age_seconds",
        "Since a copy was last restored and found equal; since the start if none was",
        |stats| &stats.last_drill,
    );
    age(
        "backup_age_seconds",
        "Since all tenants were last backed up; since 1970 if they never were",
        |stats| &stats.last_backup,
    );
    let (low_water, stop_writes) = tenants.space_marks();
    let mut gauge = |name, help, read: Arc<dyn Fn() -> u64 + Send + Sync>| {
        readings.push(Reading { name, help, is_gauge: GAUGE, read });
    };
    gauge("disk_free_bytes", "Room on the data root's disk", Arc::new(tenants.free_space()));
    gauge("disk_low_water_bytes", "With less room, no copies are made", Arc::new(move || low_water));
    gauge("disk_stop_writes_bytes", "With less room, nothing is written", Arc::new(move || stop_writes));
    gauge("tenants_quarantined", "Tenants whose file is refused", Arc::new(tenants.quarantined()));
    gauge("tenants_open_limit", "Tenants that may be open at once", Arc::new(move || capacity.tenants));
    readings
}

fn load(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}
