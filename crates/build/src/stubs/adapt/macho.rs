//! Relocatable Mach-O objects of 64 bits. What is moved or grows goes to the end of the file.
//!
//! Specification: `mach-o/loader.h`, `mach-o/reloc.h`, `mach-o/nlist.h`.

use super::{Adapted, Change, Means, Names, Reaches};
use crate::stubs::target::{InstructionSet, StubTarget};
use crate::stubs::{ADDRESS_OF, StubError};
use object::LittleEndian as LE;
use object::macho::{self, MachHeader64, Nlist64, RelocationInfo, Section64};
use object::read::macho::{MachHeader as _, Nlist as _, Section as _, Segment as _};
use rustc_hash::{FxHashMap, FxHashSet};

fn fail() -> impl Fn(object::read::Error) -> StubError {
    StubError::unreadable("relocatable object")
}

/// A reference to a symbol that means something.
struct Site<'d> {
    instructions: InstructionSet,
    info: RelocationInfo,
    /// Whether the relocation before it is a part of it.
    paired: bool,
    data: &'d [u8],
}

/// What becomes of it.
struct Edit {
    /// The new type; none if the relocation goes.
    kind: Option<u8>,
    /// Bytes to be written, and where in the section.
    patch: Option<(usize, Vec<u8>)>,
}

impl Site<'_> {
    /// A reference that goes through a word from now on.
    fn cell(&self) -> Option<Edit> {
        let at = self.info.r_address as usize;
        let field = self.data.get(at..at.checked_add(4)?)?;
        let word = u32::from_le_bytes(field.try_into().ok()?);
        if self.paired {
            return None;
        }
        let cell = |kind, patch| Some(Edit { kind: Some(kind), patch });
        if self.instructions == InstructionSet::X86_64 {
            // The opcode, after which only ModRM comes before the field.
            let [rex, opcode, modrm] = *self.data.get(at.checked_sub(3)?..at)? else { return None };
            return match self.info.r_type {
                macho::X86_64_RELOC_GOT_LOAD => cell(macho::X86_64_RELOC_SIGNED, None),
                // call, jmp, push
                macho::X86_64_RELOC_GOT if opcode == 0xff => cell(macho::X86_64_RELOC_SIGNED, None),
                // lea becomes mov
                macho::X86_64_RELOC_SIGNED
                    if word == 0 && rex & 0xf8 == 0x48 && opcode == 0x8d && modrm & 0xc7 == 5 =>
                {
                    cell(macho::X86_64_RELOC_SIGNED, Some((at - 2, vec![0x8b])))
                }
                _ => None,
            };
        }
        match self.info.r_type {
            macho::ARM64_RELOC_GOT_LOAD_PAGE21 => cell(macho::ARM64_RELOC_PAGE21, None),
            macho::ARM64_RELOC_GOT_LOAD_PAGEOFF12 => cell(macho::ARM64_RELOC_PAGEOFF12, None),
            macho::ARM64_RELOC_PAGE21 => cell(macho::ARM64_RELOC_PAGE21, None),
            // add becomes ldr
            macho::ARM64_RELOC_PAGEOFF12 if word & 0xffc0_0000 == 0x9100_0000 => {
                let load = 0xf940_0000 | word & 0x3ff;
                cell(macho::ARM64_RELOC_PAGEOFF12, Some((at, load.to_le_bytes().to_vec())))
            }
            _ => None,
        }
    }

    /// A word that holds the address: on both machines of type 0.
    fn word(&self, address: u64) -> Option<Edit> {
        let at = self.info.r_address as usize;
        if self.paired || self.info.r_type != 0 || self.info.r_length != 3 {
            return None;
        }
        let addend = u64::from_le_bytes(self.data.get(at..at.checked_add(8)?)?.try_into().ok()?);
        Some(Edit { kind: None, patch: Some((at, address.wrapping_add(addend).to_le_bytes().to_vec())) })
    }
}

/// Where things are in the file.
struct Commands<'d> {
    /// Sections and where their headers are.
    sections: Vec<(usize, &'d Section64<LE>)>,
    symtab: usize,
    symbols: &'d [Nlist64<LE>],
    strings: object::read::StringTable<'d>,
    string_bytes: &'d [u8],
}

impl<'d> Commands<'d> {
    fn read(object: &'d [u8]) -> Result<Self, StubError> {
        let inconsistent = || StubError::Inconsistent { what: "a load command" };
        let header = MachHeader64::<LE>::parse(object, 0).map_err(fail())?;
        let mut commands = header.load_commands(LE, object, 0).map_err(fail())?;
        let (mut at, mut sections, mut table) = (size_of::<MachHeader64<LE>>(), Vec::new(), None);
        while let Some(command) = commands.next().map_err(fail())? {
            if let Some((segment, data)) = command.segment_64().map_err(fail())? {
                let first = at + size_of::<macho::SegmentCommand64<LE>>();
                let all = segment.sections(LE, data).map_err(fail())?;
                let size = size_of::<Section64<LE>>();
                sections.extend(all.iter().enumerate().map(|(n, one)| (first + n * size, one)));
            } else if let Some(symtab) = command.symtab().map_err(fail())? {
                let symbols = symtab.symbols::<MachHeader64<LE>, _>(LE, object).map_err(fail())?;
                let start = symtab.stroff.get(LE) as usize;
                let length = symtab.strsize.get(LE) as usize;
                let bytes = start.checked_add(length).and_then(|end| object.get(start..end));
                table = Some((at, symbols, bytes.ok_or_else(inconsistent)?));
            }
            at += command.cmdsize() as usize;
        }
        let (symtab, symbols, string_bytes) = table.ok_or_else(inconsistent)?;
        let entries = symtab_entries(object, symtab, symbols.len())?;
        Ok(Self { sections, symtab, symbols: entries, strings: symbols.strings(), string_bytes })
    }
}

fn symtab_entries(object: &[u8], symtab: usize, count: usize) -> Result<&[Nlist64<LE>], StubError> {
    let inconsistent = StubError::Inconsistent { what: "the symbol table" };
    let field = object.get(symtab + 8..symtab + 12).and_then(|field| field.try_into().ok());
    let Some(start) = field.map(u32::from_le_bytes) else { return Err(inconsistent) };
    let data = object.get(start as usize..).unwrap_or_default();
    object::pod::slice_from_bytes(data, count).map(|(all, _)| all).map_err(|()| inconsistent)
}

/// Adapts an object.
pub(super) fn adapt(object: &[u8], target: StubTarget, names: &Names) -> Result<Adapted, StubError> {
    let commands = Commands::read(object)?;
    let mut means: FxHashMap<u32, (&str, u64)> = FxHashMap::default();
    for (at, symbol) in (0..).zip(commands.symbols) {
        let name = symbol.name(LE, commands.strings).map_err(fail())?;
        let known = std::str::from_utf8(name).ok().and_then(|name| names.get_key_value(name));
        if let Some((name, Means::Address(address))) = known.filter(|_| symbol.is_undefined()) {
            means.insert(at, (name, *address));
        }
    }
    let mut out = Adapted { bytes: object.to_vec(), changes: Vec::new() };
    // A symbol is renamed to the word's name, so all of its references must go there, but for calls.
    let kept = kept(object, target, &commands, &means)?;
    let mut renamed = FxHashMap::default();
    for (header, section) in &commands.sections {
        let data = section.data(LE, object).map_err(|()| StubError::Inconsistent { what: "a section" })?;
        let relocations = section.relocations(LE, object).map_err(fail())?;
        let mut left = Vec::with_capacity(relocations.len());
        let mut paired = false;
        for one in relocations {
            let info = one.info(LE);
            let site = Site { instructions: target.instructions, info, paired, data };
            paired = is_prefix(target, info.r_type);
            let found = means.get(&info.r_symbolnum).filter(|_| info.r_extern);
            let edit = found.and_then(|(_, address)| {
                let cell = || site.cell().filter(|_| !kept.contains(&info.r_symbolnum));
                site.word(*address).or_else(cell)
            });
            let (Some((name, _)), Some(edit)) = (found, edit) else {
                left.push(*one);
                continue;
            };
            if let Some((at, bytes)) = edit.patch {
                put(&mut out.bytes, section.offset.get(LE) as usize + at, &bytes);
            }
            if let Some(kind) = edit.kind {
                renamed.insert(info.r_symbolnum, format!("{ADDRESS_OF}{name}"));
                left.push(RelocationInfo { r_type: kind, ..info }.relocation(LE));
            }
            out.changes.push(Change {
                name: (*name).to_owned(),
                section: String::from_utf8_lossy(section.name()).into_owned(),
                offset: u64::from(info.r_address),
                to: if edit.kind.is_some() { Reaches::Cell } else { Reaches::Value },
            });
        }
        let start = section.reloff.get(LE) as usize;
        put(&mut out.bytes, start, object::pod::bytes_of_slice(&left));
        // `nreloc` follows 16 + 16 bytes of names, 8 + 8 of extent and three fields of 4.
        put(&mut out.bytes, header + 60, &(left.len() as u32).to_le_bytes());
    }
    rename(&mut out.bytes, &commands, &renamed)?;
    Ok(out)
}

/// Symbols with references that cannot go through a word.
fn kept(
    object: &[u8],
    target: StubTarget,
    commands: &Commands<'_>,
    means: &FxHashMap<u32, (&str, u64)>,
) -> Result<FxHashSet<u32>, StubError> {
    let mut kept = FxHashSet::default();
    for (_, section) in &commands.sections {
        let data = section.data(LE, object).map_err(|()| StubError::Inconsistent { what: "a section" })?;
        let mut paired = false;
        for one in section.relocations(LE, object).map_err(fail())? {
            let info = one.info(LE);
            let site = Site { instructions: target.instructions, info, paired, data };
            paired = is_prefix(target, info.r_type);
            let Some((_, address)) = means.get(&info.r_symbolnum).filter(|_| info.r_extern) else { continue };
            if site.cell().or_else(|| site.word(*address)).is_none() {
                kept.insert(info.r_symbolnum);
            }
        }
    }
    Ok(kept)
}

/// Whether a relocation belongs to the next one.
fn is_prefix(target: StubTarget, kind: u8) -> bool {
    match target.instructions {
        InstructionSet::X86_64 => kind == macho::X86_64_RELOC_SUBTRACTOR,
        _ => matches!(kind, macho::ARM64_RELOC_SUBTRACTOR | macho::ARM64_RELOC_ADDEND),
    }
}

/// Gives symbols other names; the longer string table goes to the end of the file.
fn rename(
    bytes: &mut Vec<u8>,
    commands: &Commands<'_>,
    renamed: &FxHashMap<u32, String>,
) -> Result<(), StubError> {
    if renamed.is_empty() {
        return Ok(());
    }
    let too_large = |_| StubError::TooLarge { what: "symbols" };
    let symbols_at = commands.symtab + 8;
    let field = bytes.get(symbols_at..symbols_at + 4).and_then(|field| field.try_into().ok());
    let symbols = field.map_or(0, u32::from_le_bytes) as usize;
    let mut strings = commands.string_bytes.to_vec();
    for (&at, name) in renamed {
        let start = u32::try_from(strings.len()).map_err(too_large)?;
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        put(bytes, symbols + at as usize * size_of::<Nlist64<LE>>(), &start.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let start = u32::try_from(bytes.len()).map_err(too_large)?;
    let length = u32::try_from(strings.len()).map_err(too_large)?;
    bytes.extend_from_slice(&strings);
    put(bytes, commands.symtab + 16, &[start.to_le_bytes(), length.to_le_bytes()].concat());
    Ok(())
}

/// Writes over bytes that were read before.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(field) = at.checked_add(new.len()).and_then(|end| bytes.get_mut(at..end)) {
        field.copy_from_slice(new);
    }
}
