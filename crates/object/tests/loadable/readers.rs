//! Real libraries of all machines that are here, read by the `object` crate too.

use bytes::Bytes;
use livepatch_object::loadable::hash::Name;
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::relocation::howto;
use livepatch_object::loadable::tables::Tables;
use livepatch_object::loadable::version::Wanted;
use object::{Object, ObjectSymbol};
use std::collections::BTreeSet;
use std::path::Path;

/// Where distributions have C libraries of other machines.
const LIBRARIES: [(&str, Machine); 6] = [
    ("/usr/lib/x86_64-linux-gnu/libc.so.6", Machine::X86_64),
    ("/usr/lib/x86_64-linux-gnu/libstdc++.so.6", Machine::X86_64),
    ("/usr/aarch64-linux-gnu/lib/libc.so.6", Machine::Aarch64),
    ("/usr/arm-linux-gnueabihf/lib/libc.so.6", Machine::Arm),
    ("/usr/i686-linux-gnu/lib/libc.so.6", Machine::I386),
    ("/usr/riscv64-linux-gnu/lib/libc.so.6", Machine::Riscv64),
];

#[test]
fn symbols_names_and_relocations() {
    for (path, machine) in LIBRARIES {
        match Path::new(path).exists() {
            true => compare(path, machine),
            false => println!("skipped: there is no {path}"),
        }
    }
}

fn compare(path: &str, machine: Machine) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let header = Header::read(&bytes).unwrap();
    header.verify(machine).unwrap();
    header.verify_sections().unwrap();
    let headers = ProgramHeaders::read(&header, &bytes).unwrap();
    headers.own_address(&header).unwrap();
    let tables = Tables::read(&headers, &FileImage::new(bytes.clone(), &headers), machine)
        .unwrap_or_else(|problem| panic!("{}", problem.of(path)));
    let file = object::File::parse(&*bytes).unwrap();
    let theirs: BTreeSet<(String, u64)> = file
        .dynamic_symbols()
        .filter(|symbol| !symbol.is_undefined() && !symbol.is_local())
        .map(|symbol| (symbol.name().unwrap().to_owned(), symbol.address()))
        .collect();
    let name = |found: &livepatch_object::loadable::tables::Found| {
        String::from_utf8_lossy(tables.symbols.name(&found.symbol).unwrap()).into_owned()
    };
    let ours: BTreeSet<_> = tables.exported().map(|found| (name(&found), found.symbol.value.0)).collect();
    // Some of what it has is nothing that others can find, as names of sections.
    let missing: Vec<_> = ours.difference(&theirs).take(3).collect();
    assert!(missing.is_empty(), "{path}: {missing:?}");
    assert!(ours.len() * 10 > theirs.len() * 9, "{path}: {} of {}", ours.len(), theirs.len());
    for found in tables.exported() {
        let name = name(&found);
        let version = tables.versions.of(found.index).map_or(Wanted::Default, Wanted::Version);
        let again = tables.find(&Name::new(name.as_bytes()), version).expect(&name);
        assert_eq!(again.symbol.value, found.symbol.value, "{path}: {name}");
    }
    assert!(tables.find(&Name::new(b"no such symbol"), Wanted::Default).is_none());
    let relocations = &tables.relocations;
    let all = relocations.plain.iter().chain(&relocations.plt).flat_map(|table| table.iter());
    let mut count = 0;
    for entry in all {
        assert!(howto(machine, entry.kind).is_some(), "{path}: {}", entry.kind);
        assert!(headers.load_of(entry.place, 4).is_some(), "{path}: {}", entry.place);
        count += 1;
    }
    let theirs = file.dynamic_relocations().map_or(0, Iterator::count);
    assert_eq!(count, theirs, "{path}");
    println!("{path}: {} symbols, {count} relocations", ours.len());
}
