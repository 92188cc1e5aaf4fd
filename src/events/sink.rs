//! A file, or standard output, in the place of a bus: for development.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::bus::{Bus, Delivery};
use super::envelope::Outgoing;

/// Writes each event as a line.
#[derive(Debug, Clone)]
pub(super) struct Sink(Arc<Target>);

#[derive(Debug)]
enum Target {
    File(Mutex<File>),
    Stdout,
}

impl Sink {
    /// Appends to the file at `path`, which is created if there is none.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self(Arc::new(Target::File(Mutex::new(file)))))
    }

    pub(super) fn stdout() -> Self {
        Self(Arc::new(Target::Stdout))
    }
}

impl Target {
    fn write(&self, line: &str) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(line.as_bytes())?;
                file.sync_data()
            }
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line.as_bytes())?;
                stdout.flush()
            }
        }
    }
}

impl Bus for Sink {
    fn publish<'a>(&'a self, event: &'a Outgoing) -> BoxFuture<'a, Delivery> {
        let (target, line) = (self.0.clone(), format!("{}\n", event.body));
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || target.write(&line)).await {
                Ok(Ok(())) => Delivery::Accepted,
                _ => Delivery::Outage { reason: "cannot be written", retry_after: None },
            }
        })
    }
}
