//! The import: every row of the source, one tenant and one table after the other, in chunks that are one transaction each.
//! A run that was cut short is finished by the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::map::{Mapper, Record, Verdict};
use super::naming::TenantNames;
use super::report::{Accounted, Report};
use super::rule::{Reason, Rule, join};
use super::source::{Source, SourceRow, Table};
use crate::domain::TenantId;
use crate::store::legacy::{self, Batch, Outcome, Trail};
use crate::tenancy::{Actor, TenantDb, Tenants};

/// Rows of a transaction.
const CHUNK: usize = 500;
/// Bytes after which no more are added: a chunk is written as JSON, twice escaped, which SQLite takes up to 64 MiB of.
const CHUNK_BYTES: usize = 4 << 20;

/// Where rows go and who is told.
pub(super) struct Import<'a> {
    pub(super) tenants: &'a Tenants,
    pub(super) names: &'a TenantNames,
    /// Whose the rows are that belong to no tenant.
    pub(super) default: &'a TenantId,
    pub(super) report: &'a mut Report,
    /// Told how many more rows are done.
    pub(super) progress: &'a mut dyn FnMut(u64),
}

/// A tenant that is being filled.
struct Target {
    id: TenantId,
    db: Arc<TenantDb>,
    mapper: Mapper,
}

impl Import<'_> {
    /// Imports everything.
    ///
    /// # Errors
    /// The source cannot be read, a tenant cannot be written, or a row is not accounted for.
    pub(super) async fn run(mut self, source: &mut Source) -> anyhow::Result<()> {
        let tables = source.tables().to_vec();
        for table in &tables {
            self.report.begin(&table.name, table.rows);
        }
        for (old, id) in self.names {
            let mut target = self.open(id).await?;
            let held = target.db.read(async |read| legacy::holdings(read).await).await;
            target.mapper = Mapper {
                held: held.with_context(|| format!("the tenant {id}"))?,
                owners: source.owners(old).await?,
                source_names: source.name_keys(old).await?,
            };
            for table in tables.iter().filter(|table| table.has_tenants) {
                let mut rows = source.rows_of(table, old);
                while let Some(chunk) = next_chunk(&mut rows).await? {
                    self.import(&mut target, table, chunk).await?;
                }
            }
        }
        for table in tables.iter().filter(|table| !table.has_tenants) {
            let mut rows = source.rows_without_tenant(table);
            while let Some(chunk) = next_chunk(&mut rows).await? {
                self.import_of_many(table, chunk).await?;
            }
        }
        self.report.flush().context("cannot write the report")?;
        for (table, totals) in self.report.tables() {
            ensure!(
                totals.accounted() == totals.source,
                "{} of {} rows of {table} were met: their tenant_id is not a text. The source is unchanged; give those \
                 rows a tenant in a copy of it, and import that",
                totals.accounted(),
                totals.source
            );
        }
        Ok(())
    }

    async fn open(&self, id: &TenantId) -> anyhow::Result<Target> {
        let opened = self.tenants.find_or_create(id).await;
        let db = opened.with_context(|| format!("the tenant {id}"))?;
        Ok(Target { id: id.clone(), db, mapper: Mapper::default() })
    }

    /// Imports rows that become no records, of several tenants, those of each together.
    async fn import_of_many(&mut self, table: &Table, rows: Vec<SourceRow>) -> anyhow::Result<()> {
        let mut by_tenant = BTreeMap::<&TenantId, Vec<SourceRow>>::new();
        for row in rows {
            let id = row.tenant.as_ref().and_then(|old| self.names.get(old)).unwrap_or(self.default);
            by_tenant.entry(id).or_default().push(row);
        }
        for (id, rows) in by_tenant {
            let mut target = self.open(id).await?;
            self.import(&mut target, table, rows).await?;
        }
        Ok(())
    }

    async fn import(
        &mut self,
        target: &mut Target,
        table: &Table,
        rows: Vec<SourceRow>,
    ) -> anyhow::Result<()> {
        let digests: Vec<_> = rows.iter().map(SourceRow::digest).collect();
        let keys: Vec<_> = rows
            .iter()
            .zip(&digests)
            .flat_map(|(row, digest)| [row.key.clone(), key_beside(&row.key, digest)])
            .collect();
        let name = table.name.clone();
        let done = target.db.read(async move |read| legacy::trails(read, &name, &keys).await).await;
        let done = done.with_context(|| format!("the tenant {}", target.id))?;
        let mut batch = Batch::default();
        // Under which key each row is known: another row may have its own already.
        let mut known_as = Vec::with_capacity(rows.len());
        for (row, digest) in rows.iter().zip(&digests) {
            let differs = done.get(&row.key).is_some_and(|known| known.digest != *digest);
            let key = if differs { key_beside(&row.key, digest) } else { row.key.clone() };
            if !done.contains_key(&key) {
                let verdict = if differs {
                    Verdict::Keep(Reason::row(Rule::RowDiffers))
                } else {
                    target.mapper.map(&table.name, row)
                };
                batch.trails.push(trail(&table.name, row, &key, digest, &verdict));
                if let Verdict::Record(record, _) = verdict {
                    add(*record, &mut batch);
                }
            }
            known_as.push(key);
        }
        let new: HashMap<_, _> = batch
            .trails
            .iter()
            .map(|trail| (trail.key.clone(), (trail.outcome, trail.reasons.clone())))
            .collect();
        if !new.is_empty() {
            let actor = Actor { user: "import-legacy".into(), ..Actor::default() };
            let written = target.db.write(actor, None, async move |tx| legacy::insert(tx, batch).await).await;
            written
                .with_context(|| format!("writing rows of {} into the tenant {}", table.name, target.id))?;
        }
        for (row, key) in rows.iter().zip(&known_as) {
            let known = || done.get(key).map(|known| (known.outcome, known.reasons.clone()));
            let (is_new, found) = match new.get(key) {
                Some(found) => (true, Some(found.clone())),
                None => (false, known()),
            };
            let Some((outcome, reasons)) = found else { bail!("two rows of {} have one key", table.name) };
            self.report
                .add(&Accounted {
                    table: &table.name,
                    key: &row.key,
                    tenant: row.tenant.as_deref(),
                    id: &target.id,
                    outcome,
                    reasons: &reasons,
                    is_new,
                })
                .context("cannot write the report")?;
        }
        (self.progress)(rows.len() as u64);
        Ok(())
    }
}

fn add(record: Record, batch: &mut Batch) {
    match record {
        Record::Customer(customer) => batch.customers.push(customer),
        Record::Contact(contact) => batch.contacts.push(contact),
        Record::Opportunity(opportunity) => batch.opportunities.push(opportunity),
        Record::FollowUp(follow_up) => batch.follow_ups.push(follow_up),
        Record::Log(entry) => batch.log.push(entry),
    }
}

/// Where a row went, with the row itself unless the record holds all of it.
fn trail(table: &str, row: &SourceRow, key: &str, digest: &str, verdict: &Verdict) -> Trail {
    let (outcome, reasons) = match verdict {
        Verdict::Record(_, reasons) if reasons.is_empty() => (Outcome::Imported, String::new()),
        Verdict::Record(_, reasons) => (Outcome::Repaired, join(reasons)),
        Verdict::Absorbed => (Outcome::Imported, String::new()),
        Verdict::Keep(reason) => (Outcome::Kept, reason.to_string()),
    };
    let is_whole = matches!(verdict, Verdict::Record(_, reasons) if reasons.is_empty());
    let row_kept = (!is_whole).then(|| Value::Object(row.cells.clone()).to_string());
    let (table, key, digest) = (table.to_owned(), key.to_owned(), digest.to_owned());
    Trail { table, key, digest, outcome, reasons, row: row_kept }
}

/// The key of a row that is kept because another one was imported under its own.
fn key_beside(key: &str, digest: &str) -> String {
    format!("{key}#{digest}")
}

async fn next_chunk(
    rows: &mut BoxStream<'_, anyhow::Result<SourceRow>>,
) -> anyhow::Result<Option<Vec<SourceRow>>> {
    let (mut chunk, mut size) = (Vec::new(), 0);
    while chunk.len() < CHUNK && size < CHUNK_BYTES {
        match rows.try_next().await.context("reading the source")? {
            Some(row) => {
                size += row.size();
                chunk.push(row);
            }
            None => break,
        }
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}
