//! An event of another system: taken in once, given its effect, or left to a person (contract §10).

use std::time::Duration;

use super::{contract_signed, task_completed};
use crate::domain::{
    ContractSigned, ReceivedEvent, ReceivedKind, Resolution, TaskCompleted, Timestamp, Unreadable, Violation,
};
use crate::store::inbox::{self, InboxEvent, Kept};
pub use crate::store::inbox::{Effect, InboxState, is_due};
use crate::tenancy::{StoreError, Write};
use chrono_tz::Tz;

/// How long an event is tried again by itself: what it names may still be on its way.
const TRY_FOR: Duration = Duration::from_secs(24 * 3600);
/// Pauses between two tries: as long as it has waited already, within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Events that are tried again in one transaction.
const SLICE: u32 = 50;

/// What came of an event that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The event.
    pub event_id: String,
    /// `applied`, `ignored`, …
    pub state: String,
    /// Why: a word.
    pub reason: Option<String>,
    /// It came before, and nothing was done now.
    pub is_duplicate: bool,
}

/// Takes in an event: gives it its effect and keeps it, or says what came of it before. Dates without an offset are in
/// `zone`.
///
/// # Errors
/// See [`StoreError`].
pub async fn receive(tx: &mut Write, event: ReceivedEvent, zone: Tz) -> Result<Received, StoreError> {
    if let Some(earlier) = inbox::find(tx, &event.event_id).await? {
        let InboxEvent { event_id, state, reason, .. } = earlier;
        return Ok(Received { event_id, state, reason, is_duplicate: true });
    }
    let now = tx.now();
    let seen = Kept { event, received_at: now };
    let (effect, subject) = apply(tx, &seen, None, zone).await?;
    inbox::insert(tx, &seen.event, subject.as_deref(), &effect, retry_at(&effect, &seen, now)).await?;
    let Effect { state, reason, .. } = effect;
    Ok(Received {
        event_id: seen.event.event_id,
        state: state.word().to_owned(),
        reason: reason.map(str::to_owned),
        is_duplicate: false,
    })
}

/// Looks again at the events whose time has come.
///
/// # Errors
/// See [`StoreError`].
pub async fn retry_due(tx: &mut Write, zone: Tz) -> Result<(), StoreError> {
    let now = tx.now();
    for seen in inbox::due(tx, now, SLICE).await? {
        let (effect, _) = apply(tx, &seen, None, zone).await?;
        inbox::update(tx, &seen.event.event_id, &effect, retry_at(&effect, &seen, now)).await?;
    }
    Ok(())
}

/// Looks again at an event that waits for a person, or could not be acted on.
///
/// # Errors
/// [`Violation::NoSuchEvent`], [`Violation::EventSettled`]; see [`StoreError`].
pub async fn retry(tx: &mut Write, event_id: &str, zone: Tz) -> Result<InboxEvent, StoreError> {
    let seen = open(tx, event_id).await?;
    let (effect, _) = apply(tx, &seen, None, zone).await?;
    let retry_at = retry_at(&effect, &seen, tx.now());
    inbox::update(tx, event_id, &effect, retry_at).await?;
    shown(tx, event_id).await
}

/// Gives an event that waits for a person the meaning that one says it has.
///
/// # Errors
/// [`Violation::NoSuchEvent`], [`Violation::EventSettled`], [`Violation::NoSuch`] record that it is said to mean; see
/// [`StoreError`].
pub async fn resolve(
    tx: &mut Write,
    event_id: &str,
    resolution: &Resolution,
    zone: Tz,
) -> Result<InboxEvent, StoreError> {
    let seen = open(tx, event_id).await?;
    let mut effect = match resolution {
        Resolution::Dismiss => Effect::new(InboxState::Resolved, Some("dismissed")),
        _ => apply(tx, &seen, Some(resolution), zone).await?.0,
    };
    if effect.state == InboxState::Applied {
        effect.state = InboxState::Resolved;
    }
    inbox::update(tx, event_id, &effect, None).await?;
    shown(tx, event_id).await
}

/// The event, if it may still be given a meaning.
async fn open(tx: &mut Write, event_id: &str) -> Result<Kept, StoreError> {
    let no_such = || StoreError::Violation(Violation::NoSuchEvent);
    let InboxEvent { state, .. } = inbox::find(tx, event_id).await?.ok_or_else(no_such)?;
    if ![InboxState::NeedsReview, InboxState::Failed].iter().any(|open| open.word() == state) {
        return Err(StoreError::Violation(Violation::EventSettled));
    }
    inbox::read_again(tx, event_id).await?.ok_or_else(no_such)
}

async fn shown(tx: &mut Write, event_id: &str) -> Result<InboxEvent, StoreError> {
    inbox::find(tx, event_id).await?.ok_or(StoreError::Violation(Violation::NoSuchEvent))
}

/// What the event does, and what it is about.
async fn apply(
    tx: &mut Write,
    seen: &Kept,
    resolution: Option<&Resolution>,
    zone: Tz,
) -> Result<(Effect, Option<String>), StoreError> {
    let Kept { event, received_at } = seen;
    let failed = |Unreadable(reason)| (Effect::new(InboxState::Failed, Some(reason)), None);
    match ReceivedKind::from_word(&event.kind) {
        None => Ok((Effect::new(InboxState::Ignored, Some("unknown-type")), None)),
        Some(ReceivedKind::ContractSigned) => match ContractSigned::read(event, *received_at, zone) {
            Err(unreadable) => Ok(failed(unreadable)),
            Ok(contract) => {
                let effect = contract_signed::apply(tx, &contract, resolution).await?;
                supersede(tx, &contract, zone).await?;
                Ok((effect, Some(contract_subject(&contract.key))))
            }
        },
        Some(ReceivedKind::TaskCompleted) => match TaskCompleted::read(event, *received_at, zone) {
            Err(unreadable) => Ok(failed(unreadable)),
            Ok(task) => {
                let effect = task_completed::apply(tx, &task, resolution, zone).await?;
                Ok((effect, Some(format!("task:{}", task.task_id))))
            }
        },
    }
}

fn contract_subject(key: &str) -> String {
    format!("contract:{key}")
}

/// Whatever waits for a person about this contract and is older than what is now known of it need not be looked at: so that
/// the same events leave the same state in whichever order they come.
async fn supersede(tx: &mut Write, contract: &ContractSigned, zone: Tz) -> Result<(), StoreError> {
    let Some(known) = crate::store::contracts::get(tx, &contract.key).await? else {
        return Ok(());
    };
    for seen in inbox::waiting_about(tx, &contract_subject(&contract.key)).await? {
        let older = ContractSigned::read(&seen.event, seen.received_at, zone)
            .is_ok_and(|older| older.standing < known.standing);
        if older {
            inbox::update(tx, &seen.event.event_id, &Effect::superseded(), None).await?;
        }
    }
    Ok(())
}

/// When the event is tried again by itself, if it may come right.
fn retry_at(effect: &Effect, seen: &Kept, now: Timestamp) -> Option<Timestamp> {
    let waited = now.since(seen.received_at);
    (effect.may_come_right && waited < TRY_FOR).then(|| now + waited.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

impl Effect {
    pub(super) fn new(state: InboxState, reason: Option<&'static str>) -> Self {
        Self { state, reason, record_id: None, candidates: Vec::new(), may_come_right: false }
    }

    /// A person is to say what it means.
    pub(super) fn review(reason: &'static str) -> Self {
        Self::new(InboxState::NeedsReview, Some(reason))
    }

    /// It changed or made this record, or found it as it should be.
    pub(super) fn applied(record_id: String) -> Self {
        Self { record_id: Some(record_id), ..Self::new(InboxState::Applied, None) }
    }

    /// A later event about the same thing was here before.
    pub(super) fn superseded() -> Self {
        Self::new(InboxState::Ignored, Some("superseded"))
    }

    pub(super) fn with_candidates(self, candidates: Vec<String>) -> Self {
        Self { candidates, ..self }
    }

    pub(super) fn that_may_come_right(self) -> Self {
        Self { may_come_right: true, ..self }
    }
}
