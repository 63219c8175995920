//! The jump of an island that leads straight to the body, past the slot.

use super::x86_64::rel32;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::entry::aarch64::branch;
use livepatch_object::entry::x86_64::JUMP;
use livepatch_proto::{JumpSet, WireAddress};

/// The jump of an island that need not go through its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyJump {
    architecture: Architecture,
    at: RuntimeAddress,
    /// The jump through the slot, where it leads otherwise.
    stub: RuntimeAddress,
}

impl BodyJump {
    pub(super) fn new(architecture: Architecture, at: RuntimeAddress, stub: RuntimeAddress) -> Self {
        Self { architecture, at, stub }
    }

    /// The jump that `through_slot` makes lead to its stub.
    pub(crate) fn of(architecture: Architecture, through_slot: JumpSet) -> Self {
        Self::new(architecture, RuntimeAddress(through_slot.at.0), RuntimeAddress(through_slot.to.0))
    }

    /// The change that makes the jump lead to the slot's target by way of the slot.
    pub fn through_slot(self) -> JumpSet {
        JumpSet { at: WireAddress(self.at.0), to: WireAddress(self.stub.0) }
    }

    /// The change that makes the jump lead to the slot's new target: straight, if it is in reach.
    pub fn toward(self, target: WireAddress) -> JumpSet {
        if self.reaches(RuntimeAddress(target.0)) {
            JumpSet { at: WireAddress(self.at.0), to: target }
        } else {
            self.through_slot()
        }
    }

    fn reaches(self, target: RuntimeAddress) -> bool {
        match self.architecture {
            Architecture::X86_64 => {
                self.at.checked_add(JUMP as u64).is_some_and(|end| rel32(end, target).is_some())
            }
            Architecture::Aarch64 => branch(self.at, target).is_some(),
        }
    }
}
