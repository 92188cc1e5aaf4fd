//! What the cell tells about itself: log lines and metrics. Ids and figures only; never a name, phone, e-mail address,
//! token or body.

mod exposition;
mod json;
mod logging;
mod metrics;
mod process;

pub use exposition::Exposition;
pub use logging::{in_full, start_logging};
pub use metrics::{Metrics, Reading};
