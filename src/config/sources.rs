//! What the configuration depends on outside of the binary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Problem};
use super::keys;

/// The environment variables and the working directory: an input, so that tests never touch the process's own.
#[derive(Clone, Default)]
pub struct Sources {
    variables: BTreeMap<String, String>,
    directory: PathBuf,
}

impl Sources {
    /// These variables, and `directory` for everything that is named by a relative path.
    #[must_use]
    pub fn new(variables: BTreeMap<String, String>, directory: impl Into<PathBuf>) -> Self {
        Self { variables, directory: directory.into() }
    }

    /// The process's environment and working directory.
    ///
    /// # Errors
    ///
    /// When the working directory is gone, or one of the cell's variables is not Unicode text.
    pub fn from_process() -> Result<Self, ConfigError> {
        let directory = std::env::current_dir().map_err(|error| Problem::Unreadable {
            asked_by: "start".to_owned(),
            path: "the working directory".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::new(texts(std::env::vars_os())?, directory))
    }

    /// The working directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The value of a variable, unless it is blank.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        (!value.trim().is_empty()).then_some(value.as_str())
    }

    /// All variables that are not blank, by name.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.keys().filter_map(|name| Some((name.as_str(), self.variable(name)?)))
    }
}

/// Names only: the values hold secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("variables", &self.variables.keys())
            .field("directory", &self.directory)
            .finish()
    }
}

/// The variables as text. Others' variables may be anything; one of ours must not be changed by a lossy conversion.
fn texts(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut texts = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => {
                texts.insert(name, value);
            }
            Err(_) if name.starts_with(keys::PREFIX) || keys::is_known_variable(&name) => {
                problems.push(Problem::Invalid { place: name, reason: "is not Unicode text".to_owned() });
            }
            Err(_) => {}
        }
    }
    ConfigError::unless_empty(problems)?;
    Ok(texts)
}

#[cfg(test)]
impl Sources {
    /// These variables, and a working directory that is not there.
    pub(super) fn of(variables: &[(&str, &str)]) -> Self {
        Self::within(Path::new("/nonexistent"), variables)
    }

    pub(super) fn within(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self::new(variables.iter().map(owned).collect(), directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_values() {
        let variables = BTreeMap::from([("CRM_JWT_SECRET".to_owned(), "hunter2".to_owned())]);

        let shown = format!("{:?}", Sources::new(variables, "/srv"));

        assert!(shown.contains("CRM_JWT_SECRET") && shown.contains("/srv"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[cfg(unix)]
    #[test]
    fn refuses_bytes_in_our_variables_and_ignores_them_in_others() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = || OsString::from_vec(vec![0xff]);

        let others = texts([("LS_COLORS".into(), bytes()), ("HOME".into(), "/home/ann".into())].into_iter());
        assert_eq!(others.expect("ignored"), BTreeMap::from([("HOME".to_owned(), "/home/ann".to_owned())]));

        for name in ["DEFAULT_TENANT_ID", "CRM_JWT_SECRET", "CRM__LOG__FILTER"] {
            let error = texts([(name.into(), bytes())].into_iter()).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
