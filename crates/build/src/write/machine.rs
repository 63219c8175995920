//! What an instruction set makes of calls that are far.

use crate::place::STUB_SIZE;
use livepatch_object::architecture::Architecture;

/// `jmp *0(%rip)`; the address follows.
const X86_64: [u8; 6] = [0xff, 0x25, 0, 0, 0, 0];
/// `ldr x16, #8; br x16`; the address follows. The procedure call standard leaves `x16` to such code.
const AARCH64: [u8; 8] = [0x50, 0x00, 0x00, 0x58, 0x00, 0x02, 0x1f, 0xd6];

/// A jump to `address`, from anywhere.
pub(super) fn stub(architecture: Architecture, address: u64) -> [u8; STUB_SIZE as usize] {
    let jump: &[u8] = match architecture {
        Architecture::X86_64 => &X86_64,
        Architecture::Aarch64 => &AARCH64,
    };
    let mut stub = [0; STUB_SIZE as usize];
    stub[..jump.len()].copy_from_slice(jump);
    stub[jump.len()..jump.len() + size_of::<u64>()].copy_from_slice(&address.to_le_bytes());
    stub
}

/// What stands between functions: nothing that runs.
pub(super) fn filling(architecture: Architecture) -> u8 {
    match architecture {
        Architecture::X86_64 => 0xcc,
        Architecture::Aarch64 => 0,
    }
}

/// Whether a call gets that far, given in bytes as its relocation counts.
pub(super) fn branch_reaches(architecture: Architecture, distance: i64) -> bool {
    let reach = match architecture {
        Architecture::X86_64 => 1 << 31,
        Architecture::Aarch64 => 1 << 27,
    };
    (-reach..reach).contains(&distance)
}
