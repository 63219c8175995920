//! The functions of a file that a process has mapped.

use super::maps::{Mapping, Maps};
use super::stack::bias;
use livepatch_object::address::RuntimeAddress;
use object::elf::FileHeader64;
use object::read::elf::{ElfFile64, ElfSymbolIterator};
use object::{LittleEndian as LE, Object as _, ObjectSymbol as _, ReadCache, SymbolKind};
use std::fs::File;
use std::ops::Range;

type Elf<'f> = ElfFile64<'f, LE, &'f ReadCache<File>>;

/// The functions that a mapped file's symbols name.
#[derive(Debug)]
pub struct Library {
    functions: Vec<Function>,
}

#[derive(Debug)]
struct Function {
    range: Range<RuntimeAddress>,
    name: String,
}

impl Library {
    /// Reads the dynamic symbols of the file of a mapping.
    pub fn read(maps: &Maps, mapping: &Mapping) -> Option<Self> {
        Self::read_with(maps, mapping, |elf| elf.dynamic_symbols())
    }

    /// Reads its whole symbol table.
    pub fn read_all(maps: &Maps, mapping: &Mapping) -> Option<Self> {
        Self::read_with(maps, mapping, |elf| elf.symbols())
    }

    fn read_with(
        maps: &Maps,
        mapping: &Mapping,
        symbols: impl for<'f> Fn(&'f Elf<'f>) -> ElfSymbolIterator<'f, 'f, FileHeader64<LE>, &'f ReadCache<File>>,
    ) -> Option<Self> {
        let file = ReadCache::new(maps.open(mapping).ok()?);
        let elf = Elf::parse(&file).ok()?;
        let bias = bias(&elf, mapping)?;
        let functions = symbols(&elf).filter(|symbol| symbol.is_definition());
        let functions = functions.filter(|symbol| symbol.kind() == SymbolKind::Text).filter_map(|symbol| {
            let start = RuntimeAddress(symbol.address().wrapping_add(bias));
            let range = start..start.checked_add(symbol.size())?;
            Some(Function { range, name: symbol.name().ok()?.to_owned() })
        });
        Some(Self { functions: functions.collect() })
    }

    /// Where a function is.
    pub fn function(&self, name: &str) -> Option<Range<RuntimeAddress>> {
        self.functions.iter().find(|function| function.name == name).map(|function| function.range.clone())
    }

    /// The names of the functions that an address is in: one, or several for the same code.
    pub fn names_at(&self, address: RuntimeAddress) -> impl Iterator<Item = &str> {
        let at = self.functions.iter().filter(move |function| function.range.contains(&address));
        at.map(|function| function.name.as_str())
    }
}

/// The executable mapping of the first file with that name.
pub fn code_of<'a>(maps: &'a Maps, file_name: &str) -> Option<&'a Mapping> {
    maps.iter().find(|mapping| mapping.executable && mapping.inode != 0 && mapping.file_name() == file_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::memory::Memory;

    #[test]
    fn functions_of_the_c_library_are_found_where_they_are() {
        let own = std::process::id();
        let maps = Maps::read(own).unwrap();
        let library = Library::read(&maps, code_of(&maps, "libc.so.6").unwrap()).unwrap();
        let range = library.function("syscall").unwrap();
        assert_eq!(maps.at(range.start).unwrap().file_name(), "libc.so.6");
        assert!(library.names_at(range.start).any(|name| name == "syscall"));
        assert!(library.function("no_such_function").is_none());
        // It is the function that makes system calls.
        let mut code = vec![0; (range.end.0 - range.start.0) as usize];
        Memory::open(own).unwrap().read(range.start, &mut code).unwrap();
        assert!(code.windows(2).any(|bytes| bytes == [0x0f, 0x05]));
    }
}
