//! What `EVENT_BUS_URL` names.

use std::path::PathBuf;

use reqwest::Url;

use crate::upstream::{InvalidUrl, base_url};

/// Where events are delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusTarget {
    /// The platform's bus, or one like it: the base of its URLs.
    Http(Url),
    /// A file to which each event is appended as a line. For development.
    File(PathBuf),
    /// Standard output, a line for each event. For development.
    Stdout,
}

impl BusTarget {
    /// Reads `http://…`, `https://…`, `file:<path>` (`file:///…` too) or `stdout:`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let text = text.trim();
        if text == "stdout:" {
            return Ok(Self::Stdout);
        }
        match text.strip_prefix("file:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Self::File(PathBuf::from(path)))
            }
            None => base_url(text).map(Self::Http),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_bus_a_file_or_standard_output() {
        let file = |path: &str| Ok(BusTarget::File(PathBuf::from(path)));
        assert_eq!(BusTarget::parse(" stdout: "), Ok(BusTarget::Stdout));
        assert_eq!(BusTarget::parse("file:events.jsonl"), file("events.jsonl"));
        assert_eq!(BusTarget::parse("file:///var/log/events.jsonl"), file("/var/log/events.jsonl"));
        assert!(matches!(BusTarget::parse("http://gateway:8000"), Ok(BusTarget::Http(_))));
        for text in ["gateway", "http://user:secret@gateway", "ftp://gateway", "", "stdout"] {
            assert!(BusTarget::parse(text).is_err(), "{text}");
        }
    }
}
