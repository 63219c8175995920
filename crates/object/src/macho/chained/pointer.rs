//! Formats of chained pointers, as data: which bits of a pointer are what (`DYLD_CHAINED_PTR_*`).

use crate::macho::fixup::Auth;

/// How pointers of a segment are to be read. Those of 32-bit images are not here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PointerFormat {
    /// 1: signed pointers; others are addresses.
    Arm64e,
    /// 2: addresses.
    Ptr64,
    /// 6: offsets from the Mach header.
    Ptr64Offset,
    /// 7: signed pointers at four-byte steps; others are offsets.
    Arm64eKernel,
    /// 8: offsets in a kernel cache, signed or not.
    Ptr64KernelCache,
    /// 9: signed pointers; others are offsets.
    Arm64eUserland,
    /// 10: as 7, with addresses.
    Arm64eFirmware,
    /// 11: as 8, at any byte.
    X86_64KernelCache,
    /// 12: as 9, with more imports.
    Arm64eUserland24,
    /// 13: of the shared cache: no imports.
    Arm64eSharedCache,
    /// 14: offsets in segments.
    Arm64eSegmented,
}

/// What a pointer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pointer {
    /// Something of this image: an address or an offset, as the format has it.
    Rebase {
        /// Which.
        target: u64,
        /// The highest eight bits of what is written.
        high8: u8,
        /// How it is signed.
        auth: Option<Auth>,
    },
    /// An import.
    Bind {
        /// Its number.
        import: u32,
        /// What is added.
        addend: i64,
        /// How it is signed.
        auth: Option<Auth>,
    },
}

impl PointerFormat {
    const ALL: [(u16, Self, &'static str); 11] = [
        (1, Self::Arm64e, "DYLD_CHAINED_PTR_ARM64E"),
        (2, Self::Ptr64, "DYLD_CHAINED_PTR_64"),
        (6, Self::Ptr64Offset, "DYLD_CHAINED_PTR_64_OFFSET"),
        (7, Self::Arm64eKernel, "DYLD_CHAINED_PTR_ARM64E_KERNEL"),
        (8, Self::Ptr64KernelCache, "DYLD_CHAINED_PTR_64_KERNEL_CACHE"),
        (9, Self::Arm64eUserland, "DYLD_CHAINED_PTR_ARM64E_USERLAND"),
        (10, Self::Arm64eFirmware, "DYLD_CHAINED_PTR_ARM64E_FIRMWARE"),
        (11, Self::X86_64KernelCache, "DYLD_CHAINED_PTR_X86_64_KERNEL_CACHE"),
        (12, Self::Arm64eUserland24, "DYLD_CHAINED_PTR_ARM64E_USERLAND24"),
        (13, Self::Arm64eSharedCache, "DYLD_CHAINED_PTR_ARM64E_SHARED_CACHE"),
        (14, Self::Arm64eSegmented, "DYLD_CHAINED_PTR_ARM64E_SEGMENTED"),
    ];

    /// The one of that number.
    pub fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, ..)| *known == number).map(|(_, format, _)| format)
    }

    /// Its name in Apple's header.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, format, _)| *format == self).map_or("", |(.., name)| name)
    }

    /// Bytes of a step to the next pointer.
    fn stride(self) -> u64 {
        match self {
            Self::Arm64e | Self::Arm64eUserland | Self::Arm64eUserland24 | Self::Arm64eSharedCache => 8,
            Self::X86_64KernelCache => 1,
            _ => 4,
        }
    }

    /// Whether unsigned pointers are offsets from the Mach header; they are addresses otherwise.
    pub(super) fn counts_from_header(self) -> bool {
        !matches!(self, Self::Arm64e | Self::Ptr64 | Self::Arm64eFirmware)
    }

    /// What a pointer says, and how many bytes it is to the next one; 0 for the last.
    pub fn decode(self, raw: u64) -> (Pointer, u64) {
        let bits = |from: u32, count: u32| raw >> from & ((1 << count) - 1);
        match self {
            Self::Ptr64 | Self::Ptr64Offset => {
                let pointer = match bits(63, 1) {
                    1 => Pointer::Bind {
                        import: bits(0, 24) as u32,
                        addend: bits(24, 8).cast_signed(),
                        auth: None,
                    },
                    _ => Pointer::Rebase { target: bits(0, 36), high8: bits(36, 8) as u8, auth: None },
                };
                (pointer, bits(51, 12) * self.stride())
            }
            Self::Ptr64KernelCache | Self::X86_64KernelCache => {
                let auth = (bits(63, 1) == 1).then(|| auth(raw));
                (Pointer::Rebase { target: bits(0, 30), high8: 0, auth }, bits(51, 12) * self.stride())
            }
            Self::Arm64eSharedCache => {
                // Whose key is for data only has one bit; keys of code and of data that are used are IA and DA.
                let auth = (bits(63, 1) == 1).then(|| Auth { key: (bits(51, 1) * 2) as u8, ..auth(raw) });
                let high8 = if auth.is_some() { 0 } else { bits(34, 8) as u8 };
                let auth = auth.map(|auth| Auth {
                    diversity: bits(34, 16) as u16,
                    with_address: bits(50, 1) == 1,
                    ..auth
                });
                (Pointer::Rebase { target: bits(0, 34), high8, auth }, bits(52, 11) * self.stride())
            }
            Self::Arm64eSegmented => {
                let auth = (bits(63, 1) == 1).then(|| auth(raw));
                (Pointer::Rebase { target: bits(0, 32), high8: 0, auth }, bits(51, 12) * self.stride())
            }
            Self::Arm64e
            | Self::Arm64eKernel
            | Self::Arm64eUserland
            | Self::Arm64eFirmware
            | Self::Arm64eUserland24 => {
                let auth = (bits(63, 1) == 1).then(|| auth(raw));
                let pointer = match bits(62, 1) {
                    1 => Pointer::Bind { import: self.import(raw), addend: addend(raw, auth), auth },
                    _ if auth.is_some() => Pointer::Rebase { target: bits(0, 32), high8: 0, auth },
                    _ => Pointer::Rebase { target: bits(0, 43), high8: bits(43, 8) as u8, auth: None },
                };
                (pointer, bits(51, 11) * self.stride())
            }
        }
    }

    fn import(self, raw: u64) -> u32 {
        match self {
            Self::Arm64eUserland24 => (raw & 0xff_ffff) as u32,
            _ => (raw & 0xffff) as u32,
        }
    }
}

/// Signed pointers: diversity, whether with the address, and the key are at the same place in most formats.
fn auth(raw: u64) -> Auth {
    Auth { key: (raw >> 49 & 3) as u8, diversity: (raw >> 32) as u16, with_address: raw >> 48 & 1 == 1 }
}

/// The addend of an import of arm64e: 19 bits with a sign; signed pointers have none.
fn addend(raw: u64, auth: Option<Auth>) -> i64 {
    if auth.is_some() {
        return 0;
    }
    ((raw >> 32 & 0x7_ffff) << 45).cast_signed() >> 45
}
