//! Sample data: a year of a small sales team, written by the functions that the API's handlers call.
//!
//! - `script` makes up what happens, and when: a pure function of a seed.
//! - `chance` is where the numbers come from, `words` what names and texts are made of.
//! - This module plays a script on a tenant, with a clock that stands at each step's moment while that is written.

mod chance;
mod script;
mod words;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use chrono_tz::Tz;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::script::{Act, Step};
pub use self::script::{Script, Wanted};
use crate::domain::{
    Checker, Clock as _, CustomerPatch, ManualClock, Masking, NewContact, NewCustomer, NewFollowUp,
    NewOpportunity, OpportunityPatch, Precondition, Stage, Timestamp,
};
use crate::store::{contacts, customers, follow_ups, opportunities};
use crate::tenancy::{Actor, Addition as _, StoreError, TenantDb};

/// What was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// Customers.
    pub customers: usize,
    /// Contacts.
    pub contacts: usize,
    /// The stage that each opportunity is at in the end.
    pub opportunities: Vec<Stage>,
    /// Follow-ups.
    pub follow_ups: usize,
}

/// The folded names that the tenant's customers have.
///
/// # Errors
/// See [`StoreError`].
pub async fn taken(db: &TenantDb) -> Result<HashSet<String>, StoreError> {
    db.read(async |read| customers::name_keys(read).await).await
}

/// Plays the script on a tenant that goes by `clock`, which must not be past the script's beginning. `progress` is told of
/// each step that is done.
///
/// # Errors
/// A write failed. What was written until then stays.
pub async fn play(
    script: Script,
    db: &TenantDb,
    clock: &ManualClock,
    progress: impl Fn(),
) -> anyhow::Result<Made> {
    let mut stage =
        Players { db, customers: HashMap::new(), contacts: HashMap::new(), deals: HashMap::new() };
    let mut made = Made { opportunities: script.final_stages, ..Made::default() };
    for Step { at, by, act } in script.steps {
        match act {
            Act::Customer { .. } => made.customers += 1,
            Act::Contact { .. } => made.contacts += 1,
            Act::FollowUp { .. } => made.follow_ups += 1,
            Act::Opportunity { .. } | Act::ChangeCustomer { .. } | Act::ChangeOpportunity { .. } => {}
        }
        advance(clock, at);
        stage.play(by, act).await.with_context(|| format!("what happens at {at}"))?;
        progress();
    }
    Ok(made)
}

fn advance(clock: &ManualClock, to: Timestamp) {
    let ahead = to.millis() - clock.now().millis();
    clock.advance(Duration::from_millis(u64::try_from(ahead).unwrap_or(0)));
}

/// The tenant, and the ids of what was written by the numbers of the script.
struct Players<'a> {
    db: &'a TenantDb,
    customers: HashMap<usize, String>,
    contacts: HashMap<usize, String>,
    deals: HashMap<usize, String>,
}

impl Players<'_> {
    async fn play(&mut self, by: &'static str, act: Act) -> anyhow::Result<()> {
        let db = self.db;
        let actor = Actor { user: by.into(), ..Actor::default() };
        match act {
            Act::Customer { number, fields } => {
                let new = NewCustomer::check(read(fields)?, by, Masking::default())?;
                let made = db.write(actor, None, async move |tx| Ok(new.insert(tx).await?.id));
                self.customers.insert(number, made.await?.value);
            }
            Act::ChangeCustomer { number, fields } => {
                let patch = CustomerPatch::check(read(fields)?, Checker::for_patch(false))?;
                let id = self.customers[&number].clone();
                let made = db.write(actor, None, async move |tx| {
                    Ok(customers::update(tx, &id, Precondition::default(), patch).await?.id)
                });
                made.await?;
            }
            Act::Contact { number, customer, mut fields } => {
                fields["customerId"] = self.customers[&customer].as_str().into();
                let new = NewContact::check(read(fields)?, Masking::default())?;
                let made = db.write(actor, None, async move |tx| Ok(contacts::insert(tx, new).await?.id));
                self.contacts.insert(number, made.await?.value);
            }
            Act::Opportunity { number, customer, mut fields } => {
                fields["customerId"] = self.customers[&customer].as_str().into();
                let new = NewOpportunity::check(read(fields)?, by)?;
                let made =
                    db.write(actor, None, async move |tx| Ok(opportunities::insert(tx, new).await?.id));
                self.deals.insert(number, made.await?.value);
            }
            Act::ChangeOpportunity { number, fields } => {
                let patch = OpportunityPatch::check(read(fields)?, Checker::for_patch(false))?;
                let id = self.deals[&number].clone();
                let made = db.write(actor, None, async move |tx| {
                    Ok(opportunities::update(tx, &id, Precondition::default(), patch).await?.id)
                });
                made.await?;
            }
            Act::FollowUp { customer, contact, opportunity, mut fields } => {
                fields["customerId"] = self.customers[&customer].as_str().into();
                fields["contactId"] = self.contacts[&contact].as_str().into();
                if let Some(deal) = opportunity {
                    fields["opportunityId"] = self.deals[&deal].as_str().into();
                }
                let new = NewFollowUp::check(read(fields)?, by, Tz::UTC)?;
                let made = db.write(actor, None, async move |tx| Ok(follow_ups::insert(tx, new).await?.id));
                made.await?;
            }
        }
        Ok(())
    }
}

/// The fields as a client would send them.
fn read<F: DeserializeOwned>(fields: Value) -> anyhow::Result<F> {
    serde_json::from_value(fields).context("a made-up record")
}
