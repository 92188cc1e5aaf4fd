//! Customers: the fields and their rules (contract §6).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audit::{AuditField, Audited};
use super::input::{Checker, Input, Patch};
use super::masking::Masking;
use super::rules::Invalid;
use super::{Allowed, FieldRule, Timestamp, fold_name};

const PHONE_MAX: usize = 50;
const TEXT_MAX: usize = 200;
const REMARK_MAX: usize = 20_000;

/// Whether business is done with a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerStatus {
    /// 1
    Normal,
    /// 2
    Disabled,
}

impl CustomerStatus {
    /// The numbers that stand for them.
    pub const ALLOWED: Allowed = Allowed::Integers(&[1, 2]);

    /// The number that stands for it.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Normal => 1,
            Self::Disabled => 2,
        }
    }

    /// The status of a number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Normal),
            2 => Some(Self::Disabled),
            _ => None,
        }
    }
}

/// How far a customer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Somebody who may become interested.
    Lead,
    /// Somebody who is.
    Prospect,
    /// Somebody who has bought.
    Customer,
    /// Somebody who no longer buys.
    Churned,
}

impl Lifecycle {
    /// The words that stand for them.
    pub const ALLOWED: Allowed = Allowed::Words(&["lead", "prospect", "customer", "churned"]);

    /// The word that stands for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Prospect => "prospect",
            Self::Customer => "customer",
            Self::Churned => "churned",
        }
    }

    /// The stage of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Lead, Self::Prospect, Self::Customer, Self::Churned]
            .into_iter()
            .find(|stage| stage.word() == word)
    }
}

/// A customer as it is stored: nothing masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Its id.
    pub id: String,
    /// 1 to 200 characters; unique among live customers after [`fold_name`].
    pub name: String,
    /// As it was written; empty if unknown.
    pub contact_phone: String,
    /// As it was written; empty if unknown.
    pub contact_email: String,
    /// Whether business is done with it.
    pub status: CustomerStatus,
    /// How far it has come.
    pub lifecycle: Option<Lifecycle>,
    /// The tenant's own grading.
    pub level: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// Its industry.
    pub industry: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// Its website.
    pub website: Option<String>,
    /// Anything else.
    pub remark: Option<String>,
    /// The user who looks after it.
    pub owner_id: String,
    /// The earliest follow-up that is planned.
    pub next_follow_up_at: Option<Timestamp>,
    /// The latest follow-up that took place.
    pub last_follow_up_at: Option<Timestamp>,
    /// 1, and one more for every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The writable fields of a customer as a client sent them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomerFields {
    name: Input<String>,
    contact_phone: Input<String>,
    contact_email: Input<String>,
    status: Input<i64>,
    owner_id: Input<String>,
    lifecycle: Input<String>,
    level: Input<String>,
    source: Input<String>,
    industry: Input<String>,
    region: Input<String>,
    address: Input<String>,
    website: Input<String>,
    remark: Input<String>,
}

impl CustomerFields {
    /// The rules of the fields.
    #[must_use]
    pub fn rules() -> Vec<FieldRule> {
        Checker::describe(|check| CustomerPatch::read(Self::default(), check))
    }
}

/// A customer to be created: everything but what the write itself decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCustomer(Customer);

impl NewCustomer {
    /// Checks the fields of a POST; the owner is `user` if none is named.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: CustomerFields, user: &str, masking: Masking) -> Result<Self, Invalid> {
        let patch = CustomerPatch::check(fields, Checker::for_new())?;
        let mut customer = Customer {
            id: String::new(),
            name: String::new(),
            contact_phone: String::new(),
            contact_email: String::new(),
            status: CustomerStatus::Normal,
            lifecycle: None,
            level: None,
            source: None,
            industry: None,
            region: None,
            address: None,
            website: None,
            remark: None,
            owner_id: user.to_owned(),
            next_follow_up_at: None,
            last_follow_up_at: None,
            version: 1,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        patch.apply(&mut customer, masking)?;
        Ok(Self(customer))
    }

    /// What makes its name unique.
    #[must_use]
    pub fn name_key(&self) -> String {
        self.0.name_key()
    }

    /// The customer that this becomes.
    #[must_use]
    pub fn into_customer(self, id: String, now: Timestamp) -> Customer {
        Customer { id, created_at: now, updated_at: now, ..self.0 }
    }
}

/// What a POST or PATCH writes of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomerPatch {
    name: Option<String>,
    contact_phone: Patch<String>,
    contact_email: Patch<String>,
    status: Option<CustomerStatus>,
    owner_id: Option<String>,
    lifecycle: Patch<Lifecycle>,
    level: Patch<String>,
    source: Patch<String>,
    industry: Patch<String>,
    region: Patch<String>,
    address: Patch<String>,
    website: Patch<String>,
    remark: Patch<String>,
}

impl CustomerPatch {
    /// Checks the fields of a POST or PATCH, as far as that goes without the stored customer.
    ///
    /// # Errors
    /// All fields that break a rule.
    pub fn check(fields: CustomerFields, mut check: Checker) -> Result<Self, Invalid> {
        let patch = Self::read(fields, &mut check);
        check.finish(patch)
    }

    fn read(fields: CustomerFields, check: &mut Checker) -> Self {
        let name = check.required_text("name", fields.name, Customer::NAME_MAX);
        let contact_phone = check.text("contactPhone", fields.contact_phone, PHONE_MAX);
        let contact_email = check.text("contactEmail", fields.contact_email, TEXT_MAX);
        let status =
            check.choice("status", fields.status, CustomerStatus::ALLOWED, CustomerStatus::from_code);
        let owner_id = check.text("ownerId", fields.owner_id, TEXT_MAX);
        let lifecycle =
            check.read_text("lifecycle", fields.lifecycle, Lifecycle::ALLOWED, Lifecycle::from_word);
        let mut text = |field, input| check.text(field, input, TEXT_MAX);
        Self {
            name,
            contact_phone,
            contact_email,
            level: text("level", fields.level),
            source: text("source", fields.source),
            industry: text("industry", fields.industry),
            region: text("region", fields.region),
            address: text("address", fields.address),
            website: text("website", fields.website),
            remark: check.text("remark", fields.remark, REMARK_MAX),
            status: check.no_clearing("status", status),
            owner_id: check.no_clearing("ownerId", owner_id),
            lifecycle,
        }
    }

    /// Changes the fields of `customer`; its version and moments are the caller's to keep.
    ///
    /// # Errors
    /// A masked value that is not the mask of what is stored.
    pub fn apply(self, customer: &mut Customer, masking: Masking) -> Result<(), Invalid> {
        let Self {
            name,
            contact_phone,
            contact_email,
            status,
            owner_id,
            lifecycle,
            level,
            source,
            industry,
            region,
            address,
            website,
            remark,
        } = self;
        let mut check = Checker::for_new();
        let contact_phone = check.unmask("contactPhone", contact_phone, |given| {
            masking.unmask_phone(given, &customer.contact_phone)
        });
        let contact_email = check.unmask("contactEmail", contact_email, |given| {
            masking.unmask_email(given, &customer.contact_email)
        });
        check.finish(())?;
        if let Some(name) = name {
            customer.name = name;
        }
        contact_phone.apply_or(&mut customer.contact_phone, String::new());
        contact_email.apply_or(&mut customer.contact_email, String::new());
        if let Some(status) = status {
            customer.status = status;
        }
        if let Some(owner_id) = owner_id {
            customer.owner_id = owner_id;
        }
        lifecycle.apply(&mut customer.lifecycle);
        level.apply(&mut customer.level);
        source.apply(&mut customer.source);
        industry.apply(&mut customer.industry);
        region.apply(&mut customer.region);
        address.apply(&mut customer.address);
        website.apply(&mut customer.website);
        remark.apply(&mut customer.remark);
        Ok(())
    }
}

impl Customer {
    /// The longest name, in characters.
    pub const NAME_MAX: usize = 200;

    /// What makes the name unique.
    #[must_use]
    pub fn name_key(&self) -> String {
        fold_name(&self.name)
    }

    /// What other systems are told of it: ids and scalars, personal data masked; no address, remark or free text.
    #[must_use]
    pub fn event_data(&self, occurred_at: Timestamp) -> Map<String, Value> {
        let mut data = self.event_fields(&["address", "remark"]);
        data.insert("occurredAt".to_owned(), json!(occurred_at));
        data.insert("customerId".to_owned(), json!(self.id));
        data.insert("version".to_owned(), json!(self.version));
        data
    }
}

impl Audited for Customer {
    fn audit_fields(&self) -> Vec<AuditField> {
        let Self {
            id: _,
            name,
            contact_phone,
            contact_email,
            status,
            lifecycle,
            level,
            source,
            industry,
            region,
            address,
            website,
            remark,
            owner_id,
            next_follow_up_at: _,
            last_follow_up_at: _,
            version: _,
            created_at: _,
            updated_at: _,
        } = self;
        vec![
            AuditField::plain("name", json!(name)),
            AuditField::phone("contactPhone", contact_phone),
            AuditField::email("contactEmail", contact_email),
            AuditField::plain("status", json!(status.code())),
            AuditField::plain("ownerId", json!(owner_id)),
            AuditField::plain("lifecycle", json!(lifecycle)),
            AuditField::plain("level", json!(level)),
            AuditField::plain("source", json!(source)),
            AuditField::plain("industry", json!(industry)),
            AuditField::plain("region", json!(region)),
            AuditField::plain("address", json!(address)),
            AuditField::plain("website", json!(website)),
            AuditField::plain("remark", json!(remark)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a merge patch may say of one optional field.
    fn said() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            Just(Some(json!(""))),
            "[a-z中]{1,8}".prop_map(|text| Some(json!(text))),
        ]
    }

    const FIELDS: [&str; 7] = ["level", "source", "industry", "region", "address", "website", "remark"];

    fn patch() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::vec(said(), FIELDS.len()).prop_map(|said| {
            let fields = FIELDS.iter().zip(said);
            fields.filter_map(|(field, said)| Some(((*field).to_owned(), said?))).collect()
        })
    }

    fn apply(customer: &mut Customer, patch: &Map<String, Value>) {
        let fields = serde_json::from_value(json!(patch)).expect("fields never fail to parse");
        let patch = CustomerPatch::check(fields, Checker::for_patch(false)).expect("valid");
        patch.apply(customer, Masking { email: false }).expect("nothing masked");
    }

    fn values(customer: &Customer) -> Map<String, Value> {
        let fields = customer.event_fields(&[]);
        fields.into_iter().filter(|(field, _)| FIELDS.contains(&field.as_str())).collect()
    }

    proptest! {
        /// RFC 7396, section 2, with `""` as another null.
        #[test]
        fn a_patch_replaces_what_it_names_clears_what_it_nulls_and_leaves_the_rest(
            first in patch(),
            second in patch(),
        ) {
            let fields = serde_json::from_value(json!({"name": "华为"})).expect("fields");
            let new = NewCustomer::check(fields, "u", Masking { email: false }).expect("valid");
            let mut customer = new.into_customer("id".into(), Timestamp::default());
            let mut expected = values(&customer);
            for patch in [first, second] {
                apply(&mut customer, &patch);
                expected.extend(patch.iter().map(|(field, value)| {
                    let cleared = value == "" || value.is_null();
                    (field.clone(), if cleared { Value::Null } else { value.clone() })
                }));
                prop_assert_eq!(values(&customer), expected.clone());
                let once = customer.clone();
                apply(&mut customer, &patch);
                prop_assert_eq!(&customer, &once, "a second time changes nothing");
            }
        }
    }
}
