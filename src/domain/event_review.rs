//! What a person says of events: what one that came in means, and which of those that went out are to go once more.

use chrono_tz::Tz;
use serde::Deserialize;

use super::input::{Checker, Input, Patch};
use super::rules::{Invalid, Problem};
use super::{Allowed, FieldRule, Timestamp};

const TEXT_MAX: usize = 200;

/// What a received event means, as a client sent it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResolutionFields {
    opportunity_id: Input<String>,
    customer_id: Input<String>,
    action: Input<String>,
}

/// What a person says that a received event means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// This deal.
    Opportunity(String),
    /// This customer.
    Customer(String),
    /// A contract without a deal: one is made, won; of this customer, if the contract names none.
    Create(Option<String>),
    /// Nothing here.
    Dismiss,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Dismiss,
}

impl Action {
    const ALLOWED: Allowed = Allowed::Words(&["create", "dismiss"]);

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "create" => Some(Self::Create),
            "dismiss" => Some(Self::Dismiss),
            _ => None,
        }
    }
}

/// A text, or that there is none.
fn given<T>(patch: Patch<T>) -> Option<T> {
    match patch {
        Patch::Set(value) => Some(value),
        Patch::Keep | Patch::Clear => None,
    }
}

impl ResolutionFields {
    /// The rules of the fields.
    #[must_use]
    pub fn rules() -> Vec<FieldRule> {
        Checker::describe(|check| Self::default().read(check))
    }

    /// What they say.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(self) -> Result<Resolution, Invalid> {
        let mut check = Checker::for_new();
        let (action, opportunity, customer) = self.read(&mut check);
        check.finish(())?;
        match (action, opportunity, customer) {
            (None, Some(opportunity), None) => Ok(Resolution::Opportunity(opportunity)),
            (None, None, Some(customer)) => Ok(Resolution::Customer(customer)),
            (Some(Action::Create), None, customer) => Ok(Resolution::Create(customer)),
            (Some(Action::Dismiss), None, None) => Ok(Resolution::Dismiss),
            (None, None, None) => Err(Invalid::field("opportunityId", Problem::Required)),
            (Some(_), Some(_), _) => Err(Invalid::field("opportunityId", Problem::Contradicts("action"))),
            (Some(_), None, Some(_)) => Err(Invalid::field("customerId", Problem::Contradicts("action"))),
            (None, Some(_), Some(_)) => {
                Err(Invalid::field("customerId", Problem::Contradicts("opportunityId")))
            }
        }
    }

    fn read(self, check: &mut Checker) -> (Option<Action>, Option<String>, Option<String>) {
        let opportunity = given(check.text("opportunityId", self.opportunity_id, TEXT_MAX));
        let customer = given(check.text("customerId", self.customer_id, TEXT_MAX));
        let action = check.read_text("action", self.action, Action::ALLOWED, Action::from_word);
        (given(action), opportunity, customer)
    }
}

/// Which events are to go out once more, as a client sent it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplayFields {
    state: Input<String>,
    event_type: Input<String>,
    from: Input<String>,
    to: Input<String>,
}

/// Which events are to go out once more; all conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Events in this state: `unpublished`, since there was no bus, or `delivered`.
    pub state: &'static str,
    /// Of this type.
    pub kind: Option<String>,
    /// That happened at this moment or later.
    pub from: Option<Timestamp>,
    /// That happened before this moment.
    pub to: Option<Timestamp>,
}

impl ReplayFields {
    const STATES: &'static [&'static str] = &["unpublished", "delivered"];

    /// The rules of the fields.
    #[must_use]
    pub fn rules() -> Vec<FieldRule> {
        Checker::describe(|check| Self::default().read(check, Tz::UTC))
    }

    /// What they say; without a state, `unpublished`. Moments without an offset are in `zone`.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(self, zone: Tz) -> Result<Replay, Invalid> {
        let mut check = Checker::for_new();
        let replay = self.read(&mut check, zone);
        check.finish(replay)
    }

    fn read(self, check: &mut Checker, zone: Tz) -> Replay {
        let state = |word: &str| Self::STATES.iter().find(|state| **state == word).copied();
        let moment = |text: &str| Timestamp::parse(text, zone);
        let states = Allowed::Words(Self::STATES);
        Replay {
            state: given(check.read_text("state", self.state, states, state)).unwrap_or("unpublished"),
            kind: given(check.text("eventType", self.event_type, TEXT_MAX)),
            from: given(check.read_text("from", self.from, Allowed::MOMENT, moment)),
            to: given(check.read_text("to", self.to, Allowed::MOMENT, moment)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resolution(fields: Value) -> Result<Resolution, Invalid> {
        serde_json::from_value::<ResolutionFields>(fields).expect("fields never fail to parse").check()
    }

    #[test]
    fn a_resolution_says_one_thing() {
        assert_eq!(resolution(json!({"opportunityId": "o"})), Ok(Resolution::Opportunity("o".into())));
        assert_eq!(resolution(json!({"customerId": "c"})), Ok(Resolution::Customer("c".into())));
        assert_eq!(resolution(json!({"action": "dismiss"})), Ok(Resolution::Dismiss));
        assert_eq!(resolution(json!({"action": "create"})), Ok(Resolution::Create(None)));
        let of_customer = json!({"action": "create", "customerId": "c"});
        assert_eq!(resolution(of_customer), Ok(Resolution::Create(Some("c".into()))));
        for (fields, field) in [
            (json!({}), "opportunityId"),
            (json!({"action": "guess"}), "action"),
            (json!({"action": "dismiss", "opportunityId": "o"}), "opportunityId"),
            (json!({"action": "dismiss", "customerId": "c"}), "customerId"),
            (json!({"customerId": "c", "opportunityId": "o"}), "customerId"),
        ] {
            let invalid = resolution(fields.clone()).expect_err("refused");
            assert_eq!(invalid.errors[0].field, field, "{fields}");
        }
    }
}
