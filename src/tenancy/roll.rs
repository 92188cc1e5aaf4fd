//! The roll of all tenants: what was last seen of each, so that whoever lists them need not open their files.
//!
//! The truth is in the files. What is found when one is opened is kept here until it is saved in the catalog; a tenant that the
//! catalog does not know has not been opened since that was made.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::meta::Meta;
use crate::domain::{TenantId, Timestamp};

/// What is to be saved in the catalog.
#[derive(Default)]
pub(super) struct Roll(Mutex<HashMap<TenantId, Seen>>);

/// What was seen of a tenant; `None` where nothing was.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Seen {
    pub(super) meta: Option<Meta>,
    pub(super) accessed: Option<Timestamp>,
    /// When its file was looked at as a whole.
    pub(super) checked: Option<Timestamp>,
    /// It has a file, which was refused.
    pub(super) refused: bool,
    /// It has no file any more.
    pub(super) gone: bool,
}

impl Roll {
    /// The file says this of itself.
    pub(super) fn saw(&self, tenant: &TenantId, meta: &Meta, accessed: Option<Timestamp>) {
        let mut seen = self.seen();
        let seen = seen.entry(tenant.clone()).or_default();
        seen.gone = false;
        seen.meta = Some(meta.clone());
        seen.accessed = accessed.max(seen.accessed);
    }

    /// A request used it.
    pub(super) fn accessed(&self, tenant: &TenantId, at: Timestamp) {
        let mut seen = self.seen();
        let seen = seen.entry(tenant.clone()).or_default();
        seen.accessed = Some(at).max(seen.accessed);
    }

    /// Its file was found whole.
    pub(super) fn checked(&self, tenant: &TenantId, at: Timestamp) {
        self.seen().entry(tenant.clone()).or_default().checked = Some(at);
    }

    /// It has a file, which was refused.
    pub(super) fn refused(&self, tenant: &TenantId) {
        let mut seen = self.seen();
        let seen = seen.entry(tenant.clone()).or_default();
        (seen.refused, seen.gone) = (true, false);
    }

    /// It has no file any more.
    pub(super) fn gone(&self, tenant: &TenantId) {
        self.seen().insert(tenant.clone(), Seen { gone: true, ..Seen::default() });
    }

    /// Takes what is to be saved.
    pub(super) fn take(&self) -> HashMap<TenantId, Seen> {
        std::mem::take(&mut self.seen())
    }

    /// Gives back what could not be saved; what was seen meanwhile is newer.
    pub(super) fn give_back(&self, unsaved: HashMap<TenantId, Seen>) {
        let mut seen = self.seen();
        for (tenant, old) in unsaved {
            let newer = seen.entry(tenant).or_default();
            if newer.gone {
                continue;
            }
            newer.gone = old.gone && newer.meta.is_none() && !newer.refused;
            newer.refused |= old.refused;
            newer.meta = newer.meta.take().or(old.meta);
            newer.accessed = newer.accessed.max(old.accessed);
            newer.checked = newer.checked.max(old.checked);
        }
    }

    /// A panic elsewhere leaves the map whole, so a poisoned lock is usable.
    fn seen(&self) -> MutexGuard<'_, HashMap<TenantId, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roll").finish_non_exhaustive()
    }
}
