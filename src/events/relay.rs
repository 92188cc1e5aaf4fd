//! Which tenant's turn it is, and whether the bus can be reached at all.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use super::agenda::Agenda;
use super::health::{Health, Permission, pause};
use super::turn::{Desk, May, Outcome, Turn};
use crate::domain::{TenantId, Timestamp};
use crate::tenancy::Tenants;

/// After an event was written, its tenant's turn comes so much later: what follows at once is settled with it.
const LINGER: Duration = Duration::from_millis(50);
/// Tenants whose turn it is at once.
const TURNS: usize = 4;
/// How often it is looked whose turn has come. A turn may come by a clock that does not run evenly.
const TICK: Duration = Duration::from_millis(500);
/// How often the catalog is told what has changed.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// A tenant that cannot be had is tried again after this long, then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long the turns under way may take to end when the relay stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// What the relay has done since the process started.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that the bus took.
    pub delivered: AtomicU64,
    /// Events that it refused, and outages that were met.
    pub failures: AtomicU64,
    /// Events of other systems that came in.
    pub received: AtomicU64,
    /// Times that the bus may have lost events before they were read.
    pub gaps: AtomicU64,
}

/// The running relay.
#[derive(Debug)]
pub struct Relay {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    helpers: JoinSet<()>,
    tenants: Arc<Tenants>,
}

impl Relay {
    /// Starts to see to the events of all tenants.
    #[must_use]
    pub fn start(desk: Desk) -> Self {
        let tenants = desk.tenants.clone();
        let mut helpers = JoinSet::new();
        helpers.spawn(sweep(desk.clone()));
        helpers.spawn(keep_catalog(tenants.clone()));
        let (tell, fresh) = mpsc::channel(1);
        helpers.spawn(gather(tenants.clone(), tell));
        let (stop, stopped) = oneshot::channel();
        let scheduler = Scheduler {
            desk,
            agenda: Agenda::default(),
            held: Agenda::default(),
            stopping: Arc::default(),
            running: HashMap::new(),
            turns: JoinSet::new(),
            failures: HashMap::new(),
            health: Health::default(),
        };
        let task = tokio::spawn(scheduler.run(fresh, stopped));
        Self { stop, task, helpers, tenants }
    }

    /// Stops, once the turns under way have kept what they delivered, or after a while. What was delivered and not kept
    /// is delivered again.
    pub async fn stop(self) {
        let Self { stop, task, mut helpers, tenants } = self;
        helpers.abort_all();
        while helpers.join_next().await.is_some() {}
        let _gone = stop.send(());
        let _ended = task.await;
        tenants.save_event_work().await;
    }
}

/// Finds what waits in the tenants' files: first in those that had something when the last process stopped. Without a bus
/// only those, if they are known: nobody is to be told of events, and what came in and could not be applied yet is among them.
async fn sweep(desk: Desk) {
    let work = desk.tenants.event_work().clone();
    let saved = desk.tenants.saved_event_work().await;
    let mut unread = Vec::new();
    let others = if work.publishes() || saved.is_none() { desk.tenants.all() } else { Vec::new() };
    let mut seen = HashSet::new();
    for tenant in saved.into_iter().flatten().chain(others) {
        if !seen.insert(tenant.clone()) {
            continue;
        }
        match desk.backlog(&tenant).await {
            Some(backlog) => {
                work.found(&tenant, backlog);
                if !backlog.is_empty() {
                    work.nudge(&tenant);
                }
            }
            None => unread.push(tenant),
        }
    }
    // A turn tries until the tenant can be had.
    for tenant in unread {
        work.nudge(&tenant);
    }
    let (tenants, backlog) = work.total();
    tracing::info!(tenants, pending = backlog.pending, "all tenants' files have been looked at for events");
}

async fn keep_catalog(tenants: Arc<Tenants>) {
    loop {
        sleep(SAVE_EVERY).await;
        tenants.save_event_work().await;
    }
}

/// Tells the scheduler whose events there are, some at a time.
async fn gather(tenants: Arc<Tenants>, tell: mpsc::Sender<HashSet<TenantId>>) {
    let work = tenants.event_work();
    loop {
        work.grown().await;
        sleep(LINGER).await;
        if tell.send(work.take_fresh()).await.is_err() {
            return;
        }
    }
}

struct Scheduler {
    desk: Desk,
    agenda: Agenda,
    /// Tenants with events that wait for the bus, by how long they do.
    held: Agenda,
    /// The turns under way are to come to an end.
    stopping: Arc<AtomicBool>,
    /// Tenants whose turn it is, and whether there is something new for another one.
    running: HashMap<TenantId, bool>,
    turns: JoinSet<(TenantId, May, Turn)>,
    /// How often a tenant could not be had, in a row.
    failures: HashMap<TenantId, u32>,
    health: Health,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Scheduler {
    async fn run(mut self, mut fresh: mpsc::Receiver<HashSet<TenantId>>, mut stopped: oneshot::Receiver<()>) {
        loop {
            self.begin_turns();
            // When all places are taken, only the end of a turn makes a difference.
            let is_waiting = self.running.len() < self.places()
                && (self.agenda.next().is_some() || self.held.next().is_some());
            let rest = self.rest();
            tokio::select! {
                _ = &mut stopped => break,
                Some(fresh) = fresh.recv() => self.plan(fresh),
                Some(Ok((tenant, may, turn))) = self.turns.join_next() => self.ended(tenant, may, turn),
                () = sleep(rest), if is_waiting => {}
            }
        }
        self.stopping.store(true, Ordering::Relaxed);
        let give_up = Instant::now() + STOP_LIMIT;
        while let Ok(Some(ended)) = timeout_at(give_up, self.turns.join_next()).await {
            if let Ok((tenant, may, turn)) = ended {
                self.ended(tenant, may, turn);
            }
        }
        self.turns.shutdown().await;
    }

    /// Gives tenants with something new a turn.
    fn plan(&mut self, fresh: HashSet<TenantId>) {
        let at = self.desk.clock.now();
        for tenant in fresh {
            match self.running.get_mut(&tenant) {
                Some(again) => *again = true,
                None => self.agenda.add(tenant, at),
            }
        }
    }

    /// How long until somebody's turn may come.
    fn rest(&self) -> Duration {
        let now = self.desk.clock.now();
        let next = self.agenda.next().map_or(TICK, |next| next.since(now));
        next.clamp(Duration::from_millis(1), TICK)
    }

    /// How many tenants may have a turn at once. A turn may wait for the bus: half of the places for visitors are left to
    /// those who do not.
    fn places(&self) -> usize {
        (self.desk.tenants.visitors() / 2).clamp(1, TURNS)
    }

    fn begin_turns(&mut self) {
        while self.running.len() < self.places() {
            let permission = self.health.permission(Instant::now());
            if permission == Permission::Free {
                let at = self.desk.clock.now();
                while let Some(tenant) = self.held.take_first() {
                    self.agenda.add(tenant, at);
                }
            }
            let (tenant, may) = match self.agenda.take(self.desk.clock.now()) {
                Some(tenant) if permission == Permission::Free => (tenant, May::Deliver),
                Some(tenant) if permission == Permission::Probe || self.health.doubts(&tenant) => {
                    (tenant, May::Probe)
                }
                Some(tenant) => (tenant, May::Wait),
                // The one that waits the longest: if it fails, it is another one's turn the next time.
                None if permission == Permission::Probe => match self.held.take_first() {
                    Some(tenant) => (tenant, May::Probe),
                    None => return,
                },
                None => return,
            };
            if let Some(again) = self.running.get_mut(&tenant) {
                *again = true;
                continue;
            }
            if may == May::Probe {
                self.health.probe();
            }
            self.held.remove(&tenant);
            self.running.insert(tenant.clone(), false);
            let (desk, stopping) = (self.desk.clone(), self.stopping.clone());
            self.turns.spawn(async move {
                // A panic must not take the tenant out of the round.
                let turn = AssertUnwindSafe(desk.turn(&tenant, may, &stopping)).catch_unwind().await;
                (tenant, may, turn.unwrap_or_else(|_panic| Turn::new()))
            });
        }
    }

    fn ended(&mut self, tenant: TenantId, may: May, turn: Turn) {
        let again = self.running.remove(&tenant).unwrap_or(false);
        let Turn { outcome, accepted, refused } = turn;
        if accepted > 0 {
            self.health.succeeded();
            self.failures.remove(&tenant);
        }
        let now = self.desk.clock.now();
        let spread = self.desk.spread(now);
        let too_many = (0..refused).any(|_| self.health.refused());
        let mut is_down = false;
        if let Outcome::Outage { reason, retry_after } = outcome {
            is_down = self.health.failed(&tenant, reason, retry_after, spread, Instant::now());
        } else if too_many {
            self.health.failed(&tenant, "it refuses every event", None, spread, Instant::now());
        } else if may == May::Probe && accepted == 0 {
            self.health.probed_nothing();
        }
        match outcome {
            Outcome::Done(backlog) => {
                self.failures.remove(&tenant);
                self.desk.tenants.event_work().found(&tenant, backlog);
                let may_deliver = may != May::Wait && self.desk.bus.is_some();
                // A moment that has passed already is that of an event which an earlier one holds back.
                let retry_at = backlog.retry_at.filter(|_| may_deliver).map(|at| at.max(now + TICK));
                if let Some(at) = [retry_at, backlog.review_at].into_iter().flatten().min() {
                    self.agenda.add(tenant.clone(), at);
                }
                if may == May::Wait && backlog.pending > 0 {
                    self.held.add(tenant.clone(), now);
                }
                if again {
                    self.agenda.add(tenant, now);
                }
            }
            Outcome::More => self.agenda.add(tenant, now),
            Outcome::Suspended => {
                self.failures.remove(&tenant);
                self.desk.tenants.event_work().set_aside(&tenant);
            }
            Outcome::Outage { .. } if is_down => {
                self.failures.remove(&tenant);
                self.held.add(tenant.clone(), now);
                // What came in does not wait for the bus.
                self.agenda.add(tenant, now);
            }
            Outcome::Outage { .. } | Outcome::Unavailable => self.try_later(tenant, now),
        }
    }

    fn try_later(&mut self, tenant: TenantId, now: Timestamp) {
        let failures = self.failures.entry(tenant.clone()).or_default();
        let pause = pause(FIRST_PAUSE, *failures, self.desk.spread(now));
        *failures = failures.saturating_add(1);
        self.agenda.add(tenant, now + pause);
    }
}
