//! What became of each function of a patch library.

use livepatch_proto::ModuleAddress;

/// What a patch library does to functions; each list ascends by name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct JumpReport {
    /// Callers of the older bodies arrive at this patch's.
    pub redirected: Vec<String>,
    /// Live for the first time: there is nothing to redirect.
    pub added: Vec<String>,
    /// Of the patch before, and not of this one: callers stay where they are.
    pub removed: Vec<String>,
    /// Those of `redirected` whose definition is a weak one.
    pub weak: Vec<String>,
    /// Left alone, because the name or the address says too little.
    pub ambiguous: Vec<Ambiguous>,
}

/// A function that is not redirected, because it is not known which one it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ambiguous {
    /// The name.
    pub name: String,
    /// What is not known.
    pub side: Side,
    /// The functions that it may be.
    pub addresses: Vec<ModuleAddress>,
}

/// Why a function is ambiguous.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The host has several functions of that name.
    Host,
    /// The patch library has.
    Patch,
    /// It begins where another one does, and the two have different bodies now: an address cannot say which of
    /// them is called.
    SharedAddress,
}

impl JumpReport {
    pub(super) fn sort(&mut self) {
        for names in [&mut self.redirected, &mut self.added, &mut self.removed, &mut self.weak] {
            names.sort_unstable();
        }
        self.ambiguous.sort_unstable();
    }
}
