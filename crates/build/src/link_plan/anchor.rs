//! The patch library's own anchor, which its process looks for to learn where the library came to be.

use livepatch_proto::PATCH_ANCHOR;
use object::write::{Object, StandardSection, Symbol, SymbolSection};
use object::{BinaryFormat, Object as _, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// An object that can be linked with `like`, an object of the patch, and defines and exports [`PATCH_ANCHOR`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let like = {
/// #     use object::{Architecture, BinaryFormat, Endianness, write::Object};
/// #     Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little).write()?
/// # };
/// let anchor = livepatch_build::link_plan::anchor_object(&like)?;
/// std::fs::write(std::env::temp_dir().join("anchor.o"), anchor)?;
/// # Ok(())
/// # }
/// ```
pub fn anchor_object(like: &[u8]) -> Result<Vec<u8>, AnchorError> {
    let like = object::File::parse(like).map_err(AnchorError::Read)?;
    let mut object = Object::new(like.format(), like.architecture(), like.endianness());
    object.flags = like.flags();
    let section = object.section_id(StandardSection::ReadOnlyData);
    let symbol = object.add_symbol(Symbol {
        name: PATCH_ANCHOR.into(),
        value: 0,
        size: 0,
        kind: SymbolKind::Data,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    });
    object.add_symbol_data(symbol, section, &[1], 1);
    if like.format() == BinaryFormat::Elf {
        // Without it the library would ask for an executable stack.
        object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    }
    object.write().map_err(AnchorError::Write)
}

/// An anchor's object could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// What it was to be like cannot be read.
    #[error("the patch's object cannot be read")]
    Read(#[source] object::read::Error),
    /// There is no writing for that machine.
    #[error("no object can be written for this machine")]
    Write(#[source] object::write::Error),
}
