//! What became of every source row: totals for a person, and one line for each row that is not imported as it was.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use super::naming::TenantNames;
use crate::domain::TenantId;
use crate::store::legacy::Outcome;

/// The heading of the report's file.
const HEADING: &str = "table,key,tenant,importedAs,action,reasons\n";

/// The rows of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows that the source has.
    pub source: u64,
    /// Records that hold all of their row.
    pub imported: u64,
    /// Records that differ from their row.
    pub repaired: u64,
    /// Rows that are no record.
    pub kept: u64,
    /// Rows that this run imported, repaired or kept; the others an earlier one did.
    pub new: u64,
}

impl Totals {
    /// Rows that the report knows about.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.imported + self.repaired + self.kept
    }

    fn add(&mut self, other: &Self) {
        self.source += other.source;
        self.imported += other.imported;
        self.repaired += other.repaired;
        self.kept += other.kept;
        self.new += other.new;
    }
}

/// Collects what became of the rows, and writes the lines as it goes.
pub struct Report {
    lines: Box<dyn Write>,
    tables: Vec<(String, Totals)>,
    reasons: BTreeMap<String, u64>,
    tenants: TenantNames,
}

impl Report {
    /// A report whose lines, as CSV, go to `lines`.
    ///
    /// # Errors
    /// The heading cannot be written.
    pub fn new(mut lines: Box<dyn Write>) -> io::Result<Self> {
        lines.write_all(HEADING.as_bytes())?;
        Ok(Self { lines, tables: Vec::new(), reasons: BTreeMap::new(), tenants: TenantNames::new() })
    }

    /// The totals by table, in the order of the import.
    #[must_use]
    pub fn tables(&self) -> &[(String, Totals)] {
        &self.tables
    }

    /// Says how the tenants are called.
    pub(super) fn set_tenants(&mut self, tenants: TenantNames) {
        self.tenants = tenants;
    }

    /// Begins a table that has this many rows.
    pub(super) fn begin(&mut self, table: &str, rows: u64) {
        self.tables.push((table.to_owned(), Totals { source: rows, ..Totals::default() }));
    }

    /// Accounts for one row of a table that was begun.
    pub(super) fn add(&mut self, row: &Accounted<'_>) -> io::Result<()> {
        if let Some((_, totals)) = self.tables.iter_mut().find(|(table, _)| table == row.table) {
            *match row.outcome {
                Outcome::Imported => &mut totals.imported,
                Outcome::Repaired => &mut totals.repaired,
                Outcome::Kept => &mut totals.kept,
            } += 1;
            totals.new += u64::from(row.is_new);
        }
        if row.outcome == Outcome::Imported {
            return Ok(());
        }
        for reason in row.reasons.split(' ') {
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        let fields = [
            row.table,
            row.key,
            row.tenant.unwrap_or_default(),
            row.id.as_str(),
            row.outcome.word(),
            row.reasons,
        ];
        writeln!(self.lines, "{}", fields.map(csv).join(","))
    }

    /// Sees to it that all lines are written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// One row and what became of it.
#[derive(Debug)]
pub(super) struct Accounted<'a> {
    pub(super) table: &'a str,
    pub(super) key: &'a str,
    pub(super) tenant: Option<&'a str>,
    pub(super) id: &'a TenantId,
    pub(super) outcome: Outcome,
    pub(super) reasons: &'a str,
    pub(super) is_new: bool,
}

/// The totals, the reasons, and the tenants that have another id now.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.tables.iter().map(|(name, _)| name.chars().count());
        let width = names.max().unwrap_or(0).max("table".len());
        writeln!(f, "{:width$}  source  imported  repaired    kept  new in this run", "table")?;
        let mut sum = Totals::default();
        for (_, totals) in &self.tables {
            sum.add(totals);
        }
        for (name, totals) in
            self.tables.iter().map(|(name, totals)| (name.as_str(), totals)).chain([("total", &sum)])
        {
            let Totals { source, imported, repaired, kept, new } = totals;
            writeln!(f, "{name:width$}  {source:>6}  {imported:>8}  {repaired:>8}  {kept:>6}  {new:>15}")?;
        }
        if !self.reasons.is_empty() {
            writeln!(f, "\nwhy rows were repaired or kept (docs/OPERATIONS.md says what each rule does):")?;
            for (reason, count) in &self.reasons {
                writeln!(f, "{count:>8}  {reason}")?;
            }
        }
        for (old, id) in self.tenants.iter().filter(|(old, id)| old.as_str() != id.as_str()) {
            writeln!(f, "\nthe tenant {old:?} is no tenant id here, or was mapped: it is {id} now")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// A field of a line. What a spreadsheet would take for a formula gets an apostrophe in front.
fn csv(field: &str) -> String {
    let guarded = match field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{field}"),
        false => field.to_owned(),
    };
    match guarded.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", guarded.replace('"', "\"\"")),
        false => guarded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formulas() {
        for (field, written) in
            [("a", "a"), ("a,b", "\"a,b\""), ("say \"a\"", "\"say \"\"a\"\"\""), ("=1+1", "'=1+1"), ("", "")]
        {
            assert_eq!(csv(field), written);
        }
    }
}
