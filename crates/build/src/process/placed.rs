//! Where the code and data of a patch are in one process.

use crate::write::BIAS;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a patch's image is: one that was laid out here, or a library that a linker has laid out.
#[derive(Clone, Debug)]
pub struct PlacedImage {
    /// Its first byte in memory.
    pub start: RuntimeAddress,
    /// Its length in memory, in bytes.
    pub length: u64,
    /// Its file.
    pub path: PathBuf,
    /// The parts of a library; none of what is where the layout has it.
    pub library: Option<Arc<PlacedLibrary>>,
}

/// Where the parts of a patch are in a library.
#[derive(Debug)]
pub struct PlacedLibrary {
    /// The library's load bias.
    pub bias: u64,
    /// Ascending by place in the layout.
    pub parts: Vec<LibraryPart>,
}

/// A part of a patch in a library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LibraryPart {
    /// Where the layout has it.
    pub start: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// Where the library's file has it.
    pub link: LinkAddress,
    /// Whether it is code.
    pub code: bool,
}

impl PlacedLibrary {
    fn part(&self, position: u64) -> Option<&LibraryPart> {
        let after = self.parts.partition_point(|part| part.start <= position);
        let part = self.parts.get(after.checked_sub(1)?)?;
        (position - part.start <= part.length).then_some(part)
    }
}

impl PlacedImage {
    /// Where the process has what the layout has at `position`.
    pub fn address(&self, position: u64) -> Option<RuntimeAddress> {
        match &self.library {
            None => self.start.checked_add(position),
            Some(library) => Some(RuntimeAddress(self.link(position)?.0.wrapping_add(library.bias))),
        }
    }

    /// Where the file has it.
    pub fn link(&self, position: u64) -> Option<LinkAddress> {
        match &self.library {
            None => Some(LinkAddress(self.start.0.checked_sub(BIAS)?.checked_add(position)?)),
            Some(library) => {
                let part = library.part(position)?;
                part.link.checked_add(position - part.start)
            }
        }
    }

    /// Where the layout has what the process has at `address`.
    pub fn position(&self, address: RuntimeAddress) -> Option<u64> {
        let offset = address.checked_since(self.start).filter(|&at| at < self.length)?;
        let Some(library) = &self.library else { return Some(offset) };
        let link = address.0.wrapping_sub(library.bias);
        library.parts.iter().find_map(|part| {
            let into = link.checked_sub(part.link.0).filter(|&into| into < part.length)?;
            Some(part.start + into)
        })
    }

    /// Whether code is known to be at `position`.
    pub fn is_code(&self, position: u64) -> bool {
        self.library.as_ref().and_then(|library| library.part(position)).is_some_and(|part| part.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_library_are_found_both_ways() {
        let part = |start, length, link, code| LibraryPart { start, length, link: LinkAddress(link), code };
        let parts = vec![part(0x40, 0x10, 0x1200, true), part(0x80, 8, 0x3000, false)];
        let image = PlacedImage {
            start: RuntimeAddress(0x7000_0000),
            length: 0x4000,
            path: PathBuf::new(),
            library: Some(Arc::new(PlacedLibrary { bias: 0x7000_0000, parts })),
        };
        for (position, address) in [(0x40, 0x7000_1200), (0x4f, 0x7000_120f), (0x84, 0x7000_3004)] {
            assert_eq!(image.address(position), Some(RuntimeAddress(address)));
            assert_eq!(image.position(RuntimeAddress(address)), Some(position));
        }
        assert_eq!(image.link(0x84), Some(LinkAddress(0x3004)));
        assert!(image.is_code(0x44) && !image.is_code(0x84));
        // Between parts there is nothing of the patch.
        assert_eq!(image.address(0x60), None);
        assert_eq!(image.position(RuntimeAddress(0x7000_2000)), None);
        assert_eq!(image.position(RuntimeAddress(0x7000_4000)), None);
    }
}
