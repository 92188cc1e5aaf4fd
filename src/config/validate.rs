//! Rules that the types do not express, in one place.
//!
//! Not here: keys and service tokens (`identity` parses them) and whether this address may be listened on (`app` knows).

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;

use super::bus_target::BusTarget;
use super::database_url::database_file;
use super::settings::{Api, Auth, Backup, Config, Events, Governance, Log, Server, Storage, Tenants};
use crate::domain::ReceivedKind;
use crate::upstream;

/// HS256 with less than its own output is weaker than it looks (RFC 7518 §3.2).
const JWT_SECRET_BYTES: usize = 32;
/// A semaphore of tokio panics far above this, and nobody means more.
const MANY: u64 = 1_000_000;
/// A deadline beyond it is a slip, and some clocks' arithmetic overflows far above it.
const LONG: Duration = Duration::from_secs(31_557_600);

/// What is wrong: the key and the reason. A reason never quotes a secret.
pub(super) fn faults(config: &Config) -> Vec<(&'static str, String)> {
    let Config { server, storage, tenants, auth, api, events, governance, backup, admin: _, log } = config;
    let mut faults = Faults(Vec::new());
    faults.server(server);
    faults.storage(storage);
    faults.tenants(tenants);
    faults.auth(auth);
    faults.api(api);
    faults.events(events);
    faults.governance(governance);
    faults.backup(backup);
    faults.log(log);
    faults.0
}

struct Faults(Vec<(&'static str, String)>);

// Each settings struct is taken apart in full, so that a new setting cannot be forgotten here.
impl Faults {
    fn server(&mut self, server: &Server) {
        let Server {
            host: _,
            port: _,
            max_connections,
            drain_delay,
            drain_timeout,
            content_length: _,
            compress: _,
        } = server;
        self.number("server.max_connections", *max_connections as u64, 1..=MANY);
        self.duration("server.drain_delay", *drain_delay);
        self.lasting("server.drain_timeout", *drain_timeout);
    }

    fn storage(&mut self, storage: &Storage) {
        let Storage {
            database_url,
            legacy: _,
            lock_wait,
            max_open_tenants: _,
            tenant_idle,
            writer_idle,
            checkpoint_after,
            queue,
            read_deadline,
            write_deadline,
            report_deadline,
            export_deadline,
            low_water: _,
            stop_writes: _,
        } = storage;
        self.check("storage.database_url", database_file(database_url, Path::new(""), |_| false));
        self.duration("storage.lock_wait", *lock_wait);
        self.lasting("storage.tenant_idle", *tenant_idle);
        self.lasting("storage.writer_idle", *writer_idle);
        self.lasting("storage.checkpoint_after", *checkpoint_after);
        self.number("storage.queue", *queue as u64, 1..=MANY);
        self.lasting("storage.read_deadline", *read_deadline);
        self.lasting("storage.write_deadline", *write_deadline);
        self.lasting("storage.report_deadline", *report_deadline);
        self.lasting("storage.export_deadline", *export_deadline);
    }

    fn tenants(&mut self, tenants: &Tenants) {
        let Tenants { default_id: _, provision: _, binding: _, create_burst, create_per_minute, trash_keep } =
            tenants;
        let all = 1..=u64::from(u32::MAX);
        self.number("tenants.create_burst", u64::from(*create_burst), all.clone());
        self.number("tenants.create_per_minute", u64::from(*create_per_minute), all);
        self.lasting("tenants.trash_keep", *trash_keep);
    }

    fn auth(&mut self, auth: &Auth) {
        let Auth {
            verify_signature: _,
            signing_secret,
            strict: _,
            service_tokens,
            jwt_secret,
            jwt_public_key,
            jwks_url,
            jwks_file,
            jwks_timeout,
            jwks_max_age,
            jwks_min_pause,
            jwks_stale,
            jwt_issuer,
            jwt_audience,
            jwt_tenant_claim,
            platform_url,
            platform_timeout,
            platform_yes_ttl,
            platform_no_ttl,
            platform_stale,
            platform_cache,
            platform_unknown_per_minute,
        } = auth;
        let exposed = |secret: &SecretString| secret.expose_secret().trim().is_empty();
        self.filled("auth.signing_secret", signing_secret.as_ref().is_some_and(exposed));
        self.filled("auth.service_tokens", service_tokens.as_ref().is_some_and(exposed));
        self.check("auth.jwt_secret", jwt_secret.as_ref().map_or(Ok(()), long_enough));
        for (key, text) in [
            ("auth.jwt_public_key", jwt_public_key),
            ("auth.jwks_file", jwks_file),
            ("auth.jwt_issuer", jwt_issuer),
            ("auth.jwt_audience", jwt_audience),
            ("auth.jwt_tenant_claim", jwt_tenant_claim),
        ] {
            self.filled(key, text.as_ref().is_some_and(|text| text.trim().is_empty()));
        }
        self.check("auth.jwks_url", jwks_url.as_deref().map_or(Ok(()), document_url));
        self.lasting("auth.jwks_timeout", *jwks_timeout);
        self.lasting("auth.jwks_max_age", *jwks_max_age);
        self.duration("auth.jwks_min_pause", *jwks_min_pause);
        self.duration("auth.jwks_stale", *jwks_stale);
        self.check("auth.platform_url", platform_url.as_deref().map_or(Ok(()), base_url));
        self.lasting("auth.platform_timeout", *platform_timeout);
        self.duration("auth.platform_yes_ttl", *platform_yes_ttl);
        self.duration("auth.platform_no_ttl", *platform_no_ttl);
        self.duration("auth.platform_stale", *platform_stale);
        self.number("auth.platform_cache", *platform_cache, 1..=u64::MAX);
        let unknown = u64::from(*platform_unknown_per_minute);
        self.number("auth.platform_unknown_per_minute", unknown, 1..=u64::from(u32::MAX));
    }

    fn api(&mut self, api: &Api) {
        // Types say all there is to say.
        let Api { patch_null: _, unknown_fields: _, idempotency: _, mask_email: _, time_zone: _ } = api;
    }

    fn events(&mut self, events: &Events) {
        let Events { bus_url, bus_token, gateway_url, gateway_token, bus_timeout, subscribe: _, poll_every } =
            events;
        self.check("events.bus_url", bus_url.as_deref().map(BusTarget::parse).transpose());
        self.check("events.gateway_url", gateway_url.as_deref().map_or(Ok(()), base_url));
        for (key, token) in [("events.bus_token", bus_token), ("events.gateway_token", gateway_token)] {
            let text = token.as_ref().map(ExposeSecret::expose_secret);
            self.filled(key, text.is_some_and(|text| text.trim().is_empty()));
            let is_sendable = text.is_none_or(|text| text.trim().bytes().all(|byte| byte.is_ascii_graphic()));
            self.check(key, is_sendable.then_some(()).ok_or("must be visible ASCII characters"));
        }
        self.lasting("events.bus_timeout", *bus_timeout);
        for kind in events.subscribed().filter(|kind| ReceivedKind::from_word(kind).is_none()) {
            let known: Vec<_> = ReceivedKind::ALL.iter().map(|kind| kind.word()).collect();
            let reason = format!("{kind:?} has no effect here; known are {}", known.join(", "));
            self.0.push(("events.subscribe", reason));
        }
        self.duration("events.poll_every", *poll_every);
        if !poll_every.is_zero() {
            let target = events.target().map(BusTarget::parse);
            let can_be_asked = matches!(target, Some(Ok(BusTarget::Http(_))));
            let reason = "needs a bus to ask: set EVENT_BUS_URL or GATEWAY_URL to its http:// address";
            self.check("events.poll_every", can_be_asked.then_some(()).ok_or(reason));
        }
    }

    fn backup(&mut self, backup: &Backup) {
        let Backup { copy_every, drill_every, check_every } = backup;
        self.duration("backup.copy_every", *copy_every);
        self.duration("backup.drill_every", *drill_every);
        self.duration("backup.check_every", *check_every);
    }

    fn governance(&mut self, governance: &Governance) {
        let Governance { url, cell_url, register_every } = governance;
        self.lasting("governance.register_every", *register_every);
        self.check("governance.url", url.as_deref().map_or(Ok(()), base_url));
        self.check("governance.cell_url", cell_url.as_deref().map_or(Ok(()), base_url));
        if url.is_some() && cell_url.is_none() {
            let reason = "needs CRM_BASE_URL: the URL under which the platform reaches this cell";
            self.check::<(), _>("governance.url", Err(reason));
        }
    }

    fn log(&mut self, log: &Log) {
        let Log { filter, format: _ } = log;
        self.filled("log.filter", filter.trim().is_empty());
        self.check("log.filter", EnvFilter::builder().parse(filter));
    }

    fn check<T, E: Display>(&mut self, key: &'static str, outcome: Result<T, E>) {
        if let Err(reason) = outcome {
            self.0.push((key, reason.to_string()));
        }
    }

    fn filled(&mut self, key: &'static str, is_blank: bool) {
        if is_blank {
            self.0.push((key, "must not be blank: leave the key out".to_owned()));
        }
    }

    fn number(&mut self, key: &'static str, value: u64, allowed: RangeInclusive<u64>) {
        if value < *allowed.start() {
            self.0.push((key, format!("is {value}; the least is {}", allowed.start())));
        } else if value > *allowed.end() {
            self.0.push((key, format!("is {value}; the most is {}", allowed.end())));
        }
    }

    /// A duration of which zero makes no sense.
    fn lasting(&mut self, key: &'static str, value: Duration) {
        if value.is_zero() {
            self.0.push((key, "must be longer than 0s".to_owned()));
        }
        self.duration(key, value);
    }

    fn duration(&mut self, key: &'static str, value: Duration) {
        if value > LONG {
            self.0.push((key, "must be at most 1year".to_owned()));
        }
    }
}

fn long_enough(secret: &SecretString) -> Result<(), String> {
    let length = secret.expose_secret().len();
    if length < JWT_SECRET_BYTES {
        return Err(format!("has {length} bytes; at least {JWT_SECRET_BYTES} are needed"));
    }
    Ok(())
}

fn base_url(text: &str) -> Result<(), upstream::InvalidUrl> {
    upstream::base_url(text).map(|_| ())
}

fn document_url(text: &str) -> Result<(), upstream::InvalidUrl> {
    upstream::document_url(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Sources};

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for (name, value) in [
            ("CRM__SERVER__MAX_CONNECTIONS", "0"),
            ("CRM__SERVER__MAX_CONNECTIONS", "9223372036854775807"),
            ("CRM__SERVER__DRAIN_DELAY", "2years"),
            ("CRM__SERVER__DRAIN_TIMEOUT", "0s"),
            ("CRM__STORAGE__LOCK_WAIT", "2years"),
            ("CRM__STORAGE__TENANT_IDLE", "0s"),
            ("CRM__STORAGE__WRITER_IDLE", "0ms"),
            ("CRM__STORAGE__CHECKPOINT_AFTER", "0"),
            ("CRM__STORAGE__QUEUE", "0"),
            ("CRM__STORAGE__QUEUE", "1000001"),
            ("CRM__STORAGE__READ_DEADLINE", "0s"),
            ("CRM__STORAGE__WRITE_DEADLINE", "500000h"),
            ("CRM__STORAGE__REPORT_DEADLINE", "0s"),
            ("CRM__STORAGE__EXPORT_DEADLINE", "0s"),
            ("CRM__TENANTS__CREATE_BURST", "0"),
            ("CRM__TENANTS__CREATE_PER_MINUTE", "0"),
            ("CRM__TENANTS__TRASH_KEEP", "0s"),
            ("CRM__STORAGE__LOW_WATER", "much"),
            ("CRM__BACKUP__DRILL_EVERY", "2years"),
            ("CRM_ADMIN_ADDR", "localhost"),
            ("CRM_JWT_SECRET", "0123456789abcdef0123456789abcde"),
            ("CRM__AUTH__PLATFORM_TIMEOUT", "0s"),
            ("CRM__AUTH__PLATFORM_STALE", "2years"),
            ("CRM__AUTH__PLATFORM_CACHE", "0"),
            ("CRM__AUTH__PLATFORM_UNKNOWN_PER_MINUTE", "0"),
            ("CRM_JWKS_URL", "id.example.org/jwks.json"),
            ("CRM_JWKS_URL", "https://user@id.example.org/jwks.json"),
            ("CRM__AUTH__JWKS_TIMEOUT", "0s"),
            ("CRM__AUTH__JWKS_MAX_AGE", "0s"),
            ("CRM_DATABASE_URL", "sqlite:///:memory:"),
            ("PLATFORM_AUTH_URL", "platform.example.org"),
            ("PLATFORM_AUTH_URL", "//platform"),
            ("PLATFORM_AUTH_URL", "ftp://platform"),
            ("PLATFORM_AUTH_URL", "http://"),
            ("PLATFORM_AUTH_URL", "http://user@platform"),
            ("PLATFORM_AUTH_URL", "http://:password@platform"),
            ("PLATFORM_AUTH_URL", "http://platform/?a=b"),
            ("PLATFORM_AUTH_URL", "http://platform?"),
            ("PLATFORM_AUTH_URL", "http://platform/#"),
            ("PLATFORM_AUTH_URL", "http://plat form"),
            ("CRM__LOG__FILTER", "crm_cell=loud"),
            ("CRM__LOG__FILTER", "info,[x"),
        ] {
            let error = Config::load(&Sources::of(&[(name, value)])).expect_err(&format!("{name}={value:?}"));
            let [problem] = error.problems() else { panic!("{error}") };
            assert!(problem.to_string().starts_with(&format!("{name}: ")), "{problem}");
        }
    }

    #[test]
    fn values_at_the_edge_are_accepted() {
        for (name, value) in [
            ("PORT", "0"),
            ("CRM__SERVER__MAX_CONNECTIONS", "1"),
            ("CRM__SERVER__DRAIN_DELAY", "0s"),
            ("CRM__STORAGE__LOCK_WAIT", "0s"),
            ("CRM__STORAGE__MAX_OPEN_TENANTS", "0"),
            ("CRM__STORAGE__TENANT_IDLE", "1ms"),
            ("CRM__STORAGE__WRITE_DEADLINE", "1y"),
            ("CRM__STORAGE__QUEUE", "1"),
            ("CRM_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
            ("CRM__AUTH__PLATFORM_YES_TTL", "0s"),
            ("CRM__AUTH__PLATFORM_NO_TTL", "0s"),
            ("CRM__AUTH__PLATFORM_STALE", "0s"),
            ("PLATFORM_AUTH_URL", "http://127.0.0.1:8080"),
            ("PLATFORM_AUTH_URL", "https://platform.example.org/base/"),
            ("CRM__LOG__FILTER", "crm_cell=debug,info"),
        ] {
            let loaded = Config::load(&Sources::of(&[(name, value)]));
            assert!(loaded.is_ok(), "{name}={value}: {loaded:?}");
        }
    }

    #[test]
    fn blank_text_in_a_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let keys =
            ["service_tokens", "jwt_secret", "jwt_public_key", "jwt_issuer", "jwt_audience", "platform_url"];
        for key in keys {
            std::fs::write(directory.path().join("my.toml"), format!("[auth]\n{key} = \"\""))
                .expect("written");
            let error = Config::load(&Sources::within(directory.path(), &[("CRM_CONFIG", "my.toml")]));
            let message = error.expect_err(key).to_string();
            assert!(message.contains(&format!("my.toml: auth.{key}: ")), "{message}");
        }
    }
}
