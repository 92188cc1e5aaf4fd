//! What operators read and change within a tenant's file, while it serves.

use super::error::FleetError;
use crate::domain::{Scope, TenantId};
use crate::tenancy::engine::{Actor, LongRead, Read, Unit, Write};
use crate::tenancy::error::StoreError;
use crate::tenancy::map::Tenants;

impl Tenants {
    /// Reads in a tenant's file, whatever state it is in.
    ///
    /// # Errors
    /// There is no such tenant, or it cannot be opened; and whatever the unit returns.
    pub async fn read_books<T, F>(&self, tenant: &TenantId, unit: F) -> Result<T, FleetError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut Read) -> Result<T, StoreError> + for<'a> Unit<'a, Read, T> + Send + 'static,
    {
        let db = self.inspect(tenant).await?.ok_or_else(|| self.missing(tenant))?;
        Ok(db.read_aside(LongRead::Report, Scope::All, unit).await?)
    }

    /// Changes what a tenant's file says of who is admitted, whatever state it is in; then has it opened anew, so that it
    /// holds at once.
    ///
    /// # Errors
    /// As for [`Tenants::read_books`]; or somebody else works on it.
    pub async fn change_books<F>(&self, tenant: &TenantId, actor: Actor, unit: F) -> Result<(), FleetError>
    where
        F: AsyncFnOnce(&mut Write) -> Result<(), StoreError> + for<'a> Unit<'a, Write, ()> + Send + 'static,
    {
        let _operation = self.operate(tenant)?;
        let db = self.inspect(tenant).await?.ok_or_else(|| self.missing(tenant))?;
        db.maintain(actor, unit).await?;
        drop(db);
        self.fence(tenant).await?.reopen();
        Ok(())
    }
}
