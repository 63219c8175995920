//! What the crates were at each patch.

use crate::session::{CrateObjects, UnitId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Version = BTreeMap<UnitId, Arc<CrateObjects>>;

/// The objects of every crate that was rebuilt, now and at each patch. Crates that are not here are as they
/// were in the base build.
#[derive(Default, Debug)]
pub(super) struct Versions {
    latest: Version,
    /// Ascending by patch.
    earlier: Vec<(u32, Version)>,
}

impl Versions {
    /// The latest objects of those of these crates that were rebuilt.
    pub(super) fn latest_of(&self, units: &BTreeSet<UnitId>) -> impl Iterator<Item = &CrateObjects> {
        self.latest.iter().filter(|(unit, _)| units.contains(unit)).map(|(_, krate)| &**krate)
    }

    /// These crates are what is live from now on, at that patch.
    pub(super) fn advance(&mut self, patch: u32, crates: impl IntoIterator<Item = CrateObjects>) {
        self.latest.extend(crates.into_iter().map(|krate| (krate.unit.clone(), Arc::new(krate))));
        self.earlier.retain(|&(number, _)| number != patch);
        // What the program was started with stays what it was.
        if patch > 0 {
            self.earlier.push((patch, self.latest.clone()));
        }
    }

    /// What was live at an earlier patch is so again.
    pub(super) fn revert_to(&mut self, patch: u32) {
        self.earlier.retain(|&(number, _)| number <= patch);
        self.latest = self.earlier.last().map(|(_, version)| version.clone()).unwrap_or_default();
    }
}
