//! Opportunities: deals with a customer (contract §6). Stages and their moves are in `stage`.

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::audit::{AuditField, Audited};
use super::input::{Checker, Input, Patch};
use super::money::{AMOUNT_MAX, Currency, weigh};
use super::rules::{Invalid, Problem};
use super::stage::{DealStatus, Move, Moved, Stage, Standing};
use super::{Allowed, FieldRule, Timestamp};

const TITLE_MAX: usize = 500;
const TEXT_MAX: usize = 200;

/// An opportunity as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opportunity {
    /// Its id.
    pub id: String,
    /// The customer it is about, for ever.
    pub customer_id: String,
    /// 1 to 500 characters.
    pub title: String,
    /// Minor units of `currency`, 0 to 10^15.
    pub amount_cents: i64,
    /// The currency of the amount.
    pub currency: Currency,
    /// Stage, status, probability and closing.
    pub standing: Standing,
    /// When it is expected to be won.
    pub expected_close_date: Option<NaiveDate>,
    /// The user who looks after it.
    pub owner_id: String,
    /// 1, and one more for every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The writable fields of an opportunity as a client sent them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpportunityFields {
    customer_id: Input<String>,
    title: Input<String>,
    amount_cents: Input<i64>,
    currency: Input<String>,
    stage: Input<i64>,
    status: Input<i64>,
    owner_id: Input<String>,
    probability_pct: Input<i64>,
    expected_close_date: Input<String>,
    lost_reason: Input<String>,
}

impl OpportunityFields {
    /// The rules of the fields.
    #[must_use]
    pub fn rules() -> Vec<FieldRule> {
        Checker::describe(|check| OpportunityPatch::read(Self::default(), check))
    }
}

/// An opportunity to be created: everything but what the write itself decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOpportunity {
    patch: OpportunityPatch,
    owner: String,
}

impl NewOpportunity {
    /// Checks the fields of a POST; the owner is `user` if none is named.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: OpportunityFields, user: &str) -> Result<Self, Invalid> {
        let patch = OpportunityPatch::check(fields, Checker::for_new())?;
        Standing::begin(patch.standing, Timestamp::default()).map_err(|_| contradiction())?;
        Ok(Self { patch, owner: user.to_owned() })
    }

    /// The customer it is to be about.
    #[must_use]
    pub fn customer_id(&self) -> &str {
        self.patch.customer_id.as_deref().unwrap_or_default()
    }

    /// The opportunity that this becomes.
    ///
    /// # Errors
    /// Stage and status contradict each other.
    pub fn into_opportunity(self, id: String, now: Timestamp) -> Result<Opportunity, Invalid> {
        let standing = Standing::begin(self.patch.standing, now).map_err(|_| contradiction())?;
        let mut opportunity = Opportunity {
            id,
            customer_id: self.customer_id().to_owned(),
            title: String::new(),
            amount_cents: 0,
            currency: Currency::CNY,
            standing,
            expected_close_date: None,
            owner_id: self.owner,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.patch.apply(&mut opportunity, now)?;
        Ok(opportunity)
    }
}

/// What a POST or PATCH writes of an opportunity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpportunityPatch {
    customer_id: Option<String>,
    title: Option<String>,
    amount_cents: Option<i64>,
    currency: Patch<Currency>,
    standing: Move,
    owner_id: Option<String>,
    expected_close_date: Patch<NaiveDate>,
    lost_reason: Patch<String>,
}

impl OpportunityPatch {
    /// Checks the fields of a POST or PATCH, as far as that goes without the stored opportunity.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: OpportunityFields, mut check: Checker) -> Result<Self, Invalid> {
        let patch = Self::read(fields, &mut check);
        check.finish(patch)
    }

    fn read(fields: OpportunityFields, check: &mut Checker) -> Self {
        let customer_id = check.required_text("customerId", fields.customer_id, TEXT_MAX);
        let title = check.required_text("title", fields.title, TITLE_MAX);
        let amount_cents = check.range("amountCents", fields.amount_cents, 0..=AMOUNT_MAX);
        let stage = check.choice("stage", fields.stage, Stage::ALLOWED, Stage::from_code);
        let status = check.choice("status", fields.status, DealStatus::ALLOWED, DealStatus::from_code);
        let probability_pct = check.range("probabilityPct", fields.probability_pct, 0..=100);
        let owner_id = check.text("ownerId", fields.owner_id, TEXT_MAX);
        Self {
            customer_id,
            title,
            amount_cents: check.no_clearing("amountCents", amount_cents),
            currency: check.read_text("currency", fields.currency, Allowed::CURRENCY, Currency::parse),
            standing: Move {
                stage: check.no_clearing("stage", stage),
                status: check.no_clearing("status", status),
                probability_pct: check.no_clearing("probabilityPct", probability_pct),
            },
            owner_id: check.no_clearing("ownerId", owner_id),
            expected_close_date: check.read_text(
                "expectedCloseDate",
                fields.expected_close_date,
                Allowed::DATE,
                parse_date,
            ),
            lost_reason: check.text("lostReason", fields.lost_reason, TEXT_MAX),
        }
    }

    /// Changes the fields of `opportunity`, and says what that did to its standing; version and moments are the caller's
    /// to keep.
    ///
    /// # Errors
    /// Another customer, or stage and status contradict each other.
    pub fn apply(self, opportunity: &mut Opportunity, now: Timestamp) -> Result<Moved, Invalid> {
        let Self {
            customer_id,
            title,
            amount_cents,
            currency,
            standing,
            owner_id,
            expected_close_date,
            lost_reason,
        } = self;
        if customer_id.is_some_and(|customer_id| customer_id != opportunity.customer_id) {
            return Err(Invalid::field("customerId", Problem::Fixed));
        }
        let moved = opportunity.standing.apply(standing, now).map_err(|_| contradiction())?;
        if let Some(title) = title {
            opportunity.title = title;
        }
        if let Some(amount_cents) = amount_cents {
            opportunity.amount_cents = amount_cents;
        }
        currency.apply_or(&mut opportunity.currency, Currency::CNY);
        if let Some(owner_id) = owner_id {
            opportunity.owner_id = owner_id;
        }
        expected_close_date.apply(&mut opportunity.expected_close_date);
        if opportunity.standing.status() == DealStatus::Lost {
            lost_reason.apply(&mut opportunity.standing.lost_reason);
        } // only a lost deal has a reason: writing one back with another status is not an error
        Ok(moved)
    }
}

fn contradiction() -> Invalid {
    Invalid::field("status", Problem::Contradicts("stage"))
}

/// `YYYY-MM-DD` in the years 1 to 9999, and nothing that merely looks like it.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let date: NaiveDate = text.parse().ok()?;
    (date.to_string() == text).then_some(date)
}

impl Opportunity {
    /// What it counts for in a forecast.
    #[must_use]
    pub fn weighted_cents(&self) -> i64 {
        weigh(self.amount_cents, self.standing.probability_pct)
    }

    /// The deal as a signed contract has it: won when that was signed, over its amount. Says what that did to its standing.
    pub fn sign(&mut self, amount_cents: Option<i64>, currency: Option<Currency>, at: Timestamp) -> Moved {
        let won = Move { status: Some(DealStatus::Won), ..Move::default() };
        // A status alone contradicts nothing.
        let moved = self.standing.apply(won, at).unwrap_or(Moved::Within);
        self.standing.closed_at = Some(at);
        self.amount_cents = amount_cents.unwrap_or(self.amount_cents);
        self.currency = currency.unwrap_or(self.currency);
        moved
    }

    /// What other systems are told of it.
    #[must_use]
    pub fn event_data(&self, occurred_at: Timestamp) -> Map<String, Value> {
        let mut data = self.event_fields(&["lostReason"]);
        data.insert("occurredAt".to_owned(), json!(occurred_at));
        data.insert("opportunityId".to_owned(), json!(self.id));
        data.insert("version".to_owned(), json!(self.version));
        data
    }
}

impl Audited for Opportunity {
    fn audit_fields(&self) -> Vec<AuditField> {
        let Self {
            id: _,
            customer_id,
            title,
            amount_cents,
            currency,
            standing,
            expected_close_date,
            owner_id,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        let Standing { stage, last_open_stage: _, probability_pct, closed_at, lost_reason } = standing;
        vec![
            AuditField::plain("customerId", json!(customer_id)),
            AuditField::plain("title", json!(title)),
            AuditField::plain("amountCents", json!(amount_cents)),
            AuditField::plain("currency", json!(currency.code())),
            AuditField::plain("stage", json!(stage.code())),
            AuditField::plain("status", json!(stage.status().code())),
            AuditField::plain("ownerId", json!(owner_id)),
            AuditField::plain("probabilityPct", json!(probability_pct)),
            AuditField::plain("expectedCloseDate", json!(expected_close_date)),
            AuditField::plain("closedAt", json!(closed_at)),
            AuditField::plain("lostReason", json!(lost_reason)),
        ]
    }
}
