//! What is known of the bus: whether it takes events at all, and when to ask it again.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::TenantId;

/// After the first failure the bus is left alone for this long, then twice as long each time, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// When the bus refuses this many events one after the other, it is not the events.
const REFUSALS: u32 = 10;
/// A bus that fails this often, without taking an event in between, is down. One that fails now and then is not.
const STRIKES: u32 = 3;
/// That the bus is down is believed when so many tenants have met it: until then, one that has not may try at once. It may be
/// the events of a single tenant that the bus cannot stand.
const WITNESSES: usize = 3;

/// Whether the bus can be reached.
#[derive(Debug, Default)]
pub(super) struct Health {
    refusals: u32,
    strikes: u32,
    /// Whose events it failed to take since it last took one.
    met_by: HashSet<TenantId>,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    failures: u32,
    until: Instant,
    probing: bool,
}

/// What the bus may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// Anything.
    Free,
    /// One event, to see whether it takes events again.
    Probe,
    /// Nothing until then.
    Wait(Instant),
    /// Nothing until a probe has come back.
    AwaitProbe,
}

impl Health {
    /// What may be asked now.
    pub(super) fn permission(&self, now: Instant) -> Permission {
        match &self.down {
            None => Permission::Free,
            Some(down) if down.probing => Permission::AwaitProbe,
            Some(down) if now < down.until => Permission::Wait(down.until),
            Some(_) => Permission::Probe,
        }
    }

    /// Whether this tenant may try although the bus is down.
    pub(super) fn doubts(&self, tenant: &TenantId) -> bool {
        let is_quiet = self.down.as_ref().is_some_and(|down| !down.probing);
        is_quiet && self.met_by.len() < WITNESSES && !self.met_by.contains(tenant)
    }

    /// A probe is under way.
    pub(super) fn probe(&mut self) {
        if let Some(down) = &mut self.down {
            down.probing = true;
        }
    }

    /// A probe came back and says nothing of the bus: its tenant had no event to offer.
    pub(super) fn probed_nothing(&mut self) {
        if let Some(down) = &mut self.down {
            down.probing = false;
        }
    }

    /// The bus took an event.
    pub(super) fn succeeded(&mut self) {
        if self.down.is_some() {
            tracing::info!("the bus takes events again");
        }
        *self = Self::default();
    }

    /// The bus refused an event. Says whether that is one too many.
    pub(super) fn refused(&mut self) -> bool {
        self.refusals += 1;
        self.refusals >= REFUSALS
    }

    /// The bus failed to take an event of this tenant. `spread`: a number from 0 to 1 that keeps many cells from asking at
    /// once. Says whether it is down now.
    pub(super) fn failed(
        &mut self,
        tenant: &TenantId,
        reason: &'static str,
        retry_after: Option<Duration>,
        spread: f64,
        now: Instant,
    ) -> bool {
        self.met_by.insert(tenant.clone());
        let failures = match &self.down {
            // Others that were under way when it went down say nothing new.
            Some(down) if !down.probing => return true,
            Some(down) => down.failures,
            None => {
                self.strikes += 1;
                if self.strikes < STRIKES && retry_after.is_none() {
                    return false;
                }
                0
            }
        };
        let pause = pause(FIRST_PAUSE, failures, spread).max(retry_after.unwrap_or_default());
        tracing::warn!(reason, pause_ms = pause.as_millis(), "the bus takes no events");
        (self.refusals, self.strikes) = (0, 0);
        self.down = Some(Down { failures: failures.saturating_add(1), until: now + pause, probing: false });
        true
    }
}

/// The pause after so many failures in a row: doubled each time, up to five minutes, give or take a fifth.
pub(super) fn pause(first: Duration, failures: u32, spread: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
    doubled.min(LONGEST_PAUSE).mul_f64(0.8 + 0.4 * spread.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().expect("a tenant id")
    }

    #[test]
    fn an_outage_that_one_tenant_met_is_doubted_by_the_next_ones() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(!health.doubts(&tenant("b")), "the bus is not down");
        for _ in 0..STRIKES {
            health.failed(&tenant("a"), "timeout", None, 0.5, now);
        }
        assert!(!health.doubts(&tenant("a")) && health.doubts(&tenant("b")));
        health.probe();
        assert!(!health.doubts(&tenant("b")), "one at a time");
        health.failed(&tenant("b"), "timeout", None, 0.5, now);
        assert!(health.doubts(&tenant("c")));
        health.probe();
        health.failed(&tenant("c"), "timeout", None, 0.5, now);
        assert!(!health.doubts(&tenant("d")), "three tenants have met it");
        health.succeeded();
        assert_eq!(health.permission(now), Permission::Free);
    }

    #[test]
    fn pauses_double_from_a_second_to_five_minutes() {
        let pauses = |spread| (0..12).map(move |failures| pause(FIRST_PAUSE, failures, spread).as_millis());
        let middle: Vec<_> = pauses(0.5).collect();
        assert_eq!(middle[..4], [1000, 2000, 4000, 8000]);
        assert_eq!(middle[9..], [300_000; 3]);
        assert!(pauses(0.0).zip(pauses(1.0)).all(|(least, most)| least * 3 == most * 2));
        assert_eq!(pause(FIRST_PAUSE, u32::MAX, 0.5), LONGEST_PAUSE);
    }

    #[test]
    fn one_probe_at_a_time_decides_whether_an_outage_is_over() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(!health.failed(&tenant("a"), "timeout", None, 0.5, now));
        assert!(!health.failed(&tenant("a"), "timeout", None, 0.5, now));
        assert_eq!(health.permission(now), Permission::Free);
        assert!(health.failed(&tenant("a"), "timeout", None, 0.5, now));
        assert!(health.failed(&tenant("a"), "timeout", None, 0.5, now)); // a straggler
        let until = now + FIRST_PAUSE;
        assert_eq!(health.permission(now), Permission::Wait(until));
        assert_eq!(health.permission(until), Permission::Probe);

        health.probe();
        assert_eq!(health.permission(until), Permission::AwaitProbe);
        assert!(health.failed(&tenant("a"), "timeout", None, 0.5, until));
        assert_eq!(health.permission(until), Permission::Wait(until + 2 * FIRST_PAUSE));

        health.probe();
        health.probed_nothing();
        assert_eq!(health.permission(until + 2 * FIRST_PAUSE), Permission::Probe);
        health.probe();
        health.succeeded();
        assert_eq!(health.permission(until), Permission::Free);
    }

    #[test]
    fn a_bus_that_asks_to_be_left_alone_is() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.failed(&tenant("a"), "too many requests", Some(Duration::from_secs(60)), 0.5, now));
        assert_eq!(health.permission(now), Permission::Wait(now + Duration::from_secs(60)));
    }

    #[test]
    fn a_bus_that_fails_now_and_then_is_not_down() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..20 {
            assert!(!health.failed(&tenant("a"), "timeout", None, 0.5, now));
            assert!(!health.failed(&tenant("a"), "timeout", None, 0.5, now));
            health.succeeded();
        }
        assert_eq!(health.permission(now), Permission::Free);
    }

    #[test]
    fn ten_refusals_without_a_success_between_them_are_one_too_many() {
        let mut health = Health::default();
        assert!((0..9).all(|_| !health.refused()));
        health.succeeded();
        assert!((0..9).all(|_| !health.refused()));
        assert!(health.refused());
    }
}
