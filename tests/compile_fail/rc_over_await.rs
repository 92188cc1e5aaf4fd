//! Holding what must stay on its thread while SQLite works.

use std::rc::Rc;

use crm_cell::tenancy::{Actor, StoreError, TenantDb, Write};

async fn insert(_tx: &mut Write, _new: &str) -> Result<(), StoreError> {
    Ok(())
}

async fn handler(db: &TenantDb) -> Result<(), StoreError> {
    db.write(Actor::default(), None, async move |tx| {
        let new = Rc::new(String::from("new"));
        insert(tx, &new).await?;
        drop(new);
        Ok(())
    })
    .await?;
    Ok(())
}

fn main() {}
