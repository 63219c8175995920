//! Functions that are called in another way than before.

use super::{Findings, Pair};
use crate::diff::Diff;
use rustc_hash::FxHashSet;

/// Old callers of such a function go on calling the old one.
///
/// A function that the optimiser gave a calling convention of its own may have got another one by any
/// change of its code.
pub(super) fn check(pairs: &[Pair<'_>], diff: &Diff, findings: &mut Findings<'_>) {
    let changed: FxHashSet<&str> = diff.changed.iter().map(|change| change.new.name()).collect();
    for Pair { old: (was, old), new: (object, new) } in pairs {
        for function in new.functions() {
            let name = object.image.name(function.symbol());
            if !changed.contains(name) {
                continue;
            }
            let before = old.functions().find(|f| was.image.name(f.symbol()) == name);
            let Some(before) = before else { continue };
            let irregular = function.is_irregular() || before.is_irregular();
            if irregular || function.signature() != before.signature() {
                findings.versioned.insert(name.into());
            }
        }
    }
}
