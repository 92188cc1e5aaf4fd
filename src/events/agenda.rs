//! Which tenant's turn comes when.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{TenantId, Timestamp};

/// Tenants by the moment of their next turn; each has one.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    turns: BTreeSet<(Timestamp, TenantId)>,
    at: HashMap<TenantId, Timestamp>,
}

impl Agenda {
    /// The tenant's turn comes at this moment, unless it comes earlier anyway.
    pub(super) fn add(&mut self, tenant: TenantId, at: Timestamp) {
        match self.at.get(&tenant) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.turns.remove(&(*later, tenant.clone()));
            }
            None => {}
        }
        self.at.insert(tenant.clone(), at);
        self.turns.insert((at, tenant));
    }

    /// Takes the tenant whose turn has come by `now`, the one that waits for it the longest.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<TenantId> {
        let (at, _) = self.turns.first()?;
        if *at > now {
            return None;
        }
        let (_, tenant) = self.turns.pop_first()?;
        self.at.remove(&tenant);
        Some(tenant)
    }

    /// Takes the tenant that waits the longest, whenever its turn would come.
    pub(super) fn take_first(&mut self) -> Option<TenantId> {
        self.take(self.next()?)
    }

    /// The tenant has no turn any more.
    pub(super) fn remove(&mut self, tenant: &TenantId) {
        if let Some(at) = self.at.remove(tenant) {
            self.turns.remove(&(at, tenant.clone()));
        }
    }

    /// When the next turn comes.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.turns.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_one_turn_the_earliest_that_was_asked_for() {
        let tenant = |id: &str| id.parse::<TenantId>().expect("a tenant id");
        let at = Timestamp::from_millis;
        let mut agenda = Agenda::default();
        agenda.add(tenant("b"), at(30));
        agenda.add(tenant("a"), at(20));
        agenda.add(tenant("b"), at(10));
        agenda.add(tenant("b"), at(40));

        assert_eq!(agenda.next(), Some(at(10)));
        assert_eq!(agenda.take(at(9)), None);
        assert_eq!(agenda.take(at(25)), Some(tenant("b")));
        assert_eq!(agenda.take(at(25)), Some(tenant("a")));
        assert_eq!((agenda.take(at(99)), agenda.next()), (None, None));

        agenda.add(tenant("a"), at(50));
        agenda.add(tenant("b"), at(40));
        agenda.add(tenant("c"), at(60));
        agenda.remove(&tenant("a"));
        assert_eq!((agenda.take_first(), agenda.take_first()), (Some(tenant("b")), Some(tenant("c"))));
        assert_eq!(agenda.take_first(), None);
    }
}
