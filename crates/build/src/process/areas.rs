//! Islands beside the host, and beside patch libraries that are out of reach of it.

use crate::islands::{Islands, PlanError, Redirection};
use crate::place::PAGE;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::Function;
use livepatch_proto::{IslandPage, WireRange};
use std::ops::Range;

/// How far a library may be from another for their islands to be one area: what islands keep of their reach for what
/// comes later.
const NEAR: u64 = 32 << 20;

/// The island space of one host in one process.
#[derive(Clone, Debug)]
pub struct Areas {
    architecture: Architecture,
    host: Islands,
    /// Beside libraries, and where those are.
    libraries: Vec<(Range<RuntimeAddress>, Islands)>,
}

impl Areas {
    pub(super) fn new(architecture: Architecture, host: Islands) -> Self {
        Self { architecture, host, libraries: Vec::new() }
    }

    /// Everything that was handed out so far.
    pub fn taken(&self) -> impl Iterator<Item = Range<RuntimeAddress>> {
        let libraries = self.libraries.iter().flat_map(|(_, islands)| islands.taken());
        self.host.taken().chain(libraries)
    }

    /// Takes note of what others have handed out in the same process.
    pub fn avoid(&mut self, taken: impl IntoIterator<Item = Range<RuntimeAddress>>) {
        let taken: Vec<_> = taken.into_iter().collect();
        for islands in self.all() {
            islands.avoid(taken.iter().cloned());
        }
    }

    /// Takes note of what the process has free now.
    pub fn refresh(&mut self, free: &[WireRange]) {
        self.all().for_each(|islands| islands.refresh(free));
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Islands> {
        std::iter::once(&mut self.host).chain(self.libraries.iter_mut().map(|(_, islands)| islands))
    }

    /// A patch library is at `range`, and nothing at `free`.
    pub(super) fn add_library(&mut self, range: Range<RuntimeAddress>, free: &[WireRange]) {
        let is_near = |area: &Range<RuntimeAddress>| {
            let gap = area.start.0.saturating_sub(range.end.0).max(range.start.0.saturating_sub(area.end.0));
            gap < NEAR
        };
        if !self.libraries.iter().any(|(area, _)| is_near(area)) {
            let islands = Islands::new(self.architecture, PAGE, range.clone(), free).of_library();
            self.libraries.push((range, islands));
        }
    }

    /// As [`Islands::plan`], near the function.
    pub fn plan(&mut self, function: &Function<'_>) -> Result<Redirection, PlanError> {
        if self.libraries.is_empty() {
            return self.host.plan(function);
        }
        let taken: Vec<_> = self.taken().collect();
        let gap = |area: &Range<RuntimeAddress>| {
            let entry = function.entry.0;
            area.start.0.saturating_sub(entry).max(entry.saturating_sub(area.end.0))
        };
        let near = self.libraries.iter_mut().filter(|(area, _)| gap(area) < 2 * NEAR);
        let nearest = near.min_by_key(|(area, _)| gap(area)).map(|(_, islands)| islands);
        let islands = nearest.unwrap_or(&mut self.host);
        islands.avoid(taken);
        islands.plan(function)
    }

    /// As [`Islands::plan_slot`], beside the host.
    pub fn plan_slot(
        &mut self,
        entry: RuntimeAddress,
    ) -> Result<(RuntimeAddress, Vec<IslandPage>), PlanError> {
        self.host.plan_slot(entry)
    }

    /// As [`Islands::take_image_range`], beside the host.
    pub(super) fn take_image_range(
        &mut self,
        length: u64,
        align: u64,
        reach: Range<RuntimeAddress>,
    ) -> Option<RuntimeAddress> {
        self.host.take_image_range(length, align, reach)
    }
}
