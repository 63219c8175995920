//! x86-64 relocations as data: which value goes into which field.
//!
//! Specification: System V ABI, AMD64 supplement, section 4.4 and table 4.9; names as there.

use crate::relocatable::Relocation;
use object::elf;
use thiserror::Error;

/// What a relocation computes. S: the symbol's address, A: the addend, P: the field's address.
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
    /// G + A − P: G is the address of a cell that holds S.
    CellRelative,
    /// The thread-local's offset from the thread pointer (local-exec).
    ThreadOffset,
    /// P-relative address of a cell that holds the thread-local's offset (initial-exec).
    ThreadCellRelative,
    /// A general-dynamic access sequence (`__tls_get_addr` with a two-word descriptor).
    ThreadGeneral,
    /// A local-dynamic access sequence: the module's block.
    ThreadModule,
    /// The thread-local's offset in its module's block, which follows [`Formula::ThreadModule`].
    ThreadBlockOffset,
    /// A TLS-descriptor access: the `lea` of the descriptor.
    ThreadDescriptor,
    /// A TLS-descriptor access: the call through it.
    ThreadDescriptorCall,
    /// The symbol's size + A.
    Size,
}

/// Which values a field can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// Any: the field is as wide as an address.
    Any,
    /// Sign-extended.
    Signed,
    /// Zero-extended.
    Unsigned,
    /// Either of the two.
    Either,
}

/// What a relocation kind does.
#[derive(Clone, Copy, Debug)]
pub struct Howto {
    /// `R_X86_64_*`.
    pub kind: u32,
    /// Its name in the specification, without `R_X86_64_`.
    pub name: &'static str,
    /// What it computes.
    pub formula: Formula,
    /// The width of its field in bytes.
    pub width: usize,
    /// What the field can hold.
    pub range: Range,
}

macro_rules! howto {
    ($($kind:ident $name:literal $formula:ident $width:literal $range:ident;)*) => {
        &[$(Howto {
            kind: elf::$kind,
            name: $name,
            formula: Formula::$formula,
            width: $width,
            range: Range::$range,
        }),*]
    };
}

const TABLE: &[Howto] = howto! {
    R_X86_64_NONE "NONE" None 0 Any;
    R_X86_64_64 "64" Absolute 8 Any;
    R_X86_64_32 "32" Absolute 4 Unsigned;
    R_X86_64_32S "32S" Absolute 4 Signed;
    R_X86_64_16 "16" Absolute 2 Either;
    R_X86_64_8 "8" Absolute 1 Either;
    R_X86_64_PC64 "PC64" Relative 8 Any;
    R_X86_64_PC32 "PC32" Relative 4 Signed;
    R_X86_64_PC16 "PC16" Relative 2 Signed;
    R_X86_64_PC8 "PC8" Relative 1 Signed;
    R_X86_64_PLT32 "PLT32" Branch 4 Signed;
    R_X86_64_GOTPCREL "GOTPCREL" CellRelative 4 Signed;
    R_X86_64_GOTPCRELX "GOTPCRELX" CellRelative 4 Signed;
    R_X86_64_REX_GOTPCRELX "REX_GOTPCRELX" CellRelative 4 Signed;
    R_X86_64_TPOFF32 "TPOFF32" ThreadOffset 4 Signed;
    R_X86_64_TPOFF64 "TPOFF64" ThreadOffset 8 Any;
    R_X86_64_GOTTPOFF "GOTTPOFF" ThreadCellRelative 4 Signed;
    R_X86_64_TLSGD "TLSGD" ThreadGeneral 4 Signed;
    R_X86_64_TLSLD "TLSLD" ThreadModule 4 Signed;
    R_X86_64_DTPOFF32 "DTPOFF32" ThreadBlockOffset 4 Signed;
    R_X86_64_DTPOFF64 "DTPOFF64" ThreadBlockOffset 8 Any;
    R_X86_64_GOTPC32_TLSDESC "GOTPC32_TLSDESC" ThreadDescriptor 4 Signed;
    R_X86_64_TLSDESC_CALL "TLSDESC_CALL" ThreadDescriptorCall 0 Any;
    R_X86_64_SIZE32 "SIZE32" Size 4 Unsigned;
    R_X86_64_SIZE64 "SIZE64" Size 8 Any;
};

/// Why a relocation could not be applied.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum RelocationError {
    /// No entry in the table.
    #[error("relocation kind {kind} is not supported")]
    Unsupported {
        /// `R_X86_64_*`.
        kind: u32,
    },
    /// The value does not fit the field.
    #[error("R_X86_64_{name}: {value:#x} does not fit {width} bytes")]
    Overflow {
        /// The kind's name.
        name: &'static str,
        /// The value.
        value: i64,
        /// The field's width in bytes.
        width: usize,
    },
    /// The field is not inside its section.
    #[error("R_X86_64_{name} at {offset:#x} is outside its section")]
    OutOfBounds {
        /// The kind's name.
        name: &'static str,
        /// The field's offset in its section.
        offset: u64,
    },
    /// The code around the field is not a sequence that the kind may stand in.
    #[error("R_X86_64_{name} at {offset:#x} stands in an unknown instruction sequence")]
    UnknownSequence {
        /// The kind's name.
        name: &'static str,
        /// The field's offset in its section.
        offset: u64,
    },
}

/// What a relocation kind does.
pub fn howto(kind: u32) -> Result<&'static Howto, RelocationError> {
    TABLE.iter().find(|howto| howto.kind == kind).ok_or(RelocationError::Unsupported { kind })
}

impl Howto {
    /// Writes `value` into the field at `offset` of `section`.
    pub fn write(&self, section: &mut [u8], offset: u64, value: i64) -> Result<(), RelocationError> {
        let bits = 8 * self.width as u32;
        let fits_signed = self.width == 8 || (value << (64 - bits.max(1))) >> (64 - bits.max(1)) == value;
        let fits_unsigned = self.width == 8 || value.cast_unsigned() >> bits == 0;
        let fits = match self.range {
            Range::Any => true,
            Range::Signed => fits_signed,
            Range::Unsigned => fits_unsigned,
            Range::Either => fits_signed || fits_unsigned,
        };
        if !fits {
            return Err(RelocationError::Overflow { name: self.name, value, width: self.width });
        }
        let bytes = value.to_le_bytes();
        self.field(section, offset)?.copy_from_slice(&bytes[..self.width]);
        Ok(())
    }

    fn field<'s>(&self, section: &'s mut [u8], offset: u64) -> Result<&'s mut [u8], RelocationError> {
        let out = RelocationError::OutOfBounds { name: self.name, offset };
        let start = usize::try_from(offset).map_err(|_| out.clone())?;
        let end = start.checked_add(self.width).ok_or(out.clone())?;
        section.get_mut(start..end).ok_or(out)
    }
}

/// How far past the symbol a PC-relative field's instruction begins to count: such fields are the last
/// four bytes of their instruction (immediates behind them aside), so their addends hold −4.
pub fn pc_bias(relocation: &Relocation) -> i64 {
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
