//! The contents of a stub object, before they are written in a container's way.

use super::report::Stubbed;
use super::target::{InstructionSet, StubTarget};
use super::trampoline::{self, Destination};

/// Trampolines, words, and the symbols for them.
pub(super) struct Layout<'n> {
    pub(super) target: StubTarget,
    pub(super) text: Vec<u8>,
    pub(super) cells: Vec<u8>,
    pub(super) symbols: Vec<StubSymbol<'n>>,
    /// Bytes of all names.
    pub(super) names: usize,
}

/// A symbol of a stub object.
pub(super) struct StubSymbol<'n> {
    pub(super) name: &'n str,
    pub(super) place: Place,
    pub(super) size: u32,
    pub(super) kind: Kind,
}

/// Where a symbol is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// At an offset of the code.
    Text(usize),
    /// At an offset of the words.
    Cells(usize),
    /// At an address of the process.
    Absolute(u64),
}

/// What a symbol is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Function,
    IndirectFunction,
    Data,
}

impl<'n> Layout<'n> {
    pub(super) fn new(target: StubTarget, symbols: usize) -> Self {
        Self {
            target,
            text: Vec::with_capacity(symbols * trampoline::size(target.instructions)),
            cells: Vec::new(),
            symbols: Vec::with_capacity(symbols),
            names: 0,
        }
    }

    /// Adds what a symbol gets.
    pub(super) fn push(&mut self, name: &'n str, stubbed: &Stubbed) {
        let pointer = self.target.instructions.pointer_size();
        let (place, size, kind) = match *stubbed {
            Stubbed::Trampoline { address } => {
                let (place, size) = self.trampoline(Destination::Address(address.0));
                (place, size, Kind::Function)
            }
            Stubbed::ThroughSlot { slot } => {
                let (place, size) = self.trampoline(Destination::Slot(slot.0));
                (place, size, Kind::Function)
            }
            Stubbed::Resolver { address } => {
                let (place, size) = self.trampoline(Destination::Address(address.0));
                (place, size, Kind::IndirectFunction)
            }
            Stubbed::Absolute { address } => (Place::Absolute(address.0), 0, Kind::Data),
            Stubbed::AddressCell { address } => (self.cell(address.0), pointer, Kind::Data),
            Stubbed::ThreadOffsetCell { offset } => (self.cell(offset.cast_unsigned()), pointer, Kind::Data),
            Stubbed::Zero | Stubbed::OfTheImage => return,
        };
        self.names += name.len() + 1;
        self.symbols.push(StubSymbol { name, place, size: size as u32, kind });
    }

    fn trampoline(&mut self, to: Destination) -> (Place, usize) {
        let start = self.text.len();
        trampoline::write(&mut self.text, self.target.instructions, to);
        (Place::Text(start), self.text.len() - start)
    }

    fn cell(&mut self, value: u64) -> Place {
        let start = self.cells.len();
        let pointer = self.target.instructions.pointer_size();
        self.cells.extend_from_slice(&value.to_le_bytes()[..pointer]);
        Place::Cells(start)
    }

    /// Added to the address of a function's symbol: the bit that says Thumb.
    pub(super) fn function_bit(&self) -> u64 {
        u64::from(self.target.instructions == InstructionSet::Thumb)
    }
}
