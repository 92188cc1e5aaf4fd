//! The tenants' files that a run begins with.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::client::Connection;
use crate::scenarios::Tenants;
use crate::servers::{Server, tenants_of};

/// Fills `directory`, a cell's working directory, with tenants `t0`, `t1` … of so many customers each.
pub(crate) async fn fill(binary: &Path, directory: &Path, tenants: usize, rows: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let cell = Server::cell(binary, directory, None)?;
    Connection::open(&cell.address).await?.send(&Tenants::new(1, rows)?.post()).await?;
    cell.stop()?;
    let first = tenants_of(directory).join("t0.db");
    let mut connection = open(&first).await?;
    let sql = format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows} - 1) \
         insert into customers (id, name_key, name, owner_id, created_at, updated_at) \
         select printf('c%05d', i), printf('key %05d', i), printf('N%06d', i * 7919 % 100003), 'u' || (i % 20), \
         1700000000000 + i * 1000, 1700000000000 + i * 37 % 99991 from n"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await?;
    for number in 1..tenants {
        let file = tenants_of(directory).join(format!("t{number}.db"));
        copy(&first, &file)?;
        let mut connection = open(&file).await?;
        sqlx::query("update meta set tenant_id = 't' || ?1")
            .bind(number as i64)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
    }
    // What is still to be written would be written while others are measured.
    rustix::fs::sync();
    Ok(())
}

/// The same files once more, for a server that must not share them.
pub(crate) fn copy_all(from: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(to.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "no process has these files open")]
fn copy(from: &Path, to: &Path) -> std::io::Result<u64> {
    std::fs::copy(from, to)
}

async fn open(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new().filename(file).pragma("synchronous", "off").connect().await
}
