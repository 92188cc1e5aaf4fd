//! The statements that the engine sends, as its trace log names them.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Collects the statements that are sent while it is the subscriber.
#[derive(Debug, Clone, Default)]
pub(super) struct Statements(Arc<Mutex<BTreeSet<String>>>);

impl Statements {
    /// Collects those of this thread until the guard is dropped.
    pub(super) fn of_this_thread() -> (Self, DefaultGuard) {
        // While it knows of one dispatcher only, tracing asks the thread that meets a callsite first whether anybody listens
        // there, and remembers the answer for all. That may be another test's thread: with a second one it asks both.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
        LazyLock::force(&SECOND);
        let statements = Self::default();
        let guard = set_default(tracing_subscriber::registry().with(statements.clone()));
        (statements, guard)
    }

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
