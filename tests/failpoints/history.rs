//! What clients were told, and whether the files agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::FutureExt as _;

use crate::support::{Setup, Tables, tables, tenant};
use crate::workload::{EARLY, SAYS, TENANTS, files, names_in_copy, write};

/// What the clients of one process said before it ended.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// What became of each write, by tenant and name.
    writes: BTreeMap<(String, String), Fate>,
    /// Tenants that did not answer a request as asked.
    pub(crate) troubled: BTreeSet<String>,
    /// How often each point was passed.
    pub(crate) hits: BTreeMap<String, usize>,
    /// The point was armed and its step was reached.
    pub(crate) fired: bool,
    /// How many steps of the operator were done.
    pub(crate) operated: usize,
    /// The process closed every file before it ended.
    pub(crate) closed: bool,
}

/// What is known of a write; the later one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Every answer to it was that nothing was written.
    Refused,
    /// Some attempt may have written it.
    Unknown,
    Acknowledged,
}

impl History {
    pub(crate) fn of(output: &str) -> Self {
        let mut history = Self::default();
        // The last attempt of each write, which may have been cut short.
        let mut under_way = BTreeSet::new();
        // Whatever else is printed, a line may begin in the middle of it.
        for said in output.lines().filter_map(|line| line.split_once(SAYS).map(|(_, said)| said)) {
            let mut words = said.split(' ');
            let [what, tenant, name] = [(); 3].map(|()| words.next().unwrap_or_default().to_owned());
            match what.as_str() {
                "sent" => {
                    under_way.insert((tenant, name));
                }
                "refused" | "unknown" | "acknowledged" => {
                    if what != "acknowledged" {
                        history.troubled.insert(tenant.clone());
                    }
                    let fate = match what.as_str() {
                        "refused" => Fate::Refused,
                        "unknown" => Fate::Unknown,
                        _ => Fate::Acknowledged,
                    };
                    let write = (tenant, name);
                    under_way.remove(&write);
                    let known = history.writes.entry(write).or_insert(fate);
                    *known = (*known).max(fate);
                }
                "unread" => {
                    history.troubled.insert(tenant);
                }
                "hits" => {
                    history.hits.insert(tenant, name.parse().expect("a number"));
                }
                "operated" => history.operated = tenant.parse().expect("a number"),
                "fired" => history.fired = true,
                "closed" => history.closed = true,
                _ => panic!("not a word of the workload: {said}"),
            }
        }
        for write in under_way {
            let known = history.writes.entry(write).or_insert(Fate::Unknown);
            *known = (*known).max(Fate::Unknown);
        }
        history
    }

    /// Opens the files again and compares: what was acknowledged is there whole and once, what was refused is not, and each
    /// request that is repeated gets its first answer, or runs once.
    pub(crate) async fn verify(&self, directory: &Path) {
        crate::operator::verify(self.operated, directory).await;
        let tenants = Setup::default().tenants_of(directory).await;
        for of in TENANTS {
            let _sound = names_in_copy(directory, of).await;
            let mut writes: BTreeMap<&str, Fate> = self
                .writes
                .iter()
                .filter(|((tenant, _), _)| tenant == of)
                .map(|((_, name), fate)| (name.as_str(), *fate))
                .collect();
            if of == "old" || of == "plain" {
                writes.insert(EARLY, Fate::Acknowledged);
            }
            let db = tenants.find_or_create(&tenant(of)).await.expect("the tenant opens");
            let found = tables(&db).await;
            assert_eq!(found, Tables::of(found.customers.clone()), "{of}: a write is there in part");
            for (name, fate) in &writes {
                match (fate, found.customers.iter().any(|found| found == name)) {
                    (Fate::Acknowledged, false) => panic!("{of}: {name} was acknowledged and is gone"),
                    (Fate::Refused, true) => panic!("{of}: {name} was refused and is there"),
                    _ => {}
                }
            }
            let strays: Vec<_> =
                found.customers.iter().filter(|name| !writes.contains_key(name.as_str())).collect();
            assert!(strays.is_empty(), "{of}: nobody sent {strays:?}");
            for (name, fate) in &writes {
                let again = write(&tenants, of, name).await.expect("served");
                assert_eq!(again.value, *name, "{of}");
                let was_there = found.customers.iter().any(|found| found == name);
                assert_eq!(again.replayed, was_there, "{of}: {name}, {fate:?}");
            }
            let sent = writes.keys().map(|name| (*name).to_owned()).collect();
            assert_eq!(tables(&db).await, Tables::of(sent), "{of}: after repeating every request");
            let verdict: String = db
                .read(async |read| {
                    let verdict = sqlx::query_scalar("select integrity_check from pragma_integrity_check");
                    Ok(verdict.fetch_one(&mut *read).await?)
                })
                .boxed()
                .await
                .expect("checked");
            assert_eq!(verdict, "ok", "{of}");
        }
        assert_eq!(tenants.close(crate::support::PATIENCE).await, 0, "all tenants close");
        let mut names: Vec<_> = TENANTS.map(|tenant| format!("{tenant}.db")).into();
        names.sort();
        let mut found = files(directory);
        found.retain(|name| !crate::operator::TENANTS.iter().any(|tenant| *name == format!("{tenant}.db")));
        assert_eq!(found, names, "nothing is left beside the files");
    }
}
