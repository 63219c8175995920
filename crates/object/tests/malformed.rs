//! Relocatable objects that contradict themselves are refused where they are read: nothing that is made of them has to
//! ask again.

#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot do without")]

use livepatch_object::ObjectError;
use livepatch_object::relocatable::Relocatable;
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind as Kind, SymbolScope,
};

/// An object with four bytes of code, and a symbol at an offset of them.
fn with_symbol_at(value: u64) -> Result<Relocatable, ObjectError> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    object.append_section_data(text, &[0xCC; 4], 1);
    object.add_symbol(Symbol {
        name: b"somewhere".to_vec(),
        value,
        size: 0,
        kind: Kind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    Relocatable::parse(object.write().unwrap())
}

#[test]
fn symbols_are_inside_their_sections() {
    // At the very end are the ends of things.
    with_symbol_at(4).unwrap();
    let error = with_symbol_at(5).unwrap_err();
    assert!(matches!(error, ObjectError::Inconsistent { what } if what.contains("symbol")), "{error}");
}
