//! Relocatable ELF objects, edited in place; a longer symbol table and its strings go to the end of the file.
//!
//! Specification: System V gABI chapter 4.

use super::detours::Detours;
use super::rules::{Edit, Site};
use super::{Adapted, Change, Means, Names, Reaches};
use crate::stubs::needed::compute_needed_symbols_multi;
use crate::stubs::resolve::Cell;
use crate::stubs::target::{InstructionSet, StubTarget};
use crate::stubs::{ADDRESS_OF, StubError, THREAD_OFFSET_OF};
use object::elf;
use object::read::elf::{FileHeader, Rel as _, Rela as _, SectionHeader as _, SectionTable, SymbolTable};
use object::{FileKind, LittleEndian as LE, SectionIndex};
use rustc_hash::{FxHashMap, FxHashSet};

/// What the names of symbols begin with that nothing refers to any more.
const UNUSED: &str = "__livepatch_unused.";

/// Adapts an object.
pub(super) fn adapt(object: &[u8], target: StubTarget, names: &Names) -> Result<Adapted, StubError> {
    match FileKind::parse(object).map_err(fail())? {
        FileKind::Elf32 => adapt_class::<elf::FileHeader32<LE>>(object, target, names),
        _ => adapt_class::<elf::FileHeader64<LE>>(object, target, names),
    }
}

pub(super) fn fail() -> impl Fn(object::read::Error) -> StubError {
    StubError::unreadable("relocatable object")
}

/// A relocation of an object.
#[derive(Clone, Copy)]
pub(super) struct Relocation {
    /// Where its `r_info` is in the file.
    info: usize,
    pub(super) kind: u32,
    symbol: usize,
    pub(super) offset: usize,
    pub(super) addend: Option<i64>,
    pub(super) section: SectionIndex,
}

fn adapt_class<H: FileHeader<Endian = LE>>(
    object: &[u8],
    target: StubTarget,
    names: &Names,
) -> Result<Adapted, StubError> {
    let header = H::parse(object).map_err(fail())?;
    let sections = header.sections(LE, object).map_err(fail())?;
    let symbols = sections.symbols(LE, object, elf::SHT_SYMTAB).map_err(fail())?;
    let meanings = meanings(&symbols, names)?;
    let relocations = relocations(header, object, &sections)?;
    let mut editor = Editor {
        bytes: object.to_vec(),
        wide: header.is_class_64(),
        first_new: symbols.len(),
        new: Vec::new(),
        by_name: FxHashMap::default(),
        changed: FxHashSet::default(),
        changes: Vec::new(),
    };
    let data = |section: SectionIndex| -> Result<(usize, &[u8]), StubError> {
        let section = sections.section(section).map_err(fail())?;
        let start: u64 = section.sh_offset(LE).into();
        let data = section.data(LE, object).map_err(fail())?;
        Ok((usize::try_from(start).unwrap_or(usize::MAX), data))
    };
    let local_dynamic = target.instructions == InstructionSet::X86_64
        && relocations
            .iter()
            .filter(|one| counts_from_block(one.kind))
            .all(|one| matches!(meanings.get(&one.symbol), Some((_, Means::ThreadOffset(_)))));
    let site = |one: &Relocation, only_computed| {
        let (_, data) = data(one.section)?;
        let (kind, offset, addend) = (one.kind, one.offset, one.addend);
        Ok::<_, StubError>(Site {
            instructions: target.instructions,
            kind,
            offset,
            addend,
            data,
            only_computed,
            local_dynamic,
        })
    };
    // Whose address code uses without computing it first.
    let mut used: FxHashSet<usize> = FxHashSet::default();
    if target.instructions == InstructionSet::Aarch64 {
        for one in relocations.iter().filter(|one| meanings.contains_key(&one.symbol)) {
            if is_direct(target, one.kind) && !site(one, false)?.computes() {
                used.insert(one.symbol);
            }
        }
    }
    let mut detours = match target.instructions {
        InstructionSet::X86_64 => Detours::new(object, &sections, &symbols, &relocations),
        _ => None,
    };
    let mut swallowed = false;
    let mut left: FxHashSet<usize> = FxHashSet::default();
    for one in &relocations {
        if std::mem::take(&mut swallowed) {
            let none = editor.info(0, 0);
            editor.write(one.info, &none);
            editor.changed.insert(one.symbol);
            continue;
        }
        let Some(&(name, means)) = meanings.get(&one.symbol) else {
            left.insert(one.symbol);
            continue;
        };
        let Some(edit) = site(one, !used.contains(&one.symbol))?.edit(means) else {
            let moved = match (&mut detours, means) {
                (Some(detours), Means::Address(_)) => {
                    detours.add(one, name, &sections, data(one.section)?, &mut editor)?
                }
                _ => false,
            };
            if moved { &mut editor.changed } else { &mut left }.insert(one.symbol);
            continue;
        };
        swallowed = edit.swallows;
        let (start, _) = data(one.section)?;
        let section = sections.section(one.section).map_err(fail())?;
        let section = sections.section_name(LE, section).unwrap_or_default();
        editor.changed.insert(one.symbol);
        editor.apply(one, edit, name, start, &String::from_utf8_lossy(section))?;
    }
    editor.changed.retain(|symbol| !left.contains(symbol));
    if !editor.changes.is_empty() {
        editor.append_symbols(header, object, &sections, &symbols)?;
        if let Some(detours) = &detours {
            detours.finish(header, &sections, &symbols, &mut editor.bytes)?;
        }
    }
    // In a damaged object, sections lie on tables: then what was edited is not what it was taken for.
    if !editor.changes.is_empty() {
        let lie = |_| StubError::Inconsistent { what: "sections that lie on one another" };
        compute_needed_symbols_multi(&[&editor.bytes]).map_err(lie)?;
    }
    Ok(Adapted { bytes: editor.bytes, changes: editor.changes })
}

fn is_direct(target: StubTarget, kind: u32) -> bool {
    use crate::stubs::references::References;
    References::of(target, object::RelocationFlags::Elf { r_type: kind }) == References::DIRECT
}

/// Whether a relocation of x86-64 is one of a local-dynamic access: the start of a block, or what is counted from it.
fn counts_from_block(kind: u32) -> bool {
    matches!(kind, elf::R_X86_64_TLSLD | elf::R_X86_64_DTPOFF32 | elf::R_X86_64_DTPOFF64)
}

/// What the object's undefined symbols mean, by index.
fn meanings<'n, H: FileHeader<Endian = LE>>(
    symbols: &SymbolTable<'_, H>,
    names: &'n Names,
) -> Result<FxHashMap<usize, (&'n str, Means)>, StubError> {
    use object::read::elf::Sym as _;
    let mut meanings = FxHashMap::default();
    for (at, symbol) in symbols.enumerate() {
        if symbol.st_shndx(LE) != elf::SHN_UNDEF {
            continue;
        }
        let name = symbols.symbol_name(LE, symbol).map_err(fail())?;
        let known = std::str::from_utf8(name).ok().and_then(|name| names.get_key_value(name));
        if let Some((name, means)) = known {
            meanings.insert(at.0, (name.as_str(), *means));
        }
    }
    Ok(meanings)
}

/// The relocations of what the running program has in memory.
fn relocations<H: FileHeader<Endian = LE>>(
    header: &H,
    object: &[u8],
    sections: &SectionTable<'_, H>,
) -> Result<Vec<Relocation>, StubError> {
    let wide = header.is_class_64();
    let mut all = Vec::new();
    let position = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    for section in sections.iter() {
        let applies_to = SectionIndex(section.sh_info(LE) as usize);
        let loaded = sections
            .section(applies_to)
            .is_ok_and(|to| to.sh_flags(LE).into() & u64::from(elf::SHF_ALLOC) != 0);
        if !loaded {
            continue;
        }
        let start: u64 = section.sh_offset(LE).into();
        // `r_info` is the second field.
        let info = |at: usize, size: usize| position(start) + at * size + if wide { 8 } else { 4 };
        if let Some((entries, _)) = section.rela(LE, object).map_err(fail())? {
            all.extend(entries.iter().enumerate().map(|(at, one)| Relocation {
                info: info(at, size_of::<H::Rela>()),
                kind: one.r_type(LE, false),
                symbol: one.symbol(LE, false).map_or(0, |index| index.0),
                offset: position(one.r_offset(LE).into()),
                addend: Some(one.r_addend(LE).into()),
                section: applies_to,
            }));
        } else if let Some((entries, _)) = section.rel(LE, object).map_err(fail())? {
            all.extend(entries.iter().enumerate().map(|(at, one)| Relocation {
                info: info(at, size_of::<H::Rel>()),
                kind: one.r_type(LE),
                symbol: one.symbol(LE).map_or(0, |index| index.0),
                offset: position(one.r_offset(LE).into()),
                addend: None,
                section: applies_to,
            }));
        }
    }
    Ok(all)
}

pub(super) struct Editor {
    bytes: Vec<u8>,
    wide: bool,
    /// The index of the first symbol that is added.
    first_new: usize,
    /// Names of symbols to be added, and the sections that they are the beginnings of.
    new: Vec<(String, u16)>,
    by_name: FxHashMap<String, usize>,
    /// Symbols that references were changed of; in the end those that no reference is left of.
    changed: FxHashSet<usize>,
    pub(super) changes: Vec<Change>,
}

impl Editor {
    fn apply(
        &mut self,
        one: &Relocation,
        edit: Edit,
        name: &str,
        section_start: usize,
        section: &str,
    ) -> Result<(), StubError> {
        let symbol = match edit.cell {
            Some(Cell::Address) => self.symbol(format!("{ADDRESS_OF}{name}")),
            Some(Cell::ThreadOffset) => self.symbol(format!("{THREAD_OFFSET_OF}{name}")),
            None => 0,
        };
        let info = self.info(symbol, edit.kind);
        self.write(one.info, &info);
        if let Some((at, bytes)) = &edit.patch {
            let at = section_start.checked_add(*at);
            let at = at.ok_or(StubError::Inconsistent { what: "a section" })?;
            self.write(at, bytes);
        }
        self.changes.push(Change {
            name: name.to_owned(),
            section: section.to_owned(),
            offset: one.offset as u64,
            to: if edit.cell.is_some() { Reaches::Cell } else { Reaches::Value },
        });
        Ok(())
    }

    /// The bytes of `r_info`.
    fn info(&self, symbol: usize, kind: u32) -> Vec<u8> {
        if self.wide {
            ((symbol as u64) << 32 | u64::from(kind)).to_le_bytes().to_vec()
        } else {
            ((symbol as u32) << 8 | kind & 0xff).to_le_bytes().to_vec()
        }
    }

    /// Has a relocation of 64-bit objects refer to something else, from somewhere else in its section, as it does.
    pub(super) fn relocate(&mut self, one: &Relocation, offset: u64, symbol: usize, addend: i64) {
        let info = self.info(symbol, one.kind);
        // r_offset is the field before, r_addend the one behind.
        let entry = [&offset.to_le_bytes()[..], &info, &addend.to_le_bytes()].concat();
        if let Some(start) = one.info.checked_sub(8) {
            self.write(start, &entry);
        }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        // All of these places were read before.
        if let Some(field) = at.checked_add(bytes.len()).and_then(|end| self.bytes.get_mut(at..end)) {
            field.copy_from_slice(bytes);
        }
    }

    /// An undefined symbol.
    pub(super) fn symbol(&mut self, name: String) -> usize {
        self.defined(name, elf::SHN_UNDEF)
    }

    /// The symbol of a section's beginning.
    pub(super) fn defined(&mut self, name: String, section: u16) -> usize {
        if let Some(&at) = self.by_name.get(&name) {
            return at;
        }
        let at = self.first_new + self.new.len();
        self.new.push((name.clone(), section));
        self.by_name.insert(name, at);
        at
    }

    fn append_symbols<H: FileHeader<Endian = LE>>(
        &mut self,
        header: &H,
        object: &[u8],
        sections: &SectionTable<'_, H>,
        symbols: &SymbolTable<'_, H>,
    ) -> Result<(), StubError> {
        let string = |strings: &mut Vec<u8>, name: &str| {
            let at = u32::try_from(strings.len()).map_err(|_| StubError::TooLarge { what: "symbols" })?;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            Ok::<u32, StubError>(at)
        };
        if !self.wide && self.first_new + self.new.len() >= 1 << 24 {
            return Err(StubError::TooLarge { what: "symbols" });
        }
        let table = sections.section(symbols.section()).map_err(fail())?;
        let strings = sections.section(symbols.string_section()).map_err(fail())?;
        let mut table_bytes = table.data(LE, object).map_err(fail())?.to_vec();
        let mut string_bytes = strings.data(LE, object).map_err(fail())?.to_vec();
        for (name, section) in &self.new {
            // Hidden, so that no linker makes an import of it.
            let name = string(&mut string_bytes, name)?;
            table_bytes.extend_from_slice(&self.entry(name, elf::STB_GLOBAL, *section));
        }
        let size = if self.wide { 24 } else { 16 };
        for &symbol in &self.changed {
            // Nothing refers to it any more: it needs no definition, and must not look as if it did.
            let name = symbols.symbol(object::SymbolIndex(symbol)).map_err(fail())?;
            let name = symbols.symbol_name(LE, name).map_err(fail())?;
            let name = format!("{UNUSED}{}", String::from_utf8_lossy(name));
            let name = string(&mut string_bytes, &name)?;
            if let Some(entry) = table_bytes.get_mut(symbol * size..(symbol + 1) * size) {
                entry.copy_from_slice(&self.entry(name, elf::STB_WEAK, elf::SHN_ABS));
            }
        }
        self.move_section(header, symbols.section(), &table_bytes)?;
        self.move_section(header, symbols.string_section(), &string_bytes)?;
        // A table of section indices has one entry for each symbol.
        let extended = symbols.shndx_section();
        if extended.0 != 0 {
            let section = sections.section(extended).map_err(fail())?;
            let mut bytes = section.data(LE, object).map_err(fail())?.to_vec();
            bytes.resize(bytes.len() + 4 * self.new.len(), 0);
            self.move_section(header, extended, &bytes)?;
        }
        Ok(())
    }

    /// A hidden symbol without type, value and size.
    fn entry(&self, name: u32, binding: u8, section: u16) -> Vec<u8> {
        let info = [binding << 4 | elf::STT_NOTYPE, elf::STV_HIDDEN];
        let (info, rest) = ([info, section.to_le_bytes()].concat(), if self.wide { 16 } else { 8 });
        let parts = if self.wide { [info, vec![0; rest]] } else { [vec![0; rest], info] };
        [name.to_le_bytes().to_vec(), parts.concat()].concat()
    }

    /// Puts a section's new contents at the end of the file.
    fn move_section<H: FileHeader<Endian = LE>>(
        &mut self,
        header: &H,
        section: SectionIndex,
        contents: &[u8],
    ) -> Result<(), StubError> {
        let table: u64 = header.e_shoff(LE).into();
        let table = usize::try_from(table).unwrap_or(usize::MAX);
        let size = usize::from(header.e_shentsize(LE));
        let entry = section.0.checked_mul(size).and_then(|at| at.checked_add(table));
        let entry = entry.ok_or(StubError::Inconsistent { what: "the section table" })?;
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let (start, length) = (self.bytes.len() as u64, contents.len() as u64);
        self.bytes.extend_from_slice(contents);
        // sh_offset and sh_size follow each other.
        if self.wide {
            self.write(entry + 24, &[start.to_le_bytes(), length.to_le_bytes()].concat());
        } else {
            let too_large = |_| StubError::TooLarge { what: "symbols" };
            let (start, length) =
                (u32::try_from(start).map_err(too_large)?, u32::try_from(length).map_err(too_large)?);
            self.write(entry + 16, &[start.to_le_bytes(), length.to_le_bytes()].concat());
        }
        Ok(())
    }
}
