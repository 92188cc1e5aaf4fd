//! Where operators' requests come in.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use salvo::Server;
use salvo::conn::tcp::TcpAcceptor;
use salvo::conn::unix::UnixListener;
use salvo::conn::{Acceptor, Listener as _};
use salvo::server::ServerHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::desk::{Desk, Via};

/// The socket's name in the data root.
pub const SOCKET: &str = "admin.sock";

/// How long operators' work may go on once the cell stops.
const DRAIN: Duration = Duration::from_secs(10);
/// The longest path that a socket can have, as the kernel has it, with a zero at its end.
const LONGEST_PATH: usize = 107;

/// The operators' side of a cell.
#[derive(Debug, Default)]
pub struct AdminServer {
    socket: Option<PathBuf>,
    servers: Vec<(ServerHandle, JoinHandle<()>)>,
}

impl AdminServer {
    /// Takes requests by the socket in `data_root`, whose `LOCK` the caller holds.
    ///
    /// # Errors
    /// There can be no socket: not every file system has them.
    pub async fn take_socket(&mut self, desk: Desk, data_root: &Path) -> anyhow::Result<()> {
        let socket = data_root.join(SOCKET);
        // Of an earlier process: this one holds `LOCK`.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", socket.display()));
            }
            _ => {}
        }
        let place = Place::of(&socket)?;
        let listener = UnixListener::new(place.path.clone()).permissions(Permissions::from_mode(0o600));
        let acceptor =
            listener.try_bind().await.with_context(|| format!("cannot listen on {}", socket.display()))?;
        self.servers.push(serve(acceptor, desk));
        self.socket = Some(socket);
        Ok(())
    }

    /// Takes requests by TCP on `address`.
    ///
    /// # Errors
    /// It cannot listen there.
    pub async fn take_tcp(&mut self, desk: Desk, address: SocketAddr) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address} for operators: is another service there? Change CRM_ADMIN_ADDR"
            )
        })?;
        let listens_on = listener.local_addr()?;
        tracing::info!(%listens_on, "operators' requests are taken by TCP too");
        let acceptor = TcpAcceptor::try_from(listener).context("the operators' listener")?;
        self.servers.push(serve(acceptor, Desk { via: Via::Tcp, ..desk }));
        Ok(())
    }

    /// Lets the requests under way end, for a while; then takes no more.
    pub async fn stop(self) {
        for (handle, _) in &self.servers {
            handle.stop_graceful(DRAIN);
        }
        for (_, serving) in self.servers {
            let _ended = serving.await;
        }
        if let Some(socket) = self.socket {
            let _gone = fs::remove_file(socket);
        }
    }
}

fn serve<A: Acceptor + Send + 'static>(acceptor: A, desk: Desk) -> (ServerHandle, JoinHandle<()>) {
    let server = Server::new(acceptor);
    let handle = server.handle();
    let service = super::service(desk);
    let serving = tokio::spawn(async move {
        if let Err(error) = server.try_serve(service).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "operators' requests are not taken any more"
            );
        }
    });
    (handle, serving)
}

/// A path by which a socket can be reached, however long its own is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Held: the path goes through it.
    _directory: Option<File>,
}

impl Place {
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= LONGEST_PATH {
            return Ok(Self { path: socket.to_owned(), _directory: None });
        }
        let directory = File::open(socket.parent().unwrap_or(Path::new(".")))?;
        let name = socket.file_name().unwrap_or_default();
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}
