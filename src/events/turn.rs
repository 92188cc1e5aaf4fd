//! One tenant's turn: what came in is tried again, what goes out is offered to the bus.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono_tz::Tz;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::Instant;

use super::bus::{Bus, Delivery};
use super::envelope::Outgoing;
use super::health::pause;
use super::relay::Tally;
use crate::domain::{Clock, IdSource, TenantId, Timestamp};
use crate::flows::inbox;
use crate::store::outbox::{self, PendingEvent, RefusedEvent};
use crate::tenancy::{Actor, Backlog, OpenError, StoreError, TenantDb, Tenants};

/// Events that are read, offered and settled together.
const BATCH: u32 = 200;
/// Records whose events are offered at the same time.
const RECORDS_AT_ONCE: usize = 4;
/// After so many events, or so long, it is the others' turn.
const EVENTS: usize = 1000;
const TURN_LIMIT: Duration = Duration::from_secs(3);
/// Why an event is held back that no envelope can be made of: that says nothing of the bus.
const UNREADABLE: &str = "unreadable";
/// After its first refusal an event waits this long, then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What the relay works with.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The tenants.
    pub tenants: Arc<Tenants>,
    /// What takes events; without it, the relay sees to received events alone.
    pub bus: Option<Arc<dyn Bus>>,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<IdSource>,
    /// The zone of dates without an offset.
    pub time_zone: Tz,
    /// What has been done.
    pub tally: Arc<Tally>,
}

/// Whether a turn may offer events to the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// As many as there are.
    Deliver,
    /// One, to see whether the bus takes it.
    Probe,
    /// None.
    Wait,
}

/// What came of a turn.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Everything was seen to that could be; this is left.
    Done(Backlog),
    /// There is more to do, and others have waited.
    More,
    /// The bus takes no events.
    Outage { reason: &'static str, retry_after: Option<Duration> },
    /// The tenant cannot be had now.
    Unavailable,
    /// The tenant is suspended: what waits there waits until an operator resumes it.
    Suspended,
}

/// A turn's outcome, and how the bus took its events.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) outcome: Outcome,
    pub(super) accepted: usize,
    /// Refused since the last that was accepted.
    pub(super) refused: usize,
}

impl Turn {
    /// One that came to nothing.
    pub(super) fn new() -> Self {
        Self { outcome: Outcome::Unavailable, accepted: 0, refused: 0 }
    }
}

/// What came of a batch.
#[derive(Default)]
struct Batch {
    delivered: Vec<i64>,
    /// Those that are offered again later, after a refusal or an outage: whichever it was, the event may be what caused it.
    refused: Vec<RefusedEvent>,
    /// How many of them the bus refused.
    refusals: usize,
    outage: Option<(&'static str, Option<Duration>)>,
}

/// When a turn is over, whatever is left.
struct Limit<'a> {
    until: Instant,
    stopping: &'a AtomicBool,
    /// The bus failed to take an event.
    is_out: AtomicBool,
}

impl Limit<'_> {
    fn is_reached(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
            || self.stopping.load(Ordering::Relaxed)
            || Instant::now() >= self.until
    }
}

impl Desk {
    /// Sees to a tenant's events; ends soon once `stopping` says so.
    pub(super) async fn turn(&self, tenant: &TenantId, may: May, stopping: &AtomicBool) -> Turn {
        let mut turn = Turn::new();
        let db = match self.tenants.visit(tenant).await {
            Ok(Some(db)) => db,
            Ok(None) => {
                turn.outcome = Outcome::Done(Backlog::default());
                return turn;
            }
            Err(OpenError::Suspended(_)) => {
                turn.outcome = Outcome::Suspended;
                return turn;
            }
            Err(error) => {
                log_unavailable(tenant, &error);
                return turn;
            }
        };
        let limit = Limit { until: Instant::now() + TURN_LIMIT, stopping, is_out: AtomicBool::new(false) };
        match self.see_to(tenant, &db, may, &limit, &mut turn).await {
            Ok(outcome) => turn.outcome = outcome,
            Err(error) => tracing::warn!(
                tenant_id = %tenant,
                error = &error as &dyn std::error::Error,
                "a tenant's events could not be seen to"
            ),
        }
        turn
    }

    /// What waits in a tenant's file.
    pub(super) async fn backlog(&self, tenant: &TenantId) -> Option<Backlog> {
        match self.tenants.visit(tenant).await {
            Ok(Some(db)) => db.read(async move |read| outbox::backlog(read).await).await.ok(),
            Ok(None) => Some(Backlog::default()),
            Err(OpenError::Suspended(_)) => None,
            Err(error) => {
                log_unavailable(tenant, &error);
                None
            }
        }
    }

    async fn see_to(
        &self,
        tenant: &TenantId,
        db: &TenantDb,
        may: May,
        limit: &Limit<'_>,
        turn: &mut Turn,
    ) -> Result<Outcome, StoreError> {
        let now = self.clock.now();
        let is_due = db.read(async move |read| inbox::is_due(read, now).await).await?;
        let zone = self.time_zone;
        let retried = match is_due {
            true => db.write(relay(), None, async move |tx| inbox::retry_due(tx, zone).await).await.map(drop),
            false => Ok(()),
        };
        // What came in holds up nothing that goes out.
        let outcome = match &self.bus {
            Some(bus) if may != May::Wait => self.deliver(tenant, db, bus, may, limit, turn).await?,
            _ => None,
        };
        retried?;
        match outcome {
            Some(outcome) => Ok(outcome),
            None => Ok(Outcome::Done(db.read(async move |read| outbox::backlog(read).await).await?)),
        }
    }

    /// Offers the tenant's events to the bus. `None`: all that may be offered now have been.
    async fn deliver(
        &self,
        tenant: &TenantId,
        db: &TenantDb,
        bus: &Arc<dyn Bus>,
        may: May,
        limit: &Limit<'_>,
        turn: &mut Turn,
    ) -> Result<Option<Outcome>, StoreError> {
        // Records with an event that has to wait: their later ones wait for it.
        let mut waiting = HashSet::new();
        let (mut after, mut offered) = (0, 0);
        loop {
            let events = db.read(async move |read| outbox::pending(read, after, BATCH).await).await?;
            let Some(last) = events.last() else { return Ok(None) };
            after = last.seq;
            let batch = self.offer(tenant, bus, may, events, limit, &mut waiting).await;
            let Batch { delivered, refused, refusals, outage } = batch;
            offered += delivered.len() + refused.len();
            turn.accepted += delivered.len();
            turn.refused = if delivered.is_empty() { turn.refused + refusals } else { 0 };
            self.tally.delivered.fetch_add(delivered.len() as u64, Ordering::Relaxed);
            self.tally.failures.fetch_add(refused.len() as u64, Ordering::Relaxed);
            if !(delivered.is_empty() && refused.is_empty()) {
                let settled =
                    db.maintain(relay(), async move |tx| outbox::settle(tx, &delivered, &refused).await);
                settled.await?;
            }
            if let Some((reason, retry_after)) = outage {
                return Ok(Some(Outcome::Outage { reason, retry_after }));
            }
            if may == May::Probe && offered > 0 {
                return Ok((turn.accepted > 0).then_some(Outcome::More));
            }
            if offered >= EVENTS || limit.is_reached() {
                return Ok(Some(Outcome::More));
            }
        }
    }

    /// Offers a batch of events, those of one record in their order; or one of them.
    async fn offer(
        &self,
        tenant: &TenantId,
        bus: &Arc<dyn Bus>,
        may: May,
        events: Vec<PendingEvent>,
        limit: &Limit<'_>,
        waiting: &mut HashSet<String>,
    ) -> Batch {
        let mut records: Vec<Vec<PendingEvent>> = Vec::new();
        let now = self.clock.now();
        for event in events {
            if event.not_before.is_some_and(|not_before| not_before > now) {
                waiting.insert(event.record_id.clone());
            }
            if waiting.contains(&event.record_id) {
                continue;
            }
            match records.iter_mut().find(|record| record[0].record_id == event.record_id) {
                Some(record) => record.push(event),
                None => records.push(vec![event]),
            }
        }
        if may == May::Probe {
            records.truncate(1);
            records.iter_mut().for_each(|record| record.truncate(1));
        }
        let offered = stream::iter(records).map(|record| self.offer_record(tenant, bus, record, limit));
        let batches: Vec<(Batch, Option<String>)> = offered.buffer_unordered(RECORDS_AT_ONCE).collect().await;
        let mut all = Batch::default();
        for (batch, refused_record) in batches {
            all.delivered.extend(batch.delivered);
            all.refused.extend(batch.refused);
            all.refusals += batch.refusals;
            all.outage = all.outage.or(batch.outage);
            waiting.extend(refused_record);
        }
        all
    }

    /// Offers the events of one record one after the other, up to the first that does not succeed.
    async fn offer_record(
        &self,
        tenant: &TenantId,
        bus: &Arc<dyn Bus>,
        events: Vec<PendingEvent>,
        limit: &Limit<'_>,
    ) -> (Batch, Option<String>) {
        let mut batch = Batch::default();
        for event in events {
            if limit.is_reached() {
                break;
            }
            let delivery = match Outgoing::new(tenant, &event) {
                Ok(outgoing) => bus.publish(&outgoing).await,
                Err(_) => Delivery::Refused(UNREADABLE),
            };
            match delivery {
                Delivery::Accepted => batch.delivered.push(event.seq),
                Delivery::Refused(failure) => {
                    tracing::warn!(tenant_id = %tenant, event_id = event.event_id, failure, "the bus refused an event");
                    batch.refusals += usize::from(failure != UNREADABLE);
                    batch.refused.push(self.refused(&event, failure));
                    return (batch, Some(event.record_id));
                }
                Delivery::Outage { reason, retry_after } => {
                    limit.is_out.store(true, Ordering::Relaxed);
                    batch.outage = Some((reason, retry_after));
                    batch.refused.push(self.refused(&event, reason));
                    return (batch, Some(event.record_id));
                }
            }
        }
        (batch, None)
    }

    fn refused(&self, event: &PendingEvent, failure: &'static str) -> RefusedEvent {
        let attempts = u32::try_from(event.attempts).unwrap_or(u32::MAX);
        let now = self.clock.now();
        let pause = pause(FIRST_PAUSE, attempts, self.spread(now));
        RefusedEvent { seq: event.seq, not_before: now + pause, failure }
    }

    /// A number from 0 to 1, another one each time.
    pub(super) fn spread(&self, now: Timestamp) -> f64 {
        // The end of an id is random.
        let random = self.ids.next(now).as_u128() & 0xffff;
        f64::from(u32::try_from(random).unwrap_or(0)) / f64::from(0xffff_u32)
    }
}

/// Who writes what came of events.
fn relay() -> Actor {
    Actor { user: "relay".into(), ..Actor::default() }
}

fn log_unavailable(tenant: &TenantId, error: &OpenError) {
    tracing::warn!(
        tenant_id = %tenant,
        error = error as &dyn std::error::Error,
        "a tenant's events cannot be seen to now"
    );
}
