//! Replacing by entries: a method's record stays what it was, but for the entry that callers go through, which leads
//! to the fix. Nothing that anybody has concluded from the record becomes wrong: its class, its index in the program's
//! file, its kind; and bodies that run find what they refer to where it was.

use super::memory::{self, RecordAddress};
use super::reason::EngineError;
use super::trampoline::Machine;
use super::{executable, maps, symbols};
use crate::flags;
use crate::jni::{Environment, Receiver};
use crate::layout::{Field, Layout, Place};
use crate::record::Record;
use jni_sys::jclass;
use std::collections::HashMap;

/// The runtime's own entry for methods that are interpreted.
const INTERPRETER: &str = "art_quick_to_interpreter_bridge";
/// From here on (12) there are two such entries, and not every method may have the faster one.
const TWO_INTERPRETERS: u32 = 31;

/// Entries of this process.
#[derive(Debug)]
pub(super) struct Entries {
    layout: Layout,
    place: Place,
    machine: Machine,
    /// Code that calls a fix.
    leading: HashMap<RecordAddress, usize>,
    /// What a method's entry may be if the code that it was is gone.
    interpreter: Option<usize>,
}

impl Entries {
    /// For a runtime in which calls go through entries: one that is told to interpret everything does without them.
    /// The records are of the probe's methods: `c` calls `a`, and `b` throws something.
    pub(super) fn find(
        env: Environment,
        layout: Layout,
        probe: jclass,
        records: [RecordAddress; 3],
    ) -> Option<Self> {
        let place = layout.place(Field::Quick)?;
        let [a, b, _] = records;
        let interpreter = match layout.release().level() {
            // It has never been called.
            ..TWO_INTERPRETERS => Some(memory::read_entry(b, place)),
            _ => symbols::find(&[INTERPRETER]).get(INTERPRETER).copied(),
        };
        let mut found =
            Self { layout, place, machine: Machine::own()?, leading: HashMap::new(), interpreter };
        found.lead_to(&[b]).ok()?;
        let before = memory::read(a, layout);
        let c = env.method(probe, "c", "()V", true).ok()?;
        found.give(a, b);
        let called = env.call(Receiver::Class(probe), c, 'V', &[]);
        found.take_back(a, &before, found.way_back(&before));
        called.is_err().then_some(found)
    }

    /// Makes what leads to these methods, all of it or nothing.
    pub(super) fn lead_to(&mut self, fixes: &[RecordAddress]) -> Result<(), EngineError> {
        let mut new: Vec<RecordAddress> = fixes.to_vec();
        new.retain(|fix| !self.leading.contains_key(fix));
        new.sort();
        new.dedup();
        // The table has no offset that is not.
        let entry = u8::try_from(self.place.offset).unwrap_or_default();
        let code: Vec<_> = new.iter().map(|fix| self.machine.code(fix.as_usize(), entry)).collect();
        let places = executable::place(&code).map_err(EngineError::NoMemory)?;
        self.leading.extend(new.into_iter().zip(places));
        Ok(())
    }

    /// Has callers of a method get to a fix that something leads to.
    pub(super) fn give(&self, target: RecordAddress, fix: RecordAddress) {
        let Some(entry) = self.leading.get(&fix) else { return };
        let release = self.layout.release();
        let (clear, set) = (flags::concluded(release), flags::compile_dont_bother(release));
        // First nobody takes for granted any more how the method is called.
        memory::change_flags(target, &self.layout, clear, set);
        memory::write_entry(target, self.place, *entry);
    }

    /// Whether callers of a method get to this fix.
    pub(super) fn is_given(&self, target: RecordAddress, fix: RecordAddress) -> bool {
        self.leading.get(&fix) == Some(&memory::read_entry(target, self.place))
    }

    /// The entry that a method gets when it is taken back. This looks up what is mapped where, which takes its time.
    pub(super) fn way_back(&self, original: &Record) -> Option<usize> {
        let entry = original.get(Field::Quick).and_then(|entry| usize::try_from(entry).ok());
        entry.and_then(|entry| self.lasting(entry, is_compiled_here))
    }

    /// Gives a method the entry and the flags that it had.
    pub(super) fn take_back(&self, target: RecordAddress, original: &Record, entry: Option<usize>) {
        if let Some(entry) = entry {
            memory::write_entry(target, self.place, entry);
        }
        let release = self.layout.release();
        let ours = flags::concluded(release) | flags::compile_dont_bother(release);
        memory::change_flags(target, &self.layout, ours & !original.flags(), ours & original.flags());
    }

    /// Whether there is a way back from what a method's entry is.
    pub(super) fn has_way_back(&self, target: RecordAddress) -> bool {
        self.interpreter.is_some() || !is_compiled_here(memory::read_entry(target, self.place))
    }

    /// An entry that is valid later, too. Code that the runtime made in this process is thrown away when no entry leads
    /// to it any more; in its place the method is interpreted.
    fn lasting(&self, entry: usize, goes_away: impl Fn(usize) -> bool) -> Option<usize> {
        match self.interpreter == Some(entry) || !goes_away(entry) {
            true => Some(entry),
            false => self.interpreter,
        }
    }
}

/// Whether an address is in code that the runtime's compiler made in this process.
fn is_compiled_here(address: usize) -> bool {
    let maps = maps::read().unwrap_or_default();
    let file = maps::at(&maps, address as u64).map(|mapping| mapping.file);
    file.is_some_and(|file| file.contains("jit-cache") || file.contains("jit-code-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Pointer, Release};

    #[test]
    fn an_entry_that_goes_away_becomes_the_interpreters() -> Result<(), Box<dyn std::error::Error>> {
        let layout = Layout::of(Release::LAST, Pointer::OWN);
        let place = layout.place(Field::Quick).ok_or("no entry")?;
        let entries = |interpreter| Entries {
            layout,
            place,
            machine: Machine::X86_64,
            leading: HashMap::new(),
            interpreter,
        };
        assert_eq!(entries(Some(7)).lasting(8, |_| false), Some(8));
        assert_eq!(entries(Some(7)).lasting(8, |_| true), Some(7));
        assert_eq!(entries(None).lasting(8, |_| true), None);
        assert_eq!(entries(None).lasting(8, |_| false), Some(8));
        Ok(())
    }
}
