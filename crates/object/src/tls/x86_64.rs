//! General-dynamic, local-dynamic and descriptor sequences become local-exec.
//!
//! Specification: Ulrich Drepper, "ELF Handling For Thread-Local Storage", 4.4; AMD64 psABI section 11.

use crate::relocatable::Relocation;
use crate::relocation::{Formula, RelocationError, howto};

/// `mov %fs:0, %rax; lea x@tpoff(%rax), %rax`.
const THREAD_POINTER_PLUS: [u8; 12] = [0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8d, 0x80];
/// `mov %fs:0, %rax`, as long as prefixes make it.
const THREAD_POINTER: [u8; 13] = [0x66, 0x66, 0x66, 0x66, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0];

pub(super) fn relax(
    code: &mut [u8],
    relocation: &Relocation,
    tp_offset: i64,
) -> Result<bool, RelocationError> {
    let howto = howto(relocation.kind)?;
    let offset = relocation.offset.0;
    let unknown = RelocationError::UnknownSequence { name: howto.name, offset };
    let at = usize::try_from(offset).map_err(|_| unknown.clone())?;
    let narrow = i32::try_from(tp_offset).map_err(|_| RelocationError::Overflow {
        name: howto.name,
        value: tp_offset,
        width: 4,
    });
    let (start, replacement, swallows): (_, Vec<u8>, _) = match howto.formula {
        Formula::ThreadGeneral => {
            let window = window(code, at, 4, 12).ok_or(unknown.clone())?;
            let call = matches!(window[8..12], [0x66, 0x66, 0x48, 0xe8] | [0x66, 0x48, 0xff, 0x15]);
            if !window.starts_with(&[0x66, 0x48, 0x8d, 0x3d]) || !call {
                return Err(unknown);
            }
            (at - 4, [&THREAD_POINTER_PLUS[..], &narrow?.to_le_bytes()].concat(), true)
        }
        Formula::ThreadModule => {
            let window = window(code, at, 3, 9).ok_or(unknown.clone())?;
            let length = match window[7..9] {
                [0xe8, _] => 12,
                [0xff, 0x15] => 13,
                _ => return Err(unknown),
            };
            if !window.starts_with(&[0x48, 0x8d, 0x3d]) {
                return Err(unknown);
            }
            (at - 3, THREAD_POINTER[13 - length..].to_vec(), true)
        }
        Formula::ThreadDescriptor => {
            let window = window(code, at, 3, 4).ok_or(unknown.clone())?;
            if !window.starts_with(&[0x48, 0x8d, 0x05]) {
                return Err(unknown);
            }
            (at - 3, [&[0x48, 0xc7, 0xc0][..], &narrow?.to_le_bytes()].concat(), false)
        }
        Formula::ThreadDescriptorCall => (at, vec![0x66, 0x90], false),
        _ => return Err(unknown),
    };
    let out = RelocationError::OutOfBounds { name: howto.name, offset };
    code.get_mut(start..start + replacement.len()).ok_or(out)?.copy_from_slice(&replacement);
    Ok(swallows)
}

/// The bytes from `before` before a field to `after` after its first byte.
fn window(code: &[u8], at: usize, before: usize, after: usize) -> Option<&[u8]> {
    code.get(at.checked_sub(before)?..at.checked_add(after)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::SectionOffset;
    use crate::architecture::Architecture;
    use crate::relocatable::SymbolId;
    use crate::relocation::RelocationKind;
    use object::elf;

    fn relocation(kind: u32, offset: u64) -> Relocation {
        let kind = RelocationKind::new(Architecture::X86_64, kind);
        Relocation { offset: SectionOffset(offset), kind, symbol: SymbolId(1), addend: -4 }
    }

    /// Bytes from the psABI's table of general-dynamic to local-exec rewriting.
    #[test]
    fn general_dynamic_becomes_thread_pointer_plus_offset() {
        let mut code = vec![0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0x66, 0x66, 0x48, 0xe8, 0, 0, 0, 0];
        assert_eq!(relax(&mut code, &relocation(elf::R_X86_64_TLSGD, 4), -16), Ok(true));
        assert_eq!(code[..9], [0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0]);
        assert_eq!(code[9..], [0x48, 0x8d, 0x80, 0xf0, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn local_dynamic_becomes_the_thread_pointer_in_both_call_forms() {
        let mut direct = vec![0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0];
        assert_eq!(relax(&mut direct, &relocation(elf::R_X86_64_TLSLD, 3), 0), Ok(true));
        assert_eq!(direct, [0x66, 0x66, 0x66, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0]);
        let mut indirect = vec![0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0];
        assert_eq!(relax(&mut indirect, &relocation(elf::R_X86_64_TLSLD, 3), 0), Ok(true));
        assert_eq!(indirect, [0x66, 0x66, 0x66, 0x66, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0]);
    }

    #[test]
    fn a_sequence_that_is_not_known_is_refused_and_unchanged() {
        let original = vec![0x90; 16];
        let mut code = original.clone();
        for kind in [elf::R_X86_64_TLSGD, elf::R_X86_64_TLSLD, elf::R_X86_64_GOTPC32_TLSDESC] {
            assert!(relax(&mut code, &relocation(kind, 4), 0).is_err());
            assert!(relax(&mut code, &relocation(kind, 1), 0).is_err());
            assert!(relax(&mut code, &relocation(kind, 15), 0).is_err());
        }
        assert_eq!(code, original);
    }
}
