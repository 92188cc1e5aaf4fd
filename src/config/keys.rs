//! The table of keys: what each is called in a file and in the environment, and what may be written there.
//!
//! `settings.rs` holds the types and `config/default.toml` the defaults; the tests below fail when the three differ.

use bytesize::ByteSize;
use config::ValueKind;

/// Variables that begin with this are the cell's: an unknown one is a mistake.
pub(super) const PREFIX: &str = "CRM_";
/// Names the file `config/<CRM_ENV>.toml`.
pub(super) const ENV: &str = "CRM_ENV";
/// Names one more file.
pub(super) const CONFIG: &str = "CRM_CONFIG";

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    /// `section.key`.
    pub(super) path: &'static str,
    /// The documented variable; keys without one have only `CRM__SECTION__KEY`.
    pub(super) alias: Option<&'static str>,
    /// What may be written.
    pub(super) kind: Kind,
}

/// What may be written as the value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Text that no message may contain.
    Secret,
    Number,
    Switch,
    Duration,
    /// Bytes, with a unit.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// Every key, in the order of `settings.rs` and `config/default.toml`.
pub(super) const KEYS: &[Key] = &[
    key("server.host", Kind::Text).alias("CRM_HOST"),
    key("server.port", Kind::Number).alias("PORT"),
    key("server.max_connections", Kind::Number),
    key("server.drain_delay", Kind::Duration),
    key("server.drain_timeout", Kind::Duration),
    key("server.content_length", Kind::Switch).alias("CRM_HTTP_CONTENT_LENGTH"),
    key("server.compress", Kind::Switch).alias("CRM_HTTP_COMPRESS"),
    key("storage.database_url", Kind::Text).alias("CRM_DATABASE_URL"),
    key("storage.legacy", Kind::Choice(&["refuse", "ignore"])).alias("CRM_LEGACY"),
    key("storage.lock_wait", Kind::Duration),
    key("storage.max_open_tenants", Kind::Number),
    key("storage.tenant_idle", Kind::Duration),
    key("storage.writer_idle", Kind::Duration),
    key("storage.checkpoint_after", Kind::Duration),
    key("storage.queue", Kind::Number),
    key("storage.read_deadline", Kind::Duration),
    key("storage.write_deadline", Kind::Duration),
    key("storage.report_deadline", Kind::Duration),
    key("storage.export_deadline", Kind::Duration),
    key("storage.low_water", Kind::Size),
    key("storage.stop_writes", Kind::Size),
    key("tenants.default_id", Kind::Text).alias("DEFAULT_TENANT_ID"),
    key("tenants.provision", Kind::Choice(&["auto", "explicit"])).alias("CRM_TENANT_PROVISION"),
    key("tenants.binding", Kind::Choice(&["header", "strict"])).alias("CRM_TENANT_BINDING"),
    key("tenants.create_burst", Kind::Number),
    key("tenants.create_per_minute", Kind::Number),
    key("tenants.trash_keep", Kind::Duration),
    key("auth.verify_signature", Kind::Switch).alias("CELL_VERIFY_SIGNATURE"),
    key("auth.signing_secret", Kind::Secret).alias("CELL_SIGNING_SECRET"),
    key("auth.strict", Kind::Switch).alias("CRM_AUTH_STRICT"),
    key("auth.service_tokens", Kind::Secret).alias("CRM_SERVICE_TOKENS"),
    key("auth.jwt_secret", Kind::Secret).alias("CRM_JWT_SECRET"),
    key("auth.jwt_public_key", Kind::Text).alias("CRM_JWT_PUBLIC_KEY"),
    key("auth.jwks_url", Kind::Text).alias("CRM_JWKS_URL"),
    key("auth.jwks_file", Kind::Text).alias("CRM_JWKS_FILE"),
    key("auth.jwks_timeout", Kind::Duration),
    key("auth.jwks_max_age", Kind::Duration),
    key("auth.jwks_min_pause", Kind::Duration),
    key("auth.jwks_stale", Kind::Duration),
    key("auth.jwt_issuer", Kind::Text).alias("CRM_JWT_ISSUER"),
    key("auth.jwt_audience", Kind::Text).alias("CRM_JWT_AUDIENCE"),
    key("auth.jwt_tenant_claim", Kind::Text).alias("CRM_JWT_TENANT_CLAIM"),
    key("auth.platform_url", Kind::Text).alias("PLATFORM_AUTH_URL"),
    key("auth.platform_timeout", Kind::Duration),
    key("auth.platform_yes_ttl", Kind::Duration),
    key("auth.platform_no_ttl", Kind::Duration),
    key("auth.platform_stale", Kind::Duration),
    key("auth.platform_cache", Kind::Number),
    key("auth.platform_unknown_per_minute", Kind::Number),
    key("api.patch_null", Kind::Choice(&["clear", "keep"])).alias("CRM_PATCH_NULL"),
    key("api.unknown_fields", Kind::Choice(&["reject", "ignore"])).alias("CRM_UNKNOWN_FIELDS"),
    key("api.idempotency", Kind::Choice(&["replay", "conflict"])).alias("CRM_IDEMPOTENCY"),
    key("api.mask_email", Kind::Switch).alias("CRM_MASK_EMAIL"),
    key("api.time_zone", Kind::Text).alias("CRM_TIME_ZONE"),
    key("events.bus_url", Kind::Text).alias("EVENT_BUS_URL"),
    key("events.bus_token", Kind::Secret).alias("EVENT_BUS_TOKEN"),
    key("events.gateway_url", Kind::Text).alias("GATEWAY_URL"),
    key("events.gateway_token", Kind::Secret).alias("GATEWAY_TOKEN"),
    key("events.bus_timeout", Kind::Duration),
    key("events.subscribe", Kind::Text),
    key("events.poll_every", Kind::Duration),
    key("governance.url", Kind::Text).alias("GOVERNANCE_URL"),
    key("governance.cell_url", Kind::Text).alias("CRM_BASE_URL"),
    key("governance.register_every", Kind::Duration),
    key("backup.copy_every", Kind::Duration),
    key("backup.drill_every", Kind::Duration),
    key("backup.check_every", Kind::Duration),
    key("admin.address", Kind::Text).alias("CRM_ADMIN_ADDR"),
    key("admin.token", Kind::Secret).alias("CRM_ADMIN_TOKEN"),
    key("log.filter", Kind::Text),
    key("log.format", Kind::Choice(&["text", "json"])),
];

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, alias: None, kind }
}

/// A variable that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    /// The variable names a file that holds the value.
    pub(super) names_a_file: bool,
}

impl Key {
    const fn alias(mut self, variable: &'static str) -> Self {
        self.alias = Some(variable);
        self
    }

    /// The section and the key in it.
    pub(super) fn parts(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or((self.path, ""))
    }

    /// The variables that set this key, the documented one first.
    pub(super) fn variables(&self) -> Vec<Variable> {
        let generic = format!("CRM__{}", self.path.replace('.', "__").to_uppercase());
        let direct = self.alias.map(str::to_owned).into_iter().chain([generic]);
        let forms: &[bool] = if self.kind == Kind::Secret { &[false, true] } else { &[false] };
        direct
            .flat_map(|name| {
                forms.iter().map(move |&names_a_file| Variable {
                    name: format!("{name}{}", if names_a_file { "_FILE" } else { "" }),
                    names_a_file,
                })
            })
            .collect()
    }
}

impl Kind {
    /// Reads the text of a variable. Only numbers and switches are more than text: a tenant id of `00123` stays one.
    pub(super) fn read(self, text: &str) -> Result<ValueKind, String> {
        let value = match self {
            Self::Number => {
                let number = text.trim().parse();
                ValueKind::I64(number.map_err(|_| format!("{text:?} is not a whole number"))?)
            }
            Self::Switch => match text.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => ValueKind::Boolean(true),
                "0" | "false" | "no" | "off" => ValueKind::Boolean(false),
                _ => {
                    return Err(format!("{text:?} is neither of 1, true, yes, on nor of 0, false, no, off"));
                }
            },
            Self::Text | Self::Secret | Self::Duration | Self::Size | Self::Choice(_) => {
                ValueKind::String(text.to_owned())
            }
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Whether a file may hold this value. The `config` crate would turn `true` into port 1.
    pub(super) fn check(self, value: &ValueKind) -> Result<(), String> {
        match (self, value) {
            (Self::Text | Self::Secret, ValueKind::String(_))
            | (Self::Number, ValueKind::I64(_))
            | (Self::Switch, ValueKind::Boolean(_)) => Ok(()),
            (Self::Text | Self::Secret, _) => Err("must be text in quotes".to_owned()),
            (Self::Number, _) => Err("must be a whole number without quotes".to_owned()),
            (Self::Switch, _) => Err("must be true or false without quotes".to_owned()),
            (Self::Duration, ValueKind::String(text)) => match humantime::parse_duration(text) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{text:?} is not a duration like 500ms, 2s or 1h: {error}")),
            },
            (Self::Duration, _) => {
                Err("must be a duration in quotes, like \"500ms\", \"2s\" or \"1h\"".to_owned())
            }
            (Self::Size, ValueKind::String(text)) => match text.parse::<ByteSize>() {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{text:?} is not a size like 64MiB or 1GiB: {error}")),
            },
            (Self::Size, _) => Err("must be a size in quotes, like \"64MiB\" or \"1GiB\"".to_owned()),
            (Self::Choice(words), ValueKind::String(text)) if words.contains(&text.as_str()) => Ok(()),
            (Self::Choice(words), ValueKind::String(text)) => {
                Err(format!("{text:?} is not one of {}", words.join(", ")))
            }
            (Self::Choice(words), _) => Err(format!("must be one of {}, in quotes", words.join(", "))),
        }
    }
}

/// Whether the cell reads a variable of this name.
pub(super) fn is_known_variable(name: &str) -> bool {
    known_variables().any(|known| known == name)
}

/// Every variable that the cell reads, the documented one of a key before the generic one.
pub(super) fn known_variables() -> impl Iterator<Item = String> {
    let of_keys = KEYS.iter().flat_map(Key::variables).map(|variable| variable.name);
    of_keys.chain([ENV.to_owned(), CONFIG.to_owned()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::config::file::DEFAULT;
    use crate::config::{Config, Sources};

    const SETTINGS: &str = include_str!("settings.rs");

    /// `section.key` with its comment, for each line `key = …` and `#key = …` of `config/default.toml`.
    fn written_defaults() -> Vec<(String, String)> {
        let (mut found, mut section, mut comment) = (Vec::new(), "", String::new());
        for line in DEFAULT.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if line.is_empty() || line.starts_with("# ") {
                comment.push_str(line);
            } else if let Some((name, _)) = line.trim_start_matches('#').split_once(" = ") {
                found.push((format!("{section}.{name}"), std::mem::take(&mut comment)));
            }
        }
        found
    }

    #[test]
    fn default_toml_has_every_key_in_order_and_names_its_variables() {
        let written = written_defaults();

        let paths: Vec<_> = written.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
        for (key, (path, comment)) in KEYS.iter().zip(&written) {
            let Some(alias) = key.alias else { continue };
            assert!(comment.contains(&format!("# {alias}")), "{path}: {comment:?} lacks {alias}");
            let names_the_file = comment.contains(&format!(", {alias}_FILE: "));
            assert_eq!(names_the_file, key.kind == Kind::Secret, "{path}");
        }
    }

    #[test]
    fn every_field_of_the_settings_is_a_key_and_every_key_a_field() {
        let config = Config::load(&Sources::default()).expect("the defaults are valid");
        let Value::Object(sections) = serde_json::to_value(&config).expect("JSON") else {
            panic!("the settings are a struct");
        };

        let mut fields = BTreeSet::new();
        for (section, keys) in sections {
            for name in keys.as_object().expect("a section is a struct").keys() {
                fields.insert(format!("{section}.{name}"));
            }
        }

        assert_eq!(fields, KEYS.iter().map(|key| key.path.to_owned()).collect());
        assert_eq!(fields.len(), KEYS.len(), "a key is listed twice");
    }

    #[test]
    fn the_aliases_are_those_that_the_settings_document() {
        let mut documented = Vec::new();
        let mut alias = None;
        for line in SETTINGS.lines().map(str::trim) {
            let variable = line.strip_prefix("/// `").and_then(|rest| rest.split_once("`: "));
            if let Some((variable, _)) = variable {
                alias = Some(variable);
            } else if let Some(field) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
                documented.extend(alias.take().map(|alias| (alias, field.0)));
            }
        }

        let aliases: Vec<_> = KEYS.iter().filter_map(|key| Some((key.alias?, key.parts().1))).collect();
        assert_eq!(aliases, documented);
        assert_eq!(aliases.len(), 34);
    }

    #[test]
    fn a_choice_lists_exactly_the_words_of_its_type() {
        let config = Config::load(&Sources::default()).expect("the defaults are valid");
        let choices = KEYS.iter().filter_map(|key| match key.kind {
            Kind::Choice(words) => Some((key.parts(), words)),
            _ => None,
        });
        for ((section, name), words) in choices {
            let mut json = serde_json::to_value(&config).expect("JSON");
            json[section][name] = "?".into();

            let error = serde_json::from_value::<Config>(json).expect_err(name);

            let listed: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            let expected = format!("unknown variant `?`, expected {}", listed.join(" or "));
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn no_variable_sets_two_keys() {
        let mut seen = BTreeSet::new();
        for name in known_variables() {
            assert!(seen.insert(name.clone()), "{name}");
        }
        assert!(seen.contains("CRM_JWT_SECRET_FILE") && seen.contains("CRM__STORAGE__TENANT_IDLE"));
        assert!(!seen.contains("CRM_HOST_FILE"), "only secrets come from files");
    }

    #[test]
    fn switches_are_read_from_the_usual_words_and_nothing_else() {
        for text in ["1", "true", "YES", "on", " On "] {
            assert_eq!(Kind::Switch.read(text), Ok(ValueKind::Boolean(true)), "{text}");
        }
        for text in ["0", "false", "No", "off"] {
            assert_eq!(Kind::Switch.read(text), Ok(ValueKind::Boolean(false)), "{text}");
        }
        for text in ["2", "-1", "enabled", "t", "y"] {
            let error = Kind::Switch.read(text).expect_err(text);
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_file_may_hold_only_the_kind_of_value_that_the_key_has() {
        let values = [ValueKind::I64(1), ValueKind::Boolean(true), "2s".into(), ValueKind::Float(1.0)];
        let size = ["7MiB".into(), ValueKind::I64(7)];
        assert_eq!(size.each_ref().map(|value| Kind::Size.check(value).is_ok()), [true, false]);
        for (kind, accepted) in [
            (Kind::Number, [true, false, false, false]),
            (Kind::Switch, [false, true, false, false]),
            (Kind::Text, [false, false, true, false]),
            (Kind::Secret, [false, false, true, false]),
            (Kind::Duration, [false, false, true, false]),
            (Kind::Choice(&["2s"]), [false, false, true, false]),
        ] {
            assert_eq!(values.each_ref().map(|value| kind.check(value).is_ok()), accepted, "{kind:?}");
        }
    }
}
