//! A customer with what hangs on it, at one snapshot.

use super::contacts::{self, CONTACTS, ContactFilter, ContactKey};
use super::follow_ups::{self, FOLLOW_UPS, FollowUpFilter, FollowUpKey};
use super::list::{Filters, List};
use super::opportunities::{self, OpportunityFilter, OpportunityKey};
use super::{get, reports};
use crate::domain::{Contact, Count, Customer, FollowUp, Opportunity, Order, PageRequest, Pipeline, Start};
use crate::tenancy::{Read, StoreError};

/// Records of each kind that are shown.
const SHOWN: u32 = 100;

/// A customer with its latest contacts, opportunities and follow-ups, and what all of them come to.
#[derive(Debug)]
pub struct Overview {
    /// The customer.
    pub customer: Customer,
    /// The contacts that were created last.
    pub contacts: Vec<Contact>,
    /// The opportunities that were created last.
    pub opportunities: Vec<Opportunity>,
    /// The follow-ups that took place last.
    pub follow_ups: Vec<FollowUp>,
    /// All its contacts.
    pub contact_count: u64,
    /// All its follow-ups.
    pub follow_up_count: u64,
    /// All its opportunities, by stage.
    pub pipeline: Pipeline,
}

/// The live customer of this id with what the caller may see of it, if they may see the customer.
///
/// # Errors
/// See [`StoreError`].
pub async fn customer(db: &mut Read, id: &str) -> Result<Option<Overview>, StoreError> {
    let Some(customer) = get::<Customer>(db, id).await? else {
        return Ok(None);
    };
    let of_it = Some(customer.id.clone());
    let contacts = ContactFilter { customer_id: of_it.clone(), ..ContactFilter::default() };
    let deals = OpportunityFilter { customer_id: of_it.clone(), ..OpportunityFilter::default() };
    let follow_ups = FollowUpFilter { customer_id: of_it, ..FollowUpFilter::default() };
    // Without a count, a page is of no list in particular: 0 is the hash of none.
    Ok(Some(Overview {
        contacts: contacts::list(db, &contacts, &latest(ContactKey::CreatedAt), 0).await?.rows,
        opportunities: opportunities::list(db, &deals, &latest(OpportunityKey::CreatedAt), 0).await?.rows,
        follow_ups: follow_ups::list(db, &follow_ups, &latest(FollowUpKey::OccurredAt), 0).await?.rows,
        contact_count: count(db, &CONTACTS, |filters| contacts.add_to(filters)).await?,
        follow_up_count: count(db, &FOLLOW_UPS, |filters| follow_ups.add_to(filters)).await?,
        pipeline: reports::pipeline(db, &deals).await?,
        customer,
    }))
}

/// The rows with the greatest keys.
fn latest<K>(key: K) -> PageRequest<K> {
    let order = vec![Order { key, descending: true }];
    PageRequest { start: Start::Page(1), size: SHOWN, order, count: Count::None }
}

async fn count<T>(
    db: &mut Read,
    list: &List<T>,
    filter: impl Fn(&mut Filters<'_>) + Sync,
) -> Result<u64, StoreError> {
    let mut query = list.select("count(*)", &db.scope().clone(), &filter);
    let count: i64 = query.build_query_scalar().fetch_one(&mut *db).await?;
    Ok(count.try_into().unwrap_or(0))
}
