//! What happens in the sample data: a year of customers won and lost, as steps in the order of their moments.

use std::collections::HashSet;

use chrono::{DateTime, Days};
use serde_json::{Value, json};

use super::chance::Chance;
use super::words;
use crate::domain::{Stage, Timestamp, fold_name};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// New customers come from this many days ago until this many days ago.
const FIRST_DAY: i64 = 365;
const LAST_DAY: i64 = 14;
/// Deals of customers that came this many days ago or earlier are mostly closed.
const LONG_AGO: i64 = 150;
/// The working day in China, in hours of UTC.
const OPENS: i64 = 1;
const CLOSES: i64 = 10;
/// Where the first deals end up, so that every stage has one: the earliest have the most time.
const FIRST_STAGES: [Stage; 6] =
    [Stage::Won, Stage::Lost, Stage::Negotiation, Stage::Proposal, Stage::NeedsAnalysis, Stage::FirstContact];

/// What a script is wanted for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Customers.
    pub customers: usize,
    /// What chance follows from.
    pub seed: u64,
    /// When it ends: the present.
    pub until: Timestamp,
    /// The folded names that other customers have.
    pub taken: HashSet<String>,
}

impl Wanted {
    /// A moment before everything that happens.
    #[must_use]
    pub fn beginning(&self) -> Timestamp {
        Timestamp::from_millis(self.until.millis() - (FIRST_DAY + 1) * DAY)
    }
}

/// Everything that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// In the order of their moments.
    pub(super) steps: Vec<Step>,
    /// Where each deal ends up.
    pub(super) final_stages: Vec<Stage>,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    /// Who writes.
    pub(super) by: &'static str,
    pub(super) act: Act,
}

/// What is written: the fields as a client would send them, without the ids of the records that are named by number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Customer { number: usize, fields: Value },
    ChangeCustomer { number: usize, fields: Value },
    Contact { number: usize, customer: usize, fields: Value },
    Opportunity { number: usize, customer: usize, fields: Value },
    ChangeOpportunity { number: usize, fields: Value },
    FollowUp { customer: usize, contact: usize, opportunity: Option<usize>, fields: Value },
}

impl Script {
    /// Makes up a year that ends at the moment wanted. The same wishes make the same year.
    #[must_use]
    pub fn write(wanted: Wanted) -> Self {
        let Wanted { customers, seed, until, taken } = wanted;
        let mut draft = Draft {
            script: Self { steps: Vec::new(), final_stages: Vec::new() },
            chance: Chance::of(seed),
            until: until.millis(),
            names: taken,
            contacts: 0,
        };
        for number in 0..customers {
            draft.customer(number, customers);
        }
        let mut script = draft.script;
        script.steps.sort_by_key(|step| step.at);
        script
    }

    /// How many steps it has.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

/// A script that is being written.
struct Draft {
    script: Script,
    chance: Chance,
    until: i64,
    /// The folded names that were given.
    names: HashSet<String>,
    contacts: usize,
}

/// A customer that steps are added to.
#[derive(Clone, Copy)]
struct Account {
    number: usize,
    by: &'static str,
    /// Its primary contact, and when that was known.
    contact: usize,
    since: i64,
}

impl Draft {
    fn add(&mut self, at: i64, by: &'static str, act: Act) {
        self.script.steps.push(Step { at: Timestamp::from_millis(at), by, act });
    }

    /// A moment of a working day some days after another one; `None` if that is still to come.
    fn after(&mut self, moment: i64, least_days: i64, most_days: i64) -> Option<i64> {
        let day = moment.div_euclid(DAY) + self.chance.between(least_days, most_days);
        let time = self.chance.between(OPENS * HOUR, CLOSES * HOUR);
        Some(day * DAY + time).filter(|at| *at <= self.until)
    }

    /// A customer with its contacts, deals and follow-ups; the `number`th of `of`, the earlier ones first.
    fn customer(&mut self, number: usize, of: usize) {
        let by = self.chance.pick(&words::TEAM);
        let share = i64::try_from(number * 1000 / of.max(1)).unwrap_or(0);
        let days_ago = FIRST_DAY - (FIRST_DAY - LAST_DAY) * share / 1000;
        let Some(at) = self.after(self.until - days_ago * DAY, 0, 3) else { return };
        let (name, city, industry) = self.company();
        let fields = json!({
            "name": name, "industry": industry, "region": city, "lifecycle": "lead",
            "level": self.chance.pick(&words::LEVELS), "source": self.chance.pick(&words::SOURCES),
            "contactPhone": self.phone(), "address": format!("{city}市高新区科技路{}号", self.chance.between(1, 399)),
        });
        self.add(at, by, Act::Customer { number, fields });
        let account = Account { number, by, contact: self.contacts, since: at + 20 * 60_000 };
        let people = self.chance.between(1, 3);
        for person in 0..people {
            self.contact(account, person == 0);
        }
        self.deals(account, days_ago);
        self.follow_ups(account);
    }

    /// A name that was not given yet, with its city and industry.
    fn company(&mut self) -> (String, &'static str, &'static str) {
        loop {
            let city = self.chance.pick(&words::CITIES);
            let (industry, trade) = self.chance.pick(&words::INDUSTRIES);
            let brand = [self.chance.pick(&words::BRANDS), self.chance.pick(&words::BRANDS)].concat();
            let name = format!("{city}{brand}{trade}{}", self.chance.pick(&words::FORMS));
            if self.names.insert(fold_name(&name)) {
                return (name, city, industry);
            }
        }
    }

    fn phone(&mut self) -> String {
        let prefix = self.chance.pick(&words::PHONE_PREFIXES);
        format!("{prefix}{:08}", self.chance.between(0, 99_999_999))
    }

    fn contact(&mut self, account: Account, is_primary: bool) {
        let (surname, latin) = self.chance.pick(&words::SURNAMES);
        let (title, department, role) = self.chance.pick(&words::POSTS);
        let fields = json!({
            "name": format!("{surname}{}", self.chance.pick(&words::GIVEN)), "phone": self.phone(),
            "email": format!("{latin}{}@example.com", self.chance.between(1, 999)), "isPrimary": is_primary,
            "title": title, "department": department, "role": role,
        });
        let act = Act::Contact { number: self.contacts, customer: account.number, fields };
        self.add(account.since, account.by, act);
        self.contacts += 1;
    }

    fn deals(&mut self, account: Account, days_ago: i64) {
        let deals = if account.number < FIRST_STAGES.len() { 1 } else { self.chance.between(0, 3) };
        let mut since = account.since;
        for _ in 0..deals {
            let goal = match FIRST_STAGES.get(self.script.final_stages.len()) {
                Some(stage) => *stage,
                None if days_ago > LONG_AGO && self.chance.percent(90) || self.chance.percent(30) => {
                    if self.chance.percent(55) { Stage::Won } else { Stage::Lost }
                }
                None => self.chance.pick(&Stage::ALL[..4]),
            };
            let Some(at) = self.after(since, 1, 12) else { return };
            since = self.deal(account, at, goal);
        }
    }

    /// A deal from its first contact to where it ends up, or to the present; returns when it was last moved.
    fn deal(&mut self, account: Account, at: i64, goal: Stage) -> i64 {
        let number = self.script.final_stages.len();
        let at_home = self.chance.percent(80);
        let (currency, least, most) =
            if at_home { words::YUAN } else { self.chance.pick(&words::CURRENCIES) };
        let amount = self.chance.between(least / 10_000, most / 10_000) * 10_000;
        let expected = DateTime::from_timestamp_millis(at).unwrap_or_default().date_naive()
            + Days::new(u64::try_from(self.chance.between(45, 150)).unwrap_or(90));
        let title = format!("{}{}期", self.chance.pick(&words::PRODUCTS), self.chance.pick(&["一", "二"]));
        let fields = json!({
            "title": title, "amountCents": amount, "currency": currency, "expectedCloseDate": expected.to_string(),
        });
        self.add(at, account.by, Act::Opportunity { number, customer: account.number, fields });
        let (mut stage, mut moved) = (Stage::FirstContact, at);
        self.script.final_stages.push(stage);
        for next in path_to(goal) {
            let Some(at) = self.after(moved, 4, 21) else { break };
            let mut fields = json!({ "stage": next.code() });
            if next == Stage::Lost {
                fields["lostReason"] = self.chance.pick(&words::LOST_REASONS).into();
            }
            self.add(at, account.by, Act::ChangeOpportunity { number, fields });
            if let Some(lifecycle) = lifecycle_at(next) {
                let fields = json!({ "lifecycle": lifecycle });
                self.add(at + 60_000, account.by, Act::ChangeCustomer { number: account.number, fields });
            }
            if self.chance.percent(60) {
                self.follow_up(account, Some(number), at + 10 * 60_000, None);
            }
            (stage, moved) = (next, at);
        }
        self.script.final_stages[number] = stage;
        moved
    }

    /// Calls and visits until the present; the next one is planned.
    fn follow_ups(&mut self, account: Account) {
        let mut at = account.since + 30 * 60_000;
        loop {
            let next = self.after(at, 9, 60);
            let planned = next.or_else(|| {
                let soon = self.until + self.chance.between(1, 14) * DAY;
                self.chance.percent(70).then_some(soon)
            });
            self.follow_up(account, None, at, planned);
            match next {
                Some(next) => at = next,
                None => return,
            }
        }
    }

    fn follow_up(&mut self, account: Account, opportunity: Option<usize>, at: i64, planned: Option<i64>) {
        let (kind, content) = self.chance.pick(&words::FOLLOW_UPS);
        let fields = json!({
            "followUpType": kind, "content": content, "nextFollowUpAt": planned.map(Timestamp::from_millis),
        });
        let Account { number, by, contact, .. } = account;
        self.add(at, by, Act::FollowUp { customer: number, contact, opportunity, fields });
    }
}

/// The stages that a deal moves through on its way from the first one.
fn path_to(goal: Stage) -> Vec<Stage> {
    let open = [Stage::NeedsAnalysis, Stage::Proposal, Stage::Negotiation];
    let mut path: Vec<_> = open.into_iter().take_while(|stage| stage.code() <= goal.code()).collect();
    if !path.contains(&goal) && goal != Stage::FirstContact {
        path.push(goal);
    }
    path
}

/// What a customer is once its deal has come this far.
fn lifecycle_at(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Proposal => Some("prospect"),
        Stage::Won => Some("customer"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(customers: usize, seed: u64) -> Wanted {
        let until = Timestamp::parse_rfc3339("2026-11-22T08:00:00Z").expect("a moment");
        Wanted { customers, seed, until, taken: HashSet::new() }
    }

    fn year(customers: usize, seed: u64) -> Script {
        Script::write(wanted(customers, seed))
    }

    fn names(script: &Script) -> HashSet<String> {
        let name = |step: &Step| match &step.act {
            Act::Customer { fields, .. } => Some(fold_name(fields["name"].as_str().expect("a name"))),
            _ => None,
        };
        script.steps.iter().filter_map(name).collect()
    }

    #[test]
    fn a_name_that_somebody_has_is_not_given_again() {
        let first = names(&year(200, 1));
        let second = names(&Script::write(Wanted { taken: first.clone(), ..wanted(200, 1) }));
        assert_eq!((first.len(), second.len()), (200, 200));
        assert!(first.is_disjoint(&second));
    }

    #[test]
    fn the_same_wishes_make_the_same_year_and_another_seed_another() {
        assert_eq!(year(30, 1), year(30, 1));
        assert_ne!(year(30, 1), year(30, 2));
    }

    #[test]
    fn whatever_the_seed_every_stage_has_a_deal_and_nothing_comes_before_its_parents_or_after_the_present() {
        for seed in 0..40 {
            let script = year(6, seed);
            for stage in Stage::ALL {
                assert!(script.final_stages.contains(&stage), "seed {seed}: no deal at {stage:?}");
            }
            let (mut customers, mut contacts, mut deals) = (HashSet::new(), HashSet::new(), HashSet::new());
            let mut before = Timestamp::default();
            for step in &script.steps {
                assert!(
                    before <= step.at && step.at.to_string().as_str() <= "2026-11-22T08:00:00.000Z",
                    "{step:?}"
                );
                before = step.at;
                assert!(wanted(6, seed).beginning() < step.at);
                let known = match &step.act {
                    Act::Customer { number, .. } => customers.insert(*number),
                    Act::ChangeCustomer { number, .. } => customers.contains(number),
                    Act::Contact { number, customer, .. } => {
                        customers.contains(customer) && contacts.insert(*number)
                    }
                    Act::Opportunity { number, customer, .. } => {
                        customers.contains(customer) && deals.insert(*number)
                    }
                    Act::ChangeOpportunity { number, .. } => deals.contains(number),
                    Act::FollowUp { customer, contact, opportunity, .. } => {
                        customers.contains(customer)
                            && contacts.contains(contact)
                            && opportunity.is_none_or(|deal| deals.contains(&deal))
                    }
                };
                assert!(known, "seed {seed}: {step:?}");
            }
        }
    }
}
