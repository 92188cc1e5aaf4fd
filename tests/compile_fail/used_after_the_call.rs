//! Using what the unit has taken.

use crm_cell::tenancy::{Actor, StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write, _new: &str) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb) -> Result<String, StoreError> {
    let new = String::from("new");
    db.write(Actor::default(), None, async move |tx| insert(tx, &new).await).await?;
    Ok(new)
}

fn main() {}
