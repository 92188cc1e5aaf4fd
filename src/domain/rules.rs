//! What can be wrong with a request, in the terms of the domain.

use super::Allowed;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A customer.
    Customer,
    /// A contact.
    Contact,
    /// An opportunity.
    Opportunity,
    /// A follow-up.
    FollowUp,
}

impl Resource {
    /// The stems of all.
    pub const STEMS: Allowed = Allowed::Words(&["customer", "contact", "opportunity", "follow_up"]);

    /// The resource of a stem.
    #[must_use]
    pub fn from_stem(stem: &str) -> Option<Self> {
        [Self::Customer, Self::Contact, Self::Opportunity, Self::FollowUp]
            .into_iter()
            .find(|resource| resource.stem() == stem)
    }

    /// The stem of its name: in journal rows, actions and events.
    #[must_use]
    pub fn stem(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Contact => "contact",
            Self::Opportunity => "opportunity",
            Self::FollowUp => "follow_up",
        }
    }
}

/// One or more fields break their rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("{} field(s) break their rules", errors.len())]
pub struct Invalid {
    /// One entry a field, in the order of the resource's fields.
    pub errors: Vec<FieldError>,
}

impl Invalid {
    /// A single wrong field.
    #[must_use]
    pub fn field(field: impl Into<String>, problem: Problem) -> Self {
        Self { errors: vec![FieldError { field: field.into(), problem }] }
    }
}

/// A field that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name in JSON.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It must be there and not be empty.
    Required,
    /// It must be a string.
    NotText,
    /// It must be an integer.
    NotInteger,
    /// It has more characters than this.
    TooLong(usize),
    /// It is none of these values.
    NotOneOf(Allowed),
    /// It holds `*` but is not the mask of the stored value.
    Masked,
    /// It cannot be changed once the record is there.
    Fixed,
    /// It contradicts another field of the request.
    Contradicts(&'static str),
    /// The resource has no such field.
    Unknown,
}

/// What a change expects of the record as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Precondition {
    /// It has this version, and no other.
    pub version: Option<i64>,
    /// None of the fields that the change alters has been altered since this version.
    pub base: Option<i64>,
}

/// A rule over several records that a request would break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A record that the request refers to does not exist, or not for this caller.
    NoSuch(Resource),
    /// Another live customer has the name of the one to be restored.
    NameTakenMeanwhile {
        /// That customer, if the caller may see it.
        existing: Option<String>,
    },
    /// Fields that the request alters have been altered since the version that it is based on.
    FieldConflict {
        /// Their names in JSON; all that the request alters, if it cannot be told which.
        fields: Vec<String>,
        /// The record's version now.
        version: i64,
    },
    /// The caller may only own records themselves.
    OwnerOutOfScope,
    /// The record's customer is in the trash: restore that first.
    ParentDeleted,
    /// No event has this id, or none that the request could mean.
    NoSuchEvent,
    /// The event needs no decision any more.
    EventSettled,
    /// There is no bus to deliver events to.
    NoBus,
    /// Another live customer has this name.
    CustomerNameTaken {
        /// That customer, if the caller may see it.
        existing: Option<String>,
    },
}
