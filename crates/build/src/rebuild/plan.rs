//! Which crates an edit concerns.

use super::Rebuilder;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What an edit asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// None of the files belongs to the program.
    Nothing,
    /// Recompile these crates (positions in dependency order) and their dependents.
    Thin(BTreeSet<usize>),
    /// Only cargo knows what to do.
    Cargo {
        /// Why, as a sentence without its full stop.
        reason: String,
    },
}

impl Rebuilder {
    /// What a change of these files asks for.
    pub fn plan(&self, changed: &[PathBuf]) -> Plan {
        for path in changed {
            if let Some(input) = self.cargo_inputs.find(path) {
                return Plan::Cargo { reason: input.reason(path) };
            }
        }
        let mut units = BTreeSet::new();
        for (index, state) in self.units.iter().enumerate() {
            if changed.iter().any(|path| state.unit.sources.contains(path)) {
                units.insert(index);
            }
        }
        if !units.is_empty() {
            return Plan::Thin(units);
        }
        for path in changed {
            let package = self.cargo_inputs.packages.iter().find(|(folder, _)| path.starts_with(folder));
            if let Some((_, package)) = package {
                let reason = format!(
                    "{} changed, and {package} has a build script that names no inputs",
                    path.display()
                );
                return Plan::Cargo { reason };
            }
        }
        Plan::Nothing
    }

    /// The given units and everything that depends on them, in dependency order.
    pub(super) fn with_dependents(&self, units: &BTreeSet<usize>) -> Vec<usize> {
        let mut concerned = vec![false; self.units.len()];
        for (index, state) in self.units.iter().enumerate() {
            concerned[index] = units.contains(&index) || state.depends_on.iter().any(|&on| concerned[on]);
        }
        (0..self.units.len()).filter(|&index| concerned[index]).collect()
    }
}
