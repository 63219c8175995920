//! TLS descriptors become the offset itself, one instruction for each of theirs.
//!
//! Specification: ELF for the Arm 64-bit Architecture, "Relaxing TLS descriptor access", to local-exec.

use crate::relocatable::Relocation;
use crate::relocation::{Encoding, Howto};
use crate::relocation::{Formula, Operand, RelocationError, howto};

/// `movz x0, #0, lsl #16`.
const MOVZ_HIGH: u32 = 0xd2a0_0000;
/// `movk x0, #0`.
const MOVK: u32 = 0xf280_0000;
const NOP: u32 = 0xd503_201f;

/// What each instruction of the sequence must be: the bits that count, and their values.
///
/// The sequence is fixed by the ABI: `x0` has the descriptor's address, `x1` the function to call.
struct Expected(u32, u32);

pub(super) fn relax(code: &mut [u8], relocation: &Relocation, tp_offset: i64) -> Result<(), RelocationError> {
    let howto = howto(relocation.kind)?;
    let offset = relocation.offset.0;
    let unknown = RelocationError::UnknownSequence { name: howto.name, offset };
    let half = |shift: u32| -> Result<u32, RelocationError> {
        let overflow = RelocationError::Overflow { name: howto.name, value: tp_offset, width: 4 };
        let narrow = u32::try_from(tp_offset).map_err(|_| overflow)?;
        Ok((narrow >> shift & 0xffff) << 5)
    };
    let (expected, new) = match (howto.formula, operand(howto)) {
        // adrp x0, …
        (Formula::ThreadDescriptor, Some(Operand::Adrp)) => {
            (Expected(0x9f00_001f, 0x9000_0000), MOVZ_HIGH | half(16)?)
        }
        // ldr x1, [x0, …]
        (Formula::ThreadDescriptor, Some(Operand::Load(_))) => {
            (Expected(0xffc0_03ff, 0xf940_0001), MOVK | half(0)?)
        }
        // add x0, x0, …
        (Formula::ThreadDescriptor, Some(Operand::Add)) => (Expected(0xff80_03ff, 0x9100_0000), NOP),
        // blr x1
        (Formula::ThreadDescriptorCall, _) => (Expected(u32::MAX, 0xd63f_0020), NOP),
        _ => return Err(unknown),
    };
    let start = usize::try_from(offset).map_err(|_| unknown.clone())?;
    let word = start.checked_add(4).and_then(|end| code.get_mut(start..end)).ok_or(unknown.clone())?;
    let old = <[u8; 4]>::try_from(&*word).map(u32::from_le_bytes).map_err(|_| unknown.clone())?;
    if old & expected.0 != expected.1 {
        return Err(unknown);
    }
    word.copy_from_slice(&new.to_le_bytes());
    Ok(())
}

fn operand(howto: &Howto) -> Option<Operand> {
    match howto.encoding {
        Encoding::Operand(operand) => Some(operand),
        Encoding::Data => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::SectionOffset;
    use crate::architecture::Architecture;
    use crate::relocatable::SymbolId;
    use crate::relocation::RelocationKind;
    use object::elf;

    /// adrp x0, 0; ldr x1, [x0]; add x0, x0, #0; blr x1
    const SEQUENCE: [u32; 4] = [0x9000_0000, 0xf940_0001, 0x9100_0000, 0xd63f_0020];
    const KINDS: [u32; 4] = [
        elf::R_AARCH64_TLSDESC_ADR_PAGE21,
        elf::R_AARCH64_TLSDESC_LD64_LO12,
        elf::R_AARCH64_TLSDESC_ADD_LO12,
        elf::R_AARCH64_TLSDESC_CALL,
    ];

    fn relocation(kind: u32, offset: u64) -> Relocation {
        let kind = RelocationKind::new(Architecture::Aarch64, kind);
        Relocation { offset: SectionOffset(offset), kind, symbol: SymbolId(1), addend: 0 }
    }

    fn words(code: &[u8]) -> Vec<u32> {
        code.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
    }

    /// The relaxed sequence as the specification's table has it: movz, movk, nop, nop.
    #[test]
    fn descriptors_become_the_offset() {
        let mut code: Vec<u8> = SEQUENCE.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (index, kind) in KINDS.into_iter().enumerate() {
            relax(&mut code, &relocation(kind, 4 * index as u64), 0x12_3456).expect("a known sequence");
        }
        // movz x0, #0x12, lsl #16; movk x0, #0x3456; nop; nop
        assert_eq!(words(&code), [0xd2a0_0240, 0xf286_8ac0, NOP, NOP]);
    }

    #[test]
    fn other_sequences_are_refused_and_unchanged() {
        for (kind, word) in KINDS.into_iter().zip(SEQUENCE) {
            let mut code = (word ^ 1).to_le_bytes();
            assert!(relax(&mut code, &relocation(kind, 0), 16).is_err());
            assert_eq!(u32::from_le_bytes(code), word ^ 1);
            assert!(relax(&mut code, &relocation(kind, 2), 16).is_err(), "past the end");
        }
        let mut code = SEQUENCE[0].to_le_bytes();
        assert!(relax(&mut code, &relocation(KINDS[0], 0), -16).is_err(), "before the thread pointer");
    }
}
