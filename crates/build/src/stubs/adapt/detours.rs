//! Instructions of x86-64 whose operand is out of reach, made in a section of their own.

use super::elf::{Editor, Relocation, fail};
use super::{Change, Reaches};
use crate::stubs::{ADDRESS_OF, StubError};
use livepatch_object::detour::detour;
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader, SectionHeader as _, SectionTable, Sym as _, SymbolTable};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::hash::BuildHasher as _;

/// Bytes of table entries.
const RELA: usize = 24;
const HEADER: usize = 64;

/// The instructions of one object that are made elsewhere.
#[derive(Default)]
pub(super) struct Detours {
    /// Tells the object's symbols from those of others that it is linked with.
    unique: u64,
    /// The index of the section to come.
    section: u16,
    code: Vec<u8>,
    /// Place, symbol, addend; all of one type.
    references: Vec<(usize, usize, i64)>,
    /// By section: where functions begin, ascending.
    functions: FxHashMap<usize, Vec<usize>>,
    /// Section and offset of every relocation.
    taken: FxHashSet<(usize, usize)>,
}

impl Detours {
    pub(super) fn new<H: FileHeader<Endian = LE>>(
        object: &[u8],
        sections: &SectionTable<'_, H>,
        symbols: &SymbolTable<'_, H>,
        relocations: &[Relocation],
    ) -> Option<Self> {
        let section = u16::try_from(sections.len()).ok().filter(|&count| count < elf::SHN_LORESERVE - 2)?;
        // With a table of section indices, there would be that to be kept in step.
        if symbols.shndx_section().0 != 0 {
            return None;
        }
        let mut functions: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
        for symbol in symbols.iter().filter(|symbol| symbol.st_type() == elf::STT_FUNC) {
            let value: u64 = symbol.st_value(LE).into();
            let all = functions.entry(symbol.st_shndx(LE).into()).or_default();
            all.push(usize::try_from(value).unwrap_or(usize::MAX));
        }
        functions.values_mut().for_each(|all| all.sort_unstable());
        let taken = relocations.iter().map(|one| (one.section.0, one.offset)).collect();
        let unique = FxBuildHasher.hash_one(object);
        Some(Self { unique, section, functions, taken, ..Self::default() })
    }

    /// Moves the instruction that a relocation is in; false where that cannot be.
    pub(super) fn add<H: FileHeader<Endian = LE>>(
        &mut self,
        one: &Relocation,
        name: &str,
        sections: &SectionTable<'_, H>,
        (start, code): (usize, &[u8]),
        editor: &mut Editor,
    ) -> Result<bool, StubError> {
        let section = sections.section(one.section).map_err(fail())?;
        let flags: u64 = section.sh_flags(LE).into();
        let (executable, grouped) = (u64::from(elf::SHF_EXECINSTR), u64::from(elf::SHF_GROUP));
        // A linker may drop one that is in a group, and what refers to it is left.
        if one.kind != elf::R_X86_64_PC32 || flags & executable == 0 || flags & grouped != 0 {
            return Ok(false);
        }
        let functions = self.functions.get(&one.section.0);
        let boundary = functions.and_then(|all| {
            let after = all.partition_point(|&function| function <= one.offset);
            all.get(after.checked_sub(1)?).copied()
        });
        let (Some(addend), boundary) = (one.addend, boundary.unwrap_or(0)) else { return Ok(false) };
        let Some(moved) = detour(code, boundary, one.offset, addend) else { return Ok(false) };
        let alone = |at: usize| at == one.offset || !self.taken.contains(&(one.section.0, at));
        if !moved.instruction.clone().all(alone) {
            return Ok(false);
        }
        let place = self.code.len();
        self.code.extend_from_slice(&moved.elsewhere);
        let cell = editor.symbol(format!("{ADDRESS_OF}{name}"));
        self.references.push((place + moved.cell_field, cell, -4));
        if let Some(back) = moved.back_field {
            let section = one.section.0;
            let here = format!("__livepatch_code.{:016x}.{section}", self.unique);
            let here = editor.defined(here, u16::try_from(section).unwrap_or(elf::SHN_UNDEF));
            self.references.push((place + back, here, moved.instruction.end as i64 - 4));
        }
        let elsewhere = editor.defined(format!("__livepatch_elsewhere.{:016x}", self.unique), self.section);
        editor.write(start.saturating_add(moved.instruction.start), &moved.leave);
        let offset = moved.instruction.start + moved.leave_field;
        editor.relocate(one, offset as u64, elsewhere, place as i64 - 4);
        let section = sections.section_name(LE, section).unwrap_or_default();
        editor.changes.push(Change {
            name: name.to_owned(),
            section: String::from_utf8_lossy(section).into_owned(),
            offset: one.offset as u64,
            to: Reaches::Detour,
        });
        Ok(true)
    }

    /// Appends the section and its relocations, if there are any, and a section table that has them.
    pub(super) fn finish<H: FileHeader<Endian = LE>>(
        &self,
        header: &H,
        sections: &SectionTable<'_, H>,
        symbols: &SymbolTable<'_, H>,
        out: &mut Vec<u8>,
    ) -> Result<(), StubError> {
        if self.code.is_empty() {
            return Ok(());
        }
        let code = append(out, &self.code);
        let mut relocations = Vec::with_capacity(self.references.len() * RELA);
        for &(place, symbol, addend) in &self.references {
            relocations.extend_from_slice(&(place as u64).to_le_bytes());
            let info = (symbol as u64) << 32 | u64::from(elf::R_X86_64_PC32);
            relocations.extend_from_slice(&info.to_le_bytes());
            relocations.extend_from_slice(&addend.to_le_bytes());
        }
        let relocations = append(out, &relocations);
        let inconsistent = || StubError::Inconsistent { what: "the section table" };
        let table: u64 = header.e_shoff(LE).into();
        let table = usize::try_from(table).map_err(|_| inconsistent())?;
        let end = sections.len().checked_mul(HEADER).and_then(|size| size.checked_add(table));
        let mut headers = out.get(table..end.ok_or_else(inconsistent)?).ok_or_else(inconsistent)?.to_vec();
        // They have the name of some section with code: names are for people.
        let named =
            sections.iter().find(|section| section.sh_flags(LE).into() & u64::from(elf::SHF_EXECINSTR) != 0);
        let name = named.map_or(0, |section| section.sh_name(LE));
        let flags = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
        headers.extend(section_header(name, elf::SHT_PROGBITS, flags, code, [0, 0], [16, 0]));
        let (symbols, of) = (symbols.section().0 as u32, u32::from(self.section));
        let flags = elf::SHF_INFO_LINK;
        let entry = [8, RELA as u64];
        headers.extend(section_header(name, elf::SHT_RELA, flags, relocations, [symbols, of], entry));
        let (table, _) = append(out, &headers);
        let count = (self.section + 2).to_le_bytes();
        // e_shoff and e_shnum.
        for (at, bytes) in [(40, &table.to_le_bytes()[..]), (60, &count)] {
            out.get_mut(at..at + bytes.len()).ok_or_else(inconsistent)?.copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// Appends bytes; where they are and how many.
fn append(out: &mut Vec<u8>, bytes: &[u8]) -> (u64, u64) {
    out.resize(out.len().next_multiple_of(16), 0);
    let at = out.len() as u64;
    out.extend_from_slice(bytes);
    (at, bytes.len() as u64)
}

fn section_header(
    name: u32,
    kind: u32,
    flags: u32,
    (start, size): (u64, u64),
    [link, info]: [u32; 2],
    [align, entry]: [u64; 2],
) -> Vec<u8> {
    let mut out = [name, kind].map(u32::to_le_bytes).concat();
    for long in [u64::from(flags), 0, start, size] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend([link, info].map(u32::to_le_bytes).concat());
    out.extend([align, entry].map(u64::to_le_bytes).concat());
    out
}
