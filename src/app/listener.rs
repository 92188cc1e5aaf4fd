//! Where requests come in: at a socket of this process, or at one that a service manager keeps open while one process follows
//! another (`LISTEN_FDS`, `sd_listen_fds(3)`). Whoever connects between two processes waits in the socket's queue for the next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::pending;
use listenfd::ListenFd;
use salvo::async_trait;
use salvo::conn::tcp::TcpAcceptor;
use salvo::conn::{Accepted, Acceptor, ConnCtrl, Holding};
use salvo::fuse::{
    ArcConnObserver, ArcFusePolicy, ConnObserver, FuseAction, FuseConfig, FuseInfo, FusePolicy,
};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The socket that a service manager passes to this process, if it does.
///
/// # Errors
/// What it passes is not one TCP listener.
pub(super) fn inherited() -> anyhow::Result<Option<std::net::TcpListener>> {
    let mut passed = ListenFd::from_env();
    ensure!(
        passed.len() <= 1,
        "LISTEN_FDS passes {} sockets: the cell listens on one, so its unit needs one ListenStream=",
        passed.len()
    );
    let listener = passed.take_tcp_listener(0);
    let listener =
        listener.context("LISTEN_FDS passes no TCP socket: ListenStream= needs an address and a port")?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true).context("the socket of LISTEN_FDS")?;
    }
    Ok(listener)
}

/// Whether new connections are accepted, and which there are.
#[derive(Debug, Clone)]
pub(super) struct Door {
    limits: FuseConfig,
    closed: CancellationToken,
    connections: TaskTracker,
}

impl Door {
    /// An open one; its connections have these limits.
    pub(super) fn new(limits: FuseConfig) -> Self {
        Self { limits, closed: CancellationToken::new(), connections: TaskTracker::new() }
    }

    /// Accepts no more connections, and waits until there are none, for so long at most.
    pub(super) async fn close(&self, limit: Duration) {
        self.closed.cancel();
        self.connections.close();
        let _some_rest = timeout(limit, self.connections.wait()).await;
    }
}

#[async_trait]
impl FusePolicy for Door {
    async fn decide(&self, _: &FuseInfo) -> FuseAction {
        FuseAction::Accept(self.limits)
    }

    fn observe(&self, _: &FuseInfo, _: &ConnCtrl) -> Option<ArcConnObserver> {
        Some(Arc::new(Counted { _held: self.connections.token() }))
    }
}

/// Lives as long as its connection.
struct Counted {
    _held: TaskTrackerToken,
}

impl ConnObserver for Counted {}

/// Accepts connections for as long as its door is open.
#[derive(Debug)]
pub(super) struct DoorAcceptor {
    inner: TcpAcceptor,
    door: Door,
}

impl DoorAcceptor {
    pub(super) fn new(listener: TcpListener, door: Door) -> io::Result<Self> {
        Ok(Self { inner: TcpAcceptor::try_from(listener)?, door })
    }
}

type Coupler = <TcpAcceptor as Acceptor>::Coupler;
type Stream = <TcpAcceptor as Acceptor>::Stream;

impl Acceptor for DoorAcceptor {
    type Coupler = Coupler;
    type Stream = Stream;

    fn holdings(&self) -> &[Holding] {
        self.inner.holdings()
    }

    async fn accept(&mut self, policy: Option<ArcFusePolicy>) -> io::Result<Accepted<Coupler, Stream>> {
        tokio::select! {
            biased;
            () = self.door.closed.cancelled() => pending().await,
            accepted = self.inner.accept(policy) => accepted,
        }
    }
}
