//! From a row of the Python cell to a record of this one, or the reason why it is only kept. Nothing here reads or writes:
//! a row, what the tenant holds so far, and what comes of it.

use std::collections::{BTreeSet, HashMap};

use chrono_tz::Tz;

use super::repair::{Draft, clean};
use super::rule::{Reason, Rule};
use super::source::{ANSWERS, SourceRow};
use crate::domain::{
    Contact, Currency, Customer, DealStatus, FollowUp, Masking, Move, NewContact, NewCustomer, NewFollowUp,
    NewOpportunity, Opportunity, Stage, Timestamp,
};
use crate::store::legacy::{ChildHeld, CustomerHeld, Holdings, LogEntry};

/// The greatest number of an audit entry that is kept: 2^53, what every client reads exactly.
const LOG_ID_MAX: i64 = 1 << 53;

/// The owner of what the Python cell knew no owner of: the name under which it kept its audit log.
pub(super) const UNOWNED: &str = "system";

/// What a row becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// A record, and how it differs from the row.
    Record(Box<Record>, Vec<Reason>),
    /// Nothing of its own: other records hold all of it.
    Absorbed,
    /// No record.
    Keep(Reason),
}

/// A record of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Customer(Customer),
    Contact(Contact),
    Opportunity(Opportunity),
    FollowUp(FollowUp),
    Log(LogEntry),
}

/// What the rows of one tenant are mapped against.
#[derive(Debug, Default)]
pub(super) struct Mapper {
    /// What the tenant has, with what was mapped so far.
    pub(super) held: Holdings,
    /// The owners that the source gives to customers.
    pub(super) owners: HashMap<String, String>,
    /// The folded names of all customers of the source: a name made up for a duplicate must not be one of them.
    pub(super) source_names: BTreeSet<String>,
}

impl Mapper {
    /// What becomes of a row of `table`.
    pub(super) fn map(&mut self, table: &str, row: &SourceRow) -> Verdict {
        let mapped = match table {
            "customers" => self.customer(row),
            "customer_owner" => return self.owner(row),
            "contacts" => self.contact(row),
            "opportunities" => self.opportunity(row),
            "follow_ups" => self.follow_up(row),
            "audit_log" => self.log_entry(row),
            ANSWERS => Err(Reason::row(Rule::NoAnswer)),
            _ => Err(Reason::row(Rule::NoResource)),
        };
        match mapped {
            Ok((record, mut reasons)) => {
                reasons.extend(unread(table, row));
                Verdict::Record(Box::new(record), reasons)
            }
            Err(reason) => Verdict::Keep(reason),
        }
    }

    fn customer(&mut self, row: &SourceRow) -> Result<(Record, Vec<Reason>), Reason> {
        let id = usable_id(row, "customer_id")?;
        if self.held.customers.contains_key(&id) {
            return Err(Reason::row(Rule::IdTaken));
        }
        let mut draft = Draft::default();
        draft.text("name", row, "name");
        draft.text("contactPhone", row, "contact_phone");
        draft.text("contactEmail", row, "contact_email");
        draft.number("status", row, "status", Rule::StatusUnknown);
        if let Some(owner) = self.owners.get(&id) {
            draft.set("ownerId", clean(owner));
        }
        let (created_at, updated_at) = moments(row, &mut draft);
        let check = |fields| NewCustomer::check(fields, UNOWNED, Masking::default());
        let (new, mut reasons) = draft.settle(check)?;
        let mut customer = Customer { updated_at, ..new.into_customer(id.clone(), created_at) };
        if let Some(name) = self.free_name(&customer) {
            customer.name = name;
            reasons.push(Reason::field(Rule::NameTaken, "name"));
        }
        self.held.name_keys.insert(customer.name_key());
        let held = CustomerHeld { owner_id: customer.owner_id.clone(), is_live: true };
        self.held.customers.insert(id, held);
        Ok((Record::Customer(customer), reasons))
    }

    /// A name for a customer whose own is taken: the first of `name (2)`, `name (3)` … that nobody has.
    fn free_name(&self, customer: &Customer) -> Option<String> {
        if !self.held.name_keys.contains(&customer.name_key()) {
            return None;
        }
        (2_u32..).find_map(|number| {
            let suffix = format!(" ({number})");
            let kept = Customer::NAME_MAX - suffix.chars().count();
            let base: String = customer.name.chars().take(kept).collect();
            let candidate = Customer { name: base.trim_end().to_owned() + &suffix, ..customer.clone() };
            let key = candidate.name_key();
            let is_free = !self.held.name_keys.contains(&key) && !self.source_names.contains(&key);
            is_free.then_some(candidate.name)
        })
    }

    /// An owner is a field of the customer here.
    fn owner(&self, row: &SourceRow) -> Verdict {
        let held = self.held.customers.get(&row.text("customer_id"));
        if held.is_some_and(|customer| customer.owner_id == row.text("owner_id")) {
            Verdict::Absorbed
        } else {
            Verdict::Keep(Reason::row(Rule::OwnerNotApplied))
        }
    }

    fn contact(&mut self, row: &SourceRow) -> Result<(Record, Vec<Reason>), Reason> {
        let id = usable_id(row, "contact_id")?;
        if self.held.contacts.contains_key(&id) {
            return Err(Reason::row(Rule::IdTaken));
        }
        let customer_id = row.text("customer_id");
        let owner = self.live_customer(&customer_id)?.owner_id.clone();
        let mut draft = Draft::default();
        draft.set("customerId", customer_id.clone());
        draft.text("name", row, "name");
        draft.text("phone", row, "phone");
        draft.text("email", row, "email");
        let wants_primary = row.integer("is_primary").is_some_and(|flag| flag != 0);
        let is_primary = wants_primary && !self.held.with_primary.contains(&customer_id);
        if wants_primary && !is_primary {
            draft.note(Rule::SecondPrimary, "isPrimary");
        }
        draft.set("isPrimary", is_primary);
        let (created_at, updated_at) = moments(row, &mut draft);
        let (new, reasons) = draft.settle(|fields| NewContact::check(fields, Masking::default()))?;
        let contact = Contact { updated_at, ..new.into_contact(id.clone(), owner, created_at) };
        if is_primary {
            self.held.with_primary.insert(customer_id.clone());
        }
        self.held.contacts.insert(id, ChildHeld { customer_id, is_live: true });
        Ok((Record::Contact(contact), reasons))
    }

    fn opportunity(&mut self, row: &SourceRow) -> Result<(Record, Vec<Reason>), Reason> {
        let id = usable_id(row, "opportunity_id")?;
        if self.held.opportunities.contains_key(&id) {
            return Err(Reason::row(Rule::IdTaken));
        }
        let customer_id = row.text("customer_id");
        let owner = self.live_customer(&customer_id)?.owner_id.clone();
        let mut draft = Draft::default();
        draft.set("customerId", customer_id.clone());
        draft.text("title", row, "title");
        draft.number("amountCents", row, "amount_cents", Rule::AmountUnusable);
        currency(row, &mut draft);
        let (open_stage, closing) = stage(row, &mut draft);
        draft.set("stage", open_stage.code());
        let (created_at, updated_at) = moments(row, &mut draft);
        let (new, reasons) = draft.settle(|fields| NewOpportunity::check(fields, &owner))?;
        let broken = |_| Reason::row(Rule::Unfit);
        let mut opportunity = new.into_opportunity(id.clone(), created_at).map_err(broken)?;
        opportunity.updated_at = updated_at;
        if closing.is_some() {
            // When it was closed is not known; no later than its last change.
            let written = Move { stage: closing, ..Move::default() };
            opportunity.standing.apply(written, updated_at).map_err(|_| Reason::row(Rule::Unfit))?;
        }
        self.held.opportunities.insert(id, ChildHeld { customer_id, is_live: true });
        Ok((Record::Opportunity(opportunity), reasons))
    }

    fn follow_up(&mut self, row: &SourceRow) -> Result<(Record, Vec<Reason>), Reason> {
        let id = usable_id(row, "follow_up_id")?;
        if self.held.follow_ups.contains(&id) {
            return Err(Reason::row(Rule::IdTaken));
        }
        let mut draft = Draft::default();
        let owner = self.subjects(row, &mut draft)?;
        draft.text("content", row, "content");
        draft.text("followUpType", row, "follow_up_type");
        if row.text("follow_up_type").trim().is_empty() {
            draft.note(Rule::TypeUnusable, "followUpType");
        }
        let (created_at, updated_at) = moments(row, &mut draft);
        let (new, reasons) = draft.settle(|fields| NewFollowUp::check(fields, &owner, Tz::UTC))?;
        let follow_up = FollowUp { updated_at, ..new.into_follow_up(id.clone(), created_at) };
        self.held.follow_ups.insert(id);
        Ok((Record::FollowUp(follow_up), reasons))
    }

    /// What a follow-up is about, as far as that is there and belongs together, and the owner that follows from it.
    fn subjects(&self, row: &SourceRow, draft: &mut Draft) -> Result<String, Reason> {
        let [named_customer, opportunity, contact] =
            ["customer_id", "opportunity_id", "contact_id"].map(|column| row.text(column));
        let mut customer = Some(named_customer.clone()).filter(|id| self.live_customer(id).is_ok());
        if !named_customer.is_empty() && customer.is_none() {
            draft.note(Rule::ReferenceMissing, "customerId");
        }
        let mut about = customer.is_some();
        let children = [
            ("opportunityId", opportunity, &self.held.opportunities),
            ("contactId", contact, &self.held.contacts),
        ];
        let mut named = !named_customer.is_empty();
        for (field, id, held) in children {
            if id.is_empty() {
                continue;
            }
            named = true;
            let child = held.get(&id).filter(|child| child.is_live);
            match child {
                Some(child) if customer.as_ref().is_none_or(|customer| *customer == child.customer_id) => {
                    if customer.is_none() {
                        customer = Some(child.customer_id.clone());
                        draft.note(Rule::ReferenceFilled, "customerId");
                    }
                    about = true;
                    draft.set(field, id);
                }
                _ => draft.note(Rule::ReferenceMissing, field),
            }
        }
        if named && !about {
            return Err(Reason::row(Rule::SubjectMissing));
        }
        let owner = customer.as_ref().and_then(|id| self.held.customers.get(id));
        let owner = owner.map_or_else(|| UNOWNED.to_owned(), |customer| customer.owner_id.clone());
        draft.set("customerId", customer);
        Ok(owner)
    }

    fn log_entry(&mut self, row: &SourceRow) -> Result<(Record, Vec<Reason>), Reason> {
        let at = moment(row, "occurred_at").ok_or(Reason::field(Rule::TimeUnreadable, "occurredAt"))?;
        let next = self.held.last_log + 1;
        // At the greatest number there is, SQLite would give new entries numbers at random.
        let usable = row.integer("log_id").filter(|id| (next..=LOG_ID_MAX).contains(id));
        let seq = usable.unwrap_or(next);
        let mut reasons = Vec::new();
        if row.integer("log_id") != Some(seq) {
            reasons.push(Reason::field(Rule::LogIdTaken, "logId"));
        }
        self.held.last_log = seq;
        let entry = LogEntry {
            seq,
            at: at.millis(),
            actor: row.text("user_id"),
            action: row.text("operation_type"),
            resource: row.text("resource_type"),
            record_id: row.text("resource_id"),
            trace_id: row.text("trace_id"),
        };
        Ok((Record::Log(entry), reasons))
    }

    fn live_customer(&self, id: &str) -> Result<&CustomerHeld, Reason> {
        let customer = self.held.customers.get(id).filter(|customer| customer.is_live);
        customer.ok_or(Reason::row(Rule::CustomerMissing))
    }
}

/// The columns of which nothing gets into the record: those that hold bytes, and those that the Python cell did not have.
fn unread<'a>(table: &str, row: &'a SourceRow) -> impl Iterator<Item = Reason> + 'a {
    let read: &[&str] = match table {
        "customers" => &["customer_id", "name", "contact_phone", "contact_email", "status"],
        "contacts" => &["contact_id", "customer_id", "name", "phone", "email", "is_primary"],
        "opportunities" => {
            &["opportunity_id", "customer_id", "title", "amount_cents", "currency", "stage", "status"]
        }
        "follow_ups" => {
            &["follow_up_id", "customer_id", "opportunity_id", "contact_id", "content", "follow_up_type"]
        }
        _ => &[
            "log_id",
            "user_id",
            "operation_type",
            "resource_type",
            "resource_id",
            "trace_id",
            "occurred_at",
        ],
    };
    const ALWAYS: [&str; 3] = ["tenant_id", "created_at", "updated_at"];
    row.cells.iter().filter_map(|(column, value)| {
        if value.is_object() {
            return Some(Reason::field(Rule::TextDropped, column));
        }
        let is_read = read.contains(&column.as_str()) || ALWAYS.contains(&column.as_str());
        (!is_read && !value.is_null()).then(|| Reason::field(Rule::ColumnUnknown, column))
    })
}

/// The row's id, if a path can name it.
fn usable_id(row: &SourceRow, column: &str) -> Result<String, Reason> {
    let id = row.text(column);
    let usable = (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if usable { Ok(id) } else { Err(Reason::row(Rule::IdUnusable)) }
}

/// When the record was created and last changed. A moment that cannot be read is taken to be the other one; if neither
/// can, they are the first moment of 1970.
fn moments(row: &SourceRow, draft: &mut Draft) -> (Timestamp, Timestamp) {
    let read = [("created_at", "createdAt"), ("updated_at", "updatedAt")].map(|(column, field)| {
        let moment = moment(row, column);
        if moment.is_none() {
            draft.note(Rule::TimeUnreadable, field);
        }
        moment
    });
    let known = read[0].or(read[1]).unwrap_or_default();
    (read[0].unwrap_or(known), read[1].unwrap_or(known))
}

/// Moments without an offset are UTC; Python may have put a space between date and time.
fn moment(row: &SourceRow, column: &str) -> Option<Timestamp> {
    Timestamp::parse(&row.text(column).trim().replacen(' ', "T", 1), Tz::UTC)
}

/// The currency that is meant.
fn currency(row: &SourceRow, draft: &mut Draft) {
    let given = row.text("currency");
    let meant = match given.trim() {
        "" | "RMB" | "rmb" | "CNH" | "¥" | "￥" | "元" | "人民币" => Currency::CNY.code().to_owned(),
        other => Currency::parse(other).map_or_else(|| other.to_owned(), |known| known.code().to_owned()),
    };
    if meant != given {
        draft.note(Rule::CurrencyAssumed, "currency");
    }
    draft.set("currency", meant);
}

/// The open stage that a deal was at, and the closing one if it is closed. A closing stage decides, whatever the status
/// says, because the Python cell never moved the status; a closed status decides over an open stage.
fn stage(row: &SourceRow, draft: &mut Draft) -> (Stage, Option<Stage>) {
    let status = row.integer("status").and_then(DealStatus::from_code);
    let stage = row.integer("stage").and_then(Stage::from_code);
    if stage.is_none() {
        draft.note(Rule::StageUnknown, "stage");
    }
    if status.is_none() {
        draft.note(Rule::StatusUnknown, "status");
    }
    let first = Stage::FirstContact;
    match (stage, status) {
        (Some(closing), status) if closing.status() != DealStatus::Open => {
            if status.is_some_and(|status| status != closing.status()) {
                draft.note(Rule::StageDecides, "status");
            }
            (first, Some(closing))
        }
        (open, Some(DealStatus::Won | DealStatus::Lost)) => {
            draft.note(Rule::StatusDecides, "stage");
            let closing = if status == Some(DealStatus::Won) { Stage::Won } else { Stage::Lost };
            (open.unwrap_or(first), Some(closing))
        }
        (open, _) => (open.unwrap_or(first), None),
    }
}
