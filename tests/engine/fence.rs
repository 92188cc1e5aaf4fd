//! A tenant is taken out of use whoever still uses it.

use crm_cell::tenancy::Read;
use crm_cell::tenancy::{OpenError, State, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Cell, add, count, descriptors_of, tenant};

/// The oldest schema version whose binaries may read the file, as it says while nobody has it open.
async fn oldest_reader(cell: &Cell) -> i64 {
    let options = SqliteConnectOptions::new().filename(cell.file("acme")).read_only(true).immutable(true);
    let mut connection = options.connect().await.expect("opened");
    let found = sqlx::query_scalar("select min_reader_version from meta").fetch_one(&mut connection).await;
    connection.close().await.expect("closed");
    found.expect("read")
}

#[tokio::test]
async fn a_tenant_is_suspended_however_long_somebody_holds_it_and_older_binaries_know_to_leave_it_alone() {
    let cell = Cell::open().await;
    let db = cell.db("acme").await;
    add(&db, "before").await.expect("written");

    // `db` is held on to, as by an export whose client reads slowly.
    let outcome = cell.tenants.set_state(&tenant("acme"), State::Suspended, None).await.expect("suspended");

    assert_eq!(outcome.open_descriptors, 0);
    assert_eq!(descriptors_of(&cell.file("acme")), Vec::<std::path::PathBuf>::new());
    let read = db.read(async |read: &mut Read| count(read).await).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let written = add(&db, "after").await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    let found = cell.tenants.find(&tenant("acme")).await;
    assert!(matches!(found, Err(OpenError::Suspended(_))), "{found:?}");
    assert_eq!(oldest_reader(&cell).await, 7, "older binaries know no states, or no keywords");

    cell.tenants.set_state(&tenant("acme"), State::Active, None).await.expect("resumed");
    assert_eq!(oldest_reader(&cell).await, 7);
    let rows = cell.db("acme").await.read(async |read: &mut Read| count(read).await).await;
    assert_eq!(rows.expect("read"), 1);
}
