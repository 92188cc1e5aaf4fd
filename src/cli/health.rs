//! `crm-cell health`: what a container's health check runs, without a shell or curl.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::Server;

const LIMIT: Duration = Duration::from_secs(2);

pub(super) fn run(server: &Server) -> anyhow::Result<()> {
    let host = match server.host {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(host) if host.is_unspecified() && host.is_ipv6() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Some(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(host) => host,
    };
    let address = SocketAddr::new(host, server.port);
    let status = ask(address).with_context(|| format!("no answer from {address}"))?;
    if status != "200" {
        bail!("{address} answered {status} to GET /health");
    }
    println!("up");
    Ok(())
}

/// The status of `GET /health`.
fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // At once: who answers early and hangs up would break a second write, and the answer were lost.
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).map(str::to_owned).context("not an HTTP answer")
}
