//! Samples and what is made of them.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Milliseconds by what was timed.
pub(super) type Times = BTreeMap<&'static str, f64>;

/// Everything that one contender took.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) rounds: Vec<Times>,
    /// What is known of it besides times.
    pub(super) facts: Value,
    /// Why there are no (more) times.
    pub(super) failure: Option<String>,
}

impl Series {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new(), facts: Value::Null, failure: None }
    }

    /// The samples of one measure, in the order of the rounds.
    pub(super) fn of(&self, what: &str) -> Vec<f64> {
        self.rounds.iter().filter_map(|times| times.get(what).copied()).collect()
    }

    /// Everything that was timed.
    pub(super) fn measures(&self) -> Vec<&'static str> {
        let mut all: Vec<&'static str> = self.rounds.iter().flat_map(|times| times.keys().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn to_json(&self) -> Value {
        let samples: BTreeMap<&str, Vec<f64>> =
            self.measures().into_iter().map(|what| (what, self.of(what))).collect();
        json!({ "name": self.name, "ms": samples, "facts": self.facts, "failure": self.failure })
    }
}

/// The middle of the samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The least and the most.
pub(super) fn extremes(samples: &[f64]) -> (f64, f64) {
    samples.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

/// The median of the ratios, round by round: what slows a whole round down slows both.
pub(super) fn ratio(these: &[f64], over: &[f64]) -> f64 {
    median(&these.iter().zip(over).map(|(a, b)| a / b).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(extremes(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine was ten times slower in the second round.
        assert_eq!(ratio(&[2.0, 20.0, 2.2], &[1.0, 10.0, 1.0]), 2.0);
    }
}
