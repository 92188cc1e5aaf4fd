//! The layer of environment variables.

use std::collections::BTreeSet;
use std::fs;

use config::Value;

use super::error::Problem;
use super::keys::{self, KEYS, Key, Variable};
use super::load::Layer;
use super::nearest;
use super::sources::Sources;

/// What the environment sets. Variables that are not the cell's are ignored.
pub(super) fn layer(sources: &Sources, problems: &mut Vec<Problem>) -> Layer {
    problems.extend(unknown(sources));
    let mut layer = Layer::default();
    for key in KEYS {
        match value(key, sources) {
            Ok(Some(value)) => layer.set(key, value),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    layer
}

fn value(key: &Key, sources: &Sources) -> Result<Option<Value>, Problem> {
    let set: Vec<(Variable, &str)> = key
        .variables()
        .into_iter()
        .filter_map(|variable| {
            let text = sources.variable(&variable.name)?;
            Some((variable, text))
        })
        .collect();
    let Some(((variable, text), others)) = set.split_first() else {
        return Ok(None);
    };
    for (other, other_text) in others {
        if variable.names_a_file || other.names_a_file || text != other_text {
            return Err(Problem::SetTwice { first: variable.name.clone(), second: other.name.clone() });
        }
    }
    let kind = if variable.names_a_file {
        key.kind.read(&content(variable, text, sources)?)
    } else {
        key.kind.read(text)
    };
    match kind {
        Ok(kind) => Ok(Some(Value::new(Some(&variable.name), kind))),
        Err(reason) => Err(invalid(variable, reason)),
    }
}

/// The content of the file that the variable names, without the newline that editors put at its end.
///
/// Problems do not quote the name: who mistakes `CRM_JWT_SECRET_FILE` for `CRM_JWT_SECRET` has put the secret there.
fn content(variable: &Variable, path: &str, sources: &Sources) -> Result<String, Problem> {
    let content =
        fs::read_to_string(sources.directory().join(path)).map_err(|error| Problem::Unreadable {
            asked_by: variable.name.clone(),
            path: "the file it names cannot be read".to_owned(),
            reason: error.to_string(),
        })?;
    let secret = content.strip_suffix('\n').unwrap_or(&content);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.trim().is_empty() {
        return Err(invalid(variable, "the file it names is empty".to_owned()));
    }
    Ok(secret.to_owned())
}

fn invalid(variable: &Variable, reason: String) -> Problem {
    Problem::Invalid { place: variable.name.clone(), reason }
}

/// The variables that look like ours and are not.
fn unknown(sources: &Sources) -> Vec<Problem> {
    let services = services(sources);
    sources
        .variables()
        .filter(|(name, _)| name.starts_with(keys::PREFIX) && !keys::is_known_variable(name))
        .filter(|(name, value)| !services.iter().any(|service| is_service_link(service, name, value)))
        .map(|(name, _)| Problem::UnknownVariable { name: name.to_owned(), nearest: nearest::variable(name) })
        .collect()
}

/// Kubernetes tells every container of the services in its namespace: one named `crm-cell` sets `CRM_CELL_SERVICE_HOST`,
/// `CRM_CELL_PORT` and more. Nobody wrote those by mistake.
fn services(sources: &Sources) -> BTreeSet<&str> {
    sources
        .variables()
        .filter_map(|(name, _)| name.strip_suffix("_SERVICE_HOST"))
        .filter(|service| sources.variable(&format!("{service}_SERVICE_PORT")).is_some())
        .collect()
}

fn is_service_link(service: &str, name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(service) else {
        return false;
    };
    // A service named `crm` sets CRM_PORT=tcp://10.0.0.1:8001; a person who means PORT writes a number.
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    rest == "_SERVICE_HOST"
        || rest == "_SERVICE_PORT"
        || rest.starts_with("_SERVICE_PORT_")
        || (rest == "_PORT" && is_address)
        || rest.strip_prefix("_PORT_").is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::keys::Kind;
    use crate::config::{Config, Provision};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn problems(sources: &Sources) -> Vec<Problem> {
        Config::load(sources).expect_err("refused").problems().to_vec()
    }

    #[test]
    fn documented_names_and_generic_names_set_their_keys() {
        let config = Config::load(&Sources::of(&[
            ("PORT", " 8101 "),
            ("CRM_TENANT_PROVISION", "explicit"),
            ("CRM_AUTH_STRICT", "yes"),
            ("CRM__STORAGE__TENANT_IDLE", "90s"),
            ("CRM__AUTH__JWT_ISSUER", "https://id.example.org"),
            ("HOME", "/home/ann"),
            ("EDITOR", ""),
        ]))
        .expect("valid");

        assert_eq!(config.server.port, 8101);
        assert_eq!(config.tenants.provision, Provision::Explicit);
        assert_eq!(config.auth.strict, Some(true));
        assert_eq!(config.storage.tenant_idle.as_secs(), 90);
        assert_eq!(config.auth.jwt_issuer.as_deref(), Some("https://id.example.org"));
    }

    #[test]
    fn every_key_can_be_set_by_each_of_its_variables() {
        for key in KEYS {
            for variable in key.variables().into_iter().filter(|variable| !variable.names_a_file) {
                let text = match key.kind {
                    Kind::Number => "7",
                    Kind::Switch => "on",
                    Kind::Duration => "7s",
                    Kind::Size => "7 MiB",
                    Kind::Secret => SECRET,
                    Kind::Choice(words) => words[1],
                    Kind::Text => match key.path {
                        "server.host" => "127.0.0.7",
                        "storage.database_url" => "sqlite:////x/7.db",
                        "auth.jwks_url"
                        | "auth.platform_url"
                        | "events.bus_url"
                        | "events.gateway_url"
                        | "governance.url"
                        | "governance.cell_url" => "http://seven",
                        "admin.address" => "127.0.0.7:7",
                        "api.time_zone" => "Europe/Berlin",
                        "events.subscribe" => "oa.task.completed",
                        _ => "seven",
                    },
                };
                // Some make sense beside another only.
                let needed: &[_] = match key.path {
                    "events.poll_every" => &[("EVENT_BUS_URL", "http://bus")],
                    "governance.url" => &[("CRM_BASE_URL", "http://cell")],
                    _ => &[],
                };
                let with_it = [needed, &[(variable.name.as_str(), text)]].concat();
                let loaded = Config::load(&Sources::of(&with_it)).expect(&variable.name);
                let default = Config::load(&Sources::of(needed)).expect("the defaults are valid");
                assert_ne!(loaded.to_redacted_toml(), default.to_redacted_toml(), "{}", variable.name);
            }
        }
    }

    #[test]
    fn a_tenant_id_of_digits_stays_text() {
        for (name, id) in [("DEFAULT_TENANT_ID", "00123"), ("CRM__TENANTS__DEFAULT_ID", "1e3")] {
            let config = Config::load(&Sources::of(&[(name, id)])).expect("valid");
            assert_eq!(config.tenants.default_id.as_str(), id);
        }
    }

    #[test]
    fn a_blank_variable_counts_as_absent() {
        let config = Config::load(&Sources::of(&[
            ("PORT", ""),
            ("CRM_JWT_SECRET", " \n"),
            ("CRM__LOG__FILTER", "\t"),
            ("CRM_ENV", " "),
            ("CRM_CONFIG", ""),
            ("CRM_NO_SUCH_THING", ""),
        ]))
        .expect("valid");

        assert_eq!(config.server.port, 8001);
        assert!(config.auth.jwt_secret.is_none());
        assert_eq!(config.log.filter, "info");
    }

    #[test]
    fn unknown_variables_are_refused_with_the_nearest_name() {
        let unknown = |name: &str, nearest: &str| Problem::UnknownVariable {
            name: name.to_owned(),
            nearest: nearest.to_owned(),
        };
        assert_eq!(
            problems(&Sources::of(&[
                ("CRM_PORT", "8001"),
                ("CRM_JWT_SECERT", SECRET),
                ("CRM__SERVER__PROT", "1"),
                ("CRM__server__port", "1"),
                ("CRM_HOST_FILE", "/run/host"),
            ])),
            [
                unknown("CRM_HOST_FILE", "CRM_HOST"),
                unknown("CRM_JWT_SECERT", "CRM_JWT_SECRET"),
                unknown("CRM_PORT", "PORT"),
                unknown("CRM__SERVER__PROT", "CRM__SERVER__PORT"),
                unknown("CRM__server__port", "CRM__SERVER__PORT"),
            ]
        );
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_are_not_ours() {
        let of_a_service = |service: &str| {
            [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "8001"),
                ("SERVICE_PORT_HTTP", "8001"),
                ("PORT", "tcp://10.0.0.1:8001"),
                ("PORT_8001_TCP", "tcp://10.0.0.1:8001"),
                ("PORT_8001_TCP_PROTO", "tcp"),
                ("PORT_8001_TCP_PORT", "8001"),
                ("PORT_8001_TCP_ADDR", "10.0.0.1"),
            ]
            .map(|(name, value)| (format!("{service}_{name}"), value.to_owned()))
        };
        for service in ["CRM_CELL", "CRM"] {
            let variables = of_a_service(service).into_iter().collect();
            let config = Config::load(&Sources::new(variables, "/nonexistent")).expect(service);
            assert_eq!(config.server.port, 8001);
        }

        let mistakes = [("CRM_CELL_PORT", "8001"), ("CRM_CELL_HOST", "::"), ("CRM_SERVICE_PORT", "1")];
        let alone = problems(&Sources::of(&mistakes));
        assert_eq!(alone.len(), 3, "without the service: {alone:?}");
        let mut variables: std::collections::BTreeMap<_, _> = of_a_service("CRM_CELL").into_iter().collect();
        variables.extend(mistakes.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let beside = problems(&Sources::new(variables, "/nonexistent"));
        assert_eq!(beside.len(), 3, "beside the service: {beside:?}");
    }

    #[test]
    fn two_variables_for_one_key_must_agree() {
        let agreeing = Sources::of(&[("PORT", "9000"), ("CRM__SERVER__PORT", "9000")]);
        assert_eq!(Config::load(&agreeing).expect("the same").server.port, 9000);

        let disagreeing = Sources::of(&[("PORT", "9000"), ("CRM__SERVER__PORT", "9001")]);
        assert_eq!(
            problems(&disagreeing),
            [Problem::SetTwice { first: "PORT".to_owned(), second: "CRM__SERVER__PORT".to_owned() }]
        );
    }

    #[test]
    fn a_secret_is_read_from_a_file_without_its_last_newline() {
        let directory = tempfile::tempdir().expect("a directory");
        for (written, read) in [
            (format!("{SECRET}\n"), SECRET.to_owned()),
            (format!("{SECRET}\r\n"), SECRET.to_owned()),
            (format!(" {SECRET}"), format!(" {SECRET}")),
            (format!("{SECRET}\n\n"), format!("{SECRET}\n")),
        ] {
            fs::write(directory.path().join("secret"), &written).expect("written");
            for name in ["CRM_JWT_SECRET_FILE", "CRM__AUTH__JWT_SECRET_FILE"] {
                let sources = Sources::within(directory.path(), &[(name, "secret")]);
                let config = Config::load(&sources).expect("valid");
                let secret = config.auth.jwt_secret.expect("set");
                assert_eq!(secret.expose_secret(), read, "{written:?}");
            }
        }
    }

    #[test]
    fn a_secret_and_its_file_together_are_refused_even_when_they_agree() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(SECRET), SECRET).expect("written");
        for other in ["CRM_JWT_SECRET", "CRM__AUTH__JWT_SECRET"] {
            let variables = [("CRM_JWT_SECRET_FILE", SECRET), (other, SECRET)];
            let found = problems(&Sources::within(directory.path(), &variables));
            assert!(matches!(found.as_slice(), [Problem::SetTwice { .. }]), "{found:?}");
        }
    }

    #[test]
    fn an_unreadable_or_empty_secret_file_is_refused_without_quoting_what_may_be_the_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("directory")).expect("created");
        fs::write(directory.path().join("empty"), "\n").expect("written");
        fs::write(directory.path().join("bytes"), [0xff, 0xfe]).expect("written");
        for (path, reason) in [
            (SECRET, "cannot be read"),
            ("directory", "cannot be read"),
            ("bytes", "cannot be read"),
            ("empty", "is empty"),
        ] {
            let sources = Sources::within(directory.path(), &[("CRM_JWT_SECRET_FILE", path)]);
            let found = problems(&sources);
            let [problem] = found.as_slice() else { panic!("{found:?}") };
            let message = problem.to_string();
            assert!(message.starts_with("CRM_JWT_SECRET_FILE: the file it names "), "{message}");
            assert!(message.contains(reason) && !message.contains(SECRET), "{message}");
        }
    }
}
