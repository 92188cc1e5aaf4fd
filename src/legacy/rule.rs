//! What is done with rows that the cell would not accept as they are. `docs/OPERATIONS.md` lists the same rules.

use std::fmt;

/// A rule of the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rule {
    // Repairs.
    TextCleaned,
    TextCut,
    TextDropped,
    Placeholder,
    NameTaken,
    PhoneMasked,
    StatusUnknown,
    SecondPrimary,
    AmountUnusable,
    CurrencyAssumed,
    CurrencyUnknown,
    StageUnknown,
    StageDecides,
    StatusDecides,
    TypeUnusable,
    ReferenceMissing,
    ReferenceFilled,
    TimeUnreadable,
    LogIdTaken,
    ColumnUnknown,
    // Reasons to keep a row without making it a record.
    NoResource,
    NoAnswer,
    CustomerMissing,
    SubjectMissing,
    OwnerNotApplied,
    IdUnusable,
    IdTaken,
    RowDiffers,
    Unfit,
}

impl Rule {
    #[cfg(test)]
    pub(super) const ALL: [Self; 29] = [
        Self::TextCleaned,
        Self::TextCut,
        Self::TextDropped,
        Self::Placeholder,
        Self::NameTaken,
        Self::PhoneMasked,
        Self::StatusUnknown,
        Self::SecondPrimary,
        Self::AmountUnusable,
        Self::CurrencyAssumed,
        Self::CurrencyUnknown,
        Self::StageUnknown,
        Self::StageDecides,
        Self::StatusDecides,
        Self::TypeUnusable,
        Self::ReferenceMissing,
        Self::ReferenceFilled,
        Self::TimeUnreadable,
        Self::LogIdTaken,
        Self::ColumnUnknown,
        Self::NoResource,
        Self::NoAnswer,
        Self::CustomerMissing,
        Self::SubjectMissing,
        Self::OwnerNotApplied,
        Self::IdUnusable,
        Self::IdTaken,
        Self::RowDiffers,
        Self::Unfit,
    ];

    /// What stands for it in reports and in `legacy_rows`.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::TextCleaned => "text-cleaned",
            Self::TextCut => "text-cut",
            Self::TextDropped => "text-dropped",
            Self::Placeholder => "placeholder",
            Self::NameTaken => "name-taken",
            Self::PhoneMasked => "phone-masked",
            Self::StatusUnknown => "status-unknown",
            Self::SecondPrimary => "second-primary",
            Self::AmountUnusable => "amount-unusable",
            Self::CurrencyAssumed => "currency-assumed",
            Self::CurrencyUnknown => "currency-unknown",
            Self::StageUnknown => "stage-unknown",
            Self::StageDecides => "stage-decides",
            Self::StatusDecides => "status-decides",
            Self::TypeUnusable => "type-unusable",
            Self::ReferenceMissing => "reference-missing",
            Self::ReferenceFilled => "reference-filled",
            Self::TimeUnreadable => "time-unreadable",
            Self::LogIdTaken => "log-id-taken",
            Self::ColumnUnknown => "column-unknown",
            Self::NoResource => "no-resource",
            Self::NoAnswer => "no-answer",
            Self::CustomerMissing => "customer-missing",
            Self::SubjectMissing => "subject-missing",
            Self::OwnerNotApplied => "owner-not-applied",
            Self::IdUnusable => "id-unusable",
            Self::IdTaken => "id-taken",
            Self::RowDiffers => "row-differs",
            Self::Unfit => "unfit",
        }
    }
}

/// A rule that was applied to a row, and the field of the record that it was about, if it was about one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reason {
    pub(super) rule: Rule,
    pub(super) field: String,
}

impl Reason {
    /// About the row as a whole.
    pub(super) fn row(rule: Rule) -> Self {
        Self { rule, field: String::new() }
    }

    pub(super) fn field(rule: Rule, field: impl Into<String>) -> Self {
        Self { rule, field: field.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule.code())?;
        if self.field.is_empty() { Ok(()) } else { write!(f, ":{}", self.field) }
    }
}

/// The reasons as `legacy_rows` and the report hold them.
pub(super) fn join(reasons: &[Reason]) -> String {
    reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_operations_guide_lists_every_rule() {
        let guide = include_str!("../../docs/OPERATIONS.md");
        let (_, section) = guide.split_once("## Moving from the Python cell").expect("a section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let listed: BTreeSet<_> = rows.collect();
        assert_eq!(listed, Rule::ALL.map(Rule::code).into_iter().collect());
    }
}
