//! From two versions of a program to a patch: which methods changed, and classes whose methods replace them.
//!
//! A changed class `C` becomes a class `C_CF` beside it, which has nothing but the methods that changed, and what they
//! need and `C` does not have. Bodies go on to mean `C` where they say `C`: in methods of objects, the object's
//! register is said to be one first (`check-cast`, which always succeeds). So nothing depends on how objects and
//! vtables of both classes are laid out.

mod compare;
mod findings;
mod fix;
mod program;
mod transform;

pub use findings::{Finding, Reason};

use crate::dex::{Class, Dex, Text};
use compare::Comparison;
use program::Program;

/// What is behind the name of a class in the name of the one that fixes it.
pub const SUFFIX: &str = "_CF";

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
}

impl Difference {
    /// The names of the classes whose methods replace others.
    pub fn classes(&self) -> Vec<String> {
        let all = self.patch.iter().flat_map(|dex| &dex.classes);
        all.map(Class::name).filter(|name| name.ends_with(SUFFIX)).collect()
    }
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
    };
    if !difference.refused.is_empty() || (difference.changed.is_empty() && difference.added.is_empty()) {
        return difference;
    }
    match fix::classes(&old, &new_program, &comparison) {
        Ok(classes) => {
            let version = new.iter().map(|dex| dex.version).max().unwrap_or(35);
            difference.patch = Some(Dex { version, classes });
        }
        Err(refused) => difference.refused = refused,
    }
    difference
}

/// The descriptor of the class that fixes another one.
fn fix_of(class: &Text) -> Text {
    let text = class.to_text();
    let inside = text.strip_suffix(';').unwrap_or(&text);
    Text::from(format!("{inside}{SUFFIX};").as_str())
}
