//! Our readings of real files against what other tools read in them.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot do without")]

use bytes::Bytes;
use livepatch_object::ObjectError;
use livepatch_object::address::LinkAddress;
use livepatch_object::archive::{ArchiveIndex, member};
use livepatch_object::compare::{Comparer, Strictness, is_named};
use livepatch_object::host::{Host, Lookup};
use livepatch_object::relocatable::{Binding, Place, Relocatable, SectionKind};
use livepatch_object::unwind::Unwind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn run(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(file).output().expect("binutils are installed");
    assert!(output.status.success(), "{program} {file:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `nm`'s defined symbols: name → (address, type letter).
fn nm(file: &Path) -> BTreeMap<String, BTreeSet<(u64, char)>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in run("nm", &["--defined-only"], file).lines() {
        let mut words = line.split(' ');
        if let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            all.entry(name.to_owned()).or_default().insert((address, kind.chars().next().unwrap_or('?')));
        }
    }
    all
}

fn parse(object: &[u8]) -> Result<Relocatable, ObjectError> {
    Relocatable::parse(Bytes::copy_from_slice(object))
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

#[test]
fn the_host_has_the_symbols_that_nm_lists() {
    let path = this_program();
    let host = Host::parse(std::fs::read(&path).expect("reading")).expect("parsing");
    let symbols = nm(&path);
    assert!(symbols.len() > 1000);
    for (name, expected) in &symbols {
        let found: BTreeSet<u64> = host.definitions(name).map(|symbol| symbol.address.0).collect();
        let addresses: BTreeSet<u64> = expected.iter().map(|(address, _)| *address).collect();
        assert_eq!(found, addresses, "{name}");
        match host.lookup(name, "") {
            Lookup::Found(symbol) => assert!(addresses.contains(&symbol.address.0)),
            Lookup::Ambiguous => assert!(addresses.len() > 1, "{name}"),
            Lookup::Missing => panic!("{name} is missing"),
        }
    }
    assert!(matches!(host.lookup("no such symbol", ""), Lookup::Missing));
}

#[test]
fn the_host_has_the_code_that_is_in_memory() {
    let path = this_program();
    let host = Host::parse(std::fs::read(&path).expect("reading")).expect("parsing");
    let function: fn(&str) -> String = livepatch_object::demangle;
    let symbols = nm(&path);
    let (name, address) = symbols
        .iter()
        .find(|(name, _)| livepatch_object::demangle(name) == "livepatch_object::demangle")
        .map(|(name, places)| (name, places.first().expect("an address").0))
        .expect("the function is in the program");
    let (text, offset) = host.code(LinkAddress(address)).expect("its code");
    let size = match host.lookup(name, "") {
        Lookup::Found(symbol) => usize::try_from(symbol.size).expect("a size"),
        other => panic!("{other:?}"),
    };
    // SAFETY: the function's own code is mapped and readable, and `size` is its symbol's size.
    let live = unsafe { std::slice::from_raw_parts(function as *const u8, size) };
    assert_eq!(&text[offset..offset + size], live);
    assert!(host.room(LinkAddress(address)) >= size as u64);
}

#[test]
fn the_build_id_is_the_one_that_readelf_prints() {
    let output = Command::new("gcc")
        .args(["-x", "c", "-", "-Wl,--build-id=0x0123456789abcdef", "-o"])
        .arg(env!("CARGO_TARGET_TMPDIR").to_owned() + "/with-id")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut gcc| {
            use std::io::Write as _;
            gcc.stdin
                .take()
                .expect("a pipe")
                .write_all(b"_Thread_local int x[3]; int main(void) { return x[1]; }")?;
            gcc.wait()
        });
    assert!(output.expect("gcc is installed").success());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR").to_owned() + "/with-id");
    let host = Host::parse(std::fs::read(&path).expect("reading")).expect("parsing");
    assert_eq!(host.build_id(), [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    // `main` reads x[1], 4 bytes into the block; what it reads is what the linker made of that.
    let offset = host.tls().expect("thread-locals").tp_offset(4);
    let main = run("objdump", &["-d", "--disassemble=main"], &path);
    assert!(main.contains(&format!("%fs:{offset:#x}")), "{offset:#x} in {main}");
}

/// The objects of the standard library: real, large, and from another compiler run.
fn std_library() -> PathBuf {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--print", "target-libdir"])
        .output()
        .expect("rustc");
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let entries =
        std::fs::read_dir(folder).expect("the standard library").flatten().map(|entry| entry.path());
    let is_std = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    };
    entries.into_iter().find(is_std).expect("libstd")
}

/// Some members of libstd, found through the archive index.
fn std_members() -> Vec<Relocatable> {
    let path = std_library();
    let bytes = std::fs::read(&path).expect("reading");
    let index = ArchiveIndex::parse(&*bytes).expect("parsing");
    let mut members = BTreeMap::new();
    let listing = run("nm", &["--print-armap"], &path);
    let table = listing.lines().skip_while(|line| *line != "Archive index:").skip(1);
    let mut checked = 0;
    for line in table.take_while(|line| !line.is_empty()).step_by(40) {
        let (name, _member) = line.split_once(" in ").expect("a symbol and its member");
        let found: Vec<_> = index.candidates(name).collect();
        assert!(!found.is_empty(), "{name}");
        for id in found {
            let object = parse(member(&*bytes, id).expect("a member")).expect("an object");
            let defines = object.symbols().any(|(symbol, s)| {
                object.name(symbol) == name
                    && matches!(s.place, Place::Section(_))
                    && s.binding != Binding::Local
            });
            assert!(defines, "{name}");
            members.insert(format!("{id:?}"), object);
        }
        checked += 1;
    }
    assert!(checked > 20, "only {checked} symbols");
    members.into_values().collect()
}

#[test]
fn archive_members_define_what_the_index_says_and_equal_themselves() {
    let (mut functions, mut unwound, mut pads) = (0, 0, 0);
    for object in std_members() {
        let unwind = Unwind::parse(&object).expect("unwind entries");
        let mut comparer = Comparer::new(&object, &object, Strictness::Exact);
        for (id, section) in object.sections() {
            if section.kind != SectionKind::Text || section.size == 0 {
                continue;
            }
            functions += 1;
            assert!(comparer.same_function((id, &unwind), (id, &unwind)));
            let frames = unwind.fdes_in(id);
            unwound += frames.len();
            pads += frames.iter().filter(|frame| frame.landing_pads.is_some()).count();
            for frame in frames {
                let starts_a_function = object
                    .symbols_in(id)
                    .any(|s| is_named(&object, s) && object.symbol(s).offset == frame.function.1);
                assert!(starts_a_function);
            }
        }
        // One landing-pad table for each function that has one: `.gcc_except_table.<function>`.
        let tables =
            object.sections().filter(|(id, _)| object.section_name(*id).starts_with(".gcc_except_table"));
        for (table, _) in tables {
            assert!(
                unwind
                    .fdes
                    .iter()
                    .any(|frame| frame.landing_pads.is_some_and(|(section, _)| section == table))
            );
        }
    }
    assert!(functions > 100 && unwound >= functions / 2 && pads > 10, "{functions} {unwound} {pads}");
}

#[test]
fn damaged_objects_are_errors() {
    let path = std_library();
    let bytes = std::fs::read(path).expect("reading");
    let index = ArchiveIndex::parse(&*bytes).expect("parsing");
    let id = index.candidates("rust_eh_personality").next().expect("a member");
    let object = member(&*bytes, id).expect("a member");
    for length in (0..object.len()).step_by(object.len() / 97 + 1) {
        // Cut short: an error, or the tables that are still whole; never a panic.
        if let Ok(object) = parse(&object[..length]) {
            let _ = Unwind::parse(&object);
        }
    }
    assert!(parse(b"not an object").is_err());
    assert!(Host::parse(Bytes::copy_from_slice(object)).is_err(), "an object is not a linked image");
    let program = std::fs::read(this_program()).expect("reading");
    assert!(Relocatable::parse(program).is_err(), "a linked image is not an object");
}
