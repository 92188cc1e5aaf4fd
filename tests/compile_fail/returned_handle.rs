//! Carrying the handle out of its unit.

use crm_cell::tenancy::{StoreError, TenantDb};

async fn handler(db: &TenantDb) -> Result<(), StoreError> {
    let _read = db.read(async move |read| Ok(read)).await?;
    Ok(())
}

fn main() {}
