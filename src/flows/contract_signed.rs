//! `erp.contract.signed`: the deal that the contract came of is won, over what was signed. What is not certain is left to a
//! person; nothing is guessed.

use serde_json::{Map, Value, json};

use super::inbox::Effect;
use crate::domain::{
    ContractSigned, Currency, Customer, CustomerFields, CustomerPatch, DealStatus, Lifecycle, NewOpportunity,
    Opportunity, OpportunityFields, Precondition, Resolution, Resource, Violation,
};
use crate::store::contracts::{self, Contract};
use crate::store::{customers, get, opportunities, trash};
use crate::tenancy::{Change, StoreError, Write};

/// Candidates that are named.
const CANDIDATES: u32 = 20;

/// The deal that a contract belongs to, or why that is for a person to say.
enum Target {
    Deal(Opportunity),
    /// Nobody can tell yet; of whom it is, if that is known.
    Review(Effect, Option<String>),
}

/// Gives a contract its effect. With a `resolution`, what a person says of it counts.
///
/// # Errors
/// [`Violation::NoSuch`] record that a person says it means; see [`StoreError`].
pub(super) async fn apply(
    tx: &mut Write,
    contract: &ContractSigned,
    resolution: Option<&Resolution>,
) -> Result<Effect, StoreError> {
    let known = contracts::get(tx, &contract.key).await?;
    if known.as_ref().is_some_and(|known| known.standing > contract.standing) {
        return Ok(Effect::superseded());
    }
    let target = match resolution {
        Some(resolution) => Target::Deal(resolved(tx, contract, resolution).await?),
        None => find(tx, contract, known.as_ref()).await?,
    };
    let deal = match target {
        Target::Deal(deal) => deal,
        Target::Review(effect, None) => return Ok(effect),
        Target::Review(effect, Some(customer_id)) => {
            contracts::put(tx, contract, &customer_id, None).await?;
            note(tx, contract, &customer_id, None);
            return Ok(effect);
        }
    };
    // Its own deal follows the contract; one that was won otherwise only knows of it.
    let won = known.filter(|known| known.has_won).and_then(|known| known.opportunity_id);
    let is_its_own = won.as_deref() == Some(deal.id.as_str());
    // One contract wins one deal.
    if let Some(other) = &won
        && *other != deal.id
        && resolution.is_none()
    {
        return Ok(Effect::review("contradiction").with_candidates(vec![other.clone(), deal.id]));
    }
    let wins = match deal.standing.status() {
        DealStatus::Open => true,
        DealStatus::Won => is_its_own,
        DealStatus::Lost if resolution.is_some() => true,
        DealStatus::Lost => {
            return Ok(Effect::review("opportunity-lost").with_candidates(vec![deal.id]));
        }
    };
    let (id, customer_id) = (deal.id.clone(), deal.customer_id.clone());
    if wins {
        let newly_won = deal.standing.status() != DealStatus::Won;
        opportunities::sign(tx, deal, contract, cause(contract)).await?;
        if newly_won {
            become_customer(tx, &customer_id).await?;
        }
    }
    contracts::put(tx, contract, &customer_id, Some((&id, wins))).await?;
    note(tx, contract, &customer_id, Some(&id));
    Ok(Effect::applied(id))
}

/// The deal that the contract came of: the one it names; else the one it is known to belong to; else the customer's only
/// open one, or the only one over the same amount.
async fn find(
    tx: &mut Write,
    contract: &ContractSigned,
    known: Option<&Contract>,
) -> Result<Target, StoreError> {
    let review = |effect| Ok(Target::Review(effect, None));
    let named: Option<Opportunity> = match &contract.opportunity_id {
        None => None,
        Some(id) => match get(tx, id).await? {
            Some(deal) => Some(deal),
            None if trash::holds(tx, Resource::Opportunity, id).await? => {
                return review(Effect::review("opportunity-deleted"));
            }
            // The ERP may use ids of its own.
            None => None,
        },
    };
    let customer: Option<Customer> = match &contract.customer_id {
        None => None,
        Some(id) => match get(tx, id).await? {
            Some(customer) => Some(customer),
            None if trash::holds(tx, Resource::Customer, id).await? => {
                return review(Effect::review("customer-deleted"));
            }
            None => return review(Effect::review("customer-unknown").that_may_come_right()),
        },
    };
    let linked = match (&named, known.and_then(|known| known.opportunity_id.as_deref())) {
        (None, Some(id)) => match get(tx, id).await? {
            Some(deal) => Some(deal),
            // It is not for another deal to take its place.
            None => return review(Effect::review("opportunity-deleted")),
        },
        _ => None,
    };
    if let Some(deal) = named.or(linked) {
        let contradicts = customer.is_some_and(|customer| customer.id != deal.customer_id);
        return if contradicts {
            review(Effect::review("contradiction").with_candidates(vec![deal.id]))
        } else {
            Ok(Target::Deal(deal))
        };
    }
    let Some(customer) = customer else {
        let reason =
            if contract.opportunity_id.is_some() { "opportunity-unknown" } else { "customer-missing" };
        return review(Effect::review(reason).that_may_come_right());
    };
    // With more than can be named, nobody knows whether one of those over the amount is the only one.
    let open = opportunities::open_of_customer(tx, &customer.id, CANDIDATES + 1).await?;
    let are_all = open.len() <= CANDIDATES as usize;
    let of_amount = |deal: &&Opportunity| {
        let currency = contract.currency.unwrap_or(Currency::CNY);
        Some(deal.amount_cents) == contract.amount_cents && deal.currency == currency
    };
    let same: Vec<_> = open.iter().filter(of_amount).collect();
    match (open.as_slice(), same.as_slice()) {
        ([only], _) => Ok(Target::Deal(only.clone())),
        (_, &[only]) if are_all => Ok(Target::Deal(only.clone())),
        ([], _) => Ok(Target::Review(Effect::review("no-opportunity"), Some(customer.id))),
        _ => {
            let candidates = open.iter().take(CANDIDATES as usize).map(|deal| deal.id.clone()).collect();
            let effect = Effect::review("ambiguous").with_candidates(candidates);
            Ok(Target::Review(effect, Some(customer.id)))
        }
    }
}

/// The deal that a person says the contract belongs to.
async fn resolved(
    tx: &mut Write,
    contract: &ContractSigned,
    resolution: &Resolution,
) -> Result<Opportunity, StoreError> {
    let no_such = |resource| StoreError::Violation(Violation::NoSuch(resource));
    let customer_id = match resolution {
        Resolution::Opportunity(id) => {
            return get(tx, id).await?.ok_or(no_such(Resource::Opportunity));
        }
        Resolution::Customer(id) | Resolution::Create(Some(id)) => Some(id),
        Resolution::Create(None) | Resolution::Dismiss => contract.customer_id.as_ref(),
    };
    let customer_id = customer_id.ok_or(no_such(Resource::Customer))?;
    let customer: Customer = get(tx, customer_id).await?.ok_or(no_such(Resource::Customer))?;
    if matches!(resolution, Resolution::Create(_)) {
        let title = format!("合同 {}", contract.contract_no.as_ref().unwrap_or(&contract.key));
        let fields = json!({
            "customerId": customer.id,
            "title": title,
            "amountCents": contract.amount_cents,
            "currency": contract.currency.map(Currency::code),
            "ownerId": customer.owner_id,
        });
        let fields: OpportunityFields = serde_json::from_value(fields)?;
        let new = NewOpportunity::check(fields, &customer.owner_id)?;
        return opportunities::insert(tx, new).await;
    }
    let mut open = opportunities::open_of_customer(tx, &customer.id, 2).await?;
    match (open.pop(), open.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(no_such(Resource::Opportunity)),
    }
}

/// What the event of the deal's closing says besides.
fn cause(contract: &ContractSigned) -> Map<String, Value> {
    Map::from_iter([
        ("causeEventId".to_owned(), json!(contract.standing.event_id)),
        ("contractId".to_owned(), json!(contract.key)),
        ("contractNo".to_owned(), json!(contract.contract_no)),
    ])
}

/// Whoever has signed a contract is a customer.
async fn become_customer(tx: &mut Write, id: &str) -> Result<(), StoreError> {
    let fields: CustomerFields = serde_json::from_value(json!({"lifecycle": Lifecycle::Customer.word()}))?;
    let patch = CustomerPatch::check(fields, crate::domain::Checker::for_patch(false))?;
    customers::update(tx, id, Precondition::default(), patch).await?;
    Ok(())
}

/// Keeps in the audit log what was heard of the contract.
fn note(tx: &mut Write, contract: &ContractSigned, customer_id: &str, opportunity_id: Option<&str>) {
    let changes = json!({
        "customerId": [null, customer_id],
        "opportunityId": [null, opportunity_id],
        "contractNo": [null, contract.contract_no],
        "amountCents": [null, contract.amount_cents],
        "currency": [null, contract.currency.map(Currency::code)],
        "signedAt": [null, contract.standing.signed_at],
    });
    tx.record(Change {
        action: "contract.sign",
        resource: "contract",
        record_id: contract.key.clone(),
        version: 1,
        changes,
        event: None,
    });
}
