//! What the cell asked of the file system, and when it answered whom: read from a log of strace.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Options that make strace write what [`Trace::parse`] reads: whole strings in hexadecimal, and the path of every
/// descriptor. Calls that are not traced cost nothing (`--seccomp-bpf`).
pub(super) const OPTIONS: [&str; 8] = [
    "-f",
    "-y",
    "-xx",
    "--seccomp-bpf",
    "-s",
    "16777216",
    "-e",
    "trace=openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,sync_file_range,\
     ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,copy_file_range,sendfile",
];

/// A file of the tenants' directory, whatever its name is at the moment.
pub(super) type File = usize;

/// One thing that happened. It may have begun to take effect once `start` is past, and has for certain once `end` is:
/// both count lines of the log.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) what: What,
}

/// What happened in the tenants' directory, or was sent to a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Write {
        file: File,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: File,
        length: usize,
    },
    Sync {
        file: File,
    },
    Name(Name),
    SyncNames,
    /// A 2xx with this `X-Request-ID`.
    Acknowledged {
        request_id: String,
    },
}

/// A change of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Add(String, File),
    Move(String, String),
    Remove(String),
}

/// All of it, in the order of `start`.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) events: Vec<Event>,
    /// The name under which each file was made or is known best: the last one.
    pub(super) names: Vec<String>,
    /// Lines of the log.
    pub(super) lines: usize,
}

/// A call that began on one line and may have ended on another.
struct Call<'l> {
    start: usize,
    end: usize,
    name: &'l str,
    arguments: String,
    result: i64,
}

/// The files as they are while the log is read.
struct Reader<'d> {
    directory: &'d str,
    live: HashMap<String, File>,
    /// Where `write` goes on, by path.
    positions: HashMap<String, usize>,
    trace: Trace,
}

impl Trace {
    /// Reads a log of a cell whose tenants' files are in `directory`, which was empty when it began.
    ///
    /// # Errors
    /// The log has a call that is not understood.
    pub(super) fn parse(log: &str, directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.to_str().context("a path in UTF-8")?;
        let mut reader =
            Reader { directory, live: HashMap::new(), positions: HashMap::new(), trace: Self::default() };
        let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
        for (number, line) in log.lines().enumerate() {
            reader.trace.lines = number + 1;
            let Some((process, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            let call = if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                unfinished.insert(process, (number, begun));
                continue;
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let Some((start, begun)) = unfinished.remove(process) else { continue };
                let (_, ended) = resumed.split_once(" resumed>").context("a resumed call")?;
                Call::parse(start, number, begun, ended)
            } else {
                Call::parse(number, number, rest, "")
            };
            if let Some(call) = call {
                reader.take(&call).with_context(|| format!("line {} of the log", number + 1))?;
            }
        }
        let mut trace = reader.trace;
        trace.events.sort_by_key(|event| event.start);
        Ok(trace)
    }
}

impl<'l> Call<'l> {
    /// `None`: a signal, an exit, or a call that failed.
    fn parse(start: usize, end: usize, begun: &'l str, ended: &str) -> Option<Self> {
        let (name, first) = begun.split_once('(')?;
        let (arguments, result) = if ended.is_empty() {
            let (arguments, result) = first.rsplit_once(" = ")?;
            (arguments.to_owned(), result)
        } else {
            let (rest, result) = ended.rsplit_once(" = ")?;
            (format!("{first}{rest}"), result)
        };
        let result = result.split(['<', ' ']).next()?.parse().ok()?;
        (result >= 0).then_some(Self { start, end, name, arguments, result })
    }

    /// The strings among the arguments.
    fn strings(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.arguments.split('"').skip(1).step_by(2).map(decode)
    }

    fn string(&self, index: usize) -> anyhow::Result<String> {
        let bytes = self.strings().nth(index).with_context(|| format!("no string in {}", self.arguments))?;
        Ok(String::from_utf8(bytes)?)
    }

    /// The path of the descriptor that is the first argument.
    fn path(&self) -> Option<String> {
        let (_, rest) = self.arguments.split_once('<')?;
        let (path, _) = rest.split_once('>')?;
        String::from_utf8(decode(path)).ok()
    }

    /// The last argument, as a number.
    fn last(&self) -> anyhow::Result<usize> {
        let last = self.arguments.trim_end_matches([')', ' ']).rsplit(", ").next().unwrap_or_default();
        last.parse().with_context(|| format!("a number: {last}"))
    }
}

/// The bytes of `\x2f\x74`; what is not written so stands for itself.
fn decode(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let digit =
        |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    text.as_bytes().chunks_exact(4).map(|code| digit(code[2]) << 4 | digit(code[3])).collect()
}

impl Reader<'_> {
    /// The name of a path in the tenants' directory, if its content must last: SQLite makes the index of a WAL anew.
    fn name(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix(self.directory)?.strip_prefix('/')?;
        (!name.ends_with("-shm") && !name.contains("(deleted)")).then(|| name.to_owned())
    }

    fn take(&mut self, call: &Call<'_>) -> anyhow::Result<()> {
        let done = usize::try_from(call.result)?;
        let what = match call.name {
            "openat" => return self.open(call),
            "write" | "writev" | "sendto" | "sendmsg" | "pwrite64" => {
                let path = call.path().unwrap_or_default();
                let Some(name) = self.name(&path) else { return self.answer(call) };
                let mut bytes = call.strings().next().context("what is written")?;
                bytes.truncate(done);
                let offset = match call.name {
                    "pwrite64" => call.last()?,
                    "write" => {
                        let position = self.positions.entry(name.clone()).or_default();
                        *position += done;
                        *position - done
                    }
                    other => bail!("{other} to a file"),
                };
                What::Write { file: self.file(&name)?, offset, bytes }
            }
            "fsync" | "fdatasync" => {
                let path = call.path().unwrap_or_default();
                if path == self.directory {
                    What::SyncNames
                } else if let Some(name) = self.name(&path) {
                    What::Sync { file: self.file(&name)? }
                } else {
                    return Ok(());
                }
            }
            "ftruncate" => {
                let Some(name) = self.name(&call.path().unwrap_or_default()) else { return Ok(()) };
                What::Truncate { file: self.file(&name)?, length: call.last()? }
            }
            "rename" | "renameat" | "renameat2" => {
                let (from, to) = (self.name(&call.string(0)?), self.name(&call.string(1)?));
                let (Some(from), Some(to)) = (from, to) else { return Ok(()) };
                let file = self.file(&from)?;
                self.live.remove(&from);
                self.live.insert(to.clone(), file);
                self.trace.names[file].clone_from(&to);
                What::Name(Name::Move(from, to))
            }
            "unlink" | "unlinkat" => {
                let Some(name) = self.name(&call.string(0)?) else { return Ok(()) };
                self.live.remove(&name);
                What::Name(Name::Remove(name))
            }
            other if call.arguments.contains(&hexadecimal(self.directory)) => {
                bail!("{other} in the tenants' directory is not understood");
            }
            _ => return Ok(()),
        };
        self.trace.events.push(Event { start: call.start, end: call.end, what });
        Ok(())
    }

    fn open(&mut self, call: &Call<'_>) -> anyhow::Result<()> {
        let Some(name) = self.name(&call.string(0)?) else { return Ok(()) };
        self.positions.insert(name.clone(), 0);
        let event = |what| Event { start: call.start, end: call.end, what };
        if let Some(file) = self.live.get(&name) {
            if call.arguments.contains("O_TRUNC") {
                self.trace.events.push(event(What::Truncate { file: *file, length: 0 }));
            }
            return Ok(());
        }
        if !call.arguments.contains("O_CREAT") {
            bail!("{name} was there before");
        }
        let file = self.trace.names.len();
        self.trace.names.push(name.clone());
        self.live.insert(name.clone(), file);
        self.trace.events.push(event(What::Name(Name::Add(name, file))));
        Ok(())
    }

    fn file(&self, name: &str) -> anyhow::Result<File> {
        self.live.get(name).copied().with_context(|| format!("{name} was never opened"))
    }

    fn answer(&mut self, call: &Call<'_>) -> anyhow::Result<()> {
        let Some(head) = call.strings().next() else { return Ok(()) };
        if !head.starts_with(b"HTTP/1.1 2") {
            return Ok(());
        }
        let head = String::from_utf8_lossy(&head);
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let id = headers.find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
        if let Some((_, request_id)) = id {
            let what = What::Acknowledged { request_id: request_id.to_owned() };
            self.trace.events.push(Event { start: call.start, end: call.end, what });
        }
        Ok(())
    }
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}
