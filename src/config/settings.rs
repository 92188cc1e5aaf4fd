//! The settings as types. `config/default.toml` holds the same keys with their defaults and comments.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use chrono_tz::Tz;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::TenantId;

/// What a secret is printed as.
pub(super) const HIDDEN: &str = "***";

/// The effective configuration, validated.
///
/// Its `Serialize` shows what `crm-cell config` prints: secrets come out as `***`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The listener and its limits.
    pub server: Server,
    /// Where the tenants' files are and how long they stay open.
    pub storage: Storage,
    /// Which tenants there may be and who is admitted to them.
    pub tenants: Tenants,
    /// Who a caller is.
    pub auth: Auth,
    /// How the resources behave where clients differ.
    pub api: Api,
    /// Events, out and in.
    pub events: Events,
    /// Whom the cell tells where it is.
    pub governance: Governance,
    /// Copies of tenants' files.
    pub backup: Backup,
    /// How operators reach a running cell. Without a value in it, the section is none.
    #[serde(default)]
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
}

/// The listener and its limits.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `CRM_HOST`: address to listen on; absent = `0.0.0.0` with an identity source, else `127.0.0.1` (contract §5).
    pub host: Option<IpAddr>,
    /// `PORT`: TCP port; 0 lets the system choose one.
    pub port: u16,
    /// Connections served at once; further ones wait in the backlog.
    pub max_connections: usize,
    /// How long readiness answers "draining" before the listener closes.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long requests under way may take to finish once the listener is closed.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// `CRM_HTTP_CONTENT_LENGTH`: send bodies with a length instead of chunked (contract §3).
    pub content_length: bool,
    /// `CRM_HTTP_COMPRESS`: compress bodies for callers that accept it (contract §3).
    pub compress: bool,
}

/// Where the tenants' files are and how long they stay open.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// `CRM_DATABASE_URL`: `sqlite:///<dir>/<stem>.db`, which names the data root `<dir>/<stem>/` (contract §4).
    pub database_url: String,
    /// `CRM_LEGACY`: whether the cell starts beside a database of the Python cell that was not imported (contract §4).
    pub legacy: Legacy,
    /// How long a starting cell waits for another one to release `LOCK`.
    #[serde(with = "humantime_serde")]
    pub lock_wait: Duration,
    /// Tenants open at once; 0 = computed from the limits on files, threads and memory.
    pub max_open_tenants: u64,
    /// A tenant without a request for this long is closed.
    #[serde(with = "humantime_serde")]
    pub tenant_idle: Duration,
    /// A writer without a write for this long is closed; the tenant's reader stays open.
    #[serde(with = "humantime_serde")]
    pub writer_idle: Duration,
    /// A tenant without a write for this long is checkpointed, so that its main file alone holds every row.
    #[serde(with = "humantime_serde")]
    pub checkpoint_after: Duration,
    /// Writes, and likewise reads, that may wait on one tenant; one more is answered 429.
    pub queue: usize,
    /// A read that runs longer than this is aborted.
    #[serde(with = "humantime_serde")]
    pub read_deadline: Duration,
    /// A unit of work that writes and runs longer than this is aborted.
    #[serde(with = "humantime_serde")]
    pub write_deadline: Duration,
    /// A report that runs longer than this is aborted.
    #[serde(with = "humantime_serde")]
    pub report_deadline: Duration,
    /// An export that takes longer than this is broken off, whoever is slow.
    #[serde(with = "humantime_serde")]
    pub export_deadline: Duration,
    /// With less room than this on the data root's disk no copies, backups and tenants are made by operators; absent: 512 MiB,
    /// or a tenth of the disk if that is less.
    pub low_water: Option<ByteSize>,
    /// With less room than this, writes are refused; absent: 64 MiB, or 3 % of the disk if that is less.
    pub stop_writes: Option<ByteSize>,
}

/// What a database of the Python cell at `CRM_DATABASE_URL` that was not imported means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Legacy {
    /// The cell does not start: its tenants would look empty.
    Refuse,
    /// Nothing: the cell starts.
    Ignore,
}

/// Which tenants there may be and who is admitted to them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    /// `DEFAULT_TENANT_ID`: the tenant of an unbound caller that names none.
    pub default_id: TenantId,
    /// `CRM_TENANT_PROVISION`: who creates tenants.
    pub provision: Provision,
    /// `CRM_TENANT_BINDING`: whether a caller whose identity names no tenant is admitted on the header alone.
    pub binding: Binding,
    /// Tenants that may be created in one burst.
    pub create_burst: u32,
    /// Tenants that may be created a minute once the burst is used up.
    pub create_per_minute: u32,
    /// Deleted tenants, and files that others took the place of, are removed for good after this long.
    #[serde(with = "humantime_serde")]
    pub trash_keep: Duration,
}

/// Who creates tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provision {
    /// The first write to an unknown tenant creates it.
    Auto,
    /// Only operators do; an unknown tenant is 404.
    Explicit,
}

/// What an identity that names no tenant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// It is admitted to the tenant that `X-Tenant-Id` names, unless that has members and the user is none of them.
    Header,
    /// It is refused, unless the user is a member.
    Strict,
}

/// Who a caller is (contract §5).
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `CELL_VERIFY_SIGNATURE`: refuse requests that the gateway has not signed.
    pub verify_signature: bool,
    /// `CELL_SIGNING_SECRET`: the gateway's signing secret, at least 32 bytes; after `base64:`, in base64.
    #[serde(serialize_with = "hidden")]
    pub signing_secret: Option<SecretString>,
    /// `CRM_AUTH_STRICT`: with no identity source, refuse every token (true) or accept any (false, for development).
    pub strict: Option<bool>,
    /// `CRM_SERVICE_TOKENS`: `name:token[:role][@tenant,…]`, separated by commas or newlines.
    #[serde(serialize_with = "hidden")]
    pub service_tokens: Option<SecretString>,
    /// `CRM_JWT_SECRET`: HS256 secret, at least 32 bytes.
    #[serde(serialize_with = "hidden")]
    pub jwt_secret: Option<SecretString>,
    /// `CRM_JWT_PUBLIC_KEY`: PEM text, or the path of a PEM file.
    #[serde(serialize_with = "hidden_if_private")]
    pub jwt_public_key: Option<String>,
    /// `CRM_JWKS_URL`: URL of a JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// `CRM_JWKS_FILE`: path of a JSON Web Key Set; read again when it changes.
    pub jwks_file: Option<String>,
    /// Deadline of one reading of `jwks_url`.
    #[serde(with = "humantime_serde")]
    pub jwks_timeout: Duration,
    /// A key set older than this is read again.
    #[serde(with = "humantime_serde")]
    pub jwks_max_age: Duration,
    /// The least time between two readings of a key set.
    #[serde(with = "humantime_serde")]
    pub jwks_min_pause: Duration,
    /// How old a key set may be while it cannot be read again.
    #[serde(with = "humantime_serde")]
    pub jwks_stale: Duration,
    /// `CRM_JWT_ISSUER`: required `iss` of a JWT.
    pub jwt_issuer: Option<String>,
    /// `CRM_JWT_AUDIENCE`: required `aud` of a JWT.
    pub jwt_audience: Option<String>,
    /// `CRM_JWT_TENANT_CLAIM`: claim that names the tenant, tried after `tenantId`, `tenant_id` and `tid`.
    pub jwt_tenant_claim: Option<String>,
    /// `PLATFORM_AUTH_URL`: base URL of the platform; tokens not settled locally are asked at `/api/auth/me`.
    pub platform_url: Option<String>,
    /// Deadline of one question to the platform.
    #[serde(with = "humantime_serde")]
    pub platform_timeout: Duration,
    /// How long the platform's yes is kept.
    #[serde(with = "humantime_serde")]
    pub platform_yes_ttl: Duration,
    /// How long the platform's no is kept.
    #[serde(with = "humantime_serde")]
    pub platform_no_ttl: Duration,
    /// How old a kept yes may be while the platform does not answer.
    #[serde(with = "humantime_serde")]
    pub platform_stale: Duration,
    /// Tokens whose answers are kept.
    pub platform_cache: u64,
    /// Questions a minute about tokens not seen before; more are answered 429.
    pub platform_unknown_per_minute: u32,
}

/// How the resources behave where clients differ.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// `CRM_PATCH_NULL`: what `null` means in a PATCH.
    pub patch_null: PatchNull,
    /// `CRM_UNKNOWN_FIELDS`: what happens to unknown fields of a body.
    pub unknown_fields: UnknownFields,
    /// `CRM_IDEMPOTENCY`: what a repeated `X-Request-ID` is answered with.
    pub idempotency: Idempotency,
    /// `CRM_MASK_EMAIL`: mask e-mail addresses as phones are.
    pub mask_email: bool,
    /// `CRM_TIME_ZONE`: zone of dates without an offset and of "today".
    pub time_zone: Tz,
}

/// What `null` means in a PATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchNull {
    /// It clears the field (RFC 7396).
    Clear,
    /// It leaves the field as it is, as the Python cell did.
    Keep,
}

/// What happens to unknown fields of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// 400, naming them.
    Reject,
    /// They are dropped.
    Ignore,
}

/// What a repeated `X-Request-ID` is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Idempotency {
    /// The stored answer of the first request.
    Replay,
    /// 409, as the Python cell did.
    Conflict,
}

/// Events, out and in (contract §10).
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// `EVENT_BUS_URL`: where events are delivered to; absent = `gateway_url`. With neither, events are only kept.
    pub bus_url: Option<String>,
    /// `EVENT_BUS_TOKEN`: bearer token for the bus; absent = `gateway_token`.
    #[serde(serialize_with = "hidden")]
    pub bus_token: Option<SecretString>,
    /// `GATEWAY_URL`: base URL of the platform's gateway.
    pub gateway_url: Option<String>,
    /// `GATEWAY_TOKEN`: bearer token for the gateway.
    #[serde(serialize_with = "hidden")]
    pub gateway_token: Option<SecretString>,
    /// Deadline of one call of the bus.
    #[serde(with = "humantime_serde")]
    pub bus_timeout: Duration,
    /// Types of received events that have an effect, separated by commas; others are ignored.
    pub subscribe: String,
    /// How often the bus is asked for events of the subscribed types; 0 = never.
    #[serde(with = "humantime_serde")]
    pub poll_every: Duration,
}

impl Events {
    /// Where events are delivered to, if anywhere, as it is written in the settings.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.bus_url.as_deref().or(self.gateway_url.as_deref())
    }

    /// The bearer token for the bus.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        self.bus_token.as_ref().or(self.gateway_token.as_ref())
    }

    /// The types of received events that have an effect.
    pub fn subscribed(&self) -> impl Iterator<Item = &str> {
        self.subscribe.split(',').map(str::trim).filter(|kind| !kind.is_empty())
    }
}

/// Whom the cell tells where it is (contract §10).
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    /// `GOVERNANCE_URL`: base URL of the platform's governance; with `cell_url`, the cell registers there.
    pub url: Option<String>,
    /// `CRM_BASE_URL`: under which URL the platform reaches this cell.
    pub cell_url: Option<String>,
    /// How often it registers again: the governance forgets when it restarts.
    #[serde(with = "humantime_serde")]
    pub register_every: Duration,
}

/// Copies of tenants' files (contract §4).
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Every change is in a tenant's copy within this time; zero: none is made.
    #[serde(with = "humantime_serde")]
    pub copy_every: Duration,
    /// One tenant's copy is restored and compared this often; zero: never.
    #[serde(with = "humantime_serde")]
    pub drill_every: Duration,
    /// Every tenant's file is looked at as a whole within this time; zero: never.
    #[serde(with = "humantime_serde")]
    pub check_every: Duration,
}

/// How operators reach a running cell.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `CRM_ADMIN_ADDR`: address and port for operators, besides the socket in the data root; absent: none.
    pub address: Option<SocketAddr>,
    /// `CRM_ADMIN_TOKEN`: the service token with which commands ask a cell on another machine.
    #[serde(serialize_with = "hidden")]
    pub token: Option<SecretString>,
}

/// What is logged.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Filter in the form of tracing's `EnvFilter`: `info`, `crm_cell=debug,info`.
    pub filter: String,
    /// One JSON object or one readable line an event.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Readable, for a terminal.
    Text,
    /// One JSON object, for collectors.
    Json,
}

#[expect(clippy::ref_option, reason = "serde's serialize_with passes the field by reference")]
fn hidden<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| HIDDEN).serialize(serializer)
}

/// A private key given by mistake is refused by `identity`, but `crm-cell config` must not print it either.
#[expect(clippy::ref_option, reason = "serde's serialize_with passes the field by reference")]
fn hidden_if_private<S: Serializer>(key: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = |key: &'_ String| {
        if key.contains("PRIVATE KEY") { HIDDEN.to_owned() } else { key.clone() }
    };
    key.as_ref().map(shown).serialize(serializer)
}
