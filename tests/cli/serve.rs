//! `crm-cell serve`: what it says, and that saying it is not what it is for.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cell::{crm_cell, get};

#[test]
fn the_greeting_names_the_address_the_data_and_lines_that_work() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = crm_cell(directory.path(), &[], &[("PORT", "0"), ("CRM__LOG__FILTER", "warn")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let mut greeting = String::new();
    while greeting.matches("curl").count() < 2 {
        greeting.push_str(&lines.next().expect("a line").expect("readable"));
        greeting.push('\n');
    }

    let root = directory.path().canonicalize().expect("a path").join("crm_cell/tenants");
    assert!(greeting.contains(&root.display().to_string()), "{greeting}");
    let post = greeting.split("curl").nth(1).expect("a line to try");
    let address = post.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    assert_eq!(
        get(address, "/customers", &[("Authorization", "Bearer dev"), ("X-Tenant-Id", "acme")]),
        Some(200)
    );
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn it_serves_although_nobody_reads_the_greeting() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port().to_string()
    };
    let mut child = crm_cell(directory.path(), &["serve"], &[("PORT", &port), ("CRM__LOG__FILTER", "warn")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take()); // as `crm-cell | head -0` does

    let address = format!("127.0.0.1:{port}");
    let start = Instant::now();
    let mut status = None;
    while status.is_none() && start.elapsed() < Duration::from_secs(10) {
        assert_eq!(child.try_wait().expect("waited"), None, "it died of its greeting");
        status = get(&address, "/health", &[]);
    }

    child.kill().expect("killed");
    child.wait().expect("reaped");
    assert_eq!(status, Some(200));
}

#[test]
fn it_serves_and_stops_cleanly_although_nobody_reads_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = crm_cell(directory.path(), &["serve"], &[("PORT", "0")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stderr.take()); // as `crm-cell 2>&1 | head` does
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let greeting = lines.next().expect("a greeting").expect("readable");
    let address =
        greeting.split("http://").nth(1).and_then(|rest| rest.split(';').next()).expect("an address");
    for _ in 0..20 {
        let headers = [("Authorization", "Bearer dev"), ("X-Tenant-Id", "acme")];
        assert_eq!(get(address, "/customers", &headers), Some(200));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("sent");
    let start = Instant::now();
    let mut status = None;
    while status.is_none() && start.elapsed() < Duration::from_secs(20) {
        status = child.try_wait().expect("waited");
        std::thread::sleep(Duration::from_millis(20));
    }
    if status.is_none() {
        child.kill().expect("killed");
    }
    child.wait().expect("reaped");
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}
