//! The layers that are TOML files: the compiled-in ones, `config/<CRM_ENV>.toml` and the one named by `CRM_CONFIG`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::error::Problem;
use super::keys::{self, KEYS};
use super::load::Layer;
use super::nearest;
use super::sources::Sources;

/// The defaults of all keys.
pub(super) const DEFAULT: &str = include_str!("../../config/default.toml");

/// The environments that work without a file on disk.
const COMPILED_IN: &[(&str, &str)] =
    &[("default", DEFAULT), ("production", include_str!("../../config/production.toml"))];

/// The defaults.
pub(super) fn defaults(problems: &mut Vec<Problem>) -> Layer {
    parse("config/default.toml (compiled in)", DEFAULT, problems)
}

/// The files that the environment asks for, in the order in which they count.
pub(super) fn layers(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let asked = [
        sources.variable(keys::ENV).map(|name| environment(name, sources)),
        sources.variable(keys::CONFIG).map(|path| Ok((path.to_owned(), read(keys::CONFIG, path, sources)?))),
    ];
    let mut layers = Vec::new();
    for file in asked.into_iter().flatten() {
        match file {
            Ok((name, text)) => layers.push(parse(&name, &text, problems)),
            Err(problem) => problems.push(problem),
        }
    }
    layers
}

/// The name and text of the file of an environment.
fn environment(name: &str, sources: &Sources) -> Result<(String, String), Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.chars().all(allowed) {
        return Err(Problem::Invalid {
            place: keys::ENV.to_owned(),
            reason: format!("{name:?} must be a name of letters, digits, - and _; CRM_CONFIG takes a path"),
        });
    }
    let path = format!("config/{name}.toml");
    let compiled_in = COMPILED_IN.iter().find(|(known, _)| *known == name);
    match (fs::exists(sources.directory().join(&path)), compiled_in) {
        (Ok(false), Some((_, text))) => Ok((format!("{path} (compiled in)"), (*text).to_owned())),
        _ => {
            let text = read(keys::ENV, &path, sources)?;
            Ok((path, text))
        }
    }
}

fn read(asked_by: &str, path: &str, sources: &Sources) -> Result<String, Problem> {
    fs::read_to_string(sources.directory().join(path)).map_err(|error| Problem::Unreadable {
        asked_by: asked_by.to_owned(),
        path: path.to_owned(),
        reason: match error.kind() {
            ErrorKind::NotFound => format!("there is no such file under {}", sources.directory().display()),
            _ => error.to_string(),
        },
    })
}

/// What a file sets. Keys that are unknown or hold something of a wrong kind become problems and are left out.
fn parse(file: &str, text: &str, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    let sections = match File::from_str(text, FileFormat::Toml).collect() {
        Ok(sections) => sections,
        Err(error) => {
            problems.push(syntax(file, text, error));
            return layer;
        }
    };
    for (path, value) in leaves(sections) {
        let place = format!("{file}: {path}");
        let Some(key) = KEYS.iter().find(|key| key.path == path) else {
            problems.push(misplaced(file, &place, path));
            continue;
        };
        match key.kind.check(&value.kind) {
            Ok(()) => layer.set(key, Value::new(Some(&place), value.kind)),
            Err(reason) => problems.push(Problem::Invalid { place, reason }),
        }
    }
    layer
}

/// `section.key` and what it holds; what is not in a section keeps its bare name.
fn leaves(sections: config::Map<String, Value>) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    for (section, value) in sections {
        match value.kind {
            ValueKind::Table(keys) if !keys.is_empty() || is_section(&section) => {
                leaves.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            kind => {
                leaves.insert(section, Value::new(None, kind));
            }
        }
    }
    leaves
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.parts().0 == name)
}

fn misplaced(file: &str, place: &str, path: String) -> Problem {
    if is_section(&path) {
        return Problem::Invalid { place: place.to_owned(), reason: format!("is a section: write [{path}]") };
    }
    Problem::UnknownKey { file: file.to_owned(), nearest: nearest::key(&path), key: path }
}

/// The parser's own message would quote the line, which may hold a secret.
fn syntax(file: &str, text: &str, error: config::ConfigError) -> Problem {
    let (line, reason) = match error {
        config::ConfigError::FileParse { cause, .. } => match cause.downcast_ref::<toml::de::Error>() {
            Some(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let before = text.as_bytes().iter().take(start);
                let line = 1 + before.filter(|byte| **byte == b'\n').count();
                (line, error.message().to_owned())
            }
            None => (1, cause.to_string()),
        },
        other => (1, other.to_string()),
    };
    Problem::Syntax { file: file.to_owned(), line, reason }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Config, LogFormat};

    fn directory(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("config")).expect("created");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        directory
    }

    /// What is wrong with a file of this text.
    fn problems(text: &str) -> Vec<String> {
        let directory = directory(&[("my.toml", text)]);
        let sources = Sources::within(directory.path(), &[("CRM_CONFIG", "my.toml")]);
        let error = Config::load(&sources).expect_err(text);
        error.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn later_layers_win_key_by_key() {
        let directory = directory(&[
            ("config/staging.toml", "[server]\nport = 1\nmax_connections = 1\ndrain_delay = \"1s\""),
            ("my.toml", "[server]\nport = 2\nmax_connections = 2"),
        ]);
        let variables = [("CRM_ENV", "staging"), ("CRM_CONFIG", "my.toml"), ("PORT", "3")];

        let config = Config::load(&Sources::within(directory.path(), &variables)).expect("valid");

        assert_eq!(config.server.port, 3, "the environment");
        assert_eq!(config.server.max_connections, 2, "the file of CRM_CONFIG");
        assert_eq!(config.server.drain_delay.as_secs(), 1, "the file of CRM_ENV");
        assert_eq!(config.server.drain_timeout.as_secs(), 25, "the default");
    }

    #[test]
    fn crm_config_takes_an_absolute_path() {
        let directory = directory(&[("my.toml", "[server]\nport = 2")]);
        let path = directory.path().join("my.toml");

        let config = Config::load(&Sources::of(&[("CRM_CONFIG", path.to_str().expect("text"))]));

        assert_eq!(config.expect("valid").server.port, 2);
    }

    #[test]
    fn production_is_compiled_in_and_a_file_on_disk_replaces_it() {
        let variables = [("CRM_ENV", "production")];

        let compiled_in = Config::load(&Sources::of(&variables)).expect("valid");
        assert_eq!(compiled_in.log.format, LogFormat::Json);
        assert_eq!(compiled_in.server.drain_delay.as_secs(), 3);

        let directory = directory(&[("config/production.toml", "[server]\nport = 9")]);
        let on_disk = Config::load(&Sources::within(directory.path(), &variables)).expect("valid");
        assert_eq!(on_disk.server.port, 9);
        assert_eq!(on_disk.log.format, LogFormat::Text);
    }

    #[test]
    fn a_missing_file_is_refused_with_its_path() {
        for (name, value, path) in [
            ("CRM_ENV", "staging", "config/staging.toml"),
            ("CRM_CONFIG", "my.toml", "my.toml"),
            ("CRM_CONFIG", "/nonexistent/my.toml", "/nonexistent/my.toml"),
        ] {
            let error = Config::load(&Sources::of(&[(name, value)])).expect_err(name);
            let [problem] = error.problems() else { panic!("{error}") };
            let message = problem.to_string();
            assert!(message.starts_with(&format!("{name}: {path}: there is no such file")), "{message}");
        }
    }

    #[test]
    fn an_environments_name_is_not_a_path() {
        let directory = directory(&[("up.toml", "[server]\nport = 2")]);
        for name in ["../up", "/etc/passwd", "a.b", "a b", "生产"] {
            let error =
                Config::load(&Sources::within(directory.path(), &[("CRM_ENV", name)])).expect_err(name);
            assert!(
                matches!(error.problems(), [Problem::Invalid { place, .. }] if place == "CRM_ENV"),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_the_file_and_the_nearest_key() {
        assert_eq!(
            problems("prot = 1\n[server]\nprot = 1\n[sever]\nport = 1\n[storage.queue_]\nsize = 1\n[logs]\n"),
            [
                "my.toml: there is no key logs; the nearest is log.filter",
                "my.toml: there is no key prot; the nearest is server.port",
                "my.toml: there is no key server.prot; the nearest is server.port",
                "my.toml: there is no key sever.port; the nearest is server.port",
                "my.toml: there is no key storage.queue_; the nearest is storage.queue",
            ]
        );
    }

    #[test]
    fn a_section_that_is_no_section_is_refused() {
        assert_eq!(problems("server = 5"), ["my.toml: server: is a section: write [server]"]);
        assert_eq!(problems("[[log]]\nfilter = \"info\""), ["my.toml: log: is a section: write [log]"]);
        assert_eq!(
            problems("[server.port]\nx = 1"),
            ["my.toml: server.port: must be a whole number without quotes"]
        );
    }

    #[test]
    fn values_of_a_wrong_kind_are_refused_with_the_file_and_the_key() {
        assert_eq!(
            problems(
                "[server]\nport = true\ncompress = 1\ndrain_delay = 5\n[tenants]\ndefault_id = 123\n\
                 [log]\nformat = \"xml\"\n[auth]\njwt_secret = 12345678901234567890123456789012.5"
            ),
            [
                "my.toml: auth.jwt_secret: must be text in quotes",
                "my.toml: log.format: \"xml\" is not one of text, json",
                "my.toml: server.compress: must be true or false without quotes",
                "my.toml: server.drain_delay: must be a duration in quotes, like \"500ms\", \"2s\" or \"1h\"",
                "my.toml: server.port: must be a whole number without quotes",
                "my.toml: tenants.default_id: must be text in quotes",
            ]
        );
    }

    #[test]
    fn a_syntax_error_names_the_line_and_does_not_quote_it() {
        for text in [
            "[auth]\n# a comment\njwt_secret = hunter2hunter2\n",
            "[auth]\n\njwt_secret = \"hunter2hunter2\n",
            "[auth]\njwt_issuer = \"x\"\njwt_secret = \"\\hunter2\"\n",
            "[auth]\njwt_secret = \"x\"\njwt_secret = \"hunter2\"\n",
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("my.toml, line 3: "), "{found:?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn the_examples_of_the_absent_keys_are_valid() {
        let uncommented: Vec<_> = DEFAULT
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => key,
                _ => line,
            })
            .collect();
        let directory = directory(&[("my.toml", &uncommented.join("\n"))]);
        let sources = Sources::within(Path::new(directory.path()), &[("CRM_CONFIG", "my.toml")]);

        let shown = Config::load(&sources).expect("valid").to_redacted_toml();

        assert!(!shown.contains("(absent)"), "{shown}");
    }
}
