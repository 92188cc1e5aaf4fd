//! Lending a local to a unit, which may outlive the request.

use crm_cell::tenancy::{Actor, StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write, _new: &str) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb) -> Result<(), StoreError> {
    let new = String::from("new");
    db.write(Actor::default(), None, async |tx| insert(tx, &new).await).await?;
    Ok(())
}

fn main() {}
