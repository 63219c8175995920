//! Thread-locals of an object's own that its code has at a constant offset from the thread pointer, as only code of the
//! program itself can. In a library that offset is another variable's; not every linker says so.

use super::StubError;
use super::readable::parse;
use super::references::References;
use super::target::StubTarget;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use std::collections::BTreeSet;

/// The names of thread-locals that an object defines and refers to by offsets from the thread pointer that stand in
/// its code (local-exec), ascending. Such an object must not become part of a library.
pub fn misplaced_thread_locals(object: &[u8]) -> Result<Vec<String>, StubError> {
    let file = parse(object, "relocatable object")?;
    let target = StubTarget::of(&file)?;
    let mut names = BTreeSet::new();
    for section in file.sections() {
        for (_, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            if References::of(target, relocation.flags()) != References::THREAD_LOCAL_EXEC {
                continue;
            }
            let symbol = file.symbol_by_index(index).map_err(StubError::unreadable("symbol table"))?;
            if !symbol.is_undefined() {
                names.insert(symbol.name().unwrap_or_default().to_owned());
            }
        }
    }
    Ok(names.into_iter().collect())
}
