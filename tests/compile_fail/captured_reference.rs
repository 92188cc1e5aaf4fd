//! Lending what the handler itself has only borrowed.

use crm_cell::tenancy::{Actor, StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write, _new: &str) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb, new: &str) -> Result<(), StoreError> {
    db.write(Actor::default(), None, async move |tx| insert(tx, new).await).await?;
    Ok(())
}

fn main() {}
