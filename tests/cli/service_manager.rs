//! A service manager (systemd): it passes the socket, is told when the cell serves, and starts the next one when this one ends.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cell::refusal;

/// The binary, with `sockets` (`3<&0 4<&0`, say) made of what is passed.
fn activated(directory: &Path, socket: OwnedFd, sockets: &str) -> Command {
    let count = sockets.split_whitespace().count();
    let mut command = Command::new("/bin/sh");
    // The shell's process id is that of the cell, which takes its place.
    let script = format!("LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\" {sockets} </dev/null");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_crm-cell")]).env_clear().current_dir(directory);
    command.env("CRM__LOG__FILTER", "warn").stdin(Stdio::from(socket)).stdout(Stdio::null());
    command
}

fn terminate(child: &mut Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("sent");
}

fn socket() -> (TcpListener, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let passed = listener.try_clone().expect("another descriptor");
    (listener, passed.into())
}

/// The whole answer to a request that leaves the connection open.
fn ask(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET /health/live HTTP/1.1\r\nhost: cell\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let length = connection.read(&mut piece).expect("answered");
        answer.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if length == 0 || text.ends_with('}') {
            return text;
        }
    }
}

#[test]
fn connections_wait_for_the_next_process_and_those_there_are_told_to_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let notices = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
    notices.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let heard = || {
        let mut text = [0; 256];
        let length = notices.recv(&mut text).expect("the service manager is told");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    let (listener, first) = socket();
    let address = listener.local_addr().expect("an address");
    let connect = || TcpStream::connect(address).expect("nobody is refused, whether or not a cell runs");
    let start = |passed| {
        let mut command = activated(directory.path(), passed, "3<&0");
        command.env("NOTIFY_SOCKET", directory.path().join("notify")).spawn().expect("the binary runs")
    };
    let mut cell = start(first);
    assert_eq!(heard(), "READY=1");
    let mut kept = connect();
    assert!(ask(&mut kept).starts_with("HTTP/1.1 200"));

    terminate(&mut cell);

    assert_eq!(heard(), "STOPPING=1");
    let mut waiting = connect();
    let last = ask(&mut kept);
    assert!(last.starts_with("HTTP/1.1 200") && last.to_lowercase().contains("connection: close"), "{last}");
    assert_eq!(kept.read(&mut [0; 8]).expect("closed, not reset"), 0);
    assert!(cell.wait().expect("ended").success());
    let mut cell = start(listener.try_clone().expect("another descriptor").into());
    assert!(ask(&mut waiting).starts_with("HTTP/1.1 200"), "it waited for the next process");
    terminate(&mut cell);
    drop(waiting);
    assert!(cell.wait().expect("ended").success());
}

#[test]
fn what_is_no_single_tcp_socket_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_listener, passed) = socket();
    let output = activated(directory.path(), passed, "3<&0 4<&0").output().expect("the binary runs");
    let said = refusal(&output, 1);
    assert!(said.contains("passes 2 sockets") && said.contains("one ListenStream="), "{said}");

    let unix = UnixListener::bind(directory.path().join("socket")).expect("a socket");
    let output = activated(directory.path(), unix.into(), "3<&0").output().expect("the binary runs");
    let said = refusal(&output, 1);
    assert!(said.contains("no TCP socket") && said.contains("an address and a port"), "{said}");
}

#[test]
fn a_socket_on_the_network_is_not_served_while_nothing_says_who_may_come_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let output = activated(directory.path(), listener.into(), "3<&0").output().expect("the binary runs");
    let said = refusal(&output, 1);
    assert!(said.contains("0.0.0.0") && said.contains("CRM_JWT_SECRET"), "{said}");
}
