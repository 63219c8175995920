//! Does this code go on at an address that is a value: of a function pointer, or out of a trait object's table?

use crate::architecture::Architecture;
use iced_x86::{Decoder, DecoderOptions, FlowControl};

/// Whether any of a function's instructions may call, or jump to, what a register or memory says. A slot of
/// the object's own offset table is not meant: it is one function's. Where the code cannot be read, it may.
pub fn calls_by_address(architecture: Architecture, code: &[u8]) -> bool {
    match architecture {
        Architecture::X86_64 => x86_64(code),
        Architecture::Aarch64 => aarch64(code),
    }
}

fn x86_64(code: &[u8]) -> bool {
    let mut instructions = Decoder::new(64, code, DecoderOptions::NONE).into_iter();
    instructions.any(|instruction| {
        let indirect =
            matches!(instruction.flow_control(), FlowControl::IndirectCall | FlowControl::IndirectBranch);
        instruction.is_invalid() || indirect && !instruction.is_ip_rel_memory_operand()
    })
}

/// `BR`, `BLR` and their forms with pointer authentication (Arm ARM, C4.1, "Unconditional branch (register)"):
/// what tells them from `RET` is bit 22.
fn aarch64(code: &[u8]) -> bool {
    let (words, rest) = code.as_chunks();
    let is_one = |word: &[u8; 4]| u32::from_le_bytes(*word) & 0xFEDF_F000 == 0xD61F_0000;
    !rest.is_empty() || words.iter().any(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodings as an assembler makes them.
    #[test]
    fn calls_of_what_is_in_a_register_or_in_memory() {
        for (code, by_address) in [
            (&[0xE8, 0, 0, 0, 0, 0xC3][..], false),               // call f; ret
            (&[0xFF, 0x15, 0, 0, 0, 0], false),                   // call *f@GOTPCREL(%rip)
            (&[0xFF, 0x25, 0, 0, 0, 0], false),                   // jmp *f@GOTPCREL(%rip)
            (&[0xFF, 0xD0], true),                                // call *%rax
            (&[0xFF, 0x50, 0x18], true),                          // call *0x18(%rax)
            (&[0xFF, 0xE0], true),                                // jmp *%rax
            (&[0x90, 0xFF, 0x60, 0x18], true),                    // nop; jmp *0x18(%rax)
            (&[0x48, 0x8D, 0x3D, 0xFF, 0xD0, 0, 0, 0xC3], false), // lea 0xd0ff(%rip), %rdi; ret
            (&[0x06], true),                                      // no instruction in 64-bit mode
        ] {
            assert_eq!(calls_by_address(Architecture::X86_64, code), by_address, "{code:x?}");
        }
        for (word, by_address) in [
            (0x9400_0000_u32, false), // bl
            (0xD65F_03C0, false),     // ret
            (0xD63F_0100, true),      // blr x8
            (0xD61F_0200, true),      // br x16
            (0xD73F_0909, true),      // blraa x8, x9
            (0xD63F_081F, true),      // blraaz x0
        ] {
            let found = calls_by_address(Architecture::Aarch64, &word.to_le_bytes());
            assert_eq!(found, by_address, "{word:x}");
        }
    }
}
