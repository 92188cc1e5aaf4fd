//! Pure types and rules of the CRM: no I/O, no async, no HTTP.

mod clock;
mod customer;
mod fold;
mod id_source;
mod input;
mod masking;
mod money;
mod nearest;
mod page;
mod rules;
mod stage;
mod tenant_id;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use customer::{Customer, CustomerFields, CustomerPatch, CustomerStatus, Lifecycle, NewCustomer};
pub use fold::fold_name;
pub use id_source::IdSource;
pub use input::{Checker, Input, InputType, Patch};
pub use masking::{Masking, Unmasked};
pub use money::{AMOUNT_MAX, Currency, weigh};
pub use nearest::{nearest, nearest_by, similarity};
pub use page::{Count, Cursor, CursorValue, InvalidCursor, Order, Page, PageRequest, Start, Total};
pub use rules::{FieldError, Invalid, Problem, Resource, Violation};
pub use stage::{Contradiction, DealStatus, Move, Moved, Stage, Standing};
pub use tenant_id::{InvalidTenantId, TenantId};
