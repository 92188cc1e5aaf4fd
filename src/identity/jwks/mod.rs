//! Key sets that change while the cell runs (`CRM_JWKS_URL`, `CRM_JWKS_FILE`; contract §5).
//!
//! - A set is used until it is ten minutes old; whoever finds it older has it read again and does not wait. If that
//!   fails, the old set serves until it is an hour old, and then proves nothing.
//! - A token that names a key the set does not have waits for one reading, at most every 30 s; however many wait, it is
//!   one ([`super::flight`]). Nobody else waits while there is a set.
//! - Without a usable set nobody can say whether a token is good: [`Newest::Nothing`].

mod set;
mod source;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

pub(super) use self::set::KeySet;
use self::source::{Print, Said, Source, read_file};
use super::error::{IdentityError, given};
use super::flight::Flights;
use super::monotonic::Monotonic;
use crate::config;
use crate::upstream::Failure;

/// The pause after a failure while there is no set at all: nothing can be refreshed, and callers are being turned away.
const PAUSE_WITHOUT_A_SET: Duration = Duration::from_secs(5);
/// How often a file is looked at.
const LOOK_AT_A_FILE: Duration = Duration::from_secs(1);

/// A key set and where it comes from.
pub(super) struct Jwks {
    desk: Arc<Desk>,
    flights: Flights<(), ()>,
}

/// What is known after the source was asked for its newest word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newest {
    /// The source's last word is held.
    Held,
    /// The source did not answer the last time: it may have other keys by now. When it is asked again.
    Older(Duration),
    /// There is no set that may be used. When the source is asked again.
    Nothing(Duration),
}

struct Desk {
    setting: &'static str,
    source: Source,
    max_age: Duration,
    pause: Duration,
    stale: Duration,
    clock: Monotonic,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    last: Option<Attempt>,
}

struct Held {
    set: Arc<KeySet>,
    print: Print,
    /// When the source last said so.
    at: Duration,
}

#[derive(Clone, Copy)]
struct Attempt {
    at: Duration,
    failed: bool,
}

impl Jwks {
    /// The configured sets. A file is read here, a URL in [`Jwks::renew`].
    pub(super) fn configured(auth: &config::Auth, clock: &Monotonic) -> Result<Vec<Self>, IdentityError> {
        let mut sets = Vec::new();
        if let Some(url) = given("CRM_JWKS_URL", auth.jwks_url.as_deref())? {
            let source = Source::url(&url, auth.jwks_timeout)?;
            sets.push(Self::new("CRM_JWKS_URL", source, auth, clock));
        }
        if let Some(path) = given("CRM_JWKS_FILE", auth.jwks_file.as_deref())? {
            sets.push(Self::of_file(path.into(), auth, clock)?);
        }
        Ok(sets)
    }

    fn new(setting: &'static str, source: Source, auth: &config::Auth, clock: &Monotonic) -> Self {
        let most = |duration: Duration| match source {
            Source::Url { .. } => duration,
            Source::File(_) => duration.min(LOOK_AT_A_FILE),
        };
        let (max_age, pause) = (most(auth.jwks_max_age), most(auth.jwks_min_pause));
        let stale = auth.jwks_stale.max(auth.jwks_max_age);
        let clock = clock.clone();
        let desk = Desk { setting, source, max_age, pause, stale, clock, state: RwLock::default() };
        Self { desk: Arc::new(desk), flights: Flights::new() }
    }

    fn of_file(path: PathBuf, auth: &config::Auth, clock: &Monotonic) -> Result<Self, IdentityError> {
        const SETTING: &str = "CRM_JWKS_FILE";
        let refuse = |problem: String| IdentityError::new(SETTING, problem);
        let said = read_file(&path, None).map_err(|error| {
            refuse("names no readable file of at most 64 KiB; give the path of a JSON Web Key Set".to_owned())
                .because(error)
        })?;
        let jwks = Self::new(SETTING, Source::File(path), auth, clock);
        jwks.desk.hear(Ok(said), clock.now()).map_err(|Failure(reason)| {
            refuse(format!(
                "cannot be used ({reason}); it must be a JSON Web Key Set with an RSA, EC or Ed25519 key"
            ))
        })?;
        Ok(jwks)
    }

    /// The set, if it may be used. One that is old is read again meanwhile.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        let desk = &self.desk;
        let now = desk.clock.now();
        let state = desk.read();
        let set = desk.usable(&state, now)?.set.clone();
        let is_old = state.held.as_ref().is_some_and(|held| now.saturating_sub(held.at) >= desk.max_age);
        let is_due = is_old && desk.wait(&state, now).is_zero();
        drop(state);
        if is_due {
            drop(self.flights.launch((), || desk.clone().attempt()));
        }
        Some(set)
    }

    /// Whether the set in use has a key called `id`: then there is no need to ask for a newer one.
    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        let (desk, now) = (&self.desk, self.desk.clock.now());
        desk.usable(&desk.read(), now).is_some_and(|held| id.is_some_and(|id| held.set.has(id)))
    }

    /// Asks the source for its newest word, unless it was asked a moment ago, and waits for it.
    pub(super) async fn renew(&self) -> Newest {
        let desk = &self.desk;
        self.flights.join((), || desk.clone().attempt()).await;
        let now = desk.clock.now();
        let state = desk.read();
        match (desk.usable(&state, now), state.last) {
            (None, _) => Newest::Nothing(desk.wait(&state, now)),
            (Some(_), Some(Attempt { failed: true, .. })) => Newest::Older(desk.wait(&state, now)),
            (Some(_), _) => Newest::Held,
        }
    }
}

impl Desk {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable<'a>(&self, state: &'a State, now: Duration) -> Option<&'a Held> {
        state.held.as_ref().filter(|held| now.saturating_sub(held.at) < self.stale)
    }

    /// How long the source is left alone yet.
    fn wait(&self, state: &State, now: Duration) -> Duration {
        let Some(last) = state.last else { return Duration::ZERO };
        let has_a_set = self.usable(state, now).is_some();
        let pause = if has_a_set { self.pause } else { self.pause.min(PAUSE_WITHOUT_A_SET) };
        pause.saturating_sub(now.saturating_sub(last.at))
    }

    /// Asks the source, if it is time.
    async fn attempt(self: Arc<Self>) {
        let now = self.clock.now();
        let before = {
            let mut state = self.write();
            if !self.wait(&state, now).is_zero() {
                return;
            }
            // A crash counts as a failure.
            state.last = Some(Attempt { at: now, failed: true });
            state.held.as_ref().map(|held| held.print)
        };
        let said = self.source.read(before).await;
        if let Err(Failure(reason)) = self.hear(said, now) {
            let usable = self.usable(&self.read(), now).is_some();
            tracing::warn!(setting = self.setting, reason, usable, "the key set could not be read");
        }
    }

    /// Takes what the source said when it was asked at `at`.
    fn hear(&self, said: Result<Said, Failure>, at: Duration) -> Result<(), Failure> {
        let new = match said? {
            Said::Same => None,
            Said::Document(text, print) => Some((KeySet::parse(&text)?, print)),
        };
        let mut state = self.write();
        if new.as_ref().is_some_and(|(set, _)| set.keys.is_empty()) {
            // The issuer has taken its keys back, which must count at once. Should it be a slip, nobody is logged out
            // by it: without a set nobody can say whether a token is good.
            state.held = None;
            return Err(Failure("no key that could prove a token"));
        }
        if let Some((set, print)) = new {
            tracing::info!(setting = self.setting, keys = set.keys.len(), "a new key set is in use");
            state.held = Some(Held { set: Arc::new(set), print, at });
        } else if let Some(held) = &mut state.held {
            held.at = at;
        }
        state.last = Some(Attempt { at, failed: false });
        Ok(())
    }
}
