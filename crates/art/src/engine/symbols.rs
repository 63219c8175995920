//! Functions of the runtime by their names, also where the dynamic linker keeps them from libraries of programs, as it
//! does on Android from 7.0 on: the runtime's own file says where they are in it.

use object::read::elf::{ElfFile, FileHeader, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, elf};
use std::collections::HashMap;
use std::path::PathBuf;

/// The runtime's file, in `/proc/self/maps`.
const NAMES: [&str; 2] = ["/libart.so", "/libart.so.0"];

/// Where functions of these names are in this process; those that are not found are left out.
pub(super) fn find(names: &[&str]) -> HashMap<String, usize> {
    loaded().map(|(path, base)| in_file(&path, base, names)).unwrap_or_default()
}

/// The runtime's file, and where its first byte is mapped.
fn loaded() -> Option<(PathBuf, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        let mut words = line.split_whitespace();
        let start = words.next()?.split_once('-')?.0;
        let is_first = words.nth(1)? == "00000000";
        let is_it = is_first && NAMES.iter().any(|name| path.ends_with(name));
        is_it.then_some((PathBuf::from(path), u64::from_str_radix(start, 16).ok()?))
    })
}

fn in_file(path: &std::path::Path, base: u64, names: &[&str]) -> HashMap<String, usize> {
    let Ok(bytes) = std::fs::read(path) else { return HashMap::new() };
    let found = match object::FileKind::parse(&*bytes) {
        Ok(object::FileKind::Elf64) => in_elf::<elf::FileHeader64<Endianness>>(&bytes, names),
        Ok(object::FileKind::Elf32) => in_elf::<elf::FileHeader32<Endianness>>(&bytes, names),
        _ => None,
    };
    let place = |(name, at): (String, u64)| Some((name, usize::try_from(base.checked_add(at)?).ok()?));
    found.unwrap_or_default().into_iter().filter_map(place).collect()
}

/// How far from the first byte that is loaded functions are: those of the dynamic table, or of the full one.
fn in_elf<H: FileHeader<Endian = Endianness>>(bytes: &[u8], names: &[&str]) -> Option<Vec<(String, u64)>> {
    let file = ElfFile::<H>::parse(bytes).ok()?;
    let endian = file.endian();
    let loads = file.elf_program_headers().iter().filter(|header| header.p_type(endian) == elf::PT_LOAD);
    let first = loads.map(|header| header.p_vaddr(endian).into()).min()?;
    let symbols = file.dynamic_symbols().chain(file.symbols());
    let defined = symbols.filter(|symbol| symbol.is_definition());
    let wanted = defined.filter_map(|symbol| {
        let name = symbol.name().ok().filter(|name| names.contains(name))?;
        Some((name.to_owned(), symbol.address().checked_sub(first)?))
    });
    Some(wanted.collect())
}
