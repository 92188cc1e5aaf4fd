//! `crm-cell import-legacy`: fills one file per tenant from the Python cell's database.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use tempfile::NamedTempFile;

use super::offline::{self, Offline};
use super::progress;
use crate::config::Config;
use crate::domain::{InvalidTenantId, SystemClock, TenantId};
use crate::legacy::{self, Order, Report};
use crate::telemetry;

/// Fill one file per tenant from the database of the Python cell, which is only read. Can be repeated: what is there is
/// left alone.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The database of the Python cell
    file: PathBuf,
    /// Read, check and report, but write nothing
    #[arg(long)]
    dry_run: bool,
    /// Import the tenant OLD as NEW; may be repeated
    #[arg(long = "map", value_name = "OLD=NEW", value_parser = parse_mapping)]
    maps: Vec<(String, TenantId)>,
    /// Write a line for every row that is not imported exactly as it was
    #[arg(long, value_name = "FILE.csv")]
    report: Option<PathBuf>,
}

/// `OLD=NEW`; no new id has a `=`, but an old one may.
fn parse_mapping(text: &str) -> Result<(String, TenantId), String> {
    let (old, new) = text.rsplit_once('=').ok_or("write OLD=NEW")?;
    Ok((old.to_owned(), new.parse().map_err(|error: InvalidTenantId| error.to_string())?))
}

pub(super) fn run(args: ImportArgs, config: Config, working_directory: &Path) -> anyhow::Result<()> {
    let ImportArgs { file, dry_run, maps, report } = args;
    telemetry::start_logging(&progress::quiet(&config.log))?;
    let data_root = config.storage.data_root(working_directory)?;
    let mut map = BTreeMap::new();
    for (old, new) in maps {
        ensure!(map.insert(old.clone(), new).is_none(), "--map names the tenant {old:?} twice");
    }
    let Offline { storage, tenants, capacity, surroundings } =
        offline::settings(config, Arc::new(SystemClock));
    let file = working_directory.join(file);
    let order =
        Order { file, map, dry_run, data_root: data_root.clone(), storage, tenants, capacity, surroundings };
    let path = report.as_ref().map(|path| working_directory.join(path));
    let unfinished = path.as_ref().map(|path| create(path, &order.file, &data_root)).transpose()?;
    let lines: Box<dyn Write> = match &unfinished {
        None => Box::new(io::sink()),
        Some(file) => Box::new(BufWriter::new(file.reopen().context("cannot write the report")?)),
    };
    let mut written = Report::new(lines).context("cannot write the report")?;
    let bar = progress::bar("rows");
    let runtime = super::runtime()?;
    let imported = runtime.block_on(legacy::import(
        order,
        &mut written,
        |rows| bar.set_length(rows),
        |rows| bar.inc(rows),
    ));
    bar.finish_and_clear();
    imported?;
    if let (Some(file), Some(path)) = (unfinished, path) {
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{written}")?;
    if let Some(path) = report {
        writeln!(out, "{} has a line for every row that was repaired or kept.", path.display())?;
    } else {
        let line = "for a line about every row that was repaired or kept";
        writeln!(out, "Repeat it with --report FILE.csv {line}.")?;
    }
    if dry_run {
        writeln!(out, "This was a dry run: nothing was written into {}.", data_root.display())?;
    } else {
        writeln!(out, "The tenants are in {}/tenants. Start the cell: crm-cell serve", data_root.display())?;
    }
    Ok(())
}

/// A file that becomes the report once that is whole: it must overwrite neither what is imported, nor what lies beside it, nor
/// tenants.
fn create(path: &Path, source: &Path, data_root: &Path) -> anyhow::Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let directory = directory.canonicalize().with_context(|| format!("cannot write {}", path.display()))?;
    let real = directory.join(path.file_name().unwrap_or_default());
    let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    // The source's name begins those of its side files: `crm_cell.db-wal`.
    let is_source = real.as_os_str().as_encoded_bytes().starts_with(source.as_os_str().as_encoded_bytes());
    let is_data = data_root.canonicalize().is_ok_and(|root| real.starts_with(root));
    ensure!(
        !is_source && !is_data,
        "--report would overwrite what is imported, or tenants: {}",
        real.display()
    );
    NamedTempFile::new_in(&directory).with_context(|| format!("cannot write {}", path.display()))
}
