//! What operators do to tenants, thousands at a time, while the others work: one set of operations, whoever asks for them.
//!
//! - `life`: made, suspended, deleted, brought back; `trash` is where deleted tenants wait, and
//!   `settle` finishes what was broken off there.
//! - `roster`: the list of all tenants.
//! - `backups`, with `retention`, and `restore`, which also branches; `promotion` gives a file a tenant's place.
//! - `freeze`: no file changes for a while. `space`: room on the disk.
//! - `drill` and `check`: what shows, day by day, that copies can be restored and files are sound.
//! - `log`: who did what, in a chain of hashes.

mod backups;
mod books;
mod check;
mod drill;
mod error;
mod freeze;
mod life;
mod log;
mod milestones;
mod promotion;
mod restore;
mod retention;
mod roster;
mod settle;
mod space;
mod survey;
mod trash;
mod upkeep;

pub use self::backups::{BackedUp, Backup, BackupOrder, BackupStep, Entry, Failure, Manifest};
pub use self::check::Finding;
pub use self::drill::DrillError;
pub use self::error::FleetError;
pub(super) use self::freeze::Gate;
pub use self::freeze::{Frozen, NotFrozen};
pub(super) use self::life::Operations;
pub use self::life::{Outcome, Purged};
pub use self::log::{Deed, LogEntry, LogError, OperatorLog, Verified};
pub use self::restore::{Difference, Restored, Source};
pub use self::roster::{Condition, Listed, Roster, RosterQuery, Shown};
pub use self::space::LowSpace;
pub(super) use self::space::Space;
pub use self::survey::{Remark, Severity};
pub(super) use self::trash::Trash;
pub use self::trash::{Discarded, Kind};
pub use self::upkeep::Upkeep;
