//! Relocations as data: which value goes into which field.
//!
//! One table for each instruction set: x86-64 (System V ABI, AMD64 supplement, section 4.4) and AArch64 (ELF
//! for the Arm 64-bit Architecture, "Relocation"); names as there.

mod aarch64;
mod x86_64;

use crate::architecture::Architecture;
use crate::relocatable::Relocation;
use thiserror::Error;

/// A relocation kind. Its number means something in its own instruction set only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RelocationKind {
    /// `R_X86_64_*`.
    X86_64(u16),
    /// `R_AARCH64_*`.
    Aarch64(u16),
}

impl RelocationKind {
    /// Of a number as it stands in an object. No ABI has numbers above 16 bits: those are one unknown kind.
    pub fn new(architecture: Architecture, number: u32) -> Self {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        match architecture {
            Architecture::X86_64 => Self::X86_64(number),
            Architecture::Aarch64 => Self::Aarch64(number),
        }
    }

    /// The number as it stands in an object.
    pub fn number(self) -> u16 {
        match self {
            Self::X86_64(number) | Self::Aarch64(number) => number,
        }
    }
}

/// What a relocation computes. S: the symbol's address, A: the addend, P: the field's address. Where the
/// howto counts in pages, Page(x) of both operands is what is subtracted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Formula {
    /// Nothing.
    None,
    /// S + A.
    Absolute,
    /// S + A − P.
    Relative,
    /// As [`Formula::Relative`], and S may be a trampoline (L): only calls and jumps use it.
    Branch,
    /// G + A: G is the address of a cell that holds S.
    CellAbsolute,
    /// G + A − P.
    CellRelative,
    /// The thread-local's offset from the thread pointer (local-exec).
    ThreadOffset,
    /// Address of a cell that holds the thread-local's offset (initial-exec).
    ThreadCellAbsolute,
    /// The same, P-relative.
    ThreadCellRelative,
    /// A general-dynamic access sequence (`__tls_get_addr` with a two-word descriptor).
    ThreadGeneral,
    /// A local-dynamic access sequence: the module's block.
    ThreadModule,
    /// The thread-local's offset in its module's block, which follows [`Formula::ThreadModule`].
    ThreadBlockOffset,
    /// A TLS-descriptor access: an instruction that has a part of the descriptor's address or content.
    ThreadDescriptor,
    /// A TLS-descriptor access: the call through it.
    ThreadDescriptorCall,
    /// The symbol's size + A.
    Size,
}

/// Which values a field can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// Any: the field is as wide as an address, or what does not fit belongs elsewhere.
    Any,
    /// Sign-extended.
    Signed,
    /// Zero-extended.
    Unsigned,
    /// Either of the two.
    Either,
}

/// Where in its bytes a field's value stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// It is the bytes.
    Data,
    /// It is an operand of an A64 instruction.
    Operand(aarch64::Operand),
}

pub use aarch64::Operand;

/// What a relocation kind does.
#[derive(Clone, Copy, Debug)]
pub struct Howto {
    /// Its number in its own ABI.
    pub number: u32,
    /// Its whole name.
    pub name: &'static str,
    /// What it computes.
    pub formula: Formula,
    /// Whether it counts in pages of 4 KiB.
    pub pages: bool,
    /// The width of its field in bytes.
    pub width: usize,
    /// What the field can hold.
    pub range: Range,
    /// How.
    pub encoding: Encoding,
}

/// Why a relocation could not be applied.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum RelocationError {
    /// No entry in the table.
    #[error("relocation kind {} is not supported ({kind:?})", kind.number())]
    Unsupported {
        /// The kind.
        kind: RelocationKind,
    },
    /// The value does not fit the field.
    #[error("{name}: {value:#x} does not fit {width} bytes")]
    Overflow {
        /// The kind's name.
        name: &'static str,
        /// The value.
        value: i64,
        /// The field's width in bytes.
        width: usize,
    },
    /// The value has bits that the field leaves out.
    #[error("{name}: {value:#x} is not a multiple of {align}")]
    Misaligned {
        /// The kind's name.
        name: &'static str,
        /// The value.
        value: i64,
        /// What it would have to be a multiple of.
        align: u64,
    },
    /// The field is not inside its section.
    #[error("{name} at {offset:#x} is outside its section")]
    OutOfBounds {
        /// The kind's name.
        name: &'static str,
        /// The field's offset in its section.
        offset: u64,
    },
    /// The code around the field is not a sequence that the kind may stand in.
    #[error("{name} at {offset:#x} stands in an unknown instruction sequence")]
    UnknownSequence {
        /// The kind's name.
        name: &'static str,
        /// The field's offset in its section.
        offset: u64,
    },
}

/// What a relocation kind does.
pub fn howto(kind: RelocationKind) -> Result<&'static Howto, RelocationError> {
    let (table, number) = match kind {
        RelocationKind::X86_64(number) => (x86_64::TABLE, number),
        RelocationKind::Aarch64(number) => (aarch64::TABLE, number),
    };
    let found = table.iter().find(|howto| howto.number == u32::from(number));
    found.ok_or(RelocationError::Unsupported { kind })
}

impl Howto {
    /// Writes `value` into the field at `offset` of `section`.
    pub fn write(&self, section: &mut [u8], offset: u64, value: i64) -> Result<(), RelocationError> {
        match self.encoding {
            Encoding::Data => self.write_data(section, offset, value),
            Encoding::Operand(operand) => operand.write(self, section, offset, value),
        }
    }

    /// How far it is from `place` to `address`, in what it counts in.
    pub fn distance(&self, address: u64, place: u64) -> i64 {
        let mask = if self.pages { !(aarch64::PAGE - 1) } else { u64::MAX };
        (address & mask).wrapping_sub(place & mask).cast_signed()
    }

    fn write_data(&self, section: &mut [u8], offset: u64, value: i64) -> Result<(), RelocationError> {
        let bits = 8 * self.width as u32;
        if self.width < 8 && !self.range.holds(bits, value) {
            return Err(self.overflow(value));
        }
        let bytes = value.to_le_bytes();
        self.field(section, offset)?.copy_from_slice(&bytes[..self.width]);
        Ok(())
    }

    fn overflow(&self, value: i64) -> RelocationError {
        RelocationError::Overflow { name: self.name, value, width: self.width }
    }

    fn field<'s>(&self, section: &'s mut [u8], offset: u64) -> Result<&'s mut [u8], RelocationError> {
        let out = RelocationError::OutOfBounds { name: self.name, offset };
        let start = usize::try_from(offset).map_err(|_| out.clone())?;
        let end = start.checked_add(self.width).ok_or(out.clone())?;
        section.get_mut(start..end).ok_or(out)
    }
}

impl Range {
    /// Whether a field of `bits` bits (less than 64) can hold a value.
    fn holds(self, bits: u32, value: i64) -> bool {
        let above = 64 - bits.max(1);
        let signed = (value << above) >> above == value;
        let unsigned = value.cast_unsigned() >> bits == 0;
        match self {
            Self::Any => true,
            Self::Signed => signed,
            Self::Unsigned => unsigned,
            Self::Either => signed || unsigned,
        }
    }
}

/// How far past the symbol a PC-relative field's instruction begins to count. On x86-64 such fields are the
/// last four bytes of their instruction (immediates behind them aside), so their addends hold −4.
pub fn pc_bias(relocation: &Relocation) -> i64 {
    if !matches!(relocation.kind, RelocationKind::X86_64(_)) {
        return 0;
    }
    match howto(relocation.kind).map(|howto| howto.formula) {
        Ok(
            Formula::Relative
            | Formula::Branch
            | Formula::CellRelative
            | Formula::ThreadCellRelative
            | Formula::ThreadGeneral
            | Formula::ThreadModule
            | Formula::ThreadDescriptor,
        ) => 4,
        _ => 0,
    }
}
