//! Images linked in every way: their tables, stubs, and what runs first.

use crate::build::{Folder, Kind, Names, Tools, Way, link, newest, read, run, tools};
use crate::{differential, objdump, stubs};
use bytes::Bytes;
use livepatch_object::macho::commands::{Entry, LibraryKind};
use livepatch_object::macho::initializer::CodePointer;
use livepatch_object::macho::{Action, Architecture, Format, Image, ImageKind, Ordinal, choose, slices};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn every_way_of_linking_is_read_as_llvm_reads_it() {
    let tools = tools!();
    let program = objdump::program();
    if let Err(why) = &program {
        println!("skipped, the comparison with llvm-objdump: {why}");
    }
    let folder = Folder::new();
    for way in Way::all() {
        if way.chained && !tools.chains {
            println!("skipped: {} cannot write chained fixups", tools.linker);
            continue;
        }
        println!("{way:?}");
        let file = link(&folder, &tools, way);
        let image = read(&file, None);
        check_head(way, &image);
        stubs::check_slots(&image);
        if !way.chained {
            stubs::check_helpers(&image);
        }
        if let Ok(program) = &program {
            stubs::check_disassembled(program, &file, &image);
            println!("{}", differential::compare(program, &file, &image, image.header.architecture));
        }
    }
}

fn check_head(way: Way, image: &Image) {
    let kind = match way.kind {
        Kind::Dylib => ImageKind::Dylib,
        Kind::Bundle => ImageKind::Bundle,
        Kind::Executable => ImageKind::Executable,
    };
    assert_eq!(image.header.kind, kind);
    assert_eq!(Some(image.header.architecture), Architecture::named(way.architecture));
    assert_eq!(image.header.is_two_level(), way.names != Names::Flat);
    let fixups = image.fixups().unwrap();
    assert_eq!(matches!(fixups.format, Format::Chained(_)), way.chained);
    assert_eq!(image.rpaths, ["@loader_path/../lib"]);
    let kinds: Vec<_> = image.libraries.iter().map(|library| (&*library.name, library.kind)).collect();
    let system = ("/usr/lib/libSystem.B.dylib", LibraryKind::Load);
    match (way.names, way.kind) {
        (Names::TwoLevel, Kind::Dylib) => {
            // LLVM's linker has a second command for what is re-exported.
            let shared = "@rpath/libshared.1.dylib";
            assert_eq!((kinds[0], kinds[1].0), (system, shared));
            assert!(kinds.contains(&(shared, LibraryKind::Reexport)));
        }
        (Names::TwoLevel, _) => assert_eq!(kinds, [system, ("@rpath/libshared.1.dylib", LibraryKind::Weak)]),
        _ => assert_eq!(kinds, [system]),
    }
    // Which name is looked for where: by the way of linking.
    let of = |name: &[u8]| fixups.imports.iter().find(|import| &import.symbol[..] == name).cloned();
    let strlen = of(b"_strlen").expect("it is imported");
    let shared = of(b"_shared").expect("it is imported");
    let expected = match way.names {
        Names::TwoLevel => (Ordinal::Library(1), Ordinal::Library(2)),
        Names::Flat => (Ordinal::FlatLookup, Ordinal::FlatLookup),
        Names::DynamicLookup => (Ordinal::Library(1), Ordinal::FlatLookup),
    };
    assert_eq!((strlen.ordinal, shared.ordinal), expected);
    assert!(of(b"_absent").expect("it is imported").weak_import && !strlen.weak_import);
    check_code(way, image);
}

/// `init` is an initialiser and `fini` a terminator; `counter` and `zeroed` are thread-locals; `main` is where
/// executables begin.
fn check_code(way: Way, image: &Image) {
    let address = |name: &str| {
        let is_it = |found: &_| image.symbols.name(found).is_some_and(|found| &found[..] == name.as_bytes());
        image.symbols.iter().find(is_it).map(|symbol| symbol.value).expect("the symbol")
    };
    let function = |pointer: &CodePointer| match pointer {
        CodePointer::At(address) => address.0,
        CodePointer::InSlot(slot) => {
            let fixups = image.fixups().unwrap();
            let record = fixups.of_slot(*slot).next().expect("it is rebased");
            match record.action {
                Action::Rebase { target, .. } => target.0,
                Action::Bind { .. } => panic!("{record:?}"),
            }
        }
    };
    let first: Vec<u64> = image.initializers().unwrap().iter().map(function).collect();
    assert_eq!(first, [address("_init")]);
    let last: Vec<u64> = image.terminators().unwrap().iter().map(function).collect();
    assert_eq!(last, [address("_fini")]);
    let locals = image.thread_locals().unwrap().expect("thread-locals");
    let mut descriptors: Vec<u64> = locals.descriptors.iter().map(|at| at.0).collect();
    descriptors.sort_unstable();
    let mut named = [address("_counter"), address("_zeroed")];
    named.sort_unstable();
    assert_eq!(descriptors, named);
    // Two ints, the one that is not zero first.
    assert_eq!(locals.template.end.0 - locals.template.start.0, 8);
    assert_eq!(&image.at(locals.template.start, 4).unwrap()[..], 5_u32.to_le_bytes());
    match way.kind {
        Kind::Executable => {
            assert_eq!(image.entry_point().map(|at| at.0), Some(address("_main")));
            assert!(matches!(image.entry, Some(Entry::Main { .. })));
        }
        Kind::Dylib | Kind::Bundle => assert_eq!(image.entry, None),
    }
}

/// `llvm-lipo` puts two images into one file.
pub(crate) fn fat(folder: &Folder, tools: &Tools) -> Option<PathBuf> {
    let lipo = newest("llvm-lipo")?;
    let both =
        ["x86_64", "arm64"].map(|architecture| link(folder, tools, Way { architecture, ..Way::DYLIB }));
    let file = folder.file("fat.dylib");
    run(Command::new(lipo).arg("-create").args(both).arg("-output").arg(&file));
    Some(file)
}

#[test]
fn slices_of_a_fat_file_are_its_parts() {
    let tools = tools!();
    let folder = Folder::new();
    let Some(file) = fat(&folder, &tools) else { return println!("skipped: there is no llvm-lipo") };
    let bytes = Bytes::from(std::fs::read(&file).unwrap());
    let slices = slices(&bytes).unwrap();
    assert_eq!(slices.len(), 2);
    for architecture in [Architecture::X86_64, Architecture::Arm64] {
        let slice = choose(&slices, architecture).unwrap();
        let alone =
            link(&folder, &tools, Way { architecture: architecture.to_string().leak(), ..Way::DYLIB });
        assert_eq!(slice.bytes, std::fs::read(alone).unwrap());
        let image = Image::read(slice).unwrap();
        if let Ok(program) = objdump::program() {
            differential::compare(&program, &file, &image, architecture);
        }
    }
    assert!(
        choose(&slices, Architecture::X86_64h)
            .is_some_and(|slice| slice.architecture == Architecture::X86_64)
    );
    // Apple's arm64e processes load arm64 images only if told so, but nothing else is there.
    assert!(choose(&slices, Architecture::Arm64e).is_some());
    assert!(choose(&slices[..1], Architecture::Arm64).is_none());
}
