//! Time as an input: every rule that needs "now" gets it from a [`Clock`].

use std::fmt;
use std::ops::Add;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone as _};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment: whole milliseconds since 1970-01-01T00:00:00Z, between the years 0001 and 9999.
///
/// Written as RFC 3339 UTC with three decimals (contract §3), stored as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    const FIRST: i64 = -62_135_596_800_000;
    const LAST: i64 = 253_402_300_799_999;

    /// The moment `millis` milliseconds after the epoch; clamped to the years 0001 to 9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(Self::FIRST, Self::LAST))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads an RFC 3339 date-time with any offset; finer digits than milliseconds are cut off.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let millis = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
        (Self::FIRST..=Self::LAST).contains(&millis).then_some(Self(millis))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// So much later; at most the end of the year 9999.
    fn add(self, later: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(later.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Timestamp {
    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 date-time, or a date or date-time without an offset as the wall clock of `zone` shows it: the
    /// start of the day, the earlier of two equal readings, the first moment after a gap.
    #[must_use]
    pub fn parse(text: &str, zone: Tz) -> Option<Self> {
        let local = || {
            let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
            text.parse::<NaiveDateTime>().ok().or_else(day)
        };
        Self::parse_rfc3339(text).or_else(|| {
            // Years are read with up to six digits; at the ends of the calendar there is no next quarter of an hour.
            let local = local().filter(|local| (1..=9999).contains(&local.year()))?;
            // Gaps are shorter than a day wherever a zone has them.
            let moment = (0..24 * 4).find_map(|quarters| {
                zone.from_local_datetime(&(local + TimeDelta::minutes(15 * quarters))).earliest()
            })?;
            let millis = moment.timestamp_millis();
            (Self::FIRST..=Self::LAST).contains(&millis).then_some(Self(millis))
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&moment.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 date-time"))
    }
}

/// Where "now" comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when it is told to, for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.millis()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_utc_with_milliseconds() {
        let moment = Timestamp::parse_rfc3339("2026-11-22T16:00:00.0019+08:00").expect("valid");
        assert_eq!(moment.to_string(), "2026-11-22T08:00:00.001Z");
    }

    #[test]
    fn without_an_offset_the_zone_decides() {
        let read = |text, zone| Timestamp::parse(text, zone).map(|moment| moment.to_string());
        let shanghai = chrono_tz::Asia::Shanghai;
        assert_eq!(read("2026-11-22", shanghai).as_deref(), Some("2026-11-21T16:00:00.000Z"));
        assert_eq!(read("2026-11-22T08:00:00", shanghai).as_deref(), Some("2026-11-22T00:00:00.000Z"));
        assert_eq!(read("2026-11-22T08:00:00Z", shanghai).as_deref(), Some("2026-11-22T08:00:00.000Z"));
        // Midnight did not exist in São Paulo on this day.
        assert_eq!(
            read("2018-11-04", chrono_tz::America::Sao_Paulo).as_deref(),
            Some("2018-11-04T03:00:00.000Z")
        );
        assert_eq!(read("22.11.2026", shanghai), None);
        for beyond in ["+262142-12-31T23:59:59", "-262143-01-01", "10000-01-01", "9999-12-31T23:59:59"] {
            assert_eq!(read(beyond, chrono_tz::America::New_York), None, "{beyond}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_moment() {
        for text in ["", "2026-11-22", "2026-11-22T08:00:00", "2026-13-01T00:00:00Z", "now"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }
}
