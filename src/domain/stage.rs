//! The stages of the default pipeline, and what moving between them does to a deal (contract §6).

use super::{Allowed, Timestamp};

/// Whether a deal is still going on, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DealStatus {
    /// 1
    Open,
    /// 2
    Won,
    /// 3
    Lost,
}

impl DealStatus {
    /// The numbers that stand for them.
    pub const ALLOWED: Allowed = Allowed::Integers(&[1, 2, 3]);

    /// The number that stands for it.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Won => 2,
            Self::Lost => 3,
        }
    }

    /// The status of a number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        [Self::Open, Self::Won, Self::Lost].into_iter().find(|status| status.code() == code)
    }
}

/// A stage of the default pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// 1
    FirstContact,
    /// 2
    NeedsAnalysis,
    /// 3
    Proposal,
    /// 4
    Negotiation,
    /// 5
    Won,
    /// 6
    Lost,
}

impl Stage {
    /// The numbers that stand for them.
    pub const ALLOWED: Allowed = Allowed::Integers(&[1, 2, 3, 4, 5, 6]);

    /// All stages, in the order of a pipeline.
    pub const ALL: [Self; 6] =
        [Self::FirstContact, Self::NeedsAnalysis, Self::Proposal, Self::Negotiation, Self::Won, Self::Lost];

    /// The number that stands for it.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::FirstContact => 1,
            Self::NeedsAnalysis => 2,
            Self::Proposal => 3,
            Self::Negotiation => 4,
            Self::Won => 5,
            Self::Lost => 6,
        }
    }

    /// The stage of a number.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.code() == code)
    }

    /// Its name on the platform's screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstContact => "初步接洽",
            Self::NeedsAnalysis => "需求分析",
            Self::Proposal => "方案报价",
            Self::Negotiation => "商务谈判",
            Self::Won => "赢单",
            Self::Lost => "输单",
        }
    }

    /// How likely a deal at this stage is won, in percent, unless somebody says otherwise.
    #[must_use]
    pub fn probability_pct(self) -> i64 {
        match self {
            Self::FirstContact => 10,
            Self::NeedsAnalysis => 20,
            Self::Proposal => 40,
            Self::Negotiation => 60,
            Self::Won => 100,
            Self::Lost => 0,
        }
    }

    /// The status of a deal at this stage.
    #[must_use]
    pub fn status(self) -> DealStatus {
        match self {
            Self::FirstContact | Self::NeedsAnalysis | Self::Proposal | Self::Negotiation => DealStatus::Open,
            Self::Won => DealStatus::Won,
            Self::Lost => DealStatus::Lost,
        }
    }
}

/// Where a deal stands. Its status is that of its stage: the two cannot disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The stage.
    pub stage: Stage,
    /// Where it goes when it is reopened.
    pub last_open_stage: Stage,
    /// How likely it is won, in percent.
    pub probability_pct: i64,
    /// When it was won or lost.
    pub closed_at: Option<Timestamp>,
    /// Why it was lost.
    pub lost_reason: Option<String>,
}

/// What a client asks of a deal's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Move {
    /// The stage written.
    pub stage: Option<Stage>,
    /// The status written.
    pub status: Option<DealStatus>,
    /// The probability written.
    pub probability_pct: Option<i64>,
}

/// The stage and the status that were written contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction;

/// What a move did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// The deal is as open or as closed as before.
    Within,
    /// It was won or lost now; won to lost and lost to won count.
    Closed,
    /// It is open again.
    Reopened,
}

impl Standing {
    /// Where a new deal stands.
    ///
    /// # Errors
    /// Stage and status contradict each other.
    pub fn begin(written: Move, now: Timestamp) -> Result<Self, Contradiction> {
        let first = Stage::FirstContact;
        let mut standing = Self {
            stage: first,
            last_open_stage: first,
            probability_pct: first.probability_pct(),
            closed_at: None,
            lost_reason: None,
        };
        standing.apply(written, now)?;
        Ok(standing)
    }

    /// The status, which follows from the stage.
    #[must_use]
    pub fn status(&self) -> DealStatus {
        self.stage.status()
    }

    /// Moves the deal. Writing only the status moves it to that status's stage, and reopening to the last open one; moving
    /// the stage resets the probability unless that is written too.
    ///
    /// # Errors
    /// Stage and status contradict each other.
    pub fn apply(&mut self, written: Move, now: Timestamp) -> Result<Moved, Contradiction> {
        let Move { stage, status, probability_pct } = written;
        let target = match (stage, status) {
            (Some(stage), Some(status)) if stage.status() != status => return Err(Contradiction),
            (Some(stage), _) => stage,
            (None, Some(status)) if status == self.status() => self.stage,
            (None, Some(DealStatus::Open)) => self.last_open_stage,
            (None, Some(DealStatus::Won)) => Stage::Won,
            (None, Some(DealStatus::Lost)) => Stage::Lost,
            (None, None) => self.stage,
        };
        let before = self.status();
        if target != self.stage {
            self.stage = target;
            self.probability_pct = target.probability_pct();
        }
        if let Some(probability_pct) = probability_pct {
            self.probability_pct = probability_pct;
        }
        if target.status() == DealStatus::Open {
            self.last_open_stage = target;
        }
        if self.status() == before {
            return Ok(Moved::Within);
        }
        self.lost_reason = None;
        if self.status() == DealStatus::Open {
            self.closed_at = None;
            Ok(Moved::Reopened)
        } else {
            self.closed_at = Some(now);
            Ok(Moved::Closed)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn stage(code: i64) -> Stage {
        Stage::from_code(code).expect("1 to 6")
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn to_stage(code: i64) -> Move {
        Move { stage: Some(stage(code)), ..Move::default() }
    }

    fn to_status(code: i64) -> Move {
        Move { status: DealStatus::from_code(code), ..Move::default() }
    }

    #[test]
    fn reopening_returns_to_the_last_open_stage() {
        let mut deal = Standing::begin(to_stage(3), at(1)).expect("consistent");
        assert_eq!(deal.apply(to_status(3), at(2)), Ok(Moved::Closed));
        deal.lost_reason = Some("价格".into());
        assert_eq!((deal.stage, deal.closed_at, deal.probability_pct), (Stage::Lost, Some(at(2)), 0));
        assert_eq!(deal.apply(to_status(1), at(3)), Ok(Moved::Reopened));
        assert_eq!((deal.stage, deal.closed_at, deal.probability_pct), (Stage::Proposal, None, 40));
        assert_eq!(deal.lost_reason, None);
    }

    #[test]
    fn a_deal_that_began_closed_reopens_at_the_first_stage() {
        let mut deal = Standing::begin(to_stage(5), at(1)).expect("consistent");
        assert_eq!((deal.status(), deal.closed_at), (DealStatus::Won, Some(at(1))));
        assert_eq!(deal.apply(to_status(1), at(2)), Ok(Moved::Reopened));
        assert_eq!(deal.stage, Stage::FirstContact);
    }

    #[test]
    fn from_won_to_lost_is_a_new_closing() {
        let mut deal = Standing::begin(to_stage(5), at(1)).expect("consistent");
        assert_eq!(deal.apply(to_stage(6), at(2)), Ok(Moved::Closed));
        assert_eq!(deal.closed_at, Some(at(2)));
    }

    #[test]
    fn writing_what_is_there_changes_nothing() {
        let mut deal = Standing::begin(to_stage(6), at(1)).expect("consistent");
        let before = deal.clone();
        let same = Move { stage: Some(Stage::Lost), status: Some(DealStatus::Lost), probability_pct: None };
        assert_eq!(deal.apply(same, at(2)), Ok(Moved::Within));
        assert_eq!(deal, before);
    }

    #[test]
    fn a_written_probability_outlives_the_move_it_came_with_and_no_other() {
        let written = Move { probability_pct: Some(77), ..to_stage(2) };
        let mut deal = Standing::begin(written, at(1)).expect("consistent");
        assert_eq!(deal.probability_pct, 77);
        deal.apply(to_stage(2), at(2)).expect("consistent");
        assert_eq!(deal.probability_pct, 77);
        deal.apply(to_stage(4), at(3)).expect("consistent");
        assert_eq!(deal.probability_pct, 60);
    }

    prop_compose! {
        fn any_move()(s in option::of(1..=6_i64), t in option::of(1..=3_i64), p in option::of(0..=100_i64)) -> Move {
            Move { stage: s.map(stage), status: t.and_then(DealStatus::from_code), probability_pct: p }
        }
    }

    proptest! {
        #[test]
        fn stage_status_and_closing_time_always_agree(moves in prop::collection::vec(any_move(), 1..20)) {
            let mut deal = Standing::begin(Move::default(), at(0)).expect("consistent");
            for (step, written) in moves.into_iter().enumerate() {
                let before = deal.clone();
                let contradicts = matches!((written.stage, written.status), (Some(s), Some(t)) if s.status() != t);
                let moved = deal.apply(written, at(step as i64 + 1));
                prop_assert_eq!(moved.is_err(), contradicts);
                if moved.is_err() {
                    prop_assert_eq!(&deal, &before);
                    continue;
                }
                if let Some(status) = written.status {
                    prop_assert_eq!(deal.status(), status);
                }
                prop_assert_eq!(deal.closed_at.is_some(), deal.status() != DealStatus::Open);
                prop_assert_eq!(deal.last_open_stage.status(), DealStatus::Open);
                let closed = deal.status() != DealStatus::Open && deal.status() != before.status();
                prop_assert_eq!(moved == Ok(Moved::Closed), closed);
                prop_assert!(deal.status() == DealStatus::Lost || deal.lost_reason.is_none());
            }
        }
    }
}
