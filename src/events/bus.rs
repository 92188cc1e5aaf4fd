//! What takes events.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;

use super::envelope::Outgoing;
use super::http_bus::HttpBus;
use super::sink::Sink;
use crate::config::{BusTarget, Events};

/// What came of offering an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is the bus's now.
    Accepted,
    /// The bus does not take this event, but may take others. Why: a word.
    Refused(&'static str),
    /// The bus takes no event now. Why: a few words.
    Outage {
        /// For the log.
        reason: &'static str,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Something that takes events. It may get an event more than once, and tells by its id.
pub trait Bus: fmt::Debug + Send + Sync {
    /// Offers an event.
    fn publish<'a>(&'a self, event: &'a Outgoing) -> BoxFuture<'a, Delivery>;
}

/// The bus that the settings name, if they name one. Relative paths are below `directory`.
///
/// # Errors
/// It cannot be used, and what to do about it.
pub fn open(settings: &Events, directory: &Path) -> anyhow::Result<Option<Arc<dyn Bus>>> {
    let Some(target) = settings.target() else { return Ok(None) };
    let setting = if settings.bus_url.is_some() { "EVENT_BUS_URL" } else { "GATEWAY_URL" };
    let bus: Arc<dyn Bus> = match BusTarget::parse(target).map_err(|error| error.of(setting))? {
        BusTarget::Http(base) => {
            Arc::new(HttpBus::new(setting, &base, settings.token(), settings.bus_timeout)?)
        }
        BusTarget::File(path) => {
            let path = directory.join(path);
            let sink = Sink::file(&path);
            Arc::new(sink.with_context(|| format!("{setting}: cannot append to {}", path.display()))?)
        }
        BusTarget::Stdout => Arc::new(Sink::stdout()),
    };
    Ok(Some(bus))
}
