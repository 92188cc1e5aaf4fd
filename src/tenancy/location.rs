//! Where a tenant's file is: the only place that turns a [`TenantId`] into a path.

use std::path::{Path, PathBuf};

use crate::domain::{TenantId, Timestamp};

const SUFFIX: &str = ".db";

/// Stems that Windows takes for devices, whatever follows the first dot; copies of a data root may end up there.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The name of a tenant's file: readable, and different for every two ids on every file system (ADR 0001).
///
/// Lower-case letters, digits and `. _ - @ ~` stand for themselves. File systems may fold case and refuse `:`, so an
/// upper-case letter is written `+` and the lower-case one, a colon `+_`. `++` in front sets apart the names of devices.
#[must_use]
pub fn file_name(tenant: &TenantId) -> String {
    let id = tenant.as_str();
    let mut name = String::with_capacity(id.len() + SUFFIX.len() + 2);
    let stem = id.split('.').next().unwrap_or_default();
    if DEVICES.contains(&stem) {
        name.push_str("++");
    }
    for c in id.chars() {
        match c {
            'A'..='Z' => name.extend(['+', c.to_ascii_lowercase()]),
            ':' => name.push_str("+_"),
            _ => name.push(c),
        }
    }
    name.push_str(SUFFIX);
    name
}

/// The tenant whose file has this name; `None` for a name that [`file_name`] does not make.
#[must_use]
pub fn tenant_of(file_name: &str) -> Option<TenantId> {
    let encoded = file_name.strip_suffix(SUFFIX)?;
    let mut chars = encoded.strip_prefix("++").unwrap_or(encoded).chars();
    let mut id = String::with_capacity(encoded.len());
    while let Some(c) = chars.next() {
        match c {
            '+' => match chars.next()? {
                '_' => id.push(':'),
                letter @ 'a'..='z' => id.push(letter.to_ascii_uppercase()),
                _ => return None,
            },
            _ => id.push(c),
        }
    }
    let tenant = id.parse().ok()?;
    (self::file_name(&tenant) == file_name).then_some(tenant)
}

/// A moment as a part of a name: without colons, which not every file system takes.
pub(super) fn time_in_name(at: Timestamp) -> String {
    at.to_string().replace(':', "-")
}

/// The moment that a part of a name says; `None` for what [`time_in_name`] does not make.
pub(super) fn time_of_name(part: &str) -> Option<Timestamp> {
    let (date, time) = part.split_once('T')?;
    Timestamp::parse_rfc3339(&format!("{date}T{}", time.replace('-', ":")))
}

/// The path of a tenant's file in a directory of such files.
pub(super) fn file_in(directory: &Path, tenant: &TenantId) -> PathBuf {
    directory.join(file_name(tenant))
}

/// What SQLite appends to a file's name for the files it keeps beside it.
pub(super) const SIDE_FILES: [&str; 3] = ["-journal", "-wal", "-shm"];

/// The path of the file that SQLite keeps beside `file` under this suffix.
pub(super) fn side_file(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_and_hold_no_upper_case() {
        for (id, name) in [
            ("acme", "acme.db"),
            ("Acme", "+acme.db"),
            ("a:B", "a+_+b.db"),
            ("con", "++con.db"),
            ("con.x", "++con.x.db"),
            ("console", "console.db"),
            ("x.db", "x.db.db"),
        ] {
            assert_eq!(file_name(&id.parse().expect(id)), name);
        }
    }

    #[test]
    fn foreign_names_belong_to_no_tenant() {
        for name in [
            "acme",
            "acme.db-wal",
            "Acme.db",
            "+A.db",
            "+.db",
            "++acme.db",
            "..db",
            ".db",
            "a+:.db",
            "acme.db.new",
        ] {
            assert_eq!(tenant_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back_from_its_file_name(id in "[A-Za-z0-9_][A-Za-z0-9._:@~-]{0,63}") {
            if let Ok(tenant) = id.parse::<TenantId>() {
                prop_assert_eq!(tenant_of(&file_name(&tenant)), Some(tenant));
            }
        }

        #[test]
        fn names_stay_below_their_directory(id in "\\PC{0,80}") {
            if let Ok(tenant) = id.parse::<TenantId>() {
                let name = file_name(&tenant);
                prop_assert!(!name.contains(['/', '\\', '\0']) && !name.starts_with('.') && name.len() < 200);
                prop_assert_eq!(name.to_lowercase(), name);
            }
        }
    }
}
