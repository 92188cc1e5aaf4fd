//! Clients that write to four tenants, repeat what they were not answered, and say on standard output what they were told.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crm_cell::domain::TenantId;
use crm_cell::tenancy::{Done, OpenError, Outcome, StoreError, TenantDb, Tenants};
use futures_util::future::join_all;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::support::{Name, Setup, by, count, file_of, insert, key, tenant, write_old};

/// Two that the clients make, one of the first schema version, and one without a WAL, as `vacuum into` leaves it.
pub(crate) const TENANTS: [&str; 4] = ["new", "other", OLD, PLAIN];
const OLD: &str = "old";
const PLAIN: &str = "plain";
/// One that there is not.
const NOBODY: &str = "nobody";
/// What the clients find in the two that there are: a write under its own name as its key.
pub(crate) const EARLY: &str = "early";
/// What a line on standard output begins with when a client says it.
pub(crate) const SAYS: &str = "> ";

const CLIENTS: usize = 2;
const ROUNDS: usize = 2;
const WRITES: usize = 4;
/// Between two rounds: a tenant rests, its WAL is brought home, its connection closed.
const PAUSE: Duration = Duration::from_millis(100);
/// A tenant of which a step failed serves again within this: its back-off is one second.
const RECOVERY: Duration = Duration::from_secs(4);

/// Says something to the test that started this process. Written at once: the process may be about to end.
pub(crate) fn say(what: impl fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAYS}{what}").and_then(|()| out.flush()).expect("somebody listens");
}

/// A data root with the tenants that are not new.
pub(crate) async fn prepare() -> TempDir {
    let cell = Setup::default().open().await;
    write(&cell.tenants, PLAIN, EARLY).await.expect("written");
    let directory = cell.stop().await;
    let plain = SqliteConnectOptions::new().filename(file_of(directory.path(), PLAIN));
    let connection = plain.journal_mode(SqliteJournalMode::Delete).connect().await.expect("opened");
    connection.close().await.expect("closed");
    let rows = "
        insert into meta (id, tenant_id, created_at) values (1, 'old', 1000);
        insert into customers (id, name, name_key, owner_id, created_at, updated_at)
            values ('early', 'early', 'early', 'me', 1000, 1000);
        insert into journal (at, actor, action, resource, record_id, version, changes)
            values (1000, 'me', 'customer.create', 'customer', 'early', 1, '{}');
        insert into outbox (event_id, type, record_id, at, data)
            values ('e', 'crm.customer.created', 'early', unixepoch() * 1000, '{}');
        insert into idempotency (key, fingerprint, response, at)
            values ('early', 'the same body', '\"early\"', unixepoch() * 1000);
    ";
    write_old(&file_of(directory.path(), OLD), 1, &[rows]).await;
    directory
}

/// Whether tenants come and go, or stay open until the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is room for three of the four.
    Little,
    /// What is open once is only closed with the cell, unless it fails.
    Enough,
}

/// Tenants that rest soon.
pub(crate) async fn open(directory: &Path, room: Room) -> Arc<Tenants> {
    let mut setup = Setup::default();
    if room == Room::Little {
        setup.capacity = 3;
        setup.storage.tenant_idle = Duration::from_millis(300);
    }
    setup.storage.checkpoint_after = Duration::from_millis(20);
    setup.storage.writer_idle = Duration::from_millis(40);
    setup.tenants_of(directory).await
}

/// Why a request was not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What it asked for may have happened.
    pub(crate) is_unknown: bool,
    #[expect(dead_code, reason = "for whoever reads the failure of a test")]
    error: String,
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        Self { is_unknown: false, error: format!("{error:?}") }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let is_unknown = match &error {
            StoreError::Unavailable(why) => why.outcome == Outcome::Unknown,
            StoreError::InProgress => true,
            _ => false,
        };
        Self { is_unknown, error: format!("{error:?}") }
    }
}

/// The tenant, as a request has it.
async fn db(tenants: &Tenants, of: &str) -> Result<Arc<TenantDb>, Refusal> {
    let tenant: TenantId = tenant(of);
    Ok(tenants.find_or_create(&tenant).await?)
}

/// Writes a customer of this name, which is also the key of the request, and its answer.
pub(crate) async fn write(tenants: &Tenants, of: &str, name: &str) -> Result<Done<String>, Refusal> {
    let db = db(tenants, of).await?;
    let (key, name) = (key(name), name.to_owned());
    Ok(db.write(by("me"), key, async move |tx| insert(tx, &name).await).await?)
}

/// All clients, to their ends. None of them waits for ever.
pub(crate) async fn run(tenants: &Arc<Tenants>) {
    let clients = TENANTS.into_iter().flat_map(|tenant| (0..CLIENTS).map(move |number| (tenant, number)));
    let clients = clients.map(|(tenant, number)| {
        let client = Client { tenants: tenants.clone(), tenant, number };
        tokio::spawn(client.run())
    });
    let clients: Vec<_> = clients.collect();
    crate::operator::run(tenants).await;
    for client in join_all(clients).await {
        client.expect("what a client was answered is right");
    }
    for tenant in TENANTS {
        serves_again(tenants, tenant).await;
    }
    // Whatever failed may have failed here, and once.
    if read_nobody(tenants).await.is_err() {
        read_nobody(tenants).await.expect("a tenant that does not exist can be read again");
    }
}

/// A tenant serves without a restart, whatever happened to it.
async fn serves_again(tenants: &Tenants, tenant: &str) {
    let start = Instant::now();
    loop {
        say(format_args!("sent {tenant} after"));
        let served = async {
            let done = write(tenants, tenant, "after").await?;
            let name: Option<Name> = db(tenants, tenant).await?.point_read("after".to_owned()).await?;
            Ok::<_, Refusal>((done, name))
        };
        match served.await {
            Ok((_, name)) => {
                assert_eq!(name, Some(Name("after".to_owned())));
                say(format_args!("acknowledged {tenant} after"));
                return;
            }
            Err(why) => {
                say(format_args!("unknown {tenant} after {why:?}"));
                assert!(start.elapsed() < RECOVERY, "{tenant} does not serve again: {why:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Reads a tenant that does not exist.
async fn read_nobody(tenants: &Tenants) -> Result<(), Refusal> {
    let found = tenants.find(&tenant(NOBODY)).await?;
    assert!(found.is_none(), "{NOBODY} exists");
    let empty = tenants.empty().await.map_err(StoreError::from)?;
    assert_eq!(empty.read(count).await?, 0);
    Ok(())
}

struct Client {
    tenants: Arc<Tenants>,
    tenant: &'static str,
    number: usize,
}

impl Client {
    async fn run(self) {
        let mut acknowledged = Vec::new();
        for round in 0..ROUNDS {
            for number in 0..WRITES {
                let name = format!("{}-{round}-{number}", self.number);
                // Half of those who are refused repeat their request.
                if self.write(&name, number % 2 == 0).await {
                    acknowledged.push(name.clone());
                }
                if let Err(why) = self.read(&acknowledged).await {
                    say(format_args!("unread {} {name} {why:?}", self.tenant));
                }
                if let Err(why) = read_nobody(&self.tenants).await {
                    say(format_args!("unread {NOBODY} {name} {why:?}"));
                }
            }
            self.copy(&acknowledged).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Copies the tenant: whatever fails, its copy is a whole one, with what was acknowledged before.
    async fn copy(&self, acknowledged: &[String]) {
        let (tenants, of) = (self.tenants.clone(), self.tenant);
        let copied = tokio::spawn(async move { tenants.copy(&tenant(of)).await });
        match copied.await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => return say(format_args!("unread {of} copy {why:?}")),
            Err(_panic) => return say(format_args!("unread {of} copy panicked")),
        }
        let root = self.tenants.data_root();
        if let Some(names) = names_in_copy(root, of).await {
            let missing: Vec<_> = acknowledged.iter().filter(|name| !names.contains(name)).collect();
            assert!(missing.is_empty(), "{missing:?} are not in the copy of {of}");
        }
    }

    /// Says whether the write was acknowledged.
    async fn write(&self, name: &str, insists: bool) -> bool {
        let start = Instant::now();
        let mut may_be_there = false;
        loop {
            say(format_args!("sent {} {name}", self.tenant));
            match write(&self.tenants, self.tenant, name).await {
                Ok(done) => {
                    assert_eq!(done.value, name);
                    let of = self.tenant;
                    assert!(!done.replayed || may_be_there, "{of}: {name} was refused, and had been written");
                    say(format_args!("acknowledged {} {name}", self.tenant));
                    return true;
                }
                Err(why) => {
                    may_be_there |= why.is_unknown;
                    let outcome = if why.is_unknown { "unknown" } else { "refused" };
                    say(format_args!("{outcome} {} {name} {why:?}", self.tenant));
                    if !insists {
                        return false;
                    }
                    assert!(start.elapsed() < RECOVERY, "{} does not take {name}: {why:?}", self.tenant);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Everything acknowledged is there to be read.
    async fn read(&self, acknowledged: &[String]) -> Result<(), Refusal> {
        let db = db(&self.tenants, self.tenant).await?;
        if let Some(name) = acknowledged.last() {
            let found: Option<Name> = db.point_read(name.clone()).await?;
            assert_eq!(found.as_ref(), Some(&Name(name.clone())), "{}", self.tenant);
        }
        let found = db.read(count).await?;
        assert!(found >= acknowledged.len() as i64, "{found} of {acknowledged:?} in {}", self.tenant);
        Ok(())
    }
}

/// What is in the copy of a tenant, which must be sound; `None` if there is none.
pub(crate) async fn names_in_copy(directory: &Path, of: &str) -> Option<Vec<String>> {
    // The file may be replaced while it is looked at: whichever it is, it is whole.
    let copy = directory.join("copies").join(format!("{of}.db"));
    let options = SqliteConnectOptions::new().filename(&copy).read_only(true).immutable(true);
    if !copy.exists() {
        return None;
    }
    let mut connection = options.connect().await.expect("a database");
    let sound: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await.expect("checked");
    assert_eq!(sound, "ok", "the copy of {of}");
    let names = sqlx::query_scalar("select name from customers").fetch_all(&mut connection).await;
    connection.close().await.expect("closed");
    Some(names.expect("rows"))
}

/// The names of a data root's files of tenants, without what a running cell has beside them.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("tenants")).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
