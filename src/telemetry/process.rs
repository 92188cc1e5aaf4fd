//! What the kernel says of this process, under the names that Prometheus's own libraries give it.
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fmt;

use procfs::process::Process as OfKernel;
use procfs::{ProcResult, WithCurrentSystemInfo as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// This process.
#[derive(Debug)]
pub(super) struct Process;

/// What is known of it at one moment.
struct Figures {
    resident_bytes: i64,
    open_files: i64,
    files_limit: i64,
    cpu_seconds: f64,
    started_seconds: f64,
}

impl Figures {
    fn read() -> ProcResult<Self> {
        let process = OfKernel::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let limit = process.limits()?.max_open_files.soft_limit;
        Ok(Self {
            resident_bytes: i64::try_from(stat.rss_bytes().get()).unwrap_or(i64::MAX),
            open_files: i64::try_from(process.fd_count()?).unwrap_or(i64::MAX),
            files_limit: match limit {
                procfs::process::LimitValue::Value(limit) => i64::try_from(limit).unwrap_or(i64::MAX),
                procfs::process::LimitValue::Unlimited => i64::MAX,
            },
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            started_seconds: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Where /proc cannot be read there is nothing to say, and no reason to say nothing else.
        let Ok(figures) = Figures::read() else { return Ok(()) };
        let mut say = |name, help, metric: &dyn Encode| metric.encode(&mut encoder, name, help);
        say("process_resident_memory_bytes", "Memory that it has", &ConstGauge::new(figures.resident_bytes))?;
        say("process_open_fds", "Files that it has open", &ConstGauge::new(figures.open_files))?;
        say("process_max_fds", "Files that it may have open", &ConstGauge::new(figures.files_limit))?;
        say("process_cpu_seconds", "Processor time that it used", &ConstCounter::new(figures.cpu_seconds))?;
        say(
            "process_start_time_seconds",
            "When it was started, since 1970",
            &ConstGauge::new(figures.started_seconds),
        )
    }
}

/// [`EncodeMetric`], whatever the number.
trait Encode {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> Result<(), fmt::Error>;
}

impl<M: EncodeMetric> Encode for M {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> Result<(), fmt::Error> {
        EncodeMetric::encode(self, encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}
