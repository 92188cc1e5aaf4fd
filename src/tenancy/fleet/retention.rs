//! Which backups are no longer needed.

use std::collections::HashMap;

use crate::domain::TenantId;

/// A set, and the tenants in it.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) name: &'a str,
    pub(super) tenants: Vec<&'a TenantId>,
}

/// The sets in which every tenant has at least `keep` newer ones, of `sets` from the newest to the oldest. A backup of one
/// tenant never makes one of all tenants expendable. One at least is kept of each.
pub(super) fn expendable<'a>(sets: impl Iterator<Item = Held<'a>>, keep: usize) -> Vec<String> {
    let mut newer: HashMap<&TenantId, usize> = HashMap::new();
    let mut expendable = Vec::new();
    for set in sets {
        let is_needed = set.tenants.iter().any(|tenant| newer.get(tenant).is_none_or(|n| *n < keep.max(1)));
        if !is_needed && !set.tenants.is_empty() {
            expendable.push(set.name.to_owned());
        }
        for tenant in set.tenants {
            *newer.entry(tenant).or_default() += 1;
        }
    }
    expendable
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_tenant_keeps_its_newest_backups_and_nothing_older_stays_for_nobody(
            sets in proptest::collection::vec(proptest::collection::btree_set(0..4_u8, 0..4), 0..12),
            keep in 0..4_usize,
        ) {
            let tenants: Vec<TenantId> = (0..4).map(|n| format!("t{n}").parse().expect("an id")).collect();
            let names: Vec<String> = (0..sets.len()).map(|n| n.to_string()).collect();
            let held = sets.iter().zip(&names).map(|(set, name)| Held {
                name,
                tenants: set.iter().map(|n| &tenants[usize::from(*n)]).collect(),
            });

            let removed = expendable(held, keep);

            for (place, set) in sets.iter().enumerate() {
                let newer = |tenant| sets[..place].iter().filter(|set| set.contains(tenant)).count();
                let is_needed = set.iter().any(|tenant| newer(tenant) < keep.max(1));
                prop_assert_eq!(removed.contains(&names[place]), !is_needed && !set.is_empty());
            }
        }
    }
}
