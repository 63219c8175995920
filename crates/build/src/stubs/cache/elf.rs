//! ELF images, of 32 and 64 bits.
//!
//! Specification: System V gABI chapters 4 and 5.

use super::{Entry, Facts, SymbolSource, Table, ThreadSegment, Visibility};
use crate::stubs::StubError;
use crate::stubs::target::{Format, InstructionSet, StubTarget};
use livepatch_object::address::LinkAddress;
use livepatch_object::relocatable::{Binding, SymbolKind};
use object::elf;
use object::read::elf::{
    Dyn, FileHeader, ProgramHeader as _, Rel as _, Rela as _, SectionHeader as _, Sym as _,
};
use object::read::elf::{SectionTable, SymbolTable, VersionTable};
use object::{FileKind, LittleEndian as LE};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// Reads a linked image.
pub(super) fn read(data: &[u8]) -> Result<(Facts, Table), StubError> {
    match FileKind::parse(data).map_err(fail())? {
        FileKind::Elf32 => read_class::<elf::FileHeader32<LE>>(data),
        _ => read_class::<elf::FileHeader64<LE>>(data),
    }
}

fn fail() -> impl Fn(object::read::Error) -> StubError {
    StubError::unreadable("ELF image")
}

fn read_class<H: FileHeader<Endian = LE>>(data: &[u8]) -> Result<(Facts, Table), StubError> {
    let header = H::parse(data).map_err(fail())?;
    let endian = header.endian().map_err(fail())?;
    let target = target(header, endian)?;
    let mut image = Image { data, header, endian, target, got: Vec::new(), lazy: false };
    let sections = header.sections(endian, data).map_err(fail())?;
    let mut facts = image.facts()?;
    image.lazy = image.is_lazy()?;
    facts.sections = (sections.iter())
        .map(|section| sections.section_name(endian, section).unwrap_or_default())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    image.got = (facts.sections.iter().zip(sections.iter()))
        .filter(|(name, _)| name.starts_with(".got"))
        .map(|(_, section)| {
            let start: u64 = section.sh_addr(endian).into();
            start..start.saturating_add(section.sh_size(endian).into())
        })
        .collect();
    let full = sections.symbols(endian, data, elf::SHT_SYMTAB).map_err(fail())?;
    let dynamic = sections.symbols(endian, data, elf::SHT_DYNSYM).map_err(fail())?;
    image.slots(&sections, &dynamic, &mut facts)?;
    let table = if !full.is_empty() {
        image.symbols(&sections, &full, None)?
    } else if !dynamic.is_empty() {
        facts.source = SymbolSource::Dynsym;
        let versions = sections.versions(endian, data).map_err(fail())?;
        image.symbols(&sections, &dynamic, versions.as_ref())?
    } else {
        return Err(StubError::NoSymbols { looked_for: ".symtab, .dynsym" });
    };
    Ok((facts, table))
}

fn target<H: FileHeader<Endian = LE>>(header: &H, endian: LE) -> Result<StubTarget, StubError> {
    let kind = header.e_type(endian);
    if !matches!(kind, elf::ET_DYN | elf::ET_EXEC) {
        return Err(StubError::NotLinked { found: format!("ELF type {kind}") });
    }
    let instructions = match (header.e_machine(endian), header.is_class_64()) {
        (elf::EM_X86_64, true) => InstructionSet::X86_64,
        (elf::EM_AARCH64, true) => InstructionSet::Aarch64,
        (elf::EM_ARM, false) => InstructionSet::Arm,
        (elf::EM_386, false) => InstructionSet::I686,
        (elf::EM_RISCV, true) => InstructionSet::Riscv64,
        (machine, _) => return Err(StubError::UnsupportedTarget { found: format!("ELF machine {machine}") }),
    };
    Ok(StubTarget::new(Format::Elf, instructions))
}

struct Image<'d, H: FileHeader<Endian = LE>> {
    data: &'d [u8],
    header: &'d H,
    endian: LE,
    target: StubTarget,
    /// Where the linker's slots are; nobody else writes to them.
    got: Vec<Range<u64>>,
    /// Whether slots for calls lead to code at first that only this image's own stubs can go to.
    lazy: bool,
}

impl<'d, H: FileHeader<Endian = LE>> Image<'d, H> {
    fn segments(&self) -> Result<&'d [H::ProgramHeader], StubError> {
        self.header.program_headers(self.endian, self.data).map_err(fail())
    }

    fn facts(&self) -> Result<Facts, StubError> {
        let endian = self.endian;
        let mut facts = Facts {
            target: self.target,
            source: SymbolSource::Symtab,
            build_id: Vec::new(),
            entry: LinkAddress(self.header.e_entry(endian).into()),
            elf_flags: self.header.e_flags(endian),
            platform: None,
            threads: None,
            sections: Vec::new(),
            import_slots: FxHashMap::default(),
            lazy_imports: FxHashSet::default(),
            resolver_slots: FxHashMap::default(),
        };
        let mut executable = self.header.e_type(endian) == elf::ET_EXEC;
        let mut threads = None;
        for segment in self.segments()? {
            match segment.p_type(endian) {
                elf::PT_INTERP => executable = true,
                elf::PT_TLS => {
                    let align: u64 = segment.p_align(endian).into();
                    let segment = ThreadSegment {
                        address: segment.p_vaddr(endian).into(),
                        size: segment.p_memsz(endian).into(),
                        align: align.max(1),
                    };
                    if !segment.align.is_power_of_two() || segment.size > 1 << 40 || segment.align > 1 << 40 {
                        return Err(StubError::Inconsistent { what: "the thread-local segment" });
                    }
                    threads = Some(segment);
                }
                elf::PT_DYNAMIC => {
                    let dynamic = segment.dynamic(endian, self.data).map_err(fail())?.unwrap_or_default();
                    executable |= has_flag(endian, dynamic, elf::DT_FLAGS_1, elf::DF_1_PIE);
                }
                elf::PT_NOTE => {
                    let Some(mut notes) = segment.notes(endian, self.data).map_err(fail())? else { continue };
                    while let Ok(Some(note)) = notes.next() {
                        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                            facts.build_id = note.desc().to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        facts.threads = threads.filter(|_| executable);
        Ok(facts)
    }

    /// Before a slot for calls is bound it leads to code that wants to know which one it is. Most psABIs say so by what a
    /// trampoline has in its register anyway, or by a stub for each; in RISC-V it is the return address into the image's
    /// own stub, and in position independent code of 32-bit x86 that code needs the image's `ebx`.
    fn is_lazy(&self) -> Result<bool, StubError> {
        let special = matches!(self.target.instructions, InstructionSet::I686 | InstructionSet::Riscv64);
        let mut bound = !special;
        for segment in self.segments()? {
            let dynamic = segment.dynamic(self.endian, self.data).map_err(fail())?.unwrap_or_default();
            bound |= has_flag(self.endian, dynamic, elf::DT_FLAGS, elf::DF_BIND_NOW)
                || has_flag(self.endian, dynamic, elf::DT_FLAGS_1, elf::DF_1_NOW)
                || dynamic.iter().any(|entry| entry.d_tag(self.endian).into() == u64::from(elf::DT_BIND_NOW));
        }
        Ok(!bound)
    }

    fn symbols(
        &self,
        sections: &SectionTable<'d, H>,
        symbols: &SymbolTable<'d, H>,
        versions: Option<&VersionTable<'d, H>>,
    ) -> Result<Table, StubError> {
        let endian = self.endian;
        let code: Vec<bool> = sections
            .iter()
            .map(|section| section.sh_flags(endian).into() & u64::from(elf::SHF_EXECINSTR) != 0)
            .collect();
        let arm = self.target.instructions == InstructionSet::Arm;
        let names = sections.section(symbols.string_section()).map_err(fail())?;
        let names: u64 = names.sh_size(endian).into();
        let names = usize::try_from(names).unwrap_or_default().min(self.data.len());
        let mut table = Table::with_capacity(symbols.len(), names);
        for (at, symbol) in symbols.enumerate() {
            let (kind, shndx) = (symbol.st_type(), symbol.st_shndx(endian));
            if matches!(kind, elf::STT_FILE | elf::STT_SECTION) || shndx == elf::SHN_UNDEF {
                continue;
            }
            if versions.is_some_and(|versions| versions.version_index(endian, at).is_hidden()) {
                continue;
            }
            let name = symbols.symbol_name(endian, symbol).map_err(fail())?;
            // GNU ld writes the version into the name; `@@` is the one that a plain name means.
            let name = memchr_double_at(name).map_or(name, |at| &name[..at]);
            if name.is_empty() || name[0] == b'$' {
                continue;
            }
            let section = symbols.symbol_section(endian, symbol, at).map_err(fail())?;
            let section = section.map_or(0, |section| section.0);
            let kind = match kind {
                elf::STT_FUNC => SymbolKind::Function,
                elf::STT_OBJECT | elf::STT_COMMON => SymbolKind::Data,
                elf::STT_TLS => SymbolKind::ThreadLocal,
                elf::STT_GNU_IFUNC => SymbolKind::IndirectFunction,
                _ if code.get(section) == Some(&true) => SymbolKind::Function,
                _ => SymbolKind::None,
            };
            let mut address: u64 = symbol.st_value(endian).into();
            let in_code = matches!(kind, SymbolKind::Function | SymbolKind::IndirectFunction);
            let thumb = arm && in_code && address & 1 != 0;
            address &= !u64::from(thumb);
            table.push(
                name,
                Entry {
                    section: u32::try_from(section).unwrap_or_default(),
                    address,
                    size: symbol.st_size(endian).into(),
                    kind,
                    binding: match symbol.st_bind() {
                        elf::STB_LOCAL => Binding::Local,
                        elf::STB_WEAK => Binding::Weak,
                        _ => Binding::Global,
                    },
                    visibility: match symbol.st_visibility() {
                        elf::STV_DEFAULT => Visibility::Default,
                        elf::STV_PROTECTED => Visibility::Protected,
                        _ => Visibility::Hidden,
                    },
                    absolute: shndx == elf::SHN_ABS,
                    thumb,
                },
            )?;
        }
        Ok(table)
    }

    /// Finds the slots that the loader fills with addresses of functions of other images, or of what an
    /// indirect function's resolver answers.
    fn slots(
        &self,
        sections: &SectionTable<'d, H>,
        dynamic: &SymbolTable<'d, H>,
        facts: &mut Facts,
    ) -> Result<(), StubError> {
        let endian = self.endian;
        let kinds = SlotKinds::of(self.target.instructions);
        for section in sections.iter() {
            if section.sh_flags(endian).into() & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            if let Some((all, _)) = section.rela(endian, self.data).map_err(fail())? {
                for one in all {
                    let addend: i64 = one.r_addend(endian).into();
                    let kind = one.r_type(endian, false);
                    let symbol = one.symbol(endian, false);
                    let slot = LinkAddress(one.r_offset(endian).into());
                    self.slot(kinds, kind, symbol, slot, Some(addend.cast_unsigned()), dynamic, facts)?;
                }
            } else if let Some((all, _)) = section.rel(endian, self.data).map_err(fail())? {
                for one in all {
                    let slot = LinkAddress(one.r_offset(endian).into());
                    self.slot(kinds, one.r_type(endian), one.symbol(endian), slot, None, dynamic, facts)?;
                }
            }
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a relocation, which REL and RELA lay out otherwise"
    )]
    fn slot(
        &self,
        kinds: SlotKinds,
        kind: u32,
        symbol: Option<object::SymbolIndex>,
        slot: LinkAddress,
        addend: Option<u64>,
        dynamic: &SymbolTable<'d, H>,
        facts: &mut Facts,
    ) -> Result<(), StubError> {
        if !self.got.iter().any(|range| range.contains(&slot.0)) {
            return Ok(());
        }
        if kind == kinds.resolver {
            // Where relocations have no addend, the slot holds it.
            if let Some(resolver) = addend.or_else(|| self.word(slot)) {
                facts.resolver_slots.insert(resolver & !u64::from(kinds.thumb), slot);
            }
        } else if kinds.import.contains(&kind)
            && let Some(symbol) = symbol
        {
            let symbol = dynamic.symbol(symbol).map_err(fail())?;
            let name = dynamic.symbol_name(self.endian, symbol).map_err(fail())?;
            let unbound = self.lazy && kind == kinds.import[0];
            if symbol.st_shndx(self.endian) != elf::SHN_UNDEF {
                // An exported indirect function is called through a slot of its own name.
                if symbol.st_type() == elf::STT_GNU_IFUNC && !unbound {
                    let resolver: u64 = symbol.st_value(self.endian).into();
                    facts.resolver_slots.insert(resolver & !u64::from(kinds.thumb), slot);
                }
            } else if let Ok(name) = std::str::from_utf8(name)
                && matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_NOTYPE | elf::STT_GNU_IFUNC)
                // A slot for calls may be one for data, were it not for its type.
                && (symbol.st_type() != elf::STT_NOTYPE || kind == kinds.import[0])
            {
                if unbound {
                    facts.lazy_imports.insert(name.to_owned());
                } else {
                    facts.import_slots.entry(name.to_owned()).or_insert(slot);
                }
            }
        }
        Ok(())
    }

    /// The word that the file has at an address.
    fn word(&self, at: LinkAddress) -> Option<u64> {
        let size = self.target.instructions.pointer_size() as u64;
        self.segments().ok()?.iter().find_map(|segment| {
            let bytes = segment.data_range(self.endian, self.data, at.0, size).ok()??;
            match *bytes {
                [a, b, c, d] => Some(u64::from(u32::from_le_bytes([a, b, c, d]))),
                _ => Some(u64::from_le_bytes(bytes.try_into().ok()?)),
            }
        })
    }
}

/// Whether a word of flags in the dynamic section has a flag.
fn has_flag<D: Dyn<Endian = LE>>(endian: LE, dynamic: &[D], tag: u32, flag: u32) -> bool {
    dynamic.iter().any(|entry| {
        let (is, value): (u64, u64) = (entry.d_tag(endian).into(), entry.d_val(endian).into());
        is == u64::from(tag) && value & u64::from(flag) != 0
    })
}

/// The dynamic relocations that fill slots.
#[derive(Clone, Copy)]
struct SlotKinds {
    /// With the address of a symbol: for calls, and for anything.
    import: [u32; 2],
    /// With what a resolver answers.
    resolver: u32,
    /// Whether the lowest bit of a function's address is not part of it.
    thumb: bool,
}

impl SlotKinds {
    fn of(instructions: InstructionSet) -> Self {
        let (import, resolver) = match instructions {
            InstructionSet::X86_64 => {
                ([elf::R_X86_64_JUMP_SLOT, elf::R_X86_64_GLOB_DAT], elf::R_X86_64_IRELATIVE)
            }
            InstructionSet::Aarch64 => {
                ([elf::R_AARCH64_JUMP_SLOT, elf::R_AARCH64_GLOB_DAT], elf::R_AARCH64_IRELATIVE)
            }
            InstructionSet::Arm | InstructionSet::Thumb => {
                ([elf::R_ARM_JUMP_SLOT, elf::R_ARM_GLOB_DAT], elf::R_ARM_IRELATIVE)
            }
            InstructionSet::I686 => ([elf::R_386_JMP_SLOT, elf::R_386_GLOB_DAT], elf::R_386_IRELATIVE),
            InstructionSet::Riscv64 => ([elf::R_RISCV_JUMP_SLOT, elf::R_RISCV_64], 58),
        };
        let thumb = matches!(instructions, InstructionSet::Arm | InstructionSet::Thumb);
        Self { import, resolver, thumb }
    }
}

/// Where `@@` is in a name.
fn memchr_double_at(name: &[u8]) -> Option<usize> {
    let at = memchr::memchr(b'@', name)?;
    name[at..].starts_with(b"@@").then_some(at)
}
