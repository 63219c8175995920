//! The Mach header (`<mach-o/loader.h>`, `mach_header_64`).

use super::{Architecture, Problem};
use object::LittleEndian as LE;
use object::macho;
use object::read::macho::MachHeader as _;

/// What kind of image it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ImageKind {
    /// `MH_EXECUTE`.
    Executable,
    /// `MH_DYLIB`.
    Dylib,
    /// `MH_BUNDLE`: loaded by request only.
    Bundle,
}

impl ImageKind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Executable => "executable",
            Self::Dylib => "dylib",
            Self::Bundle => "bundle",
        }
    }
}

/// What an image says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Whose instructions it has.
    pub architecture: Architecture,
    /// What kind of image it is.
    pub kind: ImageKind,
    /// `MH_*`.
    pub flags: u32,
}

impl Header {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether imports name the library that they are from (`MH_TWOLEVEL`); otherwise all libraries are looked into.
    pub fn is_two_level(&self) -> bool {
        self.has(macho::MH_TWOLEVEL)
    }

    /// Whether all imports are looked for everywhere, whatever they name (`MH_FORCE_FLAT`).
    pub fn forces_flat(&self) -> bool {
        self.has(macho::MH_FORCE_FLAT)
    }

    /// Whether an executable may be loaded anywhere (`MH_PIE`).
    pub fn is_position_independent(&self) -> bool {
        self.kind != ImageKind::Executable || self.has(macho::MH_PIE)
    }

    /// Whether it defines weak symbols (`MH_WEAK_DEFINES`).
    pub fn defines_weak(&self) -> bool {
        self.has(macho::MH_WEAK_DEFINES)
    }

    /// Whether it uses weak symbols (`MH_BINDS_TO_WEAK`).
    pub fn binds_to_weak(&self) -> bool {
        self.has(macho::MH_BINDS_TO_WEAK)
    }

    /// Whether it has thread-local variables (`MH_HAS_TLV_DESCRIPTORS`).
    pub fn has_thread_locals(&self) -> bool {
        self.has(macho::MH_HAS_TLV_DESCRIPTORS)
    }
}

pub(super) type Raw = macho::MachHeader64<LE>;

/// Whose instructions an image has, of any kind and width.
pub(super) fn architecture(bytes: &[u8]) -> Result<Architecture, Problem> {
    let magic =
        *bytes.first_chunk().ok_or(Problem::EndsEarly { table: "the Mach header", at: bytes.len() })?;
    let field = |at: usize| {
        let field: Option<&[u8; 4]> = bytes.get(at..).and_then(|rest| rest.first_chunk());
        field.copied().ok_or(Problem::EndsEarly { table: "the Mach header", at })
    };
    let number = match u32::from_le_bytes(magic) {
        macho::MH_MAGIC | macho::MH_MAGIC_64 => u32::from_le_bytes,
        macho::MH_CIGAM | macho::MH_CIGAM_64 => u32::from_be_bytes,
        _ => return Err(Problem::BadMagic(magic)),
    };
    Ok(Architecture::of(number(field(4)?), number(field(8)?)))
}

/// Reads the header of a 64-bit little-endian image.
pub(super) fn read(bytes: &[u8]) -> Result<(&Raw, Header), Problem> {
    let architecture = architecture(bytes)?;
    let magic = bytes.first_chunk().map_or(0, |magic| u32::from_le_bytes(*magic));
    if magic != macho::MH_MAGIC_64 {
        return Err(Problem::Unsupported {
            what: "a 32-bit or big-endian image, magic",
            value: magic.into(),
        });
    }
    let raw = Raw::parse(bytes, 0).map_err(Problem::unreadable("Mach header"))?;
    let kind = match raw.filetype(LE) {
        macho::MH_EXECUTE => ImageKind::Executable,
        macho::MH_DYLIB => ImageKind::Dylib,
        macho::MH_BUNDLE => ImageKind::Bundle,
        other => return Err(Problem::Unsupported { what: "file type", value: other.into() }),
    };
    Ok((raw, Header { architecture, kind, flags: raw.flags(LE) }))
}
