//! Shims at the entries of versioned functions.

use super::{Existing, NewCode, PartId, Redirected, ResolveError, Resolver, Target};
use crate::delegate::{BEFORE, Delegation, NEW};
use crate::live::Entity;
use crate::objects::ObjectKey;
use livepatch_object::address::SectionOffset;

impl Resolver<'_> {
    /// Old callers arrive at the shim.
    pub(super) fn add_delegation(&mut self, delegation: &Delegation) -> Result<(), ResolveError> {
        let Delegation { old, new, shim, kept } = delegation;
        let Existing::Target(Target::Live(entry)) = self.known(&old.object, old.symbol) else {
            return Ok(());
        };
        let new = match new {
            Some(new) => Some(self.define(&new.object, new.symbol)?),
            None => None,
        };
        let before = Target::ShimSlot(entry);
        let (Some(part), Some(kept)) = (self.add_shim(shim, new, before), self.add_shim(kept, new, before))
        else {
            return Ok(());
        };
        self.closure.redirected.push(Redirected {
            entry,
            body: NewCode::Part(part, SectionOffset(0)),
            entity: old.clone(),
            name: old.name().to_owned(),
            kept: Some(kept),
        });
        Ok(())
    }

    fn add_shim(&mut self, shim: &Entity, new: Option<Target>, before: Target) -> Option<PartId> {
        for (id, _) in shim.object.image.symbols() {
            let target = match shim.object.image.name(id) {
                NEW => new?,
                BEFORE => before,
                _ => continue,
            };
            self.closure.targets.insert((ObjectKey::of(&shim.object), id), target);
        }
        Some(self.add_part(&shim.object, shim.section()?))
    }
}
