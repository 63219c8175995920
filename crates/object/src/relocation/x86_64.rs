//! The kinds of x86-64 (AMD64 psABI, table 4.9).

use super::{Encoding, Formula, Howto, Range};
use object::elf;

macro_rules! howto {
    ($($kind:ident $formula:ident $width:literal $range:ident;)*) => {
        &[$(Howto {
            number: elf::$kind,
            name: stringify!($kind),
            formula: Formula::$formula,
            pages: false,
            width: $width,
            range: Range::$range,
            encoding: Encoding::Data,
        }),*]
    };
}

pub(super) const TABLE: &[Howto] = howto! {
    R_X86_64_NONE None 0 Any;
    R_X86_64_64 Absolute 8 Any;
    R_X86_64_32 Absolute 4 Unsigned;
    R_X86_64_32S Absolute 4 Signed;
    R_X86_64_16 Absolute 2 Either;
    R_X86_64_8 Absolute 1 Either;
    R_X86_64_PC64 Relative 8 Any;
    R_X86_64_PC32 Relative 4 Signed;
    R_X86_64_PC16 Relative 2 Signed;
    R_X86_64_PC8 Relative 1 Signed;
    R_X86_64_PLT32 Branch 4 Signed;
    R_X86_64_GOTPCREL CellRelative 4 Signed;
    R_X86_64_GOTPCRELX CellRelative 4 Signed;
    R_X86_64_REX_GOTPCRELX CellRelative 4 Signed;
    R_X86_64_TPOFF32 ThreadOffset 4 Signed;
    R_X86_64_TPOFF64 ThreadOffset 8 Any;
    R_X86_64_GOTTPOFF ThreadCellRelative 4 Signed;
    R_X86_64_TLSGD ThreadGeneral 4 Signed;
    R_X86_64_TLSLD ThreadModule 4 Signed;
    R_X86_64_DTPOFF32 ThreadBlockOffset 4 Signed;
    R_X86_64_DTPOFF64 ThreadBlockOffset 8 Any;
    R_X86_64_GOTPC32_TLSDESC ThreadDescriptor 4 Signed;
    R_X86_64_TLSDESC_CALL ThreadDescriptorCall 0 Any;
    R_X86_64_SIZE32 Size 4 Unsigned;
    R_X86_64_SIZE64 Size 8 Any;
};
