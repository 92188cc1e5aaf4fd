//! Never running what the unit is for.

use crm_cell::tenancy::{Actor, StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb) -> Result<(), StoreError> {
    db.write(Actor::default(), None, async move |tx| insert(tx)).await?;
    Ok(())
}

fn main() {}
