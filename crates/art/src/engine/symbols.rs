//! Functions of the runtime by their names, also where the dynamic linker keeps them from libraries of programs, as it
//! does on Android from 7.0 on: the runtime's own file says where they are in it.

use super::maps;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, elf};
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
    let maps = maps::read().ok()?;
    let is_it = |mapping: &maps::Mapping<'_>| {
        mapping.offset == 0 && NAMES.iter().any(|name| mapping.file.ends_with(name))
    };
    let mapping = maps::all(&maps).find(is_it)?;
    Some((PathBuf::from(mapping.file), mapping.range.start))
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

/// How far from the first byte that is loaded functions are: those of the dynamic table, of the full one, or of the one
/// that Android's builds keep, compressed, in a section of its own (`.gnu_debugdata`, "MiniDebugInfo" of GDB's manual).
fn in_elf<H: FileHeader<Endian = Endianness>>(bytes: &[u8], names: &[&str]) -> Option<Vec<(String, u64)>> {
    let mut found = in_tables::<H>(bytes, names)?;
    if names.iter().any(|name| found.iter().all(|(other, _)| other != name))
        && let Some(inner) = inner_file::<H>(bytes)
    {
        found.extend(in_tables::<H>(&inner, names).unwrap_or_default());
    }
    Some(found)
}

/// How much a file in a file may have: a runtime's has less than two megabytes.
const LARGEST: usize = 64 << 20;

/// The file with the full table of symbols that is in another one.
fn inner_file<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Vec<u8>> {
    let file = ElfFile::<H>::parse(bytes).ok()?;
    let section = file.section_by_name(".gnu_debugdata")?;
    let mut inner = Bounded(Vec::new());
    lzma_rs::xz_decompress(&mut section.data().ok()?, &mut inner).ok()?;
    Some(inner.0)
}

/// What is written, up to a length.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.len() + bytes.len() <= LARGEST {
            true => self.0.write(bytes),
            false => Err(std::io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn in_tables<H: FileHeader<Endian = Endianness>>(bytes: &[u8], names: &[&str]) -> Option<Vec<(String, u64)>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    const SOURCE: &str = "__attribute__((visibility(\"hidden\"), noinline)) int kept_from_others(int a) { return a + 1; }\n\
                          int seen(int a) { return kept_from_others(a) * 2; }\n";

    fn run(folder: &Path, line: &str) -> Option<String> {
        let mut words = line.split(' ');
        let output = Command::new(words.next()?).args(words).current_dir(folder).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Made as GDB's manual says, from a library whose full table says the same.
    #[test]
    fn symbols_of_a_file_in_the_file() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("a.c"), SOURCE)?;
        let steps = [
            "gcc -shared -fPIC -O1 -o full.so a.c",
            "objcopy --strip-debug full.so inner",
            "xz --check=crc32 inner",
            "objcopy --strip-all full.so stripped.so",
            "objcopy --add-section .gnu_debugdata=inner.xz stripped.so",
        ];
        if let Some(step) = steps.iter().find(|step| run(folder.path(), step).is_none()) {
            println!("skipped: this does not work here: {step}");
            return Ok(());
        }
        let symbols = run(folder.path(), "nm full.so").ok_or("nm")?;
        let expected = |name: &str| {
            let line = symbols.lines().find(|line| line.split(' ').next_back() == Some(name))?;
            usize::from_str_radix(line.split(' ').next()?, 16).ok()
        };
        let names = ["kept_from_others", "seen"];
        let found = in_file(&folder.path().join("stripped.so"), 0x1000, &names);
        for name in names {
            assert_eq!(found.get(name).copied(), expected(name).map(|at| at + 0x1000), "{name}");
        }
        assert!(!run(folder.path(), "nm -D stripped.so").ok_or("nm")?.contains("kept_from_others"));
        Ok(())
    }
}
