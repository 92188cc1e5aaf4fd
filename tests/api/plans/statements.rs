//! The statements that the engine sends, as its trace log names them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Collects the statements that are sent while it is the subscriber.
#[derive(Debug, Clone, Default)]
pub(super) struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl Statements {
    /// The statements since the last call.
    pub(super) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.lock().expect("whole"))
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("crm_cell::tenancy") {
            event.record(&mut Sql(&self.0));
        }
    }
}

struct Sql<'a>(&'a Mutex<BTreeSet<String>>);

impl Visit for Sql<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "sql" {
            // A string may hold several statements.
            let parts = value.split(';').map(str::trim).filter(|part| is_planned(part));
            self.0.lock().expect("whole").extend(parts.map(str::to_owned));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Transactions and savepoints have no plan.
fn is_planned(statement: &str) -> bool {
    let word = statement.split_whitespace().next().unwrap_or_default();
    ["select", "with", "insert", "update", "delete", "replace"].contains(&word.to_ascii_lowercase().as_str())
}
