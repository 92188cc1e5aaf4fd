//! What clients were told, held against what the files hold.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::AddAssign;

use anyhow::ensure;

use crate::rows::Rows;
use crate::workload::{Effect, Fate, Kind, Write};

/// How many differences are kept in words.
const EXAMPLES: usize = 5;

/// Differences between what was promised and what is there. All of it must be 0.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    /// Acknowledged, and not there; or there under another id.
    pub(crate) lost: usize,
    /// There more than once.
    pub(crate) doubled: usize,
    /// A part of a unit without the rest: a row, its journal, its event, its stored answer.
    pub(crate) half: usize,
    /// Refused as not written, and there; or there though nobody sent it.
    pub(crate) unasked: usize,
    /// The first ones in words.
    pub(crate) examples: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.half + self.unasked == 0
    }

    /// Fails unless nothing differs.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.is_clean(), "{self}: {}", self.examples.join("; "));
        Ok(())
    }

    fn note(&mut self, example: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, half, unasked, examples: _ } = self;
        write!(f, "{lost} lost, {doubled} doubled, {half} half, {unasked} unasked")
    }
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.half += other.half;
        self.unasked += other.unasked;
        for example in other.examples {
            self.note(example);
        }
    }
}

/// Whether a write is in these rows: wholly, not at all, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Absent,
    Whole,
    Half,
    Doubled,
}

/// Compares a tenant's rows with the writes that were sent to it, in the order of each writer. `must` says which of them
/// were acknowledged by the moment in question.
pub(crate) fn compare(rows: &Rows, writes: &[&Write], must: impl Fn(&Write) -> bool) -> Verdict {
    let mut verdict = Verdict::default();
    let mut customers: HashMap<&str, Expected<'_>> = HashMap::new();
    for write in writes {
        let presence = presence(rows, write);
        let id = &write.request_id;
        match presence {
            Presence::Doubled => verdict.doubled += 1,
            Presence::Half => verdict.half += 1,
            Presence::Absent if must(write) => verdict.lost += 1,
            Presence::Whole if write.fate == Fate::Refused => verdict.unasked += 1,
            Presence::Whole if must(write) && !has_acknowledged_id(rows, write) => verdict.lost += 1,
            Presence::Absent | Presence::Whole => {
                if let (Presence::Whole, Some((customer, expected))) = (presence, expect(write)) {
                    customers.entry(customer).or_default().add(&expected);
                }
                continue;
            }
        }
        verdict.note(format!("{} {} {id} of {} is {presence:?}", write.method, write.path, write.tenant));
    }
    verdict += strays(rows, writes);
    // Rows of a unit that do not fit its ledger only show once the ledger itself is whole.
    if verdict.is_clean() {
        verdict += records(rows, &customers);
    }
    verdict
}

/// What the writes that are there make of a customer.
#[derive(Debug, Default)]
struct Expected<'w> {
    changes: usize,
    remark: Option<&'w str>,
    deleted_by: Option<&'w str>,
}

impl<'w> Expected<'w> {
    fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.remark = other.remark.or(self.remark);
        self.deleted_by = other.deleted_by.or(self.deleted_by);
    }
}

fn expect(write: &Write) -> Option<(&str, Expected<'_>)> {
    let id = Some(write.request_id.as_str());
    match &write.effect {
        Effect::Create(_) => None,
        Effect::Change(customer) => {
            Some((customer, Expected { changes: 1, remark: id, ..Expected::default() }))
        }
        Effect::Delete(customer) => Some((customer, Expected { deleted_by: id, ..Expected::default() })),
    }
}

fn presence(rows: &Rows, write: &Write) -> Presence {
    let id = &write.request_id;
    let answers = usize::from(rows.answers.contains(id));
    let entries = rows.journal.get(id).map_or(&[][..], Vec::as_slice);
    let entered = |action: &str| entries.iter().filter(|(known, _)| known == action).count();
    let counts = match &write.effect {
        Effect::Create(kind) => {
            let made = rows.made_by.get(id).map_or(&[][..], Vec::as_slice);
            let event = match kind {
                Kind::Customer => Some("crm.customer.created"),
                Kind::Opportunity => Some("crm.opportunity.created"),
                Kind::Contact | Kind::FollowUp => None,
            };
            let events = event.map_or(made.len(), |event| {
                made.iter()
                    .map(|id| rows.events.get(&(id.clone(), event.to_owned())).copied().unwrap_or(0))
                    .sum()
            });
            vec![answers, entered(&format!("{}.create", kind.words().0)), made.len(), events]
        }
        Effect::Change(_) => vec![answers, entered("customer.update")],
        Effect::Delete(_) => vec![answers, entered("customer.delete")],
    };
    if counts.iter().all(|count| *count == 0) {
        Presence::Absent
    } else if counts.iter().any(|count| *count > 1) {
        Presence::Doubled
    } else if counts.contains(&0) {
        Presence::Half
    } else {
        Presence::Whole
    }
}

fn has_acknowledged_id(rows: &Rows, write: &Write) -> bool {
    match (&write.effect, write.created()) {
        (Effect::Create(_), Some(id)) => {
            rows.records.get(&id).is_some_and(|record| record.text == write.request_id)
        }
        (Effect::Create(_), None) => false,
        _ => true,
    }
}

/// Ledger entries of requests that nobody sent.
fn strays(rows: &Rows, writes: &[&Write]) -> Verdict {
    let mut verdict = Verdict::default();
    let sent: HashSet<&str> = writes.iter().map(|write| write.request_id.as_str()).collect();
    let texts = rows.made_by.keys();
    for id in rows.answers.iter().chain(rows.journal.keys()).chain(texts).collect::<HashSet<_>>() {
        if !sent.contains(id.as_str()) {
            verdict.unasked += 1;
            verdict.note(format!("nobody sent {id}"));
        }
    }
    verdict
}

/// Every customer is what its changes make of it, and what hangs on it shares its fate.
fn records(rows: &Rows, customers: &HashMap<&str, Expected<'_>>) -> Verdict {
    let mut verdict = Verdict::default();
    let nothing = Expected::default();
    let of = |customer: &str| customers.get(customer).unwrap_or(&nothing);
    for (id, record) in &rows.records {
        let owner = record.customer.as_deref().unwrap_or(id);
        let Expected { changes, remark, deleted_by } = of(owner);
        let deletions = usize::from(deleted_by.is_some());
        let is_right = if record.kind == Kind::Customer {
            let updates = rows.events.get(&(id.clone(), "crm.customer.updated".to_owned())).copied();
            record.version == i64::try_from(1 + changes + deletions).unwrap_or(0)
                && record.remark.as_deref() == *remark
                && updates.unwrap_or(0) == *changes
        } else {
            let action = format!("{}.delete", record.kind.words().0);
            let entries = deleted_by.and_then(|by| rows.journal.get(by));
            let entered =
                entries.into_iter().flatten().filter(|entry| *entry == &(action.clone(), id.clone()));
            record.version == i64::try_from(1 + deletions).unwrap_or(0) && entered.count() == deletions
        };
        if !is_right || record.is_deleted != deleted_by.is_some() {
            verdict.half += 1;
            verdict.note(format!("{id}: {record:?}, but {:?}", of(owner)));
        }
    }
    verdict
}
