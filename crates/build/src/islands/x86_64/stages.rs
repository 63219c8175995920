//! In which order a function's first bytes change.

use crate::islands::PlanError;
use livepatch_object::address::RuntimeAddress;
use livepatch_object::entry::x86_64::{Entry, Function, JUMP, Method};
use livepatch_proto::{ByteWrite, ExpectedBytes, Stage, WireAddress, WordStore};
use rustc_hash::FxHashMap;

const INT3: u8 = 0xCC;
const JMP_REL32: u8 = 0xE9;
/// Bytes of a word that is stored at once.
const WORD: u64 = 8;

/// The code bytes that redirections have changed so far, in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    edited: FxHashMap<u64, u8>,
}

/// How an entry is changed, and whether it traps at any time.
pub(super) struct Staged {
    pub(super) expected: Vec<ExpectedBytes>,
    pub(super) stages: Vec<Stage>,
    pub(super) entry_traps: bool,
}

impl Text {
    /// Refuses a function whose entry, or part of it, was changed before.
    pub(super) fn refuse_edited(&self, entry: &Entry) -> Result<(), PlanError> {
        let start = entry.address();
        if self.edited.contains_key(&start.0) {
            return Err(PlanError::Again { entry: start });
        }
        let window = (0, entry.covered());
        for (offset, length) in std::iter::once(window).chain(entry.loops()) {
            let mut bytes = (offset..offset + length).map(|offset| start.0.wrapping_add(offset as u64));
            if let Some(at) = bytes.find(|at| self.edited.contains_key(at)) {
                return Err(PlanError::Overlap { entry: start, at: RuntimeAddress(at) });
            }
        }
        Ok(())
    }

    /// The stages that make `function` jump, or trap if there is no displacement for a jump.
    pub(super) fn stage(&mut self, function: &Function<'_>, entry: &Entry, jump: Option<i32>) -> Staged {
        let mut expected = Expected::default();
        expected.add(function, 0, entry.covered());
        let mut stages = Vec::new();
        let mut loops = Vec::new();
        for (offset, length) in entry.loops() {
            expected.add(function, offset, length);
            loops.push(self.write(function.entry, offset, INT3));
        }
        if !loops.is_empty() {
            stages.push(Stage::Bytes { writes: loops });
        }
        let at_once = match jump {
            Some(displacement) => self.word(function, entry, displacement, &mut expected),
            None => None,
        };
        let entry_traps = at_once.is_none();
        match (at_once, jump) {
            (Some(store), _) => stages.push(Stage::Word { store }),
            (None, Some(displacement)) => self.stepwise(function, entry, displacement, &mut stages),
            (None, None) => stages.push(Stage::Bytes { writes: vec![self.write(function.entry, 0, INT3)] }),
        }
        debug_assert_eq!(jump.is_some(), entry.method() == Method::Jump);
        Staged { expected: expected.runs(), stages, entry_traps }
    }

    /// The jump as one store, if its bytes are in one word and all of the word is known.
    fn word(
        &mut self,
        function: &Function<'_>,
        entry: &Entry,
        displacement: i32,
        expected: &mut Expected,
    ) -> Option<WordStore> {
        let start = function.entry.0;
        let at = start & !(WORD - 1);
        if start - at + JUMP as u64 > WORD {
            return None;
        }
        let mut word = [0; WORD as usize];
        for (byte, place) in word.iter_mut().zip(at..) {
            *byte = self.live(function, place)?;
        }
        for place in (at..at + WORD).filter(|place| !self.edited.contains_key(place)) {
            expected.bytes.push((place, function.byte(RuntimeAddress(place))?));
        }
        let first = (start - at) as usize;
        word[first] = JMP_REL32;
        word[first + 1..first + JUMP].copy_from_slice(&displacement.to_le_bytes());
        for offset in 0..JUMP {
            self.write(function.entry, offset, word[first + offset]);
        }
        let traps = u8::from(!entry.boundaries().is_empty());
        Some(WordStore { at: WireAddress(at), new: u64::from_le_bytes(word), traps })
    }

    /// The jump in three stages: everything traps; the bytes between; the jump's opcode.
    fn stepwise(
        &mut self,
        function: &Function<'_>,
        entry: &Entry,
        displacement: i32,
        stages: &mut Vec<Stage>,
    ) {
        let bytes = displacement.to_le_bytes();
        let inner = entry.boundaries();
        let mut trapping = vec![self.write(function.entry, 0, INT3)];
        trapping.extend(inner.iter().map(|offset| self.write(function.entry, offset, bytes[offset - 1])));
        stages.push(Stage::Bytes { writes: trapping });
        let between = (1..JUMP).filter(|&offset| !inner.contains(offset));
        let between: Vec<_> =
            between.map(|offset| self.write(function.entry, offset, bytes[offset - 1])).collect();
        if !between.is_empty() {
            stages.push(Stage::Bytes { writes: between });
        }
        stages.push(Stage::Bytes { writes: vec![self.write(function.entry, 0, JMP_REL32)] });
    }

    /// What the process has at `at` by now.
    fn live(&self, function: &Function<'_>, at: u64) -> Option<u8> {
        self.edited.get(&at).copied().or_else(|| function.byte(RuntimeAddress(at)))
    }

    fn write(&mut self, entry: RuntimeAddress, offset: usize, byte: u8) -> ByteWrite {
        let at = entry.0.wrapping_add(offset as u64);
        self.edited.insert(at, byte);
        ByteWrite { at: WireAddress(at), byte }
    }
}

/// Bytes to be found, by address. Bytes that an earlier redirection changed are not among them: whether
/// it has been carried out when they are compared depends on whether it belongs to the same patch.
#[derive(Default)]
struct Expected {
    bytes: Vec<(u64, u8)>,
}

impl Expected {
    fn add(&mut self, function: &Function<'_>, offset: usize, length: usize) {
        for offset in offset..offset + length {
            let at = function.entry.0.wrapping_add(offset as u64);
            if let Some(byte) = function.byte(RuntimeAddress(at)) {
                self.bytes.push((at, byte));
            }
        }
    }

    fn runs(mut self) -> Vec<ExpectedBytes> {
        self.bytes.sort_unstable();
        self.bytes.dedup();
        let mut runs: Vec<ExpectedBytes> = Vec::new();
        for (at, byte) in self.bytes {
            match runs.last_mut() {
                Some(run) if run.at.0 + run.bytes.len() as u64 == at => run.bytes.push(byte),
                _ => runs.push(ExpectedBytes { at: WireAddress(at), bytes: vec![byte] }),
            }
        }
        runs
    }
}
