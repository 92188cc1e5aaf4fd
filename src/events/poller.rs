//! Events of other systems, fetched from a bus that does not send them: `GET /api/events` (contract §10).
//!
//! The platform's bus answers with the newest events since a moment, at most a hundred, and forgets all but the last
//! thousand. So it is asked often, for a little more than what is new, and an event that comes twice is known again: here by
//! its id, for a while, and in the tenant's inbox for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moka::sync::Cache;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::health::pause;
use super::http_bus::{PATH, authorization};
use super::turn::Desk;
use crate::config::{BusTarget, Events};
use crate::domain::{ReceivedEvent, ReceivedKind, TenantId};
use crate::flows::inbox;
use crate::tenancy::{Actor, StoreError, TenantDb};
use crate::upstream;

/// Events that the bus gives at once at most.
const PAGE: usize = 100;
/// How far back it is asked each time, in seconds: its clock stamps events before they can be read.
const OVERLAP: f64 = 10.0;
/// How far its clock may be ahead of ours, in seconds.
const AHEAD: f64 = 60.0;
/// No more of an answer is read.
const MAX_BODY_BYTES: usize = 8 << 20;
/// Ids that are known again without looking into a tenant's file.
const KNOWN_IDS: u64 = 10_000;
/// An event whose tenant cannot be had is tried for so long.
const TRY_FOR: Duration = Duration::from_secs(3600);

/// Fetches events, and what it needs for that.
#[derive(Debug)]
pub struct Poller {
    desk: Desk,
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
    every: Duration,
    kinds: Vec<ReceivedKind>,
    default_tenant: TenantId,
}

impl Poller {
    /// The poller that the settings ask for, if they do. `default_tenant` is whose an event is that names nobody.
    ///
    /// # Errors
    /// It cannot be had, and what to do about it.
    pub fn new(settings: &Events, desk: Desk, default_tenant: TenantId) -> anyhow::Result<Option<Self>> {
        let target = settings.target().map(BusTarget::parse);
        let (false, Some(Ok(BusTarget::Http(base)))) = (settings.poll_every.is_zero(), target) else {
            return Ok(None);
        };
        let setting = if settings.bus_url.is_some() { "EVENT_BUS_URL" } else { "GATEWAY_URL" };
        Ok(Some(Self {
            desk,
            client: upstream::client(setting, &base, settings.bus_timeout)?,
            url: upstream::below(&base, PATH),
            authorization: authorization(settings.token()),
            every: settings.poll_every,
            kinds: settings.subscribed().filter_map(ReceivedKind::from_word).collect(),
            default_tenant,
        }))
    }

    /// Starts to ask, for each topic by itself. Stops when what is returned is dropped.
    #[must_use]
    pub fn start(self) -> JoinSet<()> {
        let this = Arc::new(self);
        // The bus knows topics by what stands before the first dot.
        let topics = this.kinds.iter().map(|kind| kind.word().split('.').next().unwrap_or_default());
        let topics: BTreeSet<&'static str> = topics.collect();
        let mut polls = JoinSet::new();
        for topic in topics {
            polls.spawn(this.clone().poll(topic));
        }
        polls
    }

    async fn poll(self: Arc<Self>, topic: &'static str) {
        let mut cursor = self.desk.tenants.bus_cursor(topic).await;
        if cursor > self.latest() {
            tracing::warn!(
                topic,
                "the bus was read up to a moment in the future; it is read again from the start"
            );
            cursor = 0.0;
        }
        let mut reading = Reading { cursor, known: Cache::new(KNOWN_IDS), failing: HashMap::new() };
        let mut failures = 0;
        loop {
            match self.fetch(topic, reading.cursor - OVERLAP).await {
                Ok(entries) => {
                    failures = 0;
                    let is_full = entries.len() >= PAGE;
                    let before = reading.cursor;
                    self.take_in(&mut reading, entries).await;
                    if reading.cursor > before {
                        self.desk.tenants.set_bus_cursor(topic, reading.cursor).await;
                    }
                    if is_full {
                        // What came between may have been pushed out.
                        self.desk.tally.gaps.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(
                            topic,
                            "the bus had more events than it gives at once: some may be lost"
                        );
                    }
                    sleep(if is_full { self.every / 4 } else { self.every }).await;
                }
                Err(failure) => {
                    tracing::warn!(topic, reason = failure, "the bus cannot be asked for events");
                    sleep(pause(self.every.max(Duration::from_secs(1)), failures, 0.5)).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn fetch(&self, topic: &str, since: f64) -> Result<Vec<Value>, &'static str> {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("topic", topic)
            .append_pair("since", &format!("{:.6}", since.max(0.0)))
            .append_pair("limit", &PAGE.to_string());
        let mut request = self.client.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|error| upstream::Failure::from(error).0)?;
        if response.status() != StatusCode::OK {
            return Err("status");
        }
        let body = upstream::body(response, MAX_BODY_BYTES).await.map_err(|failure| failure.0)?;
        let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match body.get_mut("data").map(Value::take) {
            Some(Value::Array(entries)) => Ok(entries),
            _ => Err("not a list of events"),
        }
    }

    /// Gives the events that are new to their tenants, each tenant's in their order, and moves the cursor past all that need
    /// not be asked for again.
    async fn take_in(&self, reading: &mut Reading, entries: Vec<Value>) {
        let mut entries: Vec<(f64, Value)> =
            entries.into_iter().map(|entry| (entry["ts"].as_f64().unwrap_or(0.0), entry)).collect();
        entries.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (mut last, latest) = (reading.cursor, self.latest());
        let mut of_tenants: BTreeMap<TenantId, Vec<(f64, ReceivedEvent)>> = BTreeMap::new();
        for (ts, entry) in entries {
            if ts <= latest {
                last = last.max(ts);
            }
            let Ok(event) = ReceivedEvent::read(entry) else { continue };
            let is_wanted =
                ReceivedKind::from_word(&event.kind).is_some_and(|kind| self.kinds.contains(&kind));
            if !is_wanted || reading.known.contains_key(&event.event_id) {
                continue;
            }
            let tenant = match event.tenant().map(str::parse) {
                None => self.default_tenant.clone(),
                Some(Ok(tenant)) => tenant,
                Some(Err(_)) => continue,
            };
            of_tenants.entry(tenant).or_default().push((ts, event));
        }
        for (tenant, events) in of_tenants {
            let Some((first, _)) = events.first() else { continue };
            let first = *first;
            if self.give(&tenant, &events).await {
                for (_, event) in &events {
                    reading.known.insert(event.event_id.clone(), ());
                }
                reading.failing.remove(&tenant);
            } else {
                let since = *reading.failing.entry(tenant.clone()).or_insert_with(Instant::now);
                if since.elapsed() < TRY_FOR {
                    last = last.min(first);
                } else {
                    tracing::error!(tenant_id = %tenant, events = events.len(), "received events were given up");
                    reading.failing.remove(&tenant);
                    for (_, event) in &events {
                        reading.known.insert(event.event_id.clone(), ());
                    }
                }
            }
        }
        reading.cursor = last.max(reading.cursor);
    }

    /// Gives a tenant its events. Says whether they need not be given again.
    async fn give(&self, tenant: &TenantId, events: &[(f64, ReceivedEvent)]) -> bool {
        let db = match self.desk.tenants.visit(tenant).await {
            Ok(Some(db)) => db,
            // Nobody creates a tenant by an event.
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(tenant_id = %tenant, error = &error as &dyn std::error::Error, "events cannot be given to a tenant now");
                return false;
            }
        };
        let events: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
        let mut given = self.write(&db, events.clone()).await;
        if given.as_ref().is_err_and(|error| !error.is_temporary()) {
            // One of them is at fault: the others need not suffer.
            given = Ok(());
            for event in events {
                if let Err(error) = self.write(&db, vec![event]).await {
                    given = Err(error);
                }
            }
        }
        self.desk.tenants.event_work().nudge(tenant);
        match given {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(tenant_id = %tenant, error = &error as &dyn std::error::Error, "events cannot be given to a tenant now");
                false
            }
        }
    }

    async fn write(&self, db: &TenantDb, events: Vec<ReceivedEvent>) -> Result<(), StoreError> {
        let (zone, count) = (self.desk.time_zone, events.len() as u64);
        let actor = Actor { user: "event-bus".into(), ..Actor::default() };
        let given = db.write(actor, None, async move |tx| {
            for event in events {
                inbox::receive(tx, event, zone).await?;
            }
            Ok(())
        });
        given.await?;
        self.desk.tally.received.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// The latest `ts` that may be believed. A single one of the future would hide all that comes until then.
    fn latest(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds have fewer than 53 bits")]
        let now = self.desk.clock.now().millis() as f64 / 1000.0;
        now + AHEAD
    }
}

/// How far a topic has been read.
struct Reading {
    /// The `ts` of the last event that need not be asked for again.
    cursor: f64,
    /// Events that have been given to their tenants lately.
    known: Cache<String, ()>,
    /// Tenants that could not be had, since when.
    failing: HashMap<TenantId, Instant>,
}
