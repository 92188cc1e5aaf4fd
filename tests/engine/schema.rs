//! The schema: new tenants are what the migrations make, and SQLite is the one the measurements were taken with.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Cell, Setup, add, copy_outside, count, ids, tenant};

type Object = (String, String, String, Option<String>);

async fn objects(connection: &mut SqliteConnection) -> Vec<Object> {
    sqlx::query_as("select type, name, tbl_name, sql from sqlite_master order by 1, 2")
        .fetch_all(connection)
        .await
        .expect("a database")
}

async fn pragma(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("a pragma")
}

#[tokio::test]
async fn a_new_tenant_is_what_the_migrations_make_of_an_empty_file() {
    let cell = Cell::open().await;
    cell.db("acme").await;
    let directory = cell.stop().await;
    let options = SqliteConnectOptions::new().filename(crate::support::file_of(directory.path(), "acme"));
    let mut made = options.connect().await.expect("a database");
    let empty =
        SqliteConnectOptions::new().filename(directory.path().join("empty.db")).create_if_missing(true);
    let mut migrated = empty.connect().await.expect("a database");
    let migrator = sqlx::migrate!();
    migrator.run_direct(None, &mut migrated, false).await.expect("migrated");

    assert_eq!(objects(&mut made).await, objects(&mut migrated).await);
    let last = migrator.iter().map(|migration| migration.version).max().expect("a migration");
    for file in [&mut made, &mut migrated] {
        assert_eq!(pragma(file, "pragma user_version").await, last);
        assert_eq!(pragma(file, "pragma application_id").await, i64::from(u32::from_be_bytes(*b"CRMC")));
        let applied = "select count(*) from _sqlx_migrations where success";
        assert_eq!(pragma(file, applied).await, migrator.iter().count() as i64);
    }
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut made).await.expect("a mode");
    assert_eq!(mode, "wal");
    let owner: String =
        sqlx::query_scalar("select tenant_id from meta").fetch_one(&mut made).await.expect("an owner");
    assert_eq!(owner, "acme");
    let sound: String =
        sqlx::query_scalar("pragma integrity_check").fetch_one(&mut made).await.expect("a verdict");
    assert_eq!(sound, "ok");
    made.close().await.expect("closed");
}

#[tokio::test]
async fn the_file_of_a_new_tenant_says_nothing_of_those_made_before() {
    let cell = Cell::open().await;
    cell.db("the-name-of-somebody-else").await;
    cell.db("acme").await;
    let directory = cell.stop().await;
    let [other, acme] = ["the-name-of-somebody-else", "acme"].map(|id| {
        let bytes = std::fs::read(crate::support::file_of(directory.path(), id)).expect("a file");
        String::from_utf8_lossy(&bytes).contains("the-name")
    });
    assert_eq!((other, acme), (true, false));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_served_while_it_says_that_older_ones_may() {
    let cell = Cell::open().await;
    add(&*cell.db("acme").await, "one").await.expect("written");
    let directory = cell.stop().await;
    let file = crate::support::file_of(directory.path(), "acme");
    let mut newer = SqliteConnectOptions::new().filename(&file).connect().await.expect("a database");
    sqlx::raw_sql(
        "alter table customers add column later text; \
         insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99, 'later', true, x'00', 0); \
         pragma user_version = 99",
    )
    .execute(&mut newer)
    .await
    .expect("migrated");
    newer.close().await.expect("closed");

    let cell = Setup::default().open_at(directory).await;
    let db = cell.tenants.find(&tenant("acme")).await.expect("served").expect("known");

    add(&db, "two").await.expect("written");
    assert_eq!(db.read(count).await.expect("counted"), 2);
    assert_eq!(cell.stat(|s| &s.migrations), 0);
}

#[tokio::test]
async fn sqlite_is_built_as_measured() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    let (version, options) = db
        .read(async |read| {
            let version = ids(read, "select sqlite_version()").await?.remove(0);
            Ok((version, ids(read, "select compile_options from pragma_compile_options").await?))
        })
        .await
        .expect("read");

    let number =
        version.split('.').fold(0, |number, part| number * 1000 + part.parse::<i32>().expect("a number"));
    // Older versions can lose committed rows of a WAL.
    assert!(number >= 3_051_003, "{version}");
    for without in ["ENABLE_MEMORY_MANAGEMENT", "ENABLE_API_ARMOR", "ENABLE_LOAD_EXTENSION"] {
        assert!(!options.iter().any(|option| option == without), "built with {without}");
    }
    for with in [
        "DEFAULT_MEMSTATUS=0",
        "DEFAULT_LOOKASIDE=512,64",
        "DEFAULT_PCACHE_INITSZ=0",
        "DQS=0",
        "MAX_MMAP_SIZE=0",
        "MAX_LIKE_PATTERN_LENGTH=256",
        "MAX_LENGTH=67108864",
        "MAX_SQL_LENGTH=1000000",
        "OMIT_LOAD_EXTENSION",
        "ENABLE_OVERSIZE_CELL_CHECK",
        "THREADSAFE=1",
    ] {
        assert!(options.iter().any(|option| option == with), "built without {with}: {options:?}");
    }
}

#[tokio::test]
async fn sqlite_defends_itself() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;

    // -DDEFAULT_DEFENSIVE, -DTRUSTED_SCHEMA=0 and -DDQS=0 as they show.
    let shadow = db
        .write(crate::support::by("me"), None, async |tx| {
            sqlx::query("update sqlite_master set sql = ''").execute(&mut *tx).await?;
            Ok(())
        })
        .await;
    assert!(shadow.is_err());
    let trusted = db.read(async |read| {
        Ok(sqlx::query_scalar::<_, i64>("select trusted_schema from pragma_trusted_schema")
            .fetch_one(&mut *read)
            .await?)
    });
    assert_eq!(trusted.await.expect("read"), 0);
    let quoted = db.read(async |read| ids(read, "select \"no column but a string\"").await);
    assert!(quoted.await.is_err());
}

#[tokio::test]
async fn a_file_in_another_journal_mode_is_served_as_a_wal_again() {
    let cell = Cell::open().await;
    add(&*cell.db("acme").await, "one").await.expect("written");
    let directory = cell.stop().await;
    let file = crate::support::file_of(directory.path(), "acme");
    let copy = directory.path().join("copy.db");
    // What a backup by VACUUM INTO leaves.
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.expect("a database");
    sqlx::query("vacuum into ?1")
        .bind(copy.to_string_lossy())
        .execute(&mut connection)
        .await
        .expect("copied");
    connection.close().await.expect("closed");
    copy_outside(&copy, &file);

    let cell = Setup::default().open_at(directory).await;
    let db = cell.db("acme").await;
    add(&db, "two").await.expect("written");

    let modes = db.read(async |read| ids(read, "select journal_mode from pragma_journal_mode").await);
    assert_eq!(modes.await.expect("read"), ["wal"], "readers and the writer would lock each other out");
}
