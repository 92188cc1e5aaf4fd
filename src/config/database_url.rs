//! `storage.database_url`: which file, and so which data root, a SQLite URL names (contract §4).

use std::path::{Component, Path, PathBuf};

use super::settings::Storage;

/// The text is not the URL of a SQLite file. Nothing of it is quoted: another scheme's URL may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// Another database, or a SQLAlchemy driver name.
    #[error("the scheme {0:?} is not supported: write sqlite:///<dir>/<stem>.db")]
    Scheme(String),
    /// No scheme and slashes at the start.
    #[error("must begin with sqlite:///, like sqlite:///./crm_cell.db")]
    Form,
    /// A database in memory, which would lose every tenant at the end of the process.
    #[error("a database in memory keeps nothing: write sqlite:///<dir>/<stem>.db")]
    Memory,
    /// No last part, or one like `.db`, of which no directory can be named.
    #[error("must end with the name of a file, like sqlite:///./crm_cell.db")]
    Stem,
}

impl Storage {
    /// The file that `database_url` names. The cell itself never opens it: a Python cell's database may lie there.
    ///
    /// # Errors
    ///
    /// When the URL is not one of a SQLite file, which [`super::Config::load`] has ruled out.
    pub fn database_file(&self, working_directory: &Path) -> Result<PathBuf, InvalidDatabaseUrl> {
        database_file(&self.database_url, working_directory, Path::is_dir)
    }

    /// The directory that holds everything: the database file's path without its extension.
    ///
    /// # Errors
    ///
    /// When the URL is not one of a SQLite file, which [`super::Config::load`] has ruled out.
    pub fn data_root(&self, working_directory: &Path) -> Result<PathBuf, InvalidDatabaseUrl> {
        Ok(self.database_file(working_directory)?.with_extension(""))
    }
}

/// The file that a SQLite URL names; `exists` tells whether a directory is there.
///
/// `sqlite://x` is sqlx's form: relative. `sqlite:////x` is absolute. `sqlite:///x` is SQLAlchemy's relative form, but in
/// a container people write `sqlite:///data/crm_cell.db` and mean `/data`: when only the absolute directory exists, it is
/// the absolute one. A query is ignored; `%` is not an escape.
///
/// # Errors
///
/// When the URL has another scheme, names a database in memory, or does not end with a file's name.
pub fn database_file(
    url: &str,
    working_directory: &Path,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, InvalidDatabaseUrl> {
    let (scheme, rest) = url.split_once(':').ok_or(InvalidDatabaseUrl::Form)?;
    if scheme != "sqlite" {
        return Err(InvalidDatabaseUrl::Scheme(scheme.to_owned()));
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.contains(":memory:") || query.split('&').any(|option| option == "mode=memory") {
        return Err(InvalidDatabaseUrl::Memory);
    }
    let path = path.strip_prefix("//").ok_or(InvalidDatabaseUrl::Form)?;
    let path = match path.strip_prefix('/') {
        None => working_directory.join(path),
        Some(absolute) if absolute.starts_with('/') => PathBuf::from(absolute),
        Some(relative) if is_meant_absolute(relative, working_directory, exists) => {
            Path::new("/").join(relative)
        }
        Some(relative) => working_directory.join(relative),
    };
    has_stem(url).then(|| without_dots(&path)).ok_or(InvalidDatabaseUrl::Stem)
}

/// Whether the first directory of the path exists under the root only.
fn is_meant_absolute(path: &str, working_directory: &Path, exists: impl Fn(&Path) -> bool) -> bool {
    let Some((first, _)) = path.split_once('/') else {
        return false;
    };
    let is_explicitly_relative = first == "." || first == "..";
    !is_explicitly_relative && !exists(&working_directory.join(first)) && exists(&Path::new("/").join(first))
}

/// Whether something is left of the file's name when its extension is taken away.
fn has_stem(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    !stem.is_empty() && stem != "."
}

/// The path without `.` parts. `..` stays: what it leads to depends on links.
fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(url: &str, directories: &[&str]) -> Result<PathBuf, InvalidDatabaseUrl> {
        database_file(url, Path::new("/srv/cell"), |path| {
            directories.iter().any(|known| Path::new(known) == path)
        })
    }

    #[test]
    fn names_a_file_in_the_forms_of_sqlalchemy_and_sqlx() {
        for (url, expected) in [
            ("sqlite:///./crm_cell.db", "/srv/cell/crm_cell.db"),
            ("sqlite:///crm_cell.db", "/srv/cell/crm_cell.db"),
            ("sqlite:///data/crm.db", "/srv/cell/data/crm.db"),
            ("sqlite:///../crm.db", "/srv/cell/../crm.db"),
            ("sqlite:////data/crm.db", "/data/crm.db"),
            ("sqlite://crm.db", "/srv/cell/crm.db"),
            ("sqlite://./data/crm.db?mode=rwc", "/srv/cell/data/crm.db"),
            ("sqlite:///a%20b/crm.v2.sqlite3", "/srv/cell/a%20b/crm.v2.sqlite3"),
            ("sqlite:///crm", "/srv/cell/crm"),
        ] {
            assert_eq!(file(url, &[]).as_deref(), Ok(Path::new(expected)), "{url}");
        }
    }

    #[test]
    fn three_slashes_are_absolute_only_when_that_directory_alone_exists() {
        for (directories, expected) in [
            (&["/data"][..], "/data/crm.db"),
            (&["/data", "/srv/cell/data"], "/srv/cell/data/crm.db"),
            (&["/srv/cell/data"], "/srv/cell/data/crm.db"),
            (&[], "/srv/cell/data/crm.db"),
        ] {
            let found = file("sqlite:///data/crm.db", directories);
            assert_eq!(found.as_deref(), Ok(Path::new(expected)), "{directories:?}");
        }
    }

    #[test]
    fn an_explicitly_relative_path_and_a_bare_name_stay_relative_whatever_exists() {
        for (url, expected) in [
            ("sqlite:///./data/crm.db", "/srv/cell/data/crm.db"),
            ("sqlite:///../data/crm.db", "/srv/cell/../data/crm.db"),
            ("sqlite:///crm.db", "/srv/cell/crm.db"),
            ("sqlite://data/crm.db", "/srv/cell/data/crm.db"),
        ] {
            let found = database_file(url, Path::new("/srv/cell"), |path| !path.starts_with("/srv/cell"));
            assert_eq!(found.as_deref(), Ok(Path::new(expected)), "{url}");
        }
    }

    #[test]
    fn refuses_what_names_no_file() {
        use InvalidDatabaseUrl::{Form, Memory, Scheme, Stem};
        for (url, expected) in [
            ("postgres://u:hunter2@db/crm", Scheme("postgres".to_owned())),
            ("sqlite+aiosqlite:///./crm.db", Scheme("sqlite+aiosqlite".to_owned())),
            ("", Form),
            ("crm.db", Form),
            ("/data/crm.db", Form),
            ("sqlite:crm.db", Form),
            ("sqlite:/data/crm.db", Form),
            ("sqlite::memory:", Memory),
            ("sqlite://:memory:", Memory),
            ("sqlite:///:memory:", Memory),
            ("sqlite:///crm.db?cache=shared&mode=memory", Memory),
            ("sqlite://", Stem),
            ("sqlite:///", Stem),
            ("sqlite:///data/", Stem),
            ("sqlite:///data/.db", Stem),
            ("sqlite:///data/..", Stem),
            ("sqlite:///data/.", Stem),
            ("sqlite:///?x=/crm.db", Stem),
        ] {
            let error = file(url, &[]).expect_err(url);
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(error, expected, "{url}");
        }
    }

    #[test]
    fn the_data_root_is_the_file_without_its_extension() {
        let mut storage = crate::config::Config::load(&crate::config::Sources::default())
            .expect("the defaults are valid")
            .storage;
        for (url, expected) in [
            ("sqlite:////var/lib/crm/crm_cell.db", "/var/lib/crm/crm_cell"),
            ("sqlite:////var/lib/crm/crm.v2.db", "/var/lib/crm/crm.v2"),
            ("sqlite:////var/lib/crm/crm", "/var/lib/crm/crm"),
        ] {
            storage.database_url = url.to_owned();
            let root = storage.data_root(Path::new("/nowhere"));
            assert_eq!(root.as_deref(), Ok(Path::new(expected)), "{url}");
        }
    }
}
