//! Files with an image for each of several machines (`<mach-o/fat.h>`).

use super::Problem;
use crate::address::FileOffset;
use crate::strings::checked_range;
use bytes::Bytes;
use object::macho;
use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use std::fmt;

/// Whose instructions an image has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Architecture {
    /// Any x86-64 processor.
    X86_64,
    /// Haswell and later.
    X86_64h,
    /// AArch64.
    Arm64,
    /// AArch64 with signed pointers.
    Arm64e,
    /// Anything else.
    Other {
        /// `CPU_TYPE_*`.
        cpu: u32,
        /// `CPU_SUBTYPE_*`, without capability bits.
        subtype: u32,
    },
}

impl Architecture {
    /// Those that have a name here.
    pub const NAMED: [Self; 4] = [Self::X86_64, Self::X86_64h, Self::Arm64, Self::Arm64e];

    /// The one that a header names.
    pub fn of(cpu: u32, subtype: u32) -> Self {
        let subtype = subtype & !macho::CPU_SUBTYPE_MASK;
        match (cpu, subtype) {
            (macho::CPU_TYPE_X86_64, macho::CPU_SUBTYPE_X86_64_H) => Self::X86_64h,
            (macho::CPU_TYPE_X86_64, _) => Self::X86_64,
            (macho::CPU_TYPE_ARM64, macho::CPU_SUBTYPE_ARM64E) => Self::Arm64e,
            (macho::CPU_TYPE_ARM64, _) => Self::Arm64,
            (cpu, subtype) => Self::Other { cpu, subtype },
        }
    }

    /// The one of that name (`lipo`'s).
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|known| known.to_string() == name)
    }

    /// Whether its instructions are those of x86-64.
    pub fn is_x86_64(self) -> bool {
        matches!(self, Self::X86_64 | Self::X86_64h)
    }

    /// Whether its instructions are A64.
    pub fn is_arm64(self) -> bool {
        matches!(self, Self::Arm64 | Self::Arm64e)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.write_str("x86_64"),
            Self::X86_64h => f.write_str("x86_64h"),
            Self::Arm64 => f.write_str("arm64"),
            Self::Arm64e => f.write_str("arm64e"),
            Self::Other { cpu: macho::CPU_TYPE_X86, .. } => f.write_str("i386"),
            Self::Other { cpu: macho::CPU_TYPE_ARM, .. } => f.write_str("arm"),
            Self::Other { cpu, subtype } => write!(f, "cpu {cpu:#x} subtype {subtype:#x}"),
        }
    }
}

/// One machine's part of a file.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Whose it is.
    pub architecture: Architecture,
    /// Where it is in the file.
    pub offset: FileOffset,
    /// Its bytes.
    pub bytes: Bytes,
}

/// So many slices no file has: there are not that many architectures.
const MOST: usize = 64;

/// All slices of a file, in its order; a file that is not fat is one slice.
pub fn slices(file: &Bytes) -> Result<Vec<Slice>, Problem> {
    let fat = Problem::unreadable("fat header");
    let magic = *file.first_chunk().ok_or(Problem::EndsEarly { table: "the Mach header", at: file.len() })?;
    match u32::from_be_bytes(magic) {
        macho::FAT_MAGIC => parts(file, MachOFatFile32::parse(&**file).map_err(fat)?.arches()),
        macho::FAT_MAGIC_64 => parts(file, MachOFatFile64::parse(&**file).map_err(fat)?.arches()),
        _ => {
            let architecture = super::header::architecture(file)?;
            Ok(vec![Slice { architecture, offset: FileOffset(0), bytes: file.clone() }])
        }
    }
}

fn parts<F: FatArch>(file: &Bytes, parts: &[F]) -> Result<Vec<Slice>, Problem> {
    if parts.len() > MOST {
        return Err(Problem::TooMany { what: "slices" });
    }
    let slice = |part: &F| {
        let (offset, size) = part.file_range();
        let range = checked_range(offset, size, file.len()).ok_or(Problem::Outside {
            what: "a slice",
            offset,
            size,
        })?;
        let architecture = Architecture::of(part.cputype(), part.cpusubtype());
        Ok(Slice { architecture, offset: FileOffset(offset), bytes: file.slice(range) })
    };
    parts.iter().map(slice).collect()
}

/// The slice for a machine: its own; for x86-64 also one for Haswell if there is no other.
pub fn choose(slices: &[Slice], wanted: Architecture) -> Option<&Slice> {
    let of = |architecture| slices.iter().find(|slice| slice.architecture == architecture);
    match wanted {
        Architecture::X86_64 => of(wanted).or_else(|| of(Architecture::X86_64h)),
        Architecture::X86_64h => of(wanted).or_else(|| of(Architecture::X86_64)),
        Architecture::Arm64e => of(wanted).or_else(|| of(Architecture::Arm64)),
        wanted => of(wanted),
    }
}
