//! The two handles a unit of work gets: [`Read`] and [`Write`]. Every statement of a unit passes [`Read::admit`].

use std::fmt;
use std::future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Poll, ready};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use sqlx::sqlite::{SqliteConnection, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{AssertSqlSafe, Describe, Either, Execute, Executor, SqlStr, Sqlite};
use uuid::Uuid;

use super::Shared;
use super::connection::Connection;
use super::fault::{Fault, fault_of, is_query_only};
use super::ledger::{Actor, Change};
use super::totals::Totals;
use crate::domain::{Clock, IdSource, Masking, Scope, Timestamp};

/// What the next statement must be preceded by, in the same string: one hand-off to SQLite's thread instead of two.
///
/// The texts are few and fixed, because each is another entry in the statement cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nothing is pending.
    None,
    /// Opens the snapshot of a batch of reads.
    Begin,
    /// Keeps what the previous unit did and guards the next one.
    Release,
    /// Undoes what the previous unit did; the savepoint stays and guards the next one.
    Rollback,
}

impl Prefix {
    fn sql(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Begin => "begin; ",
            Self::Release => "release u; savepoint u; ",
            Self::Rollback => "rollback to u; ",
        }
    }

    /// How many statements it is.
    fn statements(self) -> usize {
        self.sql().matches(';').count()
    }
}

/// Read access to one tenant's file, at one snapshot. Only the engine can make one.
pub struct Read {
    connection: Connection,
    pub(super) prefix: Prefix,
    /// The running unit has sent a statement.
    pub(super) touched: bool,
    /// The running unit's last statement carried the release of the unit before it.
    carries_release: bool,
    /// The running unit has sent a statement that may write.
    pub(super) wrote: bool,
    /// The first fatal error of the running unit, latched even when the unit swallows it (see [`fault_of`]).
    fault: Option<Fault>,
    /// A statement was admitted, and nobody has seen yet what came of it.
    unanswered: bool,
    writable: bool,
    scope: Scope,
    /// The tenant's counts, and the commits that were made when the running snapshot was opened.
    pub(super) totals: Option<(Arc<Totals>, u64)>,
}

impl Read {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            prefix: Prefix::None,
            touched: false,
            carries_release: false,
            wrote: false,
            fault: None,
            unanswered: false,
            writable: false,
            scope: Scope::All,
            totals: None,
        }
    }

    /// The connection itself, for the engine's own statements.
    pub(in crate::tenancy) fn raw(&mut self) -> &mut SqliteConnection {
        self.connection.raw()
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Which rows the running unit may see and change. The statements of `store` keep to it.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Whether "rollback to u" undoes the running unit and nothing else. Not if the statement that failed also carried
    /// the release of the unit before: if it failed there, that unit's work is still behind the same savepoint.
    pub(super) fn can_undo_alone(&self) -> bool {
        !self.carries_release
    }

    /// Forgets what the last unit did; a pending prefix stays.
    pub(super) fn begin_unit(&mut self) {
        self.touched = false;
        self.carries_release = false;
        self.wrote = false;
        self.fault = None;
        self.unanswered = false;
    }

    /// What broke the running unit, if anything did. To drop a statement before its end does: whether it was sent, and
    /// the prefix with it, cannot be told.
    pub(super) fn fault(&mut self) -> Option<Fault> {
        if std::mem::take(&mut self.unanswered) {
            self.fault.get_or_insert(Fault::Lost);
        }
        self.fault
    }

    /// The gate of every statement: refuses it once the unit met a fatal error, and refuses any statement that is not
    /// a query or a change of rows (a unit that ran `commit` would publish half of its group), or that may roll back
    /// more than itself (`insert or rollback`). Adds the prefix.
    fn admit(&mut self, sql: &SqlStr) -> Result<SqlStr, sqlx::Error> {
        if self.fault().is_some() {
            return Err(sqlx::Error::Protocol(
                "refused: an earlier statement of this unit broke its transaction".into(),
            ));
        }
        let text = sql.as_str();
        if text.as_bytes().windows(8).any(|word| word.eq_ignore_ascii_case(b"rollback")) {
            return Err(sqlx::Error::Protocol(
                "refused: the transaction is not the unit's to roll back".into(),
            ));
        }
        for statement in text.split(';').map(str::trim_start).filter(|part| !part.is_empty()) {
            match statement_kind(statement) {
                Some(Kind::Query) => {}
                // A common table expression may precede a change; a reader's connection is `query_only`.
                Some(Kind::With) => self.wrote |= self.writable,
                Some(Kind::Change) if self.writable => self.wrote = true,
                Some(Kind::Change) => {
                    return Err(sqlx::Error::Protocol("refused: this unit may only read".into()));
                }
                None => {
                    return Err(sqlx::Error::Protocol("refused: not a query or a change of rows".into()));
                }
            }
        }
        self.touched = true;
        self.unanswered = true;
        self.connection.count_statement(text);
        let prefix = std::mem::replace(&mut self.prefix, Prefix::None);
        self.carries_release = prefix == Prefix::Release;
        if prefix == Prefix::None {
            Ok(sql.clone())
        } else {
            Ok(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe([prefix.sql(), text].concat())))
        }
    }

    /// Splits the handle into what runs a statement and what watches it.
    fn parts(&mut self) -> (&mut SqliteConnection, Watch<'_>) {
        let watch =
            Watch { fault: &mut self.fault, unanswered: &mut self.unanswered, writable: self.writable };
        (self.connection.raw(), watch)
    }
}

enum Kind {
    Query,
    With,
    Change,
}

fn statement_kind(statement: &str) -> Option<Kind> {
    let end = statement.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(statement.len());
    let word = &statement[..end];
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("select") {
        Some(Kind::Query)
    } else if is("with") {
        Some(Kind::With)
    } else if is("insert") || is("update") || is("delete") || is("replace") {
        Some(Kind::Change)
    } else {
        None
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read")
            .field("prefix", &self.prefix)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

/// A statement with its arguments, taken out of sqlx's query object so that its text can be replaced.
type Prepared = (SqlStr, Result<Option<sqlx::sqlite::SqliteArguments>, sqlx::Error>, bool);

fn take<'q, E: Execute<'q, Sqlite>>(mut query: E) -> Prepared {
    let arguments = query.take_arguments().map_err(sqlx::Error::Encode);
    let persistent = query.persistent();
    (query.sql(), arguments, persistent)
}

impl<'c> Executor<'c> for &'c mut Read {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<SqliteQueryResult, SqliteRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let (sql, arguments, persistent) = take(query);
        let mut foreign = self.prefix.statements();
        let admitted = arguments.and_then(|arguments| Ok((self.admit(&sql)?, arguments)));
        let (connection, mut watch) = self.parts();
        let mut rows = match admitted {
            Err(refused) => return stream::once(future::ready(Err(refused))).boxed(),
            Ok((sql, Some(arguments))) => {
                connection.fetch_many(sqlx::query_with(sql, arguments).persistent(persistent))
            }
            Ok((sql, None)) => connection.fetch_many(sqlx::raw_sql(sql)),
        };
        stream::poll_fn(move |context| {
            loop {
                let item = ready!(rows.poll_next_unpin(context));
                match &item {
                    Some(Err(error)) => watch.failed(error),
                    // The prefix is done: the rows that it counts as changed are those of an earlier change.
                    Some(Ok(Either::Left(_))) if foreign > 0 => {
                        foreign -= 1;
                        continue;
                    }
                    Some(Ok(Either::Left(_))) => {} // one of the string's own statements is done
                    Some(Ok(Either::Right(_))) | None => watch.answered(),
                }
                return Poll::Ready(item);
            }
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let (sql, arguments, persistent) = take(query);
        let admitted = arguments.and_then(|arguments| Ok((self.admit(&sql)?, arguments)));
        let (connection, mut watch) = self.parts();
        let row = match admitted {
            Err(refused) => return future::ready(Err(refused)).boxed(),
            Ok((sql, Some(arguments))) => {
                connection.fetch_optional(sqlx::query_with(sql, arguments).persistent(persistent))
            }
            Ok((sql, None)) => connection.fetch_optional(sqlx::raw_sql(sql)),
        };
        row.inspect(move |row| match row {
            Ok(_) => watch.answered(),
            Err(error) => watch.failed(error),
        })
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let (connection, mut watch) = self.parts();
        connection.prepare_with(sql, parameters).inspect_err(move |error| watch.failed(error)).boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Sqlite>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection.raw().describe(sql)
    }
}

/// Watches what comes of a statement.
struct Watch<'a> {
    fault: &'a mut Option<Fault>,
    unanswered: &'a mut bool,
    writable: bool,
}

impl Watch<'_> {
    fn answered(&mut self) {
        *self.unanswered = false;
    }

    fn failed(&mut self, error: &sqlx::Error) {
        self.answered();
        // What `query_only` refuses has done nothing: the snapshot stands.
        if self.fault.is_none() && (self.writable || !is_query_only(error)) {
            *self.fault = fault_of(error);
        }
    }
}

/// Write access to one tenant's file, inside the group transaction of its writer. Only the engine can make one.
///
/// Everything written through one `Write` commits together with its journal rows, events and idempotency record.
pub struct Write {
    read: Read,
    clock: Arc<dyn Clock>,
    pub(super) now: Timestamp,
    pub(super) actor: Actor,
    pub(super) changes: Vec<Change>,
    ids: Arc<IdSource>,
    masking: Masking,
}

impl Write {
    pub(super) fn new(mut read: Read, shared: &Shared) -> Self {
        read.writable = true;
        let Shared { clock, ids, masking, .. } = shared.clone();
        Self { read, now: clock.now(), clock, actor: Actor::default(), changes: Vec::new(), ids, masking }
    }

    /// Prepares the handle for the next unit.
    pub(super) fn begin_unit(&mut self, actor: Actor) {
        self.read.begin_unit();
        self.read.set_scope(actor.scope.clone());
        self.now = self.clock.now();
        self.actor = actor;
    }

    pub(super) fn into_connection(self) -> Connection {
        self.read.into_connection()
    }

    /// The moment of this unit: one for all its rows, journal entries and events.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Who writes.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// A fresh UUIDv7 of this unit's moment; later ids of one process sort later.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.ids.next(self.now)
    }

    /// How personal data is masked in what leaves the file: journal entries and events.
    #[must_use]
    pub fn masking(&self) -> Masking {
        self.masking
    }

    /// Adds a journal entry, and the event it carries, to what commits with this unit.
    pub fn record(&mut self, change: Change) {
        self.changes.push(change);
    }
}

impl Deref for Write {
    type Target = Read;

    fn deref(&self) -> &Read {
        &self.read
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Read {
        &mut self.read
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("now", &self.now).field("read", &self.read).finish_non_exhaustive()
    }
}

impl<'c> Executor<'c> for &'c mut Write {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<SqliteQueryResult, SqliteRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        (&mut self.read).fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        (&mut self.read).fetch_optional(query)
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        (&mut self.read).prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Sqlite>, sqlx::Error>>
    where
        'c: 'e,
    {
        (&mut self.read).describe(sql)
    }
}
