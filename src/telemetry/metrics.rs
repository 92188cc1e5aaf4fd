//! What the cell counts.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

use super::exposition::{Exposition, classic};
use super::process::Process;

/// The label of the figures that the platform's dashboards read of every cell, under names without a prefix.
const CELL: (Cow<'static, str>, Cow<'static, str>) = (Cow::Borrowed("cell"), Cow::Borrowed("crm"));

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
        let mut all = Registry::default();
        all.register_collector(Box::new(Process));
        let registry = all.sub_registry_with_label(CELL);
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
        let registry = all.sub_registry_with_prefix("crm");
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
        Self { registry: all, readings, requests, durations, identity_unbound, signature_failures }
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

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Formatting fails, which it does not.
    pub fn to_exposition(&self, form: Exposition) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(match form {
            Exposition::OpenMetrics => text,
            Exposition::Classic => classic(&text),
        })
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
