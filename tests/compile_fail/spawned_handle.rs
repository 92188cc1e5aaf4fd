//! Working on while the group goes on.

use crm_cell::tenancy::{Actor, StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb) -> Result<(), StoreError> {
    db.write(Actor::default(), None, async move |tx| {
        tokio::spawn(async move { insert(tx).await });
        Ok(())
    })
    .await?;
    Ok(())
}

fn main() {}
