//! Pure types and rules of the CRM: no I/O, no async, no HTTP.

mod clock;
mod rules;
mod tenant_id;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use rules::{FieldError, Invalid, Problem, Resource, Violation};
pub use tenant_id::{InvalidTenantId, TenantId};
