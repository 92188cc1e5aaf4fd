//! Where a key set is read from: a URL or a file.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode, Url};
use sha2::{Digest as _, Sha256};

use super::set::MAX_BYTES;
use crate::identity::error::IdentityError;
use crate::upstream::{self, Failure};

/// A place that holds a key set.
pub(super) enum Source {
    Url { client: Client, url: Url },
    File(PathBuf),
}

/// By what two states of a source are told apart without reading the keys again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Print {
    /// Of the document's bytes.
    Digest([u8; 32]),
    /// Modification time (seconds, nanoseconds), size and inode.
    Stat(i64, i64, u64, u64),
}

/// What a source says.
pub(super) enum Said {
    /// The same as the last time.
    Same,
    /// This document.
    Document(Vec<u8>, Print),
}

impl Source {
    pub(super) fn url(text: &str, timeout: Duration) -> Result<Self, IdentityError> {
        const SETTING: &str = "CRM_JWKS_URL";
        let url = upstream::document_url(text).map_err(|invalid| invalid.of(SETTING))?;
        let client = upstream::client(SETTING, &url, timeout)?;
        Ok(Self::Url { client, url })
    }

    /// What the source says now, given the print of what it said before.
    pub(super) async fn read(&self, before: Option<Print>) -> Result<Said, Failure> {
        match self {
            Self::Url { client, url } => {
                let request =
                    client.get(url.clone()).header(ACCEPT, "application/jwk-set+json, application/json");
                let response = request.send().await?;
                if response.status() != StatusCode::OK {
                    return Err(Failure("status"));
                }
                let body = upstream::body(response, MAX_BYTES).await?;
                let print = Print::Digest(Sha256::digest(&body).into());
                Ok(if before == Some(print) { Said::Same } else { Said::Document(body, print) })
            }
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path, before)).await;
                read.map_err(|_| Failure("reading panicked"))?
                    .map_err(|_| Failure("file unreadable or too large"))
            }
        }
    }
}

/// Reads a file, unless its stat is still `before`.
pub(super) fn read_file(path: &Path, before: Option<Print>) -> io::Result<Said> {
    // A pipe would be waited for; a file that is replaced in between is read at the next look.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let file = File::open(path)?;
    let stat = file.metadata()?;
    let print = Print::Stat(stat.mtime(), stat.mtime_nsec(), stat.size(), stat.ino());
    if before == Some(print) {
        return Ok(Said::Same);
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    if text.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 64 KiB"));
    }
    Ok(Said::Document(text, print))
}
