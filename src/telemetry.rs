//! What the cell tells about itself: log lines and metrics. Ids and figures only; never a name, phone, e-mail address,
//! token or body.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Content type of the text that [`Metrics::to_exposition`] makes.
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Starts logging, once in a process.
///
/// # Errors
/// The filter does not parse, or logging has been started before.
pub fn start_logging(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Whoever reads the log may be gone: no reason to panic, which is what telling them would do.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => base.try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!(error))
}

/// A figure that is kept elsewhere and read when asked for.
#[derive(Clone)]
pub struct Reading {
    /// Its name, without the `crm_` in front and without a unit's or counter's ending.
    pub name: &'static str,
    /// What it says, in a few words.
    pub help: &'static str,
    /// It can go down.
    pub is_gauge: bool,
    /// Reads it.
    pub read: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the cell counts. Process-wide: no label names a tenant.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    readings: Readings,
    requests: Family<RequestLabels, Counter>,
    durations: Histogram,
    /// Callers admitted on `X-Tenant-Id` alone.
    pub identity_unbound: Counter,
    /// Requests refused because the gateway had not signed them.
    pub signature_failures: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone)]
struct Readings(Arc<[Reading]>);

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for reading in self.0.iter() {
            let value = (reading.read)();
            if reading.is_gauge {
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.encode(encoder.encode_descriptor(
                    reading.name,
                    reading.help,
                    None,
                    gauge.metric_type(),
                )?)?;
            } else {
                let counter = ConstCounter::new(value);
                counter.encode(encoder.encode_descriptor(
                    reading.name,
                    reading.help,
                    None,
                    counter.metric_type(),
                )?)?;
            }
        }
        Ok(())
    }
}

impl Metrics {
    /// The cell's own counts and these readings.
    #[must_use]
    pub fn new(readings: Vec<Reading>) -> Self {
        let mut registry = Registry::with_prefix("crm");
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let durations = Histogram::new([
            0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
        ]);
        registry.register(
            "http_request_duration_seconds",
            "From the request's head to the answer's",
            durations.clone(),
        );
        let identity_unbound = Counter::default();
        registry.register(
            "identity_unbound",
            "Callers admitted on X-Tenant-Id alone",
            identity_unbound.clone(),
        );
        let signature_failures = Counter::default();
        registry.register(
            "signature_failures",
            "Requests refused because the gateway had not signed them",
            signature_failures.clone(),
        );
        let readings = Readings(readings.into());
        registry.register_collector(Box::new(readings.clone()));
        Self { registry, readings, requests, durations, identity_unbound, signature_failures }
    }

    /// Counts an answer.
    pub fn request(&self, method: &str, status: u16, took: Duration) {
        let method = match method {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PATCH" => "PATCH",
            "PUT" => "PUT",
            "DELETE" => "DELETE",
            _ => "other",
        };
        self.requests.get_or_create(&RequestLabels { method, status }).inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// The exposition text that Prometheus reads.
    ///
    /// # Errors
    /// Formatting fails, which it does not.
    pub fn to_exposition(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// The same figures as a flat JSON object with `"cell":"crm"`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut figures = Map::new();
        figures.insert("cell".to_owned(), "crm".into());
        figures.insert("identity_unbound".to_owned(), self.identity_unbound.get().into());
        figures.insert("signature_failures".to_owned(), self.signature_failures.get().into());
        for reading in self.readings.0.iter() {
            figures.insert(reading.name.to_owned(), (reading.read)().into());
        }
        Value::Object(figures)
    }
}
