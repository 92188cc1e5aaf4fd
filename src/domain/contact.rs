//! Contacts: the people at a customer (contract §6).

use serde::Deserialize;
use serde_json::json;

use super::audit::{AuditField, Audited};
use super::input::{Checker, Input, Patch};
use super::masking::Masking;
use super::rules::{Invalid, Problem};
use super::{Allowed, FieldRule, Timestamp};

const NAME_MAX: usize = 200;
const PHONE_MAX: usize = 50;
const TEXT_MAX: usize = 200;
const TRUTH_VALUES: Allowed = Allowed::Words(&["true", "false"]);

/// A contact as it is stored: nothing masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub id: String,
    /// The customer it belongs to, for ever.
    pub customer_id: String,
    /// 1 to 200 characters.
    pub name: String,
    /// As it was written; empty if unknown.
    pub phone: String,
    /// As it was written; empty if unknown.
    pub email: String,
    /// The one to turn to; at most one for each customer.
    pub is_primary: bool,
    /// Its title.
    pub title: Option<String>,
    /// Its department.
    pub department: Option<String>,
    /// Its part in decisions.
    pub role: Option<String>,
    /// The user who looks after it.
    pub owner_id: String,
    /// 1, and one more for every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The writable fields of a contact as a client sent them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContactFields {
    customer_id: Input<String>,
    name: Input<String>,
    phone: Input<String>,
    email: Input<String>,
    is_primary: Input<bool>,
    title: Input<String>,
    department: Input<String>,
    role: Input<String>,
    owner_id: Input<String>,
}

impl ContactFields {
    /// The rules of the fields.
    #[must_use]
    pub fn rules() -> Vec<FieldRule> {
        Checker::describe(|check| ContactPatch::read(Self::default(), check))
    }
}

/// A contact to be created: everything but what the write itself decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContact {
    contact: Contact,
    has_owner: bool,
}

impl NewContact {
    /// Checks the fields of a POST.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: ContactFields, masking: Masking) -> Result<Self, Invalid> {
        let patch = ContactPatch::check(fields, Checker::for_new())?;
        let has_owner = patch.owner_id.is_some();
        let mut contact = Contact {
            id: String::new(),
            customer_id: patch.customer_id.clone().unwrap_or_default(),
            name: String::new(),
            phone: String::new(),
            email: String::new(),
            is_primary: false,
            title: None,
            department: None,
            role: None,
            owner_id: String::new(),
            version: 1,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        patch.apply(&mut contact, masking)?;
        Ok(Self { contact, has_owner })
    }

    /// The customer it is to belong to.
    #[must_use]
    pub fn customer_id(&self) -> &str {
        &self.contact.customer_id
    }

    /// The contact that this becomes; its owner is the customer's if none is named.
    #[must_use]
    pub fn into_contact(self, id: String, customers_owner: String, now: Timestamp) -> Contact {
        let owner_id = if self.has_owner { self.contact.owner_id.clone() } else { customers_owner };
        Contact { id, owner_id, created_at: now, updated_at: now, ..self.contact }
    }
}

/// What a POST or PATCH writes of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactPatch {
    customer_id: Option<String>,
    name: Option<String>,
    phone: Patch<String>,
    email: Patch<String>,
    is_primary: Option<bool>,
    title: Patch<String>,
    department: Patch<String>,
    role: Patch<String>,
    owner_id: Option<String>,
}

impl ContactPatch {
    /// Checks the fields of a POST or PATCH, as far as that goes without the stored contact.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: ContactFields, mut check: Checker) -> Result<Self, Invalid> {
        let patch = Self::read(fields, &mut check);
        check.finish(patch)
    }

    fn read(fields: ContactFields, check: &mut Checker) -> Self {
        let is_primary = check.choice("isPrimary", fields.is_primary, TRUTH_VALUES, Some);
        let owner_id = check.text("ownerId", fields.owner_id, TEXT_MAX);
        Self {
            customer_id: check.required_text("customerId", fields.customer_id, TEXT_MAX),
            name: check.required_text("name", fields.name, NAME_MAX),
            phone: check.text("phone", fields.phone, PHONE_MAX),
            email: check.text("email", fields.email, TEXT_MAX),
            is_primary: check.no_clearing("isPrimary", is_primary),
            title: check.text("title", fields.title, TEXT_MAX),
            department: check.text("department", fields.department, TEXT_MAX),
            role: check.text("role", fields.role, TEXT_MAX),
            owner_id: check.no_clearing("ownerId", owner_id),
        }
    }

    /// Changes the fields of `contact`; its version and moments are the caller's to keep.
    ///
    /// # Errors
    /// A masked value that is not the mask of what is stored, or another customer.
    pub fn apply(self, contact: &mut Contact, masking: Masking) -> Result<(), Invalid> {
        let Self { customer_id, name, phone, email, is_primary, title, department, role, owner_id } = self;
        let mut check = Checker::for_new();
        if customer_id.is_some_and(|customer_id| customer_id != contact.customer_id) {
            check.problem("customerId", Problem::Fixed);
        }
        let phone = check.unmask("phone", phone, |given| masking.unmask_phone(given, &contact.phone));
        let email = check.unmask("email", email, |given| masking.unmask_email(given, &contact.email));
        check.finish(())?;
        if let Some(name) = name {
            contact.name = name;
        }
        phone.apply_or(&mut contact.phone, String::new());
        email.apply_or(&mut contact.email, String::new());
        if let Some(is_primary) = is_primary {
            contact.is_primary = is_primary;
        }
        title.apply(&mut contact.title);
        department.apply(&mut contact.department);
        role.apply(&mut contact.role);
        if let Some(owner_id) = owner_id {
            contact.owner_id = owner_id;
        }
        Ok(())
    }
}

impl Audited for Contact {
    fn audit_fields(&self) -> Vec<AuditField> {
        let Self {
            id: _,
            customer_id,
            name,
            phone,
            email,
            is_primary,
            title,
            department,
            role,
            owner_id,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            AuditField::plain("customerId", json!(customer_id)),
            AuditField::plain("name", json!(name)),
            AuditField::phone("phone", phone),
            AuditField::email("email", email),
            AuditField::plain("isPrimary", json!(is_primary)),
            AuditField::plain("title", json!(title)),
            AuditField::plain("department", json!(department)),
            AuditField::plain("role", json!(role)),
            AuditField::plain("ownerId", json!(owner_id)),
        ]
    }
}
