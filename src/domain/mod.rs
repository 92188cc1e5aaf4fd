//! Pure types and rules of the CRM: no I/O, no async, no HTTP.

mod allowed;
mod audit;
mod clock;
mod contact;
mod customer;
mod event_review;
mod fold;
mod follow_up;
mod id_source;
mod input;
mod masking;
mod membership;
mod money;
mod nearest;
mod opportunity;
mod page;
mod received_event;
mod report;
mod rules;
mod scope;
mod search;
mod spreadsheet;
mod stage;
mod tenant_id;

pub use allowed::Allowed;
pub use audit::{AuditField, Audited};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use contact::{Contact, ContactFields, ContactPatch, NewContact};
pub use customer::{Customer, CustomerFields, CustomerPatch, CustomerStatus, Lifecycle, NewCustomer};
pub use event_review::{Replay, ReplayFields, Resolution, ResolutionFields};
pub use fold::fold_name;
pub use follow_up::{FollowUp, FollowUpFields, FollowUpPatch, NewFollowUp};
pub use id_source::IdSource;
pub use input::{Checker, FieldRule, Input, InputType, JsonType, Limit, Patch};
pub use masking::{Masking, Unmasked};
pub use membership::Membership;
pub use money::{AMOUNT_MAX, Currency, weigh};
pub use nearest::{nearest, nearest_by, similarity};
pub use opportunity::{NewOpportunity, Opportunity, OpportunityFields, OpportunityPatch};
pub use page::{Count, Cursor, CursorValue, InvalidCursor, Order, Page, PageRequest, Start, Total};
pub use received_event::{
    ContractSigned, ContractStanding, MalformedEvent, ReceivedEvent, ReceivedKind, TaskCompleted, Unreadable,
};
pub use report::{Groups, Pipeline, Tally, Totals, WinRate};
pub use rules::{FieldError, Invalid, Precondition, Problem, Resource, Violation};
pub use scope::Scope;
pub use search::{Keyword, Word, search_parts, search_text};
pub use spreadsheet::{guard_formula, unguard_formula};
pub use stage::{Contradiction, DealStatus, Move, Moved, Stage, Standing};
pub use tenant_id::{InvalidTenantId, TenantId};
