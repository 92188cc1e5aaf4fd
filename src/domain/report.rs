//! What many records come to together. Currencies are never added to each other, and no sum overflows.

use std::collections::BTreeMap;

use super::money::Currency;
use super::stage::{DealStatus, Stage};

/// What some deals in one currency come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many they are.
    pub count: u64,
    /// Their amounts together, in minor units. 64 bits are too few for very many deals.
    pub amount: i128,
    /// What they count for in a forecast: weighted and rounded deal by deal, then added.
    pub weighted: i128,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.amount += other.amount;
        self.weighted += other.weighted;
    }
}

/// What some deals come to, currency by currency.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals(BTreeMap<String, Tally>);

impl Totals {
    /// Adds what more deals in this currency come to.
    pub fn add(&mut self, currency: &str, tally: Tally) {
        self.0.entry(currency.to_owned()).or_default().add(tally);
    }

    /// How many deals they are, whatever their currencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().map(|tally| tally.count).sum()
    }

    /// What the deals in the currency of amounts that name none come to: what is told where there is room for one figure.
    #[must_use]
    pub fn default_currency(&self) -> Tally {
        self.0.get(Currency::CNY.code()).copied().unwrap_or_default()
    }

    /// The currencies, by their codes.
    pub fn by_currency(&self) -> impl Iterator<Item = (&str, Tally)> {
        self.0.iter().map(|(currency, tally)| (currency.as_str(), *tally))
    }
}

/// The stages of the default pipeline with what the deals at each come to. Every stage is there, also without deals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    stages: Vec<(Stage, Totals)>,
}

impl Pipeline {
    /// All stages, without a deal.
    #[must_use]
    pub fn new() -> Self {
        Self { stages: Stage::ALL.map(|stage| (stage, Totals::default())).into() }
    }

    /// The stages of open deals, without a deal.
    #[must_use]
    pub fn of_open_deals() -> Self {
        let mut pipeline = Self::new();
        pipeline.stages.retain(|(stage, _)| stage.status() == DealStatus::Open);
        pipeline
    }

    /// Adds what deals at a stage come to, if it is one of these.
    pub fn add(&mut self, stage: Stage, currency: &str, tally: Tally) {
        if let Some((_, totals)) = self.stages.iter_mut().find(|(known, _)| *known == stage) {
            totals.add(currency, tally);
        }
    }

    /// The stages in their order.
    #[must_use]
    pub fn stages(&self) -> &[(Stage, Totals)] {
        &self.stages
    }

    /// What the deals at all stages come to.
    #[must_use]
    pub fn total(&self) -> Totals {
        let mut total = Totals::default();
        for (currency, tally) in self.stages.iter().flat_map(|(_, totals)| totals.by_currency()) {
            total.add(currency, tally);
        }
        total
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new()
    }
}

/// How often deals were won of those that were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WinRate {
    /// Deals won.
    pub won: u64,
    /// Deals lost.
    pub lost: u64,
}

impl WinRate {
    /// Tenths of a percent, rounded half up; 0 if no deal was closed.
    #[must_use]
    pub fn permille(self) -> u64 {
        let closed = self.won + self.lost;
        if closed == 0 { 0 } else { (2000 * self.won + closed) / (2 * closed) }
    }
}

/// How many records have each value of a field; no more values than can be shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    /// The commonest values with their records; `None` of those that have no value.
    pub named: Vec<(Option<String>, u64)>,
    /// Records with other values.
    pub others: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::AMOUNT_MAX;

    fn tally(count: u64, amount: i128) -> Tally {
        Tally { count, amount, weighted: amount / 10 }
    }

    #[test]
    fn currencies_stay_apart_and_the_default_one_is_told_first() {
        let mut pipeline = Pipeline::of_open_deals();
        pipeline.add(Stage::Proposal, "USD", tally(1, 100));
        pipeline.add(Stage::Proposal, "CNY", tally(2, 30));
        pipeline.add(Stage::Negotiation, "CNY", tally(1, 7));
        pipeline.add(Stage::Won, "CNY", tally(9, 9));

        let total = pipeline.total();

        assert_eq!(pipeline.stages().len(), 4);
        assert_eq!(total.count(), 4);
        assert_eq!(total.default_currency(), Tally { count: 3, amount: 37, weighted: 3 });
        let codes: Vec<_> = total.by_currency().map(|(currency, tally)| (currency, tally.amount)).collect();
        assert_eq!(codes, [("CNY", 37), ("USD", 100)]);
    }

    #[test]
    fn sums_pass_what_64_bits_hold() {
        let mut totals = Totals::default();
        for _ in 0..100_000 {
            totals.add("CNY", tally(1, i128::from(AMOUNT_MAX)));
        }
        assert_eq!(totals.default_currency().amount, 100_000_000_000_000_000_000);
    }

    #[test]
    fn a_rate_is_rounded_half_up_and_is_0_of_nothing() {
        for (won, lost, permille) in
            [(0, 0, 0), (1, 2, 333), (2, 1, 667), (1, 0, 1000), (0, 5, 0), (1, 7, 125), (1, 15, 63)]
        {
            assert_eq!(WinRate { won, lost }.permille(), permille, "{won}:{lost}");
        }
    }

    proptest! {
        #[test]
        fn a_rate_lies_between_nothing_and_everything(won in 0..1_u64 << 40, lost in 0..1_u64 << 40) {
            let permille = WinRate { won, lost }.permille();
            prop_assert!(permille <= 1000);
            prop_assert_eq!(permille + WinRate { won: lost, lost: won }.permille() >= 1000, won + lost > 0);
        }
    }
}
