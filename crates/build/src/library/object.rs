//! The sections of a patch as one relocatable object.
//!
//! Each part is a section of its own, under a symbol that says which part it is; whatever is not in the patch is an
//! undefined symbol, one for each [`Target`].
//!
//! Specification: System V gABI chapter 4.

use super::{LibraryError, debug, frames};
use crate::place::{Layout, target_of};
use crate::resolve::{Closure, Part, PartId, Target};
use livepatch_object::architecture::Architecture;
use livepatch_object::compare::{Referent, is_named, referent};
use livepatch_object::host::Host;
use livepatch_object::relocatable::{self as elf_object, SectionKind as Kind, SymbolKind as ElfSymbolKind};
use livepatch_object::relocation::{Formula, howto};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use rustc_hash::FxHashMap;

/// A patch's object.
pub(super) struct PatchObject {
    pub(super) bytes: Vec<u8>,
    pub(super) outside: Vec<Outside>,
}

/// Something that the patch refers to and does not hold.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    /// The name that the object has for it, which nothing else has.
    pub(super) symbol: String,
    /// Its own name.
    pub(super) name: String,
    pub(super) target: Target,
}

/// The name of a part's symbol.
pub(super) fn part_symbol(part: usize) -> String {
    format!("__livepatch_part.{part}")
}

/// Whether parts of a kind are in a patch's memory.
pub(super) fn is_held(kind: Kind) -> bool {
    matches!(kind, Kind::Text | Kind::ReadOnly | Kind::Data | Kind::Bss)
}

/// Writes the object; none where the patch holds nothing.
pub(super) fn write(
    closure: &Closure,
    layout: &Layout,
    host: &Host,
) -> Result<Option<PatchObject>, LibraryError> {
    let mut writer = Writer::new(closure, host);
    if writer.parts.iter().all(Option::is_none) {
        return Ok(None);
    }
    for (part, place) in closure.parts.iter().zip(writer.parts.clone()) {
        let Some((section, _)) = place else { continue };
        for relocation in part.object.image.relocations(part.section) {
            writer.reference(part, relocation, (section, relocation.offset.0))?;
        }
    }
    frames::write(&mut writer, layout)?;
    debug::write(&mut writer)?;
    // Without it the library would ask for an executable stack.
    writer.object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    let bytes = writer.object.write()?;
    Ok(Some(PatchObject { bytes, outside: writer.outside }))
}

pub(super) struct Writer<'c> {
    pub(super) closure: &'c Closure,
    pub(super) host: &'c Host,
    pub(super) object: Object<'static>,
    /// By part: its section and its symbol.
    pub(super) parts: Vec<Option<(SectionId, SymbolId)>>,
    outside: Vec<Outside>,
    by_target: FxHashMap<Target, SymbolId>,
    absolute: FxHashMap<i64, SymbolId>,
    unresolved: FxHashMap<String, SymbolId>,
}

impl<'c> Writer<'c> {
    fn new(closure: &'c Closure, host: &'c Host) -> Self {
        let architecture = match closure.architecture {
            Architecture::X86_64 => object::Architecture::X86_64,
            Architecture::Aarch64 => object::Architecture::Aarch64,
        };
        let mut writer = Self {
            closure,
            host,
            object: Object::new(BinaryFormat::Elf, architecture, Endianness::Little),
            parts: Vec::with_capacity(closure.parts.len()),
            outside: Vec::new(),
            by_target: FxHashMap::default(),
            absolute: FxHashMap::default(),
            unresolved: FxHashMap::default(),
        };
        for (id, part) in closure.parts.iter().enumerate() {
            let place = writer.add_part(id, part);
            writer.parts.push(place);
        }
        writer
    }

    fn add_part(&mut self, id: usize, part: &Part) -> Option<(SectionId, SymbolId)> {
        let image = &part.object.image;
        let header = image.section(part.section);
        let (name, kind) = match header.kind {
            Kind::Text => (".text", SectionKind::Text),
            // Words with addresses are written when the library is loaded.
            Kind::ReadOnly if has_words(part) => (".data.rel.ro", SectionKind::ReadOnlyDataWithRel),
            Kind::ReadOnly => (".rodata", SectionKind::ReadOnlyData),
            Kind::Data => (".data", SectionKind::Data),
            Kind::Bss => (".bss", SectionKind::UninitializedData),
            _ => return None,
        };
        let symbol = part_symbol(id);
        let section = self.object.add_section(Vec::new(), format!("{name}.{symbol}").into_bytes(), kind);
        match header.kind {
            Kind::Bss => self.object.append_section_bss(section, header.size, header.align),
            _ => self.object.append_section_data(section, image.data(part.section), header.align),
        };
        let symbol = self.define(symbol, SymbolKind::Label, section, 0, 0);
        // For backtraces, debuggers and profilers.
        for id in image.symbols_in(part.section).filter(|&id| is_named(image, id)) {
            let one = image.symbol(id);
            let is_code = one.kind == ElfSymbolKind::Function;
            let kind = if is_code { SymbolKind::Text } else { SymbolKind::Data };
            self.define(image.name(id).to_owned(), kind, section, one.offset.0, one.size);
        }
        Some((section, symbol))
    }

    /// A local symbol.
    fn define(
        &mut self,
        name: String,
        kind: SymbolKind,
        section: SectionId,
        value: u64,
        size: u64,
    ) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into_bytes(),
            value,
            size,
            kind,
            scope: SymbolScope::Compilation,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        })
    }

    /// Adds a reference of `part`, seen from `at`: a section and an offset in it.
    pub(super) fn reference(
        &mut self,
        part: &Part,
        relocation: &elf_object::Relocation,
        (section, offset): (SectionId, u64),
    ) -> Result<(), LibraryError> {
        let image = &part.object.image;
        if howto(relocation.kind).is_ok_and(|howto| howto.formula == Formula::None) {
            return Ok(());
        }
        let (symbol, addend) = match referent(image, part.section, relocation) {
            Referent::Absolute { value } => (self.absolute(value), 0),
            Referent::Named { offset, symbol } => match target_of(self.closure, part, relocation) {
                Some(target) => (self.symbol(target, image.name(symbol))?, offset),
                // Calls of `__tls_get_addr`, which go with the sequence that they are in.
                None => (self.unresolved(image.name(symbol)), offset),
            },
            Referent::Content { offset, .. } | Referent::Interior { offset, .. } => {
                let target = target_of(self.closure, part, relocation).ok_or(LibraryError::Lost)?;
                (self.symbol(target, "")?, offset)
            }
        };
        self.relocate(section, offset, relocation.kind.number().into(), symbol, addend)
    }

    pub(super) fn relocate(
        &mut self,
        section: SectionId,
        offset: u64,
        r_type: u32,
        symbol: SymbolId,
        addend: i64,
    ) -> Result<(), LibraryError> {
        let flags = RelocationFlags::Elf { r_type };
        Ok(self.object.add_relocation(section, Relocation { offset, symbol, addend, flags })?)
    }

    /// The symbol of a target, whose own name is `name`.
    pub(super) fn symbol(&mut self, target: Target, name: &str) -> Result<SymbolId, LibraryError> {
        let thread_local = match target {
            Target::Part(PartId(part), offset) => {
                let (section, symbol) = self.parts.get(part).copied().flatten().ok_or(LibraryError::Lost)?;
                if offset.0 == 0 {
                    return Ok(symbol);
                }
                let known = self.by_target.get(&target).copied();
                return Ok(known.unwrap_or_else(|| {
                    let within = format!("{}+{}", part_symbol(part), offset.0);
                    let symbol = self.define(within, SymbolKind::Label, section, offset.0, 0);
                    self.by_target.insert(target, symbol);
                    symbol
                }));
            }
            Target::Absolute(value) => return Ok(self.absolute(value)),
            Target::HostTls(_) | Target::OtherTls(_) | Target::ReserveTls(_) => true,
            Target::Live(_) | Target::Process(_) | Target::ShimSlot(_) => false,
        };
        if let Some(&known) = self.by_target.get(&target) {
            return Ok(known);
        }
        let unique = format!("{name}.livepatch.{}", self.outside.len());
        let kind = if thread_local { SymbolKind::Tls } else { SymbolKind::Unknown };
        let symbol = self.undefined(unique.clone(), kind, false);
        self.outside.push(Outside { symbol: unique, name: name.to_owned(), target });
        self.by_target.insert(target, symbol);
        Ok(symbol)
    }

    /// A fixed value; zero is what a weak symbol has that nobody defines, which any linker gets right.
    fn absolute(&mut self, value: i64) -> SymbolId {
        if let Some(&known) = self.absolute.get(&value) {
            return known;
        }
        let name = format!("__livepatch_value.{value}");
        let symbol = match value {
            0 => self.undefined(name, SymbolKind::Unknown, true),
            _ => self.object.add_symbol(Symbol {
                name: name.into_bytes(),
                value: value.cast_unsigned(),
                size: 0,
                kind: SymbolKind::Label,
                scope: SymbolScope::Compilation,
                weak: false,
                section: SymbolSection::Absolute,
                flags: SymbolFlags::None,
            }),
        };
        self.absolute.insert(value, symbol);
        symbol
    }

    /// A name that nothing leads to.
    fn unresolved(&mut self, name: &str) -> SymbolId {
        if let Some(&known) = self.unresolved.get(name) {
            return known;
        }
        let symbol = self.undefined(name.to_owned(), SymbolKind::Unknown, false);
        self.unresolved.insert(name.to_owned(), symbol);
        symbol
    }

    fn undefined(&mut self, name: String, kind: SymbolKind, weak: bool) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into_bytes(),
            value: 0,
            size: 0,
            kind,
            // Hidden: no linker makes an import of it.
            scope: SymbolScope::Linkage,
            weak,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        })
    }
}

/// Whether a part holds addresses.
fn has_words(part: &Part) -> bool {
    part.object
        .image
        .relocations(part.section)
        .iter()
        .any(|one| howto(one.kind).is_ok_and(|howto| howto.formula == Formula::Absolute))
}
