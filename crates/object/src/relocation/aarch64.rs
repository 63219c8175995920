//! The kinds of AArch64, and the operands of A64 instructions that they fill in.
//!
//! Specification: ELF for the Arm 64-bit Architecture (aaelf64), "Relocation"; Arm ARM, chapter C4.

use super::{Encoding, Formula, Howto, Range, RelocationError};
use object::elf;

/// What `ADRP` counts in, whatever the size of a page is.
pub(super) const PAGE: u64 = 4096;

/// An operand of an instruction: where its bits stand, and which bits of a value they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// `B`, `BL`: a multiple of four, 26 bits.
    Branch26,
    /// `B.cond`, `CBZ`, `LDR` of a literal: a multiple of four, 19 bits.
    Branch19,
    /// `TBZ`: a multiple of four, 14 bits.
    Branch14,
    /// `ADR`: 21 bits.
    Adr,
    /// `ADRP`: pages, 21 bits.
    Adrp,
    /// `ADD`: the lowest 12 bits.
    Add,
    /// `ADD` with its operand shifted: bits 12 to 23.
    AddHigh,
    /// `LDR`, `STR` of 2^n bytes: the lowest 12 bits, as a multiple of that.
    Load(u8),
    /// `MOVZ`, `MOVK`: the n-th 16 bits.
    Move(u8),
}

/// An unsigned field of an instruction: its lowest bit, and how many.
struct Bits(u32, u32);

impl Operand {
    pub(super) fn write(
        self,
        howto: &Howto,
        section: &mut [u8],
        offset: u64,
        value: i64,
    ) -> Result<(), RelocationError> {
        let field = howto.field(section, offset)?;
        let word = field.try_into().map(u32::from_le_bytes);
        let word = word.map_err(|_| RelocationError::OutOfBounds { name: howto.name, offset })?;
        let word = self.put(word, howto, value)?;
        field.copy_from_slice(&word.to_le_bytes());
        Ok(())
    }

    fn put(self, word: u32, howto: &Howto, value: i64) -> Result<u32, RelocationError> {
        let fits = |bits: u32| howto.range.holds(bits, value).then_some(()).ok_or(howto.overflow(value));
        let aligned = |align: u64| match value.cast_unsigned().is_multiple_of(align) {
            true => Ok(()),
            false => Err(RelocationError::Misaligned { name: howto.name, value, align }),
        };
        let branch = |bits: u32, at: u32| {
            aligned(4)?;
            fits(bits + 2)?;
            Ok(Bits(at, bits).set(word, value >> 2))
        };
        match self {
            Self::Branch26 => branch(26, 0),
            Self::Branch19 => branch(19, 5),
            Self::Branch14 => branch(14, 5),
            Self::Adr => fits(21).map(|()| split(word, value)),
            Self::Adrp => fits(33).map(|()| split(word, value >> 12)),
            Self::Add => fits(12).map(|()| Bits(10, 12).set(word, value)),
            Self::AddHigh => fits(24).map(|()| Bits(10, 12).set(word, value >> 12)),
            Self::Load(shift) => {
                fits(12)?;
                aligned(1 << shift)?;
                Ok(Bits(10, 12).set(word, (value & 0xfff) >> shift))
            }
            Self::Move(group) => {
                let shift = 16 * u32::from(group);
                fits((shift + 16).min(63))?;
                Ok(Bits(5, 16).set(word, value >> shift))
            }
        }
    }
}

impl Bits {
    fn set(&self, word: u32, value: i64) -> u32 {
        let mask = (1 << self.1) - 1;
        word & !(mask << self.0) | (value as u32 & mask) << self.0
    }
}

/// The operand of `ADR` and `ADRP`: its lowest two bits stand apart.
fn split(word: u32, value: i64) -> u32 {
    Bits(5, 19).set(Bits(29, 2).set(word, value), value >> 2)
}

macro_rules! howto {
    (@pages pages) => { true };
    (@pages bytes) => { false };
    (@encoding Data) => { Encoding::Data };
    (@encoding $operand:ident) => { Encoding::Operand(Operand::$operand) };
    (@encoding $operand:ident $n:literal) => { Encoding::Operand(Operand::$operand($n)) };
    ($($kind:ident $formula:ident $unit:ident $width:literal $range:ident $encoding:ident $($n:literal)?;)*) => {
        &[$(Howto {
            number: elf::$kind,
            name: stringify!($kind),
            formula: Formula::$formula,
            pages: howto!(@pages $unit),
            width: $width,
            range: Range::$range,
            encoding: howto!(@encoding $encoding $($n)?),
        }),*]
    };
}

/// `_NC` kinds do not check: what they leave out is in another instruction.
pub(super) const TABLE: &[Howto] = howto! {
    R_AARCH64_NONE None bytes 0 Any Data;
    R_AARCH64_ABS32 Absolute bytes 4 Either Data;
    R_AARCH64_ABS64 Absolute bytes 8 Any Data;
    R_AARCH64_ABS16 Absolute bytes 2 Either Data;
    R_AARCH64_PREL64 Relative bytes 8 Any Data;
    R_AARCH64_PREL32 Relative bytes 4 Either Data;
    R_AARCH64_PREL16 Relative bytes 2 Either Data;
    R_AARCH64_CALL26 Branch bytes 4 Signed Branch26;
    R_AARCH64_JUMP26 Branch bytes 4 Signed Branch26;
    R_AARCH64_CONDBR19 Relative bytes 4 Signed Branch19;
    R_AARCH64_TSTBR14 Relative bytes 4 Signed Branch14;
    R_AARCH64_ADR_PREL_PG_HI21 Relative pages 4 Signed Adrp;
    R_AARCH64_ADR_PREL_PG_HI21_NC Relative pages 4 Any Adrp;
    R_AARCH64_ADR_PREL_LO21 Relative bytes 4 Signed Adr;
    R_AARCH64_LD_PREL_LO19 Relative bytes 4 Signed Branch19;
    R_AARCH64_ADD_ABS_LO12_NC Absolute bytes 4 Any Add;
    R_AARCH64_LDST8_ABS_LO12_NC Absolute bytes 4 Any Load 0;
    R_AARCH64_LDST16_ABS_LO12_NC Absolute bytes 4 Any Load 1;
    R_AARCH64_LDST32_ABS_LO12_NC Absolute bytes 4 Any Load 2;
    R_AARCH64_LDST64_ABS_LO12_NC Absolute bytes 4 Any Load 3;
    R_AARCH64_LDST128_ABS_LO12_NC Absolute bytes 4 Any Load 4;
    R_AARCH64_MOVW_UABS_G0 Absolute bytes 4 Unsigned Move 0;
    R_AARCH64_MOVW_UABS_G0_NC Absolute bytes 4 Any Move 0;
    R_AARCH64_MOVW_UABS_G1 Absolute bytes 4 Unsigned Move 1;
    R_AARCH64_MOVW_UABS_G1_NC Absolute bytes 4 Any Move 1;
    R_AARCH64_MOVW_UABS_G2 Absolute bytes 4 Unsigned Move 2;
    R_AARCH64_MOVW_UABS_G2_NC Absolute bytes 4 Any Move 2;
    R_AARCH64_MOVW_UABS_G3 Absolute bytes 4 Any Move 3;
    R_AARCH64_ADR_GOT_PAGE CellRelative pages 4 Signed Adrp;
    R_AARCH64_LD64_GOT_LO12_NC CellAbsolute bytes 4 Any Load 3;
    R_AARCH64_GOT_LD_PREL19 CellRelative bytes 4 Signed Branch19;
    R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21 ThreadCellRelative pages 4 Signed Adrp;
    R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC ThreadCellAbsolute bytes 4 Any Load 3;
    R_AARCH64_TLSIE_LD_GOTTPREL_PREL19 ThreadCellRelative bytes 4 Signed Branch19;
    R_AARCH64_TLSLE_MOVW_TPREL_G1 ThreadOffset bytes 4 Unsigned Move 1;
    R_AARCH64_TLSLE_MOVW_TPREL_G1_NC ThreadOffset bytes 4 Any Move 1;
    R_AARCH64_TLSLE_MOVW_TPREL_G0 ThreadOffset bytes 4 Unsigned Move 0;
    R_AARCH64_TLSLE_MOVW_TPREL_G0_NC ThreadOffset bytes 4 Any Move 0;
    R_AARCH64_TLSLE_ADD_TPREL_HI12 ThreadOffset bytes 4 Unsigned AddHigh;
    R_AARCH64_TLSLE_ADD_TPREL_LO12 ThreadOffset bytes 4 Unsigned Add;
    R_AARCH64_TLSLE_ADD_TPREL_LO12_NC ThreadOffset bytes 4 Any Add;
    R_AARCH64_TLSLE_LDST8_TPREL_LO12 ThreadOffset bytes 4 Unsigned Load 0;
    R_AARCH64_TLSLE_LDST8_TPREL_LO12_NC ThreadOffset bytes 4 Any Load 0;
    R_AARCH64_TLSLE_LDST16_TPREL_LO12 ThreadOffset bytes 4 Unsigned Load 1;
    R_AARCH64_TLSLE_LDST16_TPREL_LO12_NC ThreadOffset bytes 4 Any Load 1;
    R_AARCH64_TLSLE_LDST32_TPREL_LO12 ThreadOffset bytes 4 Unsigned Load 2;
    R_AARCH64_TLSLE_LDST32_TPREL_LO12_NC ThreadOffset bytes 4 Any Load 2;
    R_AARCH64_TLSLE_LDST64_TPREL_LO12 ThreadOffset bytes 4 Unsigned Load 3;
    R_AARCH64_TLSLE_LDST64_TPREL_LO12_NC ThreadOffset bytes 4 Any Load 3;
    R_AARCH64_TLSLE_LDST128_TPREL_LO12 ThreadOffset bytes 4 Unsigned Load 4;
    R_AARCH64_TLSLE_LDST128_TPREL_LO12_NC ThreadOffset bytes 4 Any Load 4;
    R_AARCH64_TLSDESC_ADR_PAGE21 ThreadDescriptor pages 4 Any Adrp;
    R_AARCH64_TLSDESC_LD64_LO12 ThreadDescriptor bytes 4 Any Load 3;
    R_AARCH64_TLSDESC_ADD_LO12 ThreadDescriptor bytes 4 Any Add;
    R_AARCH64_TLSDESC_CALL ThreadDescriptorCall bytes 4 Any Data;
    R_AARCH64_TLS_DTPREL ThreadBlockOffset bytes 8 Any Data;
};
