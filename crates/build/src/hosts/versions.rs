//! What the crates were at each patch.

use crate::session::{CrateObjects, UnitId};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Version = BTreeMap<UnitId, Arc<CrateObjects>>;

/// The objects of every crate that was rebuilt, now and at each patch. Crates that are not here are as they
/// were in the base build.
#[derive(Default, Debug)]
pub(super) struct Versions {
    latest: Version,
    /// Ascending by patch.
    earlier: Vec<(u32, Version)>,
    /// The newest objects of crates of which older ones are live, because a rollback took the newer ones back.
    taken_back: Version,
}

impl Versions {
    /// The latest objects of those of these crates that were rebuilt.
    pub(super) fn latest_of(&self, units: &BTreeSet<UnitId>) -> impl Iterator<Item = &CrateObjects> {
        self.latest.iter().filter(|(unit, _)| units.contains(unit)).map(|(_, krate)| &**krate)
    }

    /// What was rebuilt, and the newest of what a rollback has taken back and was not rebuilt since: the sources
    /// still say it, so that the next edit makes it live.
    pub(super) fn with_taken_back(&self, rebuilt: &[CrateObjects]) -> Vec<CrateObjects> {
        let is_old = |unit: &UnitId| rebuilt.iter().any(|krate| krate.unit == *unit);
        let others = self.taken_back.iter().filter(|(unit, _)| !is_old(unit));
        rebuilt.iter().cloned().chain(others.map(|(_, krate)| CrateObjects::clone(krate))).collect()
    }

    /// These crates are what is live from now on, at that patch.
    pub(super) fn advance(&mut self, patch: u32, crates: impl IntoIterator<Item = CrateObjects>) {
        for krate in crates {
            self.taken_back.remove(&krate.unit);
            self.latest.insert(krate.unit.clone(), Arc::new(krate));
        }
        self.earlier.retain(|&(number, _)| number != patch);
        // What the program was started with stays what it was.
        if patch > 0 {
            self.earlier.push((patch, self.latest.clone()));
        }
    }

    /// Nobody goes back to a patch before this one any more, but to the beginning.
    pub(super) fn forget_before(&mut self, patch: u32) {
        self.earlier.retain(|&(number, _)| number >= patch);
    }

    /// The files of all objects that may be asked for again.
    pub(super) fn objects(&self) -> FxHashSet<&Path> {
        let all = self.earlier.iter().map(|(_, version)| version).chain([&self.latest, &self.taken_back]);
        all.flat_map(BTreeMap::values).flat_map(|krate| krate.objects.iter().map(PathBuf::as_path)).collect()
    }

    /// What was live at an earlier patch is so again.
    pub(super) fn revert_to(&mut self, patch: u32) {
        self.earlier.retain(|&(number, _)| number <= patch);
        let latest = self.earlier.last().map(|(_, version)| version.clone()).unwrap_or_default();
        for (unit, krate) in std::mem::replace(&mut self.latest, latest) {
            if self.latest.get(&unit).is_none_or(|live| !Arc::ptr_eq(live, &krate)) {
                // Newer than what an earlier rollback took back, if there is any of this crate.
                self.taken_back.insert(unit, krate);
            }
        }
    }
}
