//! Functions that are called in another way than before.

use super::Findings;
use crate::diff::Diff;
use crate::live::{Entity, Live};
use livepatch_object::layout::Function;

/// Old callers of such a function go on calling the old one.
///
/// A function that the optimiser gave a calling convention of its own may have got another one by any
/// change of its code.
pub(super) fn check(live: &Live, diff: &Diff, findings: &mut Findings<'_>) {
    for change in &diff.changed {
        let before = live.entity(change.new.name(), change.new.scope());
        let Some((old, new)) = before.and_then(described).zip(described(&change.new)) else { continue };
        let irregular = new.is_irregular() || old.is_irregular();
        if irregular || new.signature() != old.signature() {
            findings.versioned.insert(change.new.name().into());
        }
    }
}

fn described(function: &Entity) -> Option<Function<'_>> {
    function.object.layouts()?.function(function.symbol)
}
