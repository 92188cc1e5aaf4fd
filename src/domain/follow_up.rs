//! Follow-ups: what was done with a customer, and what is planned (contract §6).

use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::json;

use super::audit::{AuditField, Audited};
use super::input::{Checker, Input, Patch};
use super::rules::Invalid;
use super::{Allowed, FieldRule, Timestamp};

const CONTENT_MAX: usize = 20_000;
const TEXT_MAX: usize = 200;
const TYPE_MAX: usize = 32;
const TYPES: Allowed = Allowed::Form {
    said: "call, visit, meeting, email, wechat, sms, task, note, … (1–32 letters, digits, _ -)",
    format: None,
};
/// The type of a follow-up that names none.
const DEFAULT_TYPE: &str = "call";

/// A follow-up as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Its id.
    pub id: String,
    /// The customer it is about, if any.
    pub customer_id: Option<String>,
    /// The opportunity it is about, if any.
    pub opportunity_id: Option<String>,
    /// The contact it was with, if any.
    pub contact_id: Option<String>,
    /// 1 to 20,000 characters.
    pub content: String,
    /// A known type, or the tenant's own word.
    pub follow_up_type: String,
    /// When it took place.
    pub occurred_at: Timestamp,
    /// When the next one is planned.
    pub next_follow_up_at: Option<Timestamp>,
    /// The user who made it.
    pub owner_id: String,
    /// 1, and one more for every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The writable fields of a follow-up as a client sent them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FollowUpFields {
    customer_id: Input<String>,
    opportunity_id: Input<String>,
    contact_id: Input<String>,
    content: Input<String>,
    follow_up_type: Input<String>,
    occurred_at: Input<String>,
    next_follow_up_at: Input<String>,
    owner_id: Input<String>,
}

impl FollowUpFields {
    /// The rules of the fields.
    #[must_use]
    pub fn rules() -> Vec<FieldRule> {
        Checker::describe(|check| FollowUpPatch::read(Self::default(), check, Tz::UTC))
    }
}

/// What a POST or PATCH writes of a follow-up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FollowUpPatch {
    customer_id: Patch<String>,
    opportunity_id: Patch<String>,
    contact_id: Patch<String>,
    content: Option<String>,
    follow_up_type: Patch<String>,
    occurred_at: Option<Timestamp>,
    next_follow_up_at: Patch<Timestamp>,
    owner_id: Option<String>,
}

impl FollowUpPatch {
    /// Checks the fields of a POST or PATCH, as far as that goes without the stored follow-up. Moments without an offset
    /// are in `zone`.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: FollowUpFields, mut check: Checker, zone: Tz) -> Result<Self, Invalid> {
        let patch = Self::read(fields, &mut check, zone);
        check.finish(patch)
    }

    fn read(fields: FollowUpFields, check: &mut Checker, zone: Tz) -> Self {
        let moment = |text: &str| Timestamp::parse(text, zone);
        let occurred_at = check.read_text("occurredAt", fields.occurred_at, Allowed::MOMENT, moment);
        let owner_id = check.text("ownerId", fields.owner_id, TEXT_MAX);
        Self {
            customer_id: check.text("customerId", fields.customer_id, TEXT_MAX),
            opportunity_id: check.text("opportunityId", fields.opportunity_id, TEXT_MAX),
            contact_id: check.text("contactId", fields.contact_id, TEXT_MAX),
            content: check.required_text("content", fields.content, CONTENT_MAX),
            follow_up_type: check.read_text("followUpType", fields.follow_up_type, TYPES, parse_type),
            occurred_at: check.no_clearing("occurredAt", occurred_at),
            next_follow_up_at: check.read_text(
                "nextFollowUpAt",
                fields.next_follow_up_at,
                Allowed::MOMENT,
                moment,
            ),
            owner_id: check.no_clearing("ownerId", owner_id),
        }
    }

    /// Changes the fields of `follow_up`; its version and moments are the caller's to keep, and so is what the ids refer
    /// to.
    pub fn apply(self, follow_up: &mut FollowUp) {
        let Self {
            customer_id,
            opportunity_id,
            contact_id,
            content,
            follow_up_type,
            occurred_at,
            next_follow_up_at,
            owner_id,
        } = self;
        customer_id.apply(&mut follow_up.customer_id);
        opportunity_id.apply(&mut follow_up.opportunity_id);
        contact_id.apply(&mut follow_up.contact_id);
        if let Some(content) = content {
            follow_up.content = content;
        }
        follow_up_type.apply_or(&mut follow_up.follow_up_type, DEFAULT_TYPE.to_owned());
        if let Some(occurred_at) = occurred_at {
            follow_up.occurred_at = occurred_at;
        }
        next_follow_up_at.apply(&mut follow_up.next_follow_up_at);
        if let Some(owner_id) = owner_id {
            follow_up.owner_id = owner_id;
        }
    }
}

/// A follow-up to be created: everything but what the write itself decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFollowUp {
    patch: FollowUpPatch,
    owner: String,
}

impl NewFollowUp {
    /// Checks the fields of a POST; the owner is `user` if none is named.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: FollowUpFields, user: &str, zone: Tz) -> Result<Self, Invalid> {
        let patch = FollowUpPatch::check(fields, Checker::for_new(), zone)?;
        Ok(Self { patch, owner: user.to_owned() })
    }

    /// The follow-up that this becomes; it takes place now if no moment is named.
    #[must_use]
    pub fn into_follow_up(self, id: String, now: Timestamp) -> FollowUp {
        let mut follow_up = FollowUp {
            id,
            customer_id: None,
            opportunity_id: None,
            contact_id: None,
            content: String::new(),
            follow_up_type: DEFAULT_TYPE.to_owned(),
            occurred_at: now,
            next_follow_up_at: None,
            owner_id: self.owner,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.patch.apply(&mut follow_up);
        follow_up
    }
}

/// 1 to 32 letters and digits of any script, `_` and `-`.
fn parse_type(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    ((1..=TYPE_MAX).contains(&text.chars().count()) && text.chars().all(allowed)).then(|| text.to_owned())
}

impl Audited for FollowUp {
    fn audit_fields(&self) -> Vec<AuditField> {
        let Self {
            id: _,
            customer_id,
            opportunity_id,
            contact_id,
            content,
            follow_up_type,
            occurred_at,
            next_follow_up_at,
            owner_id,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            AuditField::plain("customerId", json!(customer_id)),
            AuditField::plain("opportunityId", json!(opportunity_id)),
            AuditField::plain("contactId", json!(contact_id)),
            AuditField::plain("content", json!(content)),
            AuditField::plain("followUpType", json!(follow_up_type)),
            AuditField::plain("occurredAt", json!(occurred_at)),
            AuditField::plain("nextFollowUpAt", json!(next_follow_up_at)),
            AuditField::plain("ownerId", json!(owner_id)),
        ]
    }
}
