//! `crm-cell health`: a container's health check.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::cell::{Cell, refusal, run, stdout};

#[test]
fn health_is_0_while_the_cell_serves_and_1_with_a_reason_once_it_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path(), &[]);
    let (address, port) = (cell.address().to_owned(), cell.port().to_owned());

    for host in [None, Some("127.0.0.1"), Some("0.0.0.0")] {
        let mut variables = vec![("PORT", port.as_str()), ("CRM_AUTH_STRICT", "1")];
        variables.extend(host.map(|host| ("CRM_HOST", host)));
        assert_eq!(stdout(&run(&["health"], &variables)), "up\n");
    }
    drop(cell);

    let said = refusal(&run(&["health"], &[("PORT", &port)]), 1);
    assert!(said.contains(&address), "{said}");
}

#[test]
fn health_is_1_when_something_else_answers() {
    for (answer, says) in [
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503"),
        ("220 mail.example.org ESMTP\r\n", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        });

        let said = refusal(&run(&["health"], &[("PORT", &port)]), 1);

        assert!(said.contains(says), "{said}");
        server.join().expect("no panic");
    }
}

#[test]
fn health_does_not_wait_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port"); // accepts, and never answers
    let port = listener.local_addr().expect("an address").port().to_string();
    let start = Instant::now();

    refusal(&run(&["health"], &[("PORT", &port)]), 1);

    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
