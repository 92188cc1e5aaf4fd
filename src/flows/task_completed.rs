//! `oa.task.completed`: what somebody did in the OA becomes a follow-up of the record that the task is about.

use chrono_tz::Tz;
use serde_json::json;

use super::inbox::{Effect, InboxState};
use crate::domain::{
    Allowed, Contact, Customer, FollowUp, FollowUpFields, Invalid, NewFollowUp, Opportunity, Problem,
    Resolution, Resource, TaskCompleted, Violation,
};
use crate::store::{contracts, follow_ups, get, trash};
use crate::tenancy::{StoreError, Write};

/// What the follow-up refers to, and whose it is if nobody is said to have done the task.
#[derive(Default)]
struct Place {
    customer_id: Option<String>,
    opportunity_id: Option<String>,
    contact_id: Option<String>,
    owner_id: Option<String>,
}

/// Gives a task its effect. With a `resolution`, what a person says of it counts.
///
/// # Errors
/// [`Violation::NoSuch`] record that a person says it means; see [`StoreError`].
pub(super) async fn apply(
    tx: &mut Write,
    task: &TaskCompleted,
    resolution: Option<&Resolution>,
    zone: Tz,
) -> Result<Effect, StoreError> {
    if let Some(follow_up_id) = contracts::follow_up_of_task(tx, &task.task_id).await? {
        return Ok(Effect::applied(follow_up_id));
    }
    let links = match resolution {
        Some(resolution) => links_of(resolution)?,
        None => task.links.clone(),
    };
    if links.is_empty() {
        return Ok(Effect::new(InboxState::Ignored, Some("no-link")));
    }
    let mut place = Place::default();
    for (resource, id) in &links {
        if !place.take(tx, *resource, id).await? {
            if resolution.is_some() {
                return Err(StoreError::Violation(Violation::NoSuch(*resource)));
            }
            return Ok(if trash::holds(tx, *resource, id).await? {
                Effect::review("record-deleted")
            } else {
                Effect::review("record-unknown").that_may_come_right()
            });
        }
    }
    let content = match &task.result {
        Some(result) => format!("OA任务完成：{}\n{result}", task.title),
        None => format!("OA任务完成：{}", task.title),
    };
    let fields = json!({
        "customerId": place.customer_id,
        "opportunityId": place.opportunity_id,
        "contactId": place.contact_id,
        "content": content,
        "followUpType": "task",
        "occurredAt": task.completed_at,
        "ownerId": task.assignee_id.as_ref().or(place.owner_id.as_ref()),
    });
    let fields: FollowUpFields = serde_json::from_value(fields)?;
    let new = NewFollowUp::check(fields, &tx.actor().user.clone(), zone)?;
    match follow_ups::insert(tx, new).await {
        Ok(follow_up) => {
            contracts::put_task(tx, &task.task_id, &follow_up.id).await?;
            Ok(Effect::applied(follow_up.id))
        }
        // Nothing was written: the records are looked at first. A follow-up may refer to what was deleted since.
        Err(StoreError::Violation(Violation::NoSuch(_))) if resolution.is_none() => {
            Ok(Effect::review("record-deleted"))
        }
        Err(StoreError::Violation(_) | StoreError::Invalid(_)) if resolution.is_none() => {
            Ok(Effect::review("contradiction"))
        }
        Err(error) => Err(error),
    }
}

/// What a person says the task is about.
fn links_of(resolution: &Resolution) -> Result<Vec<(Resource, String)>, StoreError> {
    match resolution {
        Resolution::Opportunity(id) => Ok(vec![(Resource::Opportunity, id.clone())]),
        Resolution::Customer(id) => Ok(vec![(Resource::Customer, id.clone())]),
        // A task makes no deal.
        Resolution::Create(_) | Resolution::Dismiss => Err(StoreError::Invalid(Invalid::field(
            "action",
            Problem::NotOneOf(Allowed::Words(&["dismiss"])),
        ))),
    }
}

impl Place {
    /// Takes over what a record refers to. Says whether there is such a record.
    async fn take(&mut self, tx: &mut Write, resource: Resource, id: &str) -> Result<bool, StoreError> {
        let owner_id = match resource {
            Resource::FollowUp => {
                let Some(follow_up) = get::<FollowUp>(tx, id).await? else { return Ok(false) };
                self.customer_id = self.customer_id.take().or(follow_up.customer_id);
                self.opportunity_id = self.opportunity_id.take().or(follow_up.opportunity_id);
                self.contact_id = self.contact_id.take().or(follow_up.contact_id);
                follow_up.owner_id
            }
            Resource::Opportunity => {
                let Some(opportunity) = get::<Opportunity>(tx, id).await? else { return Ok(false) };
                self.opportunity_id = Some(opportunity.id);
                opportunity.owner_id
            }
            Resource::Contact => {
                let Some(contact) = get::<Contact>(tx, id).await? else { return Ok(false) };
                self.contact_id = Some(contact.id);
                contact.owner_id
            }
            Resource::Customer => {
                let Some(customer) = get::<Customer>(tx, id).await? else { return Ok(false) };
                self.customer_id = Some(customer.id);
                customer.owner_id
            }
        };
        self.owner_id.get_or_insert(owner_id);
        Ok(true)
    }
}
