//! From the sources to a [`Config`]: collect the layers, merge them, give them types, validate.

use config::{Map, Source, Value, ValueKind};

use super::error::{ConfigError, Problem};
use super::keys::{KEYS, Key, Kind};
use super::settings::Config;
use super::sources::Sources;
use super::{env, file, validate};

impl Config {
    /// Reads and validates the configuration (contract §11).
    ///
    /// # Errors
    ///
    /// When a file is missing or unreadable, a name is unknown or a value cannot be used; the error names all of it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let defaults = file::defaults(&mut problems);
        let mut layers = vec![defaults.clone()];
        layers.extend(file::layers(sources, &mut problems));
        layers.push(env::layer(sources, &mut problems));
        let merged = merge(layers)?;

        let config = typed(merged.clone(), &defaults, &mut problems)?;
        for (path, reason) in validate::faults(&config) {
            let place = place(&merged, path);
            problems.push(Problem::Invalid { place, reason });
        }
        ConfigError::unless_empty(problems)?;
        Ok(config)
    }
}

/// What one source sets: only known keys, each value with the place it was written at as its origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(Map<String, Value>);

impl Layer {
    pub(super) fn set(&mut self, key: &Key, value: Value) {
        let (section, name) = key.parts();
        let section = self
            .0
            .entry(section.to_owned())
            .or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
        if let ValueKind::Table(keys) = &mut section.kind {
            keys.insert(name.to_owned(), value);
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn merge(layers: Vec<Layer>) -> Result<config::Config, ConfigError> {
    let builder = config::Config::builder().add_source(layers);
    builder.build().map_err(|error| ConfigError::from(unexpected(&error)))
}

/// Gives the values their types. Each one that does not fit becomes a problem and is replaced by its default, so that
/// the next one is found as well; what comes out then is only good for finding more problems.
fn typed(
    mut merged: config::Config,
    defaults: &Layer,
    problems: &mut Vec<Problem>,
) -> Result<Config, ConfigError> {
    for _ in KEYS {
        let error = match merged.clone().try_deserialize() {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let Some((key, reason)) = misfit(&merged, &error) else {
            return Err(unexpected(&error).into());
        };
        let place = place(&merged, key.path);
        problems.push(Problem::Invalid { place, reason });
        let default = lookup(&Value::new(None, defaults.0.clone()), key.path).cloned();
        let repaired = config::Config::builder()
            .add_source(merged)
            .set_override(key.path, default.unwrap_or_else(|| Value::new(None, ValueKind::Nil)))
            .and_then(|builder| builder.build());
        merged = repaired.map_err(|error| ConfigError::from(unexpected(&error)))?;
    }
    Err(ConfigError::from(Problem::Invalid {
        place: "config/default.toml (compiled in)".to_owned(),
        reason: "does not fit the settings".to_owned(),
    }))
}

/// The key whose value has a wrong type, and what is wrong with it.
fn misfit(merged: &config::Config, error: &config::ConfigError) -> Option<(&'static Key, String)> {
    let (path, reason) = match error {
        config::ConfigError::Type { key: Some(path), unexpected, expected, .. } => {
            (path, format!("expected {expected}, found {unexpected}"))
        }
        config::ConfigError::At { key: Some(path), error, .. } => (path, error.to_string()),
        _ => return None,
    };
    let key = KEYS.iter().find(|key| key.path == path)?;
    let reason = match lookup(&merged.cache, path).map(|value| &value.kind) {
        // Any text is a secret, so this cannot happen; if it ever does, it must not print one.
        _ if key.kind == Kind::Secret => "cannot be used".to_owned(),
        Some(ValueKind::String(text)) => format!("{text:?}: {reason}"),
        _ => reason,
    };
    Some((key, reason))
}

/// Where the value of a key was written.
fn place(merged: &config::Config, path: &str) -> String {
    let origin = lookup(&merged.cache, path).and_then(Value::origin);
    origin.unwrap_or(path).to_owned()
}

fn lookup<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(root, |value, name| match &value.kind {
        ValueKind::Table(keys) => keys.get(name),
        _ => None,
    })
}

/// A failure of the library that no source can cause. Its text could quote a value, so it is not passed on.
fn unexpected(_: &config::ConfigError) -> Problem {
    Problem::Invalid { place: "configuration".to_owned(), reason: "the layers cannot be merged".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Binding, Idempotency, LogFormat, PatchNull, Provision, UnknownFields};

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        let error = Config::load(&Sources::of(variables)).expect_err("refused");
        error.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = Config::load(&Sources::default()).expect("the defaults are valid");

        assert_eq!(config.server.port, 8001);
        assert_eq!(config.server.host, None);
        assert!(!config.server.content_length && !config.server.compress);
        assert_eq!(config.storage.database_url, "sqlite:///./crm_cell.db");
        assert_eq!(config.storage.checkpoint_after.as_secs(), 2);
        assert_eq!(config.tenants.default_id.as_str(), "default");
        assert_eq!(config.tenants.provision, Provision::Auto);
        assert_eq!(config.tenants.binding, Binding::Header);
        assert_eq!((config.tenants.create_burst, config.tenants.create_per_minute), (1000, 600));
        assert_eq!(config.auth.strict, None);
        assert!(config.auth.service_tokens.is_none() && config.auth.jwt_secret.is_none());
        assert_eq!(config.auth.platform_timeout.as_secs(), 3);
        assert_eq!(config.auth.platform_yes_ttl.as_secs(), 60);
        assert_eq!(config.auth.platform_no_ttl.as_secs(), 10);
        assert_eq!(config.auth.platform_stale.as_secs(), 600);
        assert_eq!(config.api.patch_null, PatchNull::Clear);
        assert_eq!(config.api.unknown_fields, UnknownFields::Reject);
        assert_eq!(config.api.idempotency, Idempotency::Replay);
        assert_eq!(config.api.time_zone, chrono_tz::Asia::Shanghai);
        assert_eq!(config.log.format, LogFormat::Text);
    }

    #[test]
    fn a_value_of_a_wrong_type_is_named_with_its_variable() {
        assert_eq!(
            problems(&[("CRM_HOST", "localhost")]),
            ["CRM_HOST: \"localhost\": invalid IP address syntax"]
        );
        for (name, value) in [
            ("PORT", "http"),
            ("PORT", "65536"),
            ("PORT", "-1"),
            ("PORT", "80.5"),
            ("DEFAULT_TENANT_ID", "../etc"),
            ("CRM_TIME_ZONE", "Mars/Olympus"),
            ("CRM_AUTH_STRICT", "maybe"),
            ("CRM_PATCH_NULL", "Clear"),
            ("CRM__STORAGE__QUEUE", "-5"),
            ("CRM__STORAGE__TENANT_IDLE", "5 apples"),
            ("CRM__STORAGE__TENANT_IDLE", "300"),
        ] {
            let found = problems(&[(name, value)]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("{name}: ")) && found[0].contains(value), "{found:?}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = problems(&[
            ("CRM_ENV", "staging"),
            ("CRM_HOTS", "::"),
            ("PORT", "99999"),
            ("CRM_HOST", "localhost"),
            ("CRM_TIME_ZONE", "Mars/Olympus"),
            ("CRM_IDEMPOTENCY", "maybe"),
            ("CRM_JWT_SECRET", "short"),
            ("CRM_DATABASE_URL", "postgres://db"),
        ]);

        let places: Vec<_> = found.iter().filter_map(|message| message.split(':').next()).collect();
        assert_eq!(
            places,
            [
                "CRM_ENV",
                "CRM_HOTS",
                "CRM_DATABASE_URL",
                "CRM_HOST",
                "CRM_IDEMPOTENCY",
                "CRM_JWT_SECRET",
                "CRM_TIME_ZONE",
                "PORT"
            ]
        );
    }

    #[test]
    fn no_problem_contains_a_secret() {
        let found = problems(&[
            ("CRM_JWT_SECRET", "hunter2"),
            ("CRM_SERVICE_TOKENS", "hunter2"),
            ("CRM__AUTH__SERVICE_TOKENS", "hunter2 too"),
            ("CRM_JWT_SECERT", "hunter2"),
            ("CRM_DATABASE_URL", "postgres://crm:hunter2@db/crm"),
            ("PLATFORM_AUTH_URL", "https://crm:hunter2@platform"),
        ]);

        assert_eq!(found.len(), 5, "{found:?}");
        assert!(!found.concat().contains("hunter2"), "{found:?}");
    }
}
