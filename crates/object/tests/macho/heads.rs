//! Load commands of every kind that is read, by numbers of `<mach-o/loader.h>`.

use crate::build::{Folder, Kind, Way, link, read, tools};
use crate::older::{commands, get, put};
use livepatch_object::address::LinkAddress;
use livepatch_object::macho::commands::{Entry, LibraryKind};
use livepatch_object::macho::initializer::CodePointer;
use livepatch_object::macho::{Image, ImageKind, Ordinal, Problem, Slice};

const LOAD_DYLIB: u32 = 0xc;
const UUID: u32 = 0x1b;

fn image(original: &Image, bytes: Vec<u8>) -> Result<Image, Problem> {
    let (architecture, offset) = (original.header.architecture, Default::default());
    Image::read(&Slice { architecture, offset, bytes: bytes.into() })
}

/// The same image with its first command of one kind changed.
fn changed(original: &Image, command: u32, change: impl Fn(&mut [u8], usize)) -> Image {
    let mut bytes = original.bytes().to_vec();
    let at = commands(&bytes).into_iter().find(|at| get(&bytes, *at) == command).expect("the command");
    change(&mut bytes, at);
    image(original, bytes).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn libraries_have_kinds() {
    let tools = tools!();
    let folder = Folder::new();
    let original = read(&link(&folder, &tools, Way::DYLIB), None);
    let kinds = [
        (0x0000_000c, LibraryKind::Load),
        (0x8000_0018, LibraryKind::Weak),
        (0x8000_001f, LibraryKind::Reexport),
        (0x8000_0023, LibraryKind::Upward),
        (0x0000_0020, LibraryKind::Lazy),
    ];
    for (command, kind) in kinds {
        let found = changed(&original, LOAD_DYLIB, |bytes, at| put(bytes, at, command));
        assert_eq!(
            (found.libraries[0].kind, &*found.libraries[0].name),
            (kind, "/usr/lib/libSystem.B.dylib")
        );
        assert_eq!(found.libraries.len(), original.libraries.len());
    }
    // `dylib_use_command`: a mark in place of the time, then flags: the name is behind them.
    for (flags, kind) in [(1, LibraryKind::Weak), (2, LibraryKind::Reexport), (4, LibraryKind::Upward)] {
        let found = changed(&original, LOAD_DYLIB, |bytes, at| {
            put(bytes, at + 12, 0x1a74_1800);
            let end = at + get(bytes, at + 4) as usize;
            // Four bytes for flags where the name began: its end is padding, or of no matter here.
            bytes.copy_within(at + 24..end - 4, at + 28);
            bytes[end - 1] = 0;
            put(bytes, at + 8, 28);
            put(bytes, at + 24, flags);
        });
        assert_eq!(found.libraries[0].kind, kind);
        assert!(found.libraries[0].name.starts_with("/usr/lib/libSystem"), "{}", found.libraries[0].name);
    }
    assert_eq!(original.library(Ordinal::Library(1)).map(|library| library.short_name()), Some("libSystem"));
    assert_eq!(original.library(Ordinal::Library(99)), None);
    assert_eq!(original.library(Ordinal::FlatLookup), None);
}

#[test]
fn executables_begin_at_main_or_with_a_thread() {
    let tools = tools!();
    let folder = Folder::new();
    let way = Way { kind: Kind::Executable, ..Way::DYLIB };
    let original = read(&link(&folder, &tools, way), None);
    let main = original.entry_point().expect("a beginning");
    assert!(matches!(original.entry, Some(Entry::Main { stack_size: 0, .. })));
    // LC_UNIXTHREAD with x86_THREAD_STATE64, as old linkers and Go's write it: rip is the seventeenth register. It is the
    // third and last command, behind __PAGEZERO and __TEXT, over everything else.
    let mut bytes = original.bytes().to_vec();
    let thread = commands(&bytes)[2];
    put(&mut bytes, 16, 3);
    put(&mut bytes, thread, 5);
    put(&mut bytes, thread + 4, 184);
    put(&mut bytes, thread + 8, 4);
    put(&mut bytes, thread + 12, 42);
    let rip = thread + 16 + 16 * 8;
    bytes[rip..rip + 8].copy_from_slice(&main.0.to_le_bytes());
    let older = image(&original, bytes).unwrap();
    assert_eq!(older.entry, Some(Entry::Thread(main.0)));
    assert_eq!(older.entry_point(), Some(main));
}

#[test]
fn what_runs_first_may_be_named_by_a_command() {
    let tools = tools!();
    let folder = Folder::new();
    let original = read(&link(&folder, &tools, Way::DYLIB), None);
    // LC_UUID has 24 bytes; LC_ROUTINES_64 has 72, of which the address comes first: what follows is not looked at, but
    // must be there, so the command's size is that of what is left.
    let before = original.initializers().unwrap();
    let found = changed(&original, UUID, |bytes, at| {
        let all = commands(bytes);
        let count = all.iter().position(|found| *found == at).unwrap();
        put(bytes, 16, count as u32 + 1);
        put(bytes, at, 0x1a);
        put(bytes, at + 4, 72);
        bytes[at + 8..at + 16].copy_from_slice(&0x700_u64.to_le_bytes());
    });
    let expected: Vec<CodePointer> =
        [CodePointer::At(LinkAddress(0x700))].into_iter().chain(before).collect();
    assert_eq!(found.initializers().unwrap(), expected);
    assert_eq!((found.uuid, original.uuid.is_some()), (None, true));
}

#[test]
fn other_kinds_of_files_are_refused() {
    let tools = tools!();
    let folder = Folder::new();
    let original = read(&link(&folder, &tools, Way::DYLIB), None);
    assert_eq!(original.header.kind, ImageKind::Dylib);
    // MH_OBJECT, MH_DYLINKER, MH_DSYM, MH_KEXT_BUNDLE.
    for kind in [1, 7, 10, 11] {
        let mut bytes = original.bytes().to_vec();
        put(&mut bytes, 12, kind);
        let problem = image(&original, bytes).unwrap_err();
        assert_eq!(problem, Problem::Unsupported { what: "file type", value: kind.into() });
    }
}
