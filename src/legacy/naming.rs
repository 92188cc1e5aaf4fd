//! Which tenant of this cell a tenant of the Python cell becomes: any text named one there.

use std::collections::BTreeMap;

use anyhow::bail;
use sha2::{Digest as _, Sha256};

use crate::domain::TenantId;

/// Characters of the old name that a made-up one keeps.
const KEPT_MAX: usize = 40;

/// The new id of each old one.
pub type TenantNames = BTreeMap<String, TenantId>;

/// Gives every old tenant its id: the one that `wanted` says, else the one it had at an earlier import, else its own, else,
/// for what is no tenant id here, `legacy-<its letters and digits>-<8 hex digits of its SHA-256>`.
///
/// # Errors
/// `wanted` names a tenant that the file does not have or that was imported under another id before; or two tenants would
/// become one.
pub(super) fn names<'a>(
    old: impl IntoIterator<Item = &'a str>,
    wanted: &BTreeMap<String, TenantId>,
    before: &TenantNames,
) -> anyhow::Result<TenantNames> {
    let mut names = TenantNames::new();
    for old in old {
        let id = match (wanted.get(old), before.get(old)) {
            (Some(wanted), Some(before)) if wanted != before => bail!(
                "the tenant {old:?} was imported as {before} before: --map cannot send the rest of it to {wanted}"
            ),
            (Some(id), _) | (None, Some(id)) => id.clone(),
            (None, None) => match old.parse() {
                Ok(id) => id,
                Err(_) => safe_id(old)?,
            },
        };
        let taken = names.iter().chain(before).find(|(other, taken)| **taken == id && *other != old);
        if let Some((other, _)) = taken {
            bail!(
                "the tenants {other:?} and {old:?} would both become {id}: give one of them another id with --map"
            );
        }
        names.insert(old.to_owned(), id);
    }
    if let Some(unknown) = wanted.keys().find(|old| !names.contains_key(*old)) {
        let known: Vec<_> = names.keys().map(|old| format!("{old:?}")).collect();
        bail!("--map {unknown:?}: the file has no such tenant; it has {}", known.join(", "));
    }
    Ok(names)
}

fn safe_id(old: &str) -> anyhow::Result<TenantId> {
    let readable: String = old.chars().filter(char::is_ascii_alphanumeric).take(KEPT_MAX).collect();
    let hash = hex::encode(Sha256::digest(old));
    Ok(format!("legacy-{readable}-{}", &hash[..8]).parse()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> TenantId {
        text.parse().expect("a tenant id")
    }

    fn map(pairs: &[(&str, &str)]) -> TenantNames {
        pairs.iter().map(|(old, new)| ((*old).to_owned(), id(new))).collect()
    }

    #[test]
    fn tenants_keep_their_ids_where_they_can() {
        let none = TenantNames::new();
        let named = names(["T.hua_xin", "acme", "../../etc"], &none, &none).expect("named");
        assert_eq!(
            named,
            map(&[("T.hua_xin", "T.hua_xin"), ("acme", "acme"), ("../../etc", "legacy-etc-74ccf3c5")])
        );
    }

    #[test]
    fn a_map_decides_and_stands_for_the_next_import() {
        let wanted = map(&[("../../etc", "etc")]);
        assert_eq!(names(["../../etc"], &wanted, &TenantNames::new()).expect("named"), wanted);
        assert_eq!(names(["../../etc"], &TenantNames::new(), &wanted).expect("named"), wanted);
        let error = names(["../../etc"], &map(&[("../../etc", "other")]), &wanted).expect_err("refused");
        assert!(error.to_string().contains("was imported as etc"), "{error}");
    }

    #[test]
    fn tenants_are_neither_merged_nor_made_up() {
        let none = TenantNames::new();
        let error = names(["a", "b"], &map(&[("a", "b")]), &none).expect_err("refused");
        assert!(error.to_string().contains("would both become b"), "{error}");
        let error = names(["a"], &map(&[("b", "c")]), &none).expect_err("refused");
        assert!(error.to_string().contains("no such tenant; it has \"a\""), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_named_a_tenant_gets_an_id_that_is_always_the_same(old in "\\PC{0,90}") {
            let none = TenantNames::new();
            let named = names([old.as_str()], &none, &none).expect("named");
            prop_assert_eq!(named.len(), 1);
            prop_assert_eq!(names([old.as_str()], &none, &none).expect("named"), named);
        }
    }
}
