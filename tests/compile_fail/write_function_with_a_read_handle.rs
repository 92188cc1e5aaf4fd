//! Forgetting that a read cannot write.

use crm_cell::tenancy::{StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb) -> Result<(), StoreError> {
    db.read(async move |read| insert(read).await).await
}

fn main() {}
