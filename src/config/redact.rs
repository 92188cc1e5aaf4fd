//! The effective configuration as TOML, without its secrets.

use std::fmt::Write as _;

use serde_json::Value;

use super::keys::KEYS;
use super::settings::Config;

impl Config {
    /// The configuration as TOML in the order of `config/default.toml`: secrets as `"***"`, absent keys as comments.
    #[must_use]
    pub fn to_redacted_toml(&self) -> String {
        let values = serde_json::to_value(self).expect("a struct of text, numbers and switches is JSON");
        let mut toml = String::new();
        let mut section = "";
        for key in KEYS {
            let (of, name) = key.parts();
            if of != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                let _ = writeln!(toml, "{gap}[{of}]");
                section = of;
            }
            let _ = match &values[of][name] {
                Value::Null => writeln!(toml, "# {name} = (absent)"),
                Value::String(text) => writeln!(toml, "{name} = {}", toml::Value::from(text.as_str())),
                number_or_switch => writeln!(toml, "{name} = {number_or_switch}"),
            };
        }
        toml
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{Config, Sources};

    #[test]
    fn secrets_are_hidden_and_absent_keys_are_comments() {
        let toml = Config::load(&Sources::of(&[
            ("CRM_JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
            ("CRM_JWT_PUBLIC_KEY", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"),
            ("CRM_HOST", "::1"),
        ]))
        .expect("valid")
        .to_redacted_toml();

        assert!(!toml.contains("hunter2"), "{toml}");
        for line in [
            "[server]",
            "host = \"::1\"",
            "port = 8001",
            "drain_timeout = \"25s\"",
            "compress = false",
            "lock_wait = \"30s\"",
            "default_id = \"default\"",
            "binding = \"header\"",
            "# strict = (absent)",
            "# service_tokens = (absent)",
            "jwt_secret = \"***\"",
            "jwt_public_key = \"***\"",
            "# platform_url = (absent)",
            "time_zone = \"Asia/Shanghai\"",
        ] {
            assert!(toml.lines().any(|printed| printed == line), "{line} is not in:\n{toml}");
        }
    }

    #[test]
    fn what_is_printed_loads_as_the_same_configuration() {
        let directory = tempfile::tempdir().expect("a directory");
        let odd = [
            ("CRM_JWT_PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----\n\"x\" '''\\\n-----END PUBLIC KEY-----\n"),
            ("CRM_JWT_ISSUER", "issuer \"with\" 'quotes'\\"),
            ("CRM_AUTH_STRICT", "0"),
            ("CRM__STORAGE__TENANT_IDLE", "1h 2m 3s 4ms"),
            ("CRM_ENV", "production"),
        ];
        let printed = Config::load(&Sources::of(&odd)).expect("valid").to_redacted_toml();
        fs::write(directory.path().join("printed.toml"), &printed).expect("written");

        let again = Config::load(&Sources::within(directory.path(), &[("CRM_CONFIG", "printed.toml")]));

        assert_eq!(again.expect("valid").to_redacted_toml(), printed);
    }
}
