//! Whether tables can be read that the general reader passes over in silence when they cannot.

use super::StubError;
use object::read::coff::{CoffFile, CoffHeader};
use object::read::elf::{ElfFile, FileHeader, SectionHeader as _};
use object::read::macho::{MachHeader, MachOFile, Section as _};
use object::{File, Object as _};

/// Reads an object or an image of any container that is supported.
pub(super) fn parse<'d>(data: &'d [u8], what: &'static str) -> Result<File<'d>, StubError> {
    let fail = StubError::unreadable(what);
    let file = File::parse(data).map_err(&fail)?;
    match &file {
        File::Elf32(file) => elf(file, data),
        File::Elf64(file) => elf(file, data),
        File::MachO32(file) => macho(file, data),
        File::MachO64(file) => macho(file, data),
        File::Coff(file) => coff(file),
        File::CoffBig(file) => coff(file),
        _ => Ok(()),
    }
    .map_err(&fail)?;
    Ok(file)
}

fn elf<H: FileHeader>(file: &ElfFile<'_, H>, data: &[u8]) -> object::read::Result<()> {
    for section in file.elf_section_table().iter() {
        section.rel(file.endian(), data)?;
        section.rela(file.endian(), data)?;
    }
    Ok(())
}

fn macho<H: MachHeader>(file: &MachOFile<'_, H>, data: &[u8]) -> object::read::Result<()> {
    let mut commands = file.macho_load_commands()?;
    while commands.next()?.is_some() {}
    for section in file.sections() {
        section.macho_section().relocations(file.endian(), data)?;
    }
    Ok(())
}

fn coff<'d, H: CoffHeader>(file: &CoffFile<'d, &'d [u8], H>) -> object::read::Result<()> {
    file.sections().try_for_each(|section| section.coff_relocations().map(|_| ()))
}
