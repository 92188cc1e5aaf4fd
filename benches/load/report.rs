//! From measurements to ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::Run;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    PerSecond,
    P99,
}

/// What a ratio or a figure is promised to be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Target {
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::None => true,
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn describe(self, value: f64) -> String {
        let (sign, bound) = match self {
            Self::None => return String::new(),
            Self::AtLeast(least) => (">=", least),
            Self::AtMost(most) => ("<=", most),
        };
        format!("{sign} {bound:<7}{}", if self.is_met(value) { "met" } else { "MISSED" })
    }
}

/// One subject against another, round by round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) of: &'static str,
    pub(crate) to: &'static str,
    pub(crate) figure: Figure,
    pub(crate) target: Target,
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    groups: BTreeMap<String, Group>,
    figures: BTreeMap<String, Measured>,
}

/// The rounds of each subject.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Group {
    rounds: BTreeMap<&'static str, Vec<Run>>,
    ratios: BTreeMap<String, Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    median: f64,
    least: f64,
    most: f64,
    target: Target,
    met: bool,
}

impl Measured {
    fn of(mut values: Vec<f64>, target: Target) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let median = at(values.len() / 2);
        Self {
            median,
            least: at(0),
            most: at(values.len().saturating_sub(1)),
            target,
            met: target.is_met(median),
        }
    }
}

impl Group {
    pub(crate) fn add(&mut self, subject: &'static str, run: Run) {
        self.rounds.entry(subject).or_default().push(run);
    }

    /// The 99th percentile of each round, in milliseconds.
    pub(crate) fn p99(&self, subject: &str) -> Vec<f64> {
        self.rounds.get(subject).into_iter().flatten().map(|run| run.p99_ms).collect()
    }

    /// Compares, and prints what came out.
    fn compare(&mut self, name: &str, ratios: &[Ratio]) {
        println!("\n{name:<34}{:>12}{:>10}{:>10}", "answers/s", "p50 ms", "p99 ms");
        for (subject, runs) in &self.rounds {
            let median = |figure: fn(&Run) -> f64| {
                Measured::of(runs.iter().map(figure).collect(), Target::None).median
            };
            let (rate, p50, p99) =
                (median(|run| run.per_second), median(|run| run.p50_ms), median(|run| run.p99_ms));
            println!("  {subject:<32}{rate:>12.0}{p50:>10.2}{p99:>10.2}");
        }
        println!("{:<34}{:>12}{:>20}", "", "median", "least to most");
        for ratio in ratios {
            let (Some(of), Some(to)) = (self.rounds.get(ratio.of), self.rounds.get(ratio.to)) else {
                continue;
            };
            let value = |run: &Run| match ratio.figure {
                Figure::PerSecond => run.per_second,
                Figure::P99 => run.p99_ms,
            };
            let values = of.iter().zip(to).map(|(of, to)| value(of) / value(to)).collect();
            let measured = Measured::of(values, ratio.target);
            let what = if matches!(ratio.figure, Figure::P99) { "p99 of " } else { "" };
            let label = format!("{what}{} / {}", ratio.of, ratio.to);
            let spread = format!("{:.2} to {:.2}", measured.least, measured.most);
            let target = ratio.target.describe(measured.median);
            println!("  {label:<32}{:>12.2}{spread:>20}  {target}", measured.median);
            self.ratios.insert(label, measured);
        }
    }
}

impl Report {
    pub(crate) fn add(&mut self, name: String, mut group: Group, ratios: &[Ratio]) {
        group.compare(&name, ratios);
        self.groups.insert(name, group);
    }

    /// A figure that is promised as such.
    pub(crate) fn figure(&mut self, name: &str, values: Vec<f64>, target: Target) {
        let measured = Measured::of(values, target);
        println!("  {name:<46}{:>10.2}  {}", measured.median, target.describe(measured.median));
        self.figures.insert(name.to_owned(), measured);
    }
}
