//! The CRM cell.
fn main() {}
