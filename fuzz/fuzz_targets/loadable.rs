//! A shared object from anywhere, as a loader reads it: headers, tables, every relocation, every symbol.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use livepatch_object::address::{LinkAddress, RuntimeAddress, Slide};
use livepatch_object::loadable::hash::Name;
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::machine::{Class, Machine};
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::relocation::howto;
use livepatch_object::loadable::tables::Tables;
use livepatch_object::loadable::version::Wanted;
use livepatch_object::loadable::{archive_entry, debug_image, packed};

fuzz_target!(|data: &[u8]| {
    if let Ok(names) = archive_entry::names(data) {
        for name in names.into_iter().take(8) {
            let _ = archive_entry::find(data, name, 4096);
        }
    }
    let _ = packed::android(data, Class::Elf64, 1 << 16, |_| {});
    let _ = packed::relr(data, Class::Elf32).last();
    let Ok(header) = Header::read(data) else { return };
    let machine = header.known_machine().unwrap_or(Machine::X86_64);
    let _ = (header.verify(machine), header.verify_sections());
    let Ok(headers) = ProgramHeaders::read(&header, data) else { return };
    let _ = (headers.extent(4096), headers.own_address(&header), headers.refuse_writable_code());
    let slide = Slide::between(LinkAddress(0), RuntimeAddress(0x7000_0000_0000));
    let _ = debug_image::describe(data, slide, machine);
    let image = FileImage::new(Bytes::copy_from_slice(data), &headers);
    let Ok(tables) = Tables::read(&headers, &image, machine) else { return };
    let _ = (tables.soname(), tables.runpath(), tables.needed().count());
    let relocations = &tables.relocations;
    let _ = relocations.count(machine.class());
    for entry in relocations.plain.iter().chain(&relocations.plt).flat_map(|table| table.iter()) {
        let _ = howto(machine, entry.kind);
        let Some(symbol) = tables.symbols.get(entry.symbol) else { continue };
        let Some(name) = tables.symbols.name(&symbol) else { continue };
        let version = tables.versions.of(entry.symbol);
        let _ = tables.find(&Name::new(name), version.map_or(Wanted::Oldest, Wanted::Version));
    }
    for found in tables.exported().take(64) {
        if let Some(name) = tables.symbols.name(&found.symbol) {
            let _ = tables.find(&Name::new(name), Wanted::Default);
        }
    }
});
