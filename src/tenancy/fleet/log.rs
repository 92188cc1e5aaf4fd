//! Who did what to which tenant: `operators.jsonl` in the data root, one line for each entry, in a chain of hashes.
//!
//! A line is `{"hash":…,"entry":{…,"previous":…}}`: the SHA-256 of the entry as it is written, and in the entry that of the one
//! before. A line that is changed, removed or put between others breaks the chain. That its end was cut off shows only to who has
//! kept a later hash: the cell's own log has each of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::domain::{TenantId, Timestamp};
use crate::tenancy::files::blocking;
use crate::tenancy::map::Tenants;

/// What the first entry has as the hash of the one before.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What is longer than this in an entry is left out of it, but for its hash: so no line comes near [`LINE`].
const DETAIL: usize = 8 * 1024;
const OUTCOME: usize = 1024;
const LINE: u64 = 64 * 1024;

/// What an operator did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Who, as they say.
    pub operator: String,
    /// How they came: `socket`, `tcp`, `offline`, or `cell` for what the cell does by itself.
    pub via: String,
    /// `tenant.suspend`, `backup`, …
    pub action: String,
    /// Whom it was done to, if it was one tenant.
    pub tenant: Option<TenantId>,
    /// What else was said.
    pub detail: Value,
    /// `begun`, `done`, or `failed` and why.
    pub outcome: String,
}

/// A deed in its place in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Its number, from 1.
    pub seq: u64,
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
    /// The hash of the entry before.
    pub previous: String,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    hash: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    entry: &'a RawValue,
}

/// Why the log cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A line is not what the chain says it was.
    #[error("line {line}: {what}")]
    Broken {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Somebody put another file in its place, or none, or cut its end off.
    #[error(
        "operators.jsonl is not what this cell has written: it was replaced, removed or cut off while the cell runs. Put the old \
         one back, or restart the cell to go on with what lies there"
    )]
    Replaced,
    /// The chain is whole, but has no entry of this hash.
    #[error("no entry has the hash {0}: the end of the log was cut off, or it is another log")]
    Missing(String),
    /// The file cannot be read or written.
    #[error("the operators' log cannot be used")]
    Io(#[from] io::Error),
}

/// A log that is whole.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// How many entries it has.
    pub entries: u64,
    /// The hash of the last one.
    pub hash: String,
}

/// The log, open for writing.
#[derive(Debug)]
pub struct OperatorLog {
    path: PathBuf,
    end: Mutex<End>,
}

#[derive(Debug)]
struct End {
    file: File,
    seq: u64,
    hash: String,
}

impl End {
    /// Whether the file that is written to is the one that lies at `path`.
    fn check_place(&self, path: &Path) -> Result<(), LogError> {
        let ours = self.file.metadata()?;
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Ok(_) => Err(LogError::Replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LogError::Replaced),
            Err(error) => Err(error.into()),
        }
    }
}

impl OperatorLog {
    /// Opens the log at `path`, or begins one. One that cannot be gone on with is kept beside, as `.broken`: no reason not to serve.
    ///
    /// # Errors
    /// No file can be opened there.
    pub fn open(path: PathBuf) -> Result<Self, LogError> {
        match Self::go_on(path.clone()) {
            Err(error @ LogError::Broken { .. }) => {
                let broken = path.with_extension("jsonl.broken");
                tracing::error!(%error, kept = %broken.display(), "the operators' log is broken: another one is begun");
                fs::rename(&path, broken)?;
                Self::go_on(path)
            }
            opened => opened,
        }
    }

    /// What a crash left of a line is removed: its operation had not begun, or its end was not told to anybody.
    fn go_on(path: PathBuf) -> Result<Self, LogError> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(2 * LINE);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && start > 0 {
            return Err(LogError::Broken { line: 0, what: "its end is no line of a log" });
        }
        if whole < tail.len() {
            tracing::warn!(bytes = tail.len() - whole, "the operators' log ended within a line");
            file.set_len(start + whole as u64)?;
            file.sync_all()?;
        }
        let last = tail[..whole].trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let (seq, hash) = if last.is_empty() {
            (0, BEGINNING.to_owned())
        } else {
            let broken = |_| LogError::Broken { line: 0, what: "the last line is no entry" };
            let line: Line<'_> = serde_json::from_slice(last).map_err(broken)?;
            let entry: LogEntry = serde_json::from_str(line.entry.get()).map_err(broken)?;
            (entry.seq, line.hash.into_owned())
        };
        Ok(Self { path, end: Mutex::new(End { file, seq, hash }) })
    }

    /// Adds an entry, durably, and says its number. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be written. Then the operation must not take place.
    pub fn add(&self, mut deed: Deed) -> Result<u64, LogError> {
        let detail = deed.detail.to_string();
        if detail.len() > DETAIL {
            let sha256 = hex::encode(Sha256::digest(&detail));
            deed.detail = serde_json::json!({ "leftOut": { "bytes": detail.len(), "sha256": sha256 } });
        }
        deed.outcome = deed.outcome.chars().take(OUTCOME).collect();
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.check_place(&self.path)?;
        let entry = LogEntry { seq: end.seq + 1, deed, previous: end.hash.clone() };
        let raw = serde_json::value::to_raw_value(&entry).map_err(io::Error::from)?;
        let hash = hash_of(&raw);
        let line = Line { hash: hash.as_str().into(), entry: &raw };
        let mut text = serde_json::to_vec(&line).map_err(io::Error::from)?;
        text.push(b'\n');
        let length = end.file.metadata()?.len();
        let written = end.file.write_all(&text).and_then(|()| end.file.sync_data());
        if let Err(error) = written {
            // Half a line would break the chain for ever.
            end.file.set_len(length)?;
            return Err(error.into());
        }
        (end.seq, end.hash) = (entry.seq, hash);
        let deed = &entry.deed;
        tracing::info!(
            target: "crm_cell::operator",
            seq = entry.seq,
            hash = end.hash,
            operator = deed.operator,
            via = deed.via,
            action = deed.action,
            tenant_id = deed.tenant.as_ref().map(TenantId::as_str),
            outcome = deed.outcome,
            "operator"
        );
        Ok(entry.seq)
    }

    /// Follows the chain from the beginning. With `head`, one of the entries must have this hash.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn verify(&self, head: Option<&str>) -> Result<Verified, LogError> {
        let last = {
            let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            end.check_place(&self.path)?;
            end.hash.clone()
        };
        let verified = verify(&self.path, head)?;
        // Entries may have come since, and none of those may be gone.
        if verified.hash != last && last != BEGINNING {
            verify(&self.path, Some(&last)).map_err(|_| LogError::Replaced)?;
        }
        Ok(verified)
    }

    /// The last `limit` entries, the newest first; of this tenant, if one is named.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last(&self, tenant: Option<&TenantId>, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        let text = fs::read(&self.path)?;
        let lines = text.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty());
        let entries = lines.filter_map(|line| {
            let line: Line<'_> = serde_json::from_slice(line).ok()?;
            serde_json::from_str::<LogEntry>(line.entry.get()).ok()
        });
        let of = entries.filter(|entry| tenant.is_none() || entry.deed.tenant.as_ref() == tenant);
        Ok(of.take(limit).collect())
    }
}

impl Tenants {
    /// Adds an entry to the operators' log.
    ///
    /// # Errors
    /// It cannot be written. Then what it says must not take place.
    pub async fn log(&self, deed: Deed) -> Result<u64, LogError> {
        let log = self.log.clone();
        blocking(move || Ok(log.add(deed))).await?
    }

    /// The last entries of the operators' log, the newest first; of this tenant, if one is named.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn logged(&self, tenant: Option<TenantId>, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        let log = self.log.clone();
        blocking(move || Ok(log.last(tenant.as_ref(), limit))).await?
    }

    /// Follows the chain of the operators' log. With `head`, one of the entries must have this hash.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn verify_log(&self, head: Option<String>) -> Result<Verified, LogError> {
        let log = self.log.clone();
        blocking(move || Ok(log.verify(head.as_deref()))).await?
    }
}

fn verify(path: &Path, head: Option<&str>) -> Result<Verified, LogError> {
    let mut found = Verified { entries: 0, hash: BEGINNING.to_owned() };
    let mut has_head = head.is_none();
    for (number, line) in (1..).zip(BufReader::new(File::open(path)?).lines()) {
        let broken = |what| LogError::Broken { line: number, what };
        let line = line?;
        let line: Line<'_> = serde_json::from_str(&line).map_err(|_| broken("it is no entry"))?;
        let entry: LogEntry = serde_json::from_str(line.entry.get()).map_err(|_| broken("it is no entry"))?;
        if entry.previous != found.hash || entry.seq != found.entries + 1 {
            return Err(broken("it does not follow the entry before: one was removed, added or moved"));
        }
        if hash_of(line.entry) != *line.hash {
            return Err(broken("it was changed"));
        }
        found = Verified { entries: entry.seq, hash: line.hash.into_owned() };
        has_head |= head == Some(found.hash.as_str());
    }
    if has_head { Ok(found) } else { Err(LogError::Missing(head.unwrap_or_default().to_owned())) }
}

fn hash_of(entry: &RawValue) -> String {
    hex::encode(Sha256::digest(entry.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(action: &str) -> Deed {
        Deed {
            at: Timestamp::from_millis(0),
            operator: "zhang".to_owned(),
            via: "socket".to_owned(),
            action: action.to_owned(),
            tenant: None,
            detail: Value::Null,
            outcome: "done".to_owned(),
        }
    }

    fn log_of(path: &Path, actions: &[&str]) -> OperatorLog {
        let log = OperatorLog::open(path.to_owned()).expect("opened");
        for action in actions {
            log.add(deed(action)).expect("added");
        }
        log
    }

    #[test]
    fn it_goes_on_where_it_ended_and_a_line_that_a_crash_cut_off_is_no_entry() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("operators.jsonl");
        drop(log_of(&path, &["a", "b"]));
        fs::write(&path, [fs::read(&path).expect("read"), b"{\"hash\":\"12".to_vec()].concat())
            .expect("written");

        let log = log_of(&path, &["c"]);

        let verified = log.verify(None).expect("whole");
        assert_eq!(verified.entries, 3);
        let last = log.last(None, 2).expect("read");
        assert_eq!(last.iter().map(|entry| entry.deed.action.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_a_broken_log_is_kept_beside_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("operators.jsonl");
        let log = log_of(&path, &["a"]);
        let detail = serde_json::json!({ "tenants": vec!["a-tenant"; 100_000] });
        log.add(Deed { detail, outcome: "x".repeat(100_000), ..deed("b") }).expect("added");
        assert!(fs::metadata(&path).expect("there").len() < 2 * LINE);
        assert_eq!(log_of(&path, &["c"]).verify(None).expect("whole").entries, 3);

        fs::write(&path, "no line of a log".repeat(20_000)).expect("written");
        assert_eq!(log_of(&path, &["d"]).verify(None).expect("whole").entries, 1);
        assert!(directory.path().join("operators.jsonl.broken").exists());
    }

    #[test]
    fn a_line_that_is_changed_removed_or_moved_breaks_the_chain() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("operators.jsonl");
        let log = log_of(&path, &["a", "b", "c"]);
        let head = log.verify(None).expect("whole").hash;
        log.verify(Some(&head)).expect("it is the last one");
        let text = fs::read_to_string(&path).expect("read");
        let lines: Vec<_> = text.lines().collect();
        for (spoilt, line) in [
            (text.replace("\"action\":\"b\"", "\"action\":\"x\""), 2),
            (format!("{}\n{}\n", lines[0], lines[2]), 2),
            (format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]), 1),
        ] {
            fs::write(&path, spoilt).expect("written");
            let error = log.verify(None).expect_err("broken");
            assert!(matches!(error, LogError::Broken { line: at, .. } if at == line), "{error}");
        }
        fs::write(&path, format!("{}\n{}\n", lines[0], lines[1])).expect("written");
        let error = log.verify(None).expect_err("it knows what it has written");
        assert!(matches!(error, LogError::Replaced), "{error}");

        let restarted = OperatorLog::open(path).expect("opened");
        restarted.verify(None).expect("whole as far as it goes");
        let error = restarted.verify(Some(&head)).expect_err("its end was cut off");
        assert!(matches!(error, LogError::Missing(_)), "{error}");
    }
}
