//! What a disk may hold after a power loss: all that was synced, and any part of the rest.

use std::collections::BTreeMap;

use super::trace::{Event, File, Name, Trace, What};
use crate::chance::Chance;

/// What is cut in two when a write is torn.
const SECTOR: usize = 512;

/// Which syncs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syncs {
    /// All of them, as they were asked for.
    Obeyed,
    /// None: a disk that lies.
    Ignored,
    /// Those that SQLite asks for with `synchronous=NORMAL`: the WAL is synced before a checkpoint and when it is begun
    /// anew, not when a transaction commits.
    AsWithNormal,
}

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Lost,
    Kept,
    /// What came first is kept.
    Prefix,
    /// Any part is kept.
    Subset,
    /// Any part is kept, and in another order.
    Shuffled,
    /// Any part is kept, and of one write only some sectors.
    Torn,
}

impl Rest {
    pub(super) const ALL: [Self; 6] =
        [Self::Lost, Self::Kept, Self::Prefix, Self::Subset, Self::Shuffled, Self::Torn];
}

/// What happened to one file, or to the directory: which of it had begun, and which was synced, at any moment.
#[derive(Debug, Default)]
struct History {
    /// Indices of events, in their order.
    changes: Vec<usize>,
    /// When a sync was over, and how many of `changes` were synced then.
    synced: Vec<(usize, usize)>,
}

impl History {
    /// How many changes are durable, and how many had begun, at a moment.
    fn at(&self, events: &[Event], moment: usize) -> (usize, usize) {
        let begun = self.changes.partition_point(|change| events[*change].start < moment);
        let over = self.synced.partition_point(|(end, _)| *end < moment);
        let durable = self.synced[..over].iter().map(|(_, count)| *count).max().unwrap_or(0);
        (durable, begun)
    }

    fn sync(&mut self, events: &[Event], sync: &Event) {
        let count = self.changes.iter().take_while(|change| events[**change].end < sync.start).count();
        self.synced.push((sync.end, count));
        self.synced.sort_unstable();
    }
}

/// The disk under a trace, at moments that only grow.
pub(super) struct Disk<'t> {
    trace: &'t Trace,
    files: Vec<History>,
    names: History,
    /// What is durable of each file, and how many changes that is.
    durable: Vec<(Vec<u8>, usize)>,
}

impl<'t> Disk<'t> {
    pub(super) fn new(trace: &'t Trace, syncs: Syncs) -> Self {
        let events = &trace.events;
        let mut files: Vec<History> = trace.names.iter().map(|_| History::default()).collect();
        let mut names = History::default();
        for (index, event) in events.iter().enumerate() {
            match &event.what {
                What::Write { file, .. } | What::Truncate { file, .. } => files[*file].changes.push(index),
                What::Name(_) => names.changes.push(index),
                What::Sync { .. } | What::SyncNames if syncs == Syncs::Ignored => {}
                What::Sync { file } => {
                    if syncs == Syncs::Obeyed || !is_of_a_commit(trace, index) {
                        files[*file].sync(events, event);
                    }
                }
                What::SyncNames => names.sync(events, event),
                What::Acknowledged { .. } => {}
            }
        }
        let durable = trace.names.iter().map(|_| (Vec::new(), 0)).collect();
        Self { trace, files, names, durable }
    }

    /// One state that a power loss at `moment` may leave: the content of every file that has a name. `moment` must not be
    /// smaller than the one before.
    pub(super) fn state(
        &mut self,
        moment: usize,
        rest: Rest,
        chance: &mut Chance,
    ) -> BTreeMap<String, Vec<u8>> {
        let events = &self.trace.events;
        let (durable, begun) = self.names.at(events, moment);
        let kept = kept(&self.names.changes[durable..begun], rest, chance);
        let mut names: BTreeMap<&str, File> = BTreeMap::new();
        for change in self.names.changes[..durable].iter().chain(&kept) {
            let What::Name(name) = &events[*change].what else { continue };
            match name {
                Name::Add(name, file) => {
                    names.insert(name, *file);
                }
                Name::Remove(name) => {
                    names.remove(name.as_str());
                }
                Name::Move(from, to) => {
                    if let Some(file) = names.remove(from.as_str()) {
                        names.insert(to, file);
                    }
                }
            }
        }
        let mut state = BTreeMap::new();
        for (name, file) in names {
            state.insert(name.to_owned(), self.content(file, moment, rest, chance));
        }
        state
    }

    fn content(&mut self, file: File, moment: usize, rest: Rest, chance: &mut Chance) -> Vec<u8> {
        let events = &self.trace.events;
        let history = &self.files[file];
        let (durable, begun) = history.at(events, moment);
        let (base, applied) = &mut self.durable[file];
        for change in &history.changes[*applied..durable] {
            apply(base, &events[*change].what);
        }
        *applied = durable;
        let mut content = base.clone();
        let pending = &history.changes[durable..begun];
        let torn = (rest == Rest::Torn && !pending.is_empty()).then(|| chance.pick(pending));
        for change in kept(pending, rest, chance) {
            if Some(change) == torn {
                tear(&mut content, &events[change].what, chance);
            } else {
                apply(&mut content, &events[change].what);
            }
        }
        content
    }
}

/// What is kept of changes that were not synced.
fn kept(pending: &[usize], rest: Rest, chance: &mut Chance) -> Vec<usize> {
    let length = i64::try_from(pending.len()).unwrap_or(0);
    match rest {
        Rest::Lost => Vec::new(),
        Rest::Kept => pending.to_vec(),
        Rest::Prefix => {
            let first = usize::try_from(chance.between(0, length)).unwrap_or(0);
            pending[..first].to_vec()
        }
        Rest::Subset | Rest::Shuffled | Rest::Torn => {
            // Of many pending pages nearly all, about half or nearly none may have been written back.
            let share = chance.pick(&[10, 50, 90, 98]);
            let mut some: Vec<_> = pending.iter().copied().filter(|_| chance.percent(share)).collect();
            if rest == Rest::Shuffled {
                for last in (1..some.len()).rev() {
                    let other =
                        usize::try_from(chance.between(0, i64::try_from(last).unwrap_or(0))).unwrap_or(0);
                    some.swap(last, other);
                }
            }
            some
        }
    }
}

fn apply(content: &mut Vec<u8>, change: &What) {
    match change {
        What::Write { offset, bytes, .. } => put(content, *offset, bytes),
        What::Truncate { length, .. } => content.resize(*length, 0),
        _ => {}
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// Writes only some of the sectors that a write covers.
fn tear(content: &mut Vec<u8>, change: &What, chance: &mut Chance) {
    let What::Write { offset, bytes, .. } = change else { return };
    let mut from = 0;
    while from < bytes.len() {
        let to = (SECTOR - (offset + from) % SECTOR + from).min(bytes.len());
        if chance.percent(50) {
            put(content, offset + from, &bytes[from..to]);
        }
        from = to;
    }
}

/// Whether a sync is one of a WAL that `synchronous=NORMAL` would leave out.
fn is_of_a_commit(trace: &Trace, sync: usize) -> bool {
    let events = &trace.events;
    let What::Sync { file: wal } = events[sync].what else { return false };
    let Some(main) = trace.names[wal].strip_suffix("-wal") else { return false };
    // After the header of a WAL that is begun anew.
    let before = events[..sync].iter().rev().find_map(|event| match &event.what {
        What::Write { file, offset, bytes } if *file == wal => Some(*offset == 0 && bytes.len() == 32),
        _ => None,
    });
    // Before pages go from the WAL to the main file.
    let after = events[sync + 1..].iter().find_map(|event| match &event.what {
        What::Write { file, .. } | What::Truncate { file, .. } if *file == wal => Some(false),
        What::Write { file, .. } if trace.names[*file] == main => Some(true),
        _ => None,
    });
    before != Some(true) && after != Some(true)
}

/// The moments at which some tenant's checkpoint was under way: from the first page that goes to a main file until its WAL
/// is cut or written anew.
pub(super) fn checkpoints(trace: &Trace) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    for (main, name) in trace.names.iter().enumerate().filter(|(_, name)| name.ends_with(".db")) {
        let wal = format!("{name}-wal");
        let mut begun = None;
        for event in &trace.events {
            match &event.what {
                What::Write { file, .. } if *file == main => begun = begun.or(Some(event.start)),
                What::Write { file, .. } | What::Truncate { file, .. } if trace.names[*file] == wal => {
                    spans.extend(begun.take().map(|from| (from, event.end)));
                }
                What::Name(Name::Remove(name)) if *name == wal => {
                    spans.extend(begun.take().map(|from| (from, event.end)));
                }
                // The making of the file is no checkpoint.
                What::Name(Name::Move(_, to)) if to == name => begun = None,
                _ => {}
            }
        }
    }
    spans
}
