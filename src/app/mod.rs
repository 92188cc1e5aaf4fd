//! The wiring: configuration and parts become a running service.

mod listener;
mod readings;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use salvo::Server;
use salvo::fuse::FuseConfig;
use tokio::net::TcpListener;

use self::listener::{Door, DoorAcceptor};
use crate::admin::{self, AdminServer, Via};
use crate::config::{self, Binding, Config};
use crate::domain::{Clock, IdSource, Masking, ReceivedKind, SystemClock};
use crate::events::{self, Desk, Poller, Relay};
use crate::governance::Registration;
use crate::http::{self, Readiness, State};
use crate::identity::Identity;
use crate::legacy;
use crate::telemetry::Metrics;
use crate::tenancy::{Capacity, DataRoot, Machine, Surroundings, Tenants, Upkeep};

/// How long closing all tenants may take once no request runs any more.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Head of a request: bytes, headers.
const HEAD_MAX_BYTES: usize = 64 * 1024;
const HEAD_MAX_HEADERS: usize = 64;
/// Longest pause while a body arrives, and while an answer is taken.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than gateways keep their idle connections, so that they close first: a request sent into a connection that we
/// close looks like a broken cell. hyper counts the pause between two requests as part of the second one's head, so this
/// is also how long a client may take to send a head.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long clients have to learn, by the answer to a request, that their connection ends with this process: one that is closed
/// without an answer while a request is on its way looks like a broken cell.
const LINGER: Duration = Duration::from_secs(1);

/// What a service takes from outside, and tests replace.
#[derive(Debug)]
pub struct Parts {
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// What the process may use.
    pub machine: Machine,
    /// What relative paths are relative to.
    pub working_directory: PathBuf,
    /// A socket that outlasts this process; absent: it makes its own.
    pub listener: Option<std::net::TcpListener>,
}

impl Parts {
    /// The real ones.
    ///
    /// # Errors
    /// What a service manager passes is not one TCP listener.
    pub fn of_process(working_directory: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            clock: Arc::new(SystemClock),
            machine: Machine::inspect(),
            working_directory: working_directory.to_owned(),
            listener: listener::inherited()?,
        })
    }
}

/// What runs beside the requests.
#[derive(Debug)]
struct Background {
    desk: Desk,
    poller: Option<Poller>,
    registration: Option<Registration>,
    backup: config::Backup,
    /// How long trash is kept.
    trash_keep: Duration,
    admin: AdminServer,
}

/// A service that listens, and does not answer yet.
#[derive(Debug)]
pub struct App {
    state: Arc<State>,
    background: Background,
    listener: TcpListener,
    /// It outlasts this process.
    is_inherited: bool,
    address: SocketAddr,
    data_root: PathBuf,
    capacity: Capacity,
    server: config::Server,
    accepts_any_token: bool,
}

impl App {
    /// Takes the data root, prepares everything, and listens.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub async fn build(config: Config, parts: Parts) -> anyhow::Result<Self> {
        let Config { server, storage, tenants, auth, api, events, governance, backup, admin, log: _ } =
            config;
        let Parts { clock, machine, working_directory, listener } = parts;
        let identity = Identity::new(&auth, &tenants, clock.clone()).context("the identity settings")?;
        identity.prepare().await;
        let has_sources = !identity.sources().is_empty();
        let is_inherited = listener.is_some();
        let wanted = match &listener {
            Some(listener) => Some(listener.local_addr().context("the socket of LISTEN_FDS")?.ip()),
            None => server.host,
        };
        let host = listen_on(wanted, has_sources, auth.strict)?;
        let data_root = storage.data_root(&working_directory)?;
        legacy::check_start(&storage, &working_directory, &data_root).await?;
        let bus = events::open(&events, &working_directory).context("the event bus")?;
        let capacity = Capacity::of(machine, storage.max_open_tenants, server.max_connections);
        let ids = Arc::<IdSource>::default();
        let root = DataRoot::open(&data_root, storage.lock_wait).await?;
        let masking = Masking { email: api.mask_email };
        let publishes_events = bus.is_some();
        let surroundings = Surroundings { clock: clock.clone(), ids: ids.clone(), masking, publishes_events };
        let map = Arc::new(Tenants::open(root, &storage, &tenants, capacity, surroundings).await?);
        let desk = Desk {
            tenants: map.clone(),
            bus,
            clock: clock.clone(),
            ids: ids.clone(),
            time_zone: api.time_zone,
            tally: Arc::default(),
        };
        let poller = Poller::new(&events, desk.clone(), tenants.default_id.clone())?;
        let registration = Registration::new(&governance)?;
        let metrics = Metrics::new(readings::readings(&map, &desk.tally, &clock, capacity));
        let listener = match listener {
            Some(listener) => TcpListener::from_std(listener).context("the socket of LISTEN_FDS")?,
            None => bind(SocketAddr::new(host, server.port)).await?,
        };
        let address = listener.local_addr().context("the listener's address")?;
        tracing::info!(
            data_root = %data_root.display(),
            max_open_tenants = capacity.tenants,
            bound_by = %capacity.bound_by,
            max_connections = capacity.connections,
            "ready to serve"
        );
        let accepts_any_token = !has_sources && auth.strict != Some(true);
        if accepts_any_token {
            tracing::warn!(
                "FOR DEVELOPMENT ONLY: NO IDENTITY SOURCE IS CONFIGURED, ANY BEARER TOKEN IS ACCEPTED AS ADMIN"
            );
        } else if has_sources && tenants.binding == Binding::Header {
            tracing::warn!(
                "callers whose identity names no tenant are admitted on X-Tenant-Id alone, except to tenants with members \
                 (CRM_TENANT_BINDING=strict admits members only)"
            );
        }
        let content_length = server.content_length;
        let ready = Readiness::default();
        let subscribed = events.subscribed().filter_map(ReceivedKind::from_word).collect();
        let state = State {
            api,
            content_length,
            tenants: map,
            identity,
            clock,
            ids,
            subscribed,
            tally: desk.tally.clone(),
            body_room: crate::http::BodyRoom::default(),
            metrics,
            ready,
            recent: crate::http::Recent::default(),
        };
        let state = Arc::new(state);
        let operators = admin::Desk {
            tenants: state.tenants.clone(),
            clock: state.clock.clone(),
            cell: Some(state.clone()),
            via: Via::Socket,
        };
        let admin = take_operators(operators, &data_root, admin.address).await?;
        let trash_keep = tenants.trash_keep;
        let background = Background { desk, poller, registration, backup, trash_keep, admin };
        Ok(Self {
            state,
            background,
            listener,
            is_inherited,
            address,
            data_root,
            capacity,
            server,
            accepts_any_token,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all requests share.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What somebody who starts the service by hand wants to know.
    #[must_use]
    pub fn greeting(&self) -> String {
        let port = self.address.port();
        // In double quotes where the shell is to put the token in.
        let (quote, token) = if self.accepts_any_token { ("'", "dev") } else { ("\"", "$TOKEN") };
        let data = self.data_root.display();
        format!(
            "crm-cell listens on http://{address}; the data is in {data}/tenants, one file per tenant. Try:\n\n  \
             curl -i http://127.0.0.1:{port}/customers -H {quote}Authorization: Bearer {token}{quote} -H 'X-Tenant-Id: acme' \\\n    \
             -H 'X-Request-ID: first-1' -H 'Content-Type: application/json' -d '{{\"name\":\"华为技术有限公司\"}}'\n  \
             curl http://127.0.0.1:{port}/customers -H {quote}Authorization: Bearer {token}{quote} -H 'X-Tenant-Id: acme'\n",
            address = self.address,
        )
    }

    /// Serves until `shutdown` completes; then drains, closes every tenant, and returns.
    ///
    /// # Errors
    /// The listener failed, or tenants could not be closed in time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let Self { state, background, listener, is_inherited, server: settings, capacity, .. } = self;
        let limits = FuseConfig::default()
            .with_http1_header_timeout(IDLE_TIMEOUT)
            .with_request_body_timeout(BODY_TIMEOUT)
            .with_write_stall_timeout(WRITE_STALL_TIMEOUT)
            .with_connection_idle_timeout(IDLE_TIMEOUT);
        let door = Door::new(limits);
        let acceptor = DoorAcceptor::new(listener, door.clone()).context("the listener")?;
        let mut server =
            Server::new(acceptor).max_connections(capacity.connections).fuse_policy(door.clone());
        // The platform's gateway looks header names up in Title-Case.
        server
            .http1_mut()
            .title_case_headers(true)
            .max_headers(HEAD_MAX_HEADERS)
            .max_buf_size(HEAD_MAX_BYTES);
        let handle = server.handle();
        let Background { desk, poller, registration, backup, trash_keep, admin } = background;
        let upkeep = Upkeep::start(&state.tenants, &backup, trash_keep);
        let relay = Relay::start(desk);
        let polls = poller.map(Poller::start);
        let registered = registration.map(Registration::keep_up);
        let stopping = state.clone();
        let stopper = tokio::spawn(async move {
            shutdown.await;
            if is_inherited {
                // The next process takes over: neither load balancers nor the platform need to look elsewhere.
                stopping.ready.part();
                door.close(LINGER).await;
            } else {
                stopping.ready.drain();
                if let Some(registered) = registered {
                    registered.leave().await;
                }
                tokio::time::sleep(settings.drain_delay).await;
            }
            handle.stop_graceful(settings.drain_timeout);
        });
        let served = server.try_serve(http::service(state.clone(), settings.compress)).await;
        stopper.abort();
        drop((polls, upkeep));
        admin.stop().await;
        relay.stop().await;
        let still_open = state.tenants.close(CLOSE_LIMIT).await;
        state.tenants.save_roll().await;
        served.context("serving")?;
        if still_open > 0 {
            bail!(
                "{still_open} tenants were still busy after {}; their files are closed uncleanly, and will be recovered at the next start",
                humantime::format_duration(CLOSE_LIMIT)
            );
        }
        tracing::info!("stopped; all tenants are closed");
        Ok(())
    }
}

/// Where to listen (contract §5): open to the network only if somebody has said who may come in.
fn listen_on(host: Option<IpAddr>, has_sources: bool, strict: Option<bool>) -> anyhow::Result<IpAddr> {
    match host {
        None if has_sources => Ok(Ipv4Addr::UNSPECIFIED.into()),
        None => Ok(Ipv4Addr::LOCALHOST.into()),
        Some(host) if has_sources || host.is_loopback() || strict.is_some() => Ok(host),
        Some(host) => bail!(
            "CRM_HOST={host} would serve the network while nothing says who may come in. Set CRM_JWT_SECRET, \
             CRM_JWT_PUBLIC_KEY, CRM_JWKS_URL, CRM_JWKS_FILE, CRM_SERVICE_TOKENS or PLATFORM_AUTH_URL; or set CRM_AUTH_STRICT=1 to refuse every token, \
             or CRM_AUTH_STRICT=0 to accept any (for development only)"
        ),
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: is another service there? Set PORT or CRM_HOST to change it")
    })
}

/// Takes operators' requests. Without a socket the cell serves all the same: not every file system has them.
async fn take_operators(
    operators: admin::Desk,
    data_root: &Path,
    address: Option<SocketAddr>,
) -> anyhow::Result<AdminServer> {
    let mut admin = AdminServer::default();
    if let Err(error) = admin.take_socket(operators.clone(), data_root).await {
        let error = &*error as &dyn std::error::Error;
        tracing::error!(error, "operators' commands do not reach this cell, but for those by CRM_ADMIN_ADDR");
    }
    if let Some(address) = address {
        admin.take_tcp(operators, address).await?;
    }
    Ok(admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_served_only_if_somebody_said_who_may_come_in() {
        let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        let local: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(listen_on(None, true, None).expect("allowed"), any);
        assert_eq!(listen_on(None, false, None).expect("allowed"), local);
        assert_eq!(listen_on(Some(any), true, None).expect("allowed"), any);
        assert_eq!(listen_on(Some(any), false, Some(false)).expect("allowed"), any);
        assert_eq!(listen_on(Some(local), false, None).expect("allowed"), local);
        let refused = listen_on(Some(any), false, None).expect_err("refused").to_string();
        assert!(refused.contains("CRM_AUTH_STRICT"), "{refused}");
    }
}
