//! Use cases over more than one aggregate: what an event of another system does to this one's records.

mod contract_signed;
pub mod inbox;
mod task_completed;
