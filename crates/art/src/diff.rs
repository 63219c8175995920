//! From two versions of a program to a patch: which methods changed, and classes whose methods replace them.
//!
//! A changed class `C` becomes a class `C_CF…` beside it, which has nothing but the methods that changed, and what they
//! need and `C` does not have. Bodies go on to mean `C` where they say `C`: in methods of objects, the object's
//! register is said to be one first (`check-cast`, which always succeeds). So nothing depends on how objects and
//! vtables of both classes are laid out.

mod compare;
mod findings;
mod fix;
mod program;
mod transform;

pub use findings::{Finding, Reason};

use crate::dex::{self, Class, Dex};
use compare::Comparison;
use program::Program;
use sha2::{Digest as _, Sha256};

/// What is behind the name of a class in the name of the one that fixes it, and before what tells patches apart: a
/// class loader has one class of a name for good.
const SUFFIX: &str = "_CF";
/// How many digits tell patches apart.
const DIGITS: usize = 8;

/// What is different, and the patch that makes it so, if one can.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Methods that changed, with their classes, sorted.
    pub changed: Vec<String>,
    /// Classes that are new.
    pub added: Vec<String>,
    /// Why there is no patch.
    pub refused: Vec<Finding>,
    /// What is different and has no effect on what runs.
    pub notes: Vec<Finding>,
    /// The patch's classes; none if something is refused, or nothing changed.
    pub patch: Option<Dex>,
    /// The names of those whose methods replace others.
    pub fixes: Vec<String>,
}

/// Compares two versions of a program, each of one dex file or several.
pub fn diff(old: &[Dex], new: &[Dex]) -> Difference {
    let (old, new_program) = (Program::of(old), Program::of(new));
    let comparison = Comparison::of(&old, &new_program);
    let mut difference = Difference {
        changed: comparison.changed_names(),
        added: comparison.added.iter().map(|class| class.name()).collect(),
        refused: comparison.refused.clone(),
        notes: comparison.notes.clone(),
        patch: None,
        fixes: Vec::new(),
    };
    if !difference.refused.is_empty() || (difference.changed.is_empty() && difference.added.is_empty()) {
        return difference;
    }
    let version = new.iter().map(|dex| dex.version).max().unwrap_or(35);
    let named = |suffix: &str| fix::classes(&old, &new_program, &comparison, suffix);
    match named(SUFFIX).and_then(|made| named(&suffix(version, made))) {
        Ok(made) => {
            difference.fixes = made.fixes.iter().map(Class::name).collect();
            difference.patch = Some(Dex { version, classes: made.all() });
        }
        Err(refused) => difference.refused = refused,
    }
    difference
}

/// What is behind the names of the classes of a patch that fix others: it is the same for the same patch, and hardly ever
/// for another one.
fn suffix(version: u32, made: fix::Made) -> String {
    // What cannot be written is nothing that could be told apart, and is refused where it is to be written.
    let bytes = dex::write(&Dex { version, classes: made.all() }).unwrap_or_default();
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{SUFFIX}{}", &digits[..DIGITS])
}
