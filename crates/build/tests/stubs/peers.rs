//! Mistakes that were made elsewhere, each with a test that fails for whoever makes it.

use crate::elf::link;
use crate::machine::{AARCH64, I686, Live, X86_64};
use crate::tools::{done, skip};
use livepatch_build::stubs::{
    Format, HotpatchModuleCache, InstructionSet, KeptStub, Linker, Lookup, NeededSymbols, References, Stub,
    StubError, StubTarget, Stubbed, SymbolSource, Unresolved, adapt_objects, build_stub_for_needed,
    compute_needed_symbols, compute_needed_symbols_multi, create_undefined_symbol_stub,
};
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use object::{Object as _, ObjectSymbol as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// A shared object whose first defined function is its anchor, from C source.
struct Sample {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Sample {
    /// Builds one, which needs nothing but itself.
    fn build(sources: &[&str], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sample.so");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-fPIC", "-shared", "-nostdlib", "-o"]).arg(&path).args(options);
        for (at, source) in sources.iter().enumerate() {
            let file = folder.path().join(format!("{at}.c"));
            std::fs::write(&file, source).expect("written");
            gcc.arg(file);
        }
        done(&mut gcc);
        Self { folder, path }
    }

    fn cache(&self) -> HotpatchModuleCache {
        HotpatchModuleCache::from_path(&self.path).expect("the sample can be read").with_anchor("anchor")
    }

    /// An object compiled beside it.
    fn object(&self, source: &str) -> Vec<u8> {
        let file = self.folder.path().join("patch.c");
        std::fs::write(&file, source).expect("written");
        let object = file.with_extension("o");
        done(Command::new("gcc").args(["-O1", "-fPIC", "-c", "-o"]).arg(&object).arg(&file));
        std::fs::read(object).expect("an object")
    }
}

/// Where a process has a sample's anchor that was moved by `slide`.
fn reference(cache: &HotpatchModuleCache, slide: u64) -> RuntimeAddress {
    RuntimeAddress(cache.anchor().expect("an anchor").0 + slide)
}

const SLIDE: u64 = 0x7fff_1234_5000;

/// The stub for what one object needs.
fn stub(cache: &HotpatchModuleCache, object: &[u8]) -> Stub {
    let reference = reference(cache, SLIDE);
    create_undefined_symbol_stub(cache, &[object], StubTarget::ELF_X86_64, reference).expect("a stub")
}

/// What a stub object defines, by the `object` crate.
fn defined(stub: &Stub) -> Vec<String> {
    let file = object::File::parse(&*stub.bytes).expect("a stub can be read");
    let named = file.symbols().filter(|s| s.is_definition() && s.is_global());
    named.map(|s| s.name().expect("a name").to_owned()).collect()
}

const PLAIN: &str = "int anchor(void) { return 1; } int work(void) { return 2; } int data = 3;";

/// Mistake 1: Code of one machine written for another.
#[test]
fn stubs_are_for_the_hosts_machine() {
    let sample = Sample::build(&[PLAIN], &[]);
    let cache = sample.cache();
    let needed = NeededSymbols::from_names(["work"]);
    for target in StubTarget::ALL {
        let made = build_stub_for_needed(&needed, &cache, target, reference(&cache, SLIDE));
        if target == StubTarget::ELF_X86_64 {
            let made = made.expect("the host's own machine");
            let file = object::File::parse(&*made.bytes).expect("a stub can be read");
            assert_eq!(file.architecture(), object::Architecture::X86_64);
        } else {
            assert!(matches!(made, Err(StubError::TargetMismatch { .. })), "{target}: {made:?}");
        }
    }
    if let Some(reason) = AARCH64.missing() {
        skip!("{reason}");
    }
    let object = AARCH64.compile("patch.c", &sample.folder.path().join("other.o"), &["-fPIC"]);
    let object = std::fs::read(object).expect("an object");
    let made =
        create_undefined_symbol_stub(&cache, &[object], StubTarget::ELF_X86_64, reference(&cache, SLIDE));
    assert!(matches!(made, Err(StubError::ObjectMismatch { .. })), "{made:?}");
}

/// Mistake 3: `.llvm.<n>` taken off on one side only.
#[test]
fn promoted_local_symbols_are_found_under_any_number() {
    let host = "int anchor(void) { return 1; } int plain(void) { return 2; }
        int promoted(void) __asm__(\"promoted.llvm.111\"); int promoted(void) { return 3; }
        int one(void) __asm__(\"twice.llvm.1\"); int one(void) { return 4; }
        int two(void) __asm__(\"twice.llvm.2\"); int two(void) { return 5; }";
    let sample = Sample::build(&[host], &[]);
    let cache = sample.cache();
    let names = [
        "promoted",
        "promoted.llvm.222",
        "promoted.llvm.111",
        "plain.llvm.9",
        "twice.llvm.1",
        "twice.llvm.3",
        "promoted.llvm.x",
    ];
    let stub = build_stub_for_needed(
        &NeededSymbols::from_names(names),
        &cache,
        StubTarget::ELF_X86_64,
        reference(&cache, SLIDE),
    );
    let report = stub.expect("a stub").report;
    let Lookup::Found(promoted) = cache.lookup("promoted.llvm.111") else { panic!("{cache:?}") };
    let address = RuntimeAddress(promoted.address.0 + SLIDE);
    for name in &names[..3] {
        assert_eq!(report.get(name), Some(&Ok(Stubbed::Trampoline { address })), "{name}");
    }
    assert!(matches!(report.get("plain.llvm.9"), Some(Ok(Stubbed::Trampoline { .. }))));
    assert!(matches!(report.get("twice.llvm.1"), Some(Ok(Stubbed::Trampoline { .. }))));
    assert_eq!(report.get("twice.llvm.3"), Some(&Err(Unresolved::Ambiguous { definitions: 2 })));
    assert_eq!(report.get("promoted.llvm.x"), Some(&Err(Unresolved::NotInHost)));
    let other = report.entries().iter().find(|entry| entry.name == "promoted").expect("reported");
    assert_eq!(other.host_name.as_deref(), Some("promoted.llvm.111"));
}

/// Mistake 4: Addresses that leave the address space.
#[test]
fn arithmetic_that_overflows_is_an_error() {
    let sample = Sample::build(&[PLAIN], &[]);
    let cache = sample.cache();
    let anchor = cache.anchor().expect("an anchor");
    let needed = NeededSymbols::from_names(["work", "data"]);
    let build = |reference: u64| {
        build_stub_for_needed(&needed, &cache, StubTarget::ELF_X86_64, RuntimeAddress(reference))
    };
    // The image begins at 0, so nothing is below the anchor's page that this could be.
    assert!(matches!(build(anchor.0 - 1), Err(StubError::ReferenceBelowAnchor { .. })));
    assert!(matches!(build(0), Err(StubError::ReferenceBelowAnchor { .. })));
    assert!(matches!(build(u64::MAX), Err(StubError::SlideNotAligned { .. })));
    assert!(matches!(build(anchor.0 + 1), Err(StubError::SlideNotAligned { .. })));
    // The last page: what is above the anchor would wrap around.
    let last = (u64::MAX - 0xfff) | anchor.0 & 0xfff;
    assert!(matches!(build(last), Err(StubError::SlideOverflow { .. })));
    let missing = cache.with_anchor("no such symbol");
    let made = build_stub_for_needed(&needed, &missing, StubTarget::ELF_X86_64, RuntimeAddress(0));
    assert!(matches!(made, Err(StubError::NoAnchor { .. })), "{made:?}");
    // An address is an anchor as well: what the file has at its entry point, say.
    let at = cache.with_anchor_at(LinkAddress(0x1000));
    let slide = at.slide(RuntimeAddress(0x5000)).expect("a slide");
    assert_eq!(slide.runtime(LinkAddress(0)), Some(RuntimeAddress(0x4000)));
}

/// The same where addresses have 32 bits.
#[test]
fn addresses_past_four_gigabytes_are_an_error() {
    let machine = I686;
    if let Some(reason) = machine.missing() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cache = HotpatchModuleCache::from_path(machine.host(folder.path())).expect("the host can be read");
    let needed = NeededSymbols::from_names(["host_add"]);
    let build = |slide| build_stub_for_needed(&needed, &cache, machine.target, reference(&cache, slide));
    assert!(build(0xffff_0000).is_ok_and(|stub| stub.report.unresolved().count() == 0));
    assert!(matches!(build(0xffff_f000), Err(StubError::AddressOverflow { .. })));
}

/// Mistake 5: A stub that makes the library ask for an executable stack. Mistake 6: stubs among what a library offers, or among its
/// global functions, which jump tables are made of. The linker's landing-pad marks are the next thing that one object
/// without them takes from all.
#[test]
fn a_library_with_stubs_is_as_one_without() {
    for machine in [X86_64, AARCH64] {
        if let Some(reason) = machine.missing() {
            skip!("{reason}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let cache = HotpatchModuleCache::from_path(machine.host(folder)).expect("the host can be read");
        let object = machine.compile("patch.c", &folder.join("patch.o"), &["-fPIC"]);
        let object = std::fs::read(object).expect("an object");
        let reference = reference(&cache, 0x4000_0000);
        let adapted = adapt_objects(&[object], &cache, machine.target, reference).expect("adapts");
        let stub = create_undefined_symbol_stub(&cache, &adapted, machine.target, reference).expect("a stub");
        for linker in [Linker::Any, Linker::Lld] {
            let library = folder.join(format!("{linker:?}.so"));
            link(machine, linker, &adapted[0].bytes, &stub, &library).expect("links");
            let readelf = |what: &str| done(Command::new("readelf").args(["-W", what]).arg(&library));
            let stack = readelf("-l");
            let stack = stack.lines().find(|line| line.contains("GNU_STACK")).expect("a mark of the stack");
            assert!(stack.contains(" RW "), "{stack}");
            let notes = readelf("-n");
            let mark = if machine.target == X86_64.target {
                "x86 feature: IBT, SHSTK"
            } else {
                "AArch64 feature: BTI"
            };
            assert!(notes.contains(mark), "{linker:?}: {notes}");
            let offered = done(Command::new("nm").arg("-D").arg("--defined-only").arg(&library));
            let offered: Vec<&str> = offered.lines().filter_map(|line| line.split(' ').next_back()).collect();
            assert!(offered.contains(&"run"), "{offered:?}");
            let stubs = defined(&stub);
            assert!(stubs.iter().any(|name| name == "host_add"), "{stubs:?}");
            assert!(!offered.iter().any(|name| stubs.iter().any(|stub| stub == name)), "{offered:?}");
            let bytes = std::fs::read(&library).expect("a library");
            let file = object::File::parse(&*bytes).expect("a library");
            for symbol in file.symbols().filter(|s| stubs.iter().any(|stub| s.name() == Ok(stub))) {
                assert!(symbol.is_local(), "{linker:?}: {symbol:?}");
            }
        }
    }
}

/// Mistake 7: A stub that was kept for another list. These two lists are the same text, which a hash of the text takes
/// for the same.
#[test]
fn a_kept_stub_serves_the_same_question_only() {
    let sample = Sample::build(
        &[
            "int anchor(void) { return 1; } int a(void) { return 1; } int ab(void) { return 2; } int b(void) { return 3; } int bb(void) { return 4; }",
        ],
        &[],
    );
    let cache = sample.cache();
    let (first, second) = (NeededSymbols::from_names(["a", "bb"]), NeededSymbols::from_names(["ab", "b"]));
    let mut kept = KeptStub::new(cache.clone());
    let mut ask = |needed: &NeededSymbols, slide| {
        let reference = reference(&cache, slide);
        let made = kept.get_or_build(needed, StubTarget::ELF_X86_64, reference).expect("a stub");
        let fresh = build_stub_for_needed(needed, &cache, StubTarget::ELF_X86_64, reference);
        assert_eq!(*made, fresh.expect("a stub"));
        made
    };
    let one = ask(&first, SLIDE);
    assert!(Arc::ptr_eq(&one, &ask(&first, SLIDE)));
    ask(&second, SLIDE);
    ask(&second, SLIDE + 0x1000);
    ask(&first, SLIDE);
}

/// Mistake 8: Reading `.symtab` only.
#[test]
fn a_stripped_host_is_read_by_its_dynamic_symbols() {
    let source = format!(
        "{PLAIN} __attribute__((visibility(\"hidden\"), noinline)) int secret(void) {{ return 4; }} int all(void) {{ return secret() + work(); }}"
    );
    let sample = Sample::build(&[&source], &[]);
    let full = sample.cache();
    assert_eq!(full.source(), SymbolSource::Symtab);
    assert!(matches!(full.lookup("secret"), Lookup::Found(_)));
    done(Command::new("strip").arg(&sample.path));
    let stripped = sample.cache();
    assert_eq!(stripped.source(), SymbolSource::Dynsym);
    assert!(matches!(stripped.lookup("secret"), Lookup::Missing));
    let (Lookup::Found(before), Lookup::Found(after)) = (full.lookup("work"), stripped.lookup("work")) else {
        panic!("{stripped:?}")
    };
    assert_eq!((before.address, before.size), (after.address, after.size));
    // Neither: linked without anything dynamic, and stripped.
    let bare = sample.folder.path().join("bare");
    let source = sample.folder.path().join("0.c");
    done(
        Command::new("gcc").args(["-nostdlib", "-static", "-s", "-Wl,-e,work", "-o"]).arg(&bare).arg(source),
    );
    let read = HotpatchModuleCache::from_path(&bare);
    assert!(matches!(read, Err(StubError::NoSymbols { .. })), "{read:?}");
}

/// Mistake 9: Of several definitions of a name, the last one taken.
#[test]
fn a_name_with_several_definitions_is_said_to_have_them() {
    let one = format!(
        "{PLAIN} static __attribute__((noinline)) int twin(int x) {{ return x + work(); }} int a(int x) {{ return twin(x); }} static __attribute__((noinline)) int shy(int x) {{ return x * work(); }} int c(int x) {{ return shy(x); }}"
    );
    let two = "int work(void); static __attribute__((noinline)) int twin(int x) { return x - work(); } int b(int x) { return twin(x); } int shy(int x) { return x; }";
    let sample = Sample::build(&[&one, two], &[]);
    let cache = sample.cache();
    let report = stub(
        &cache,
        &sample.object(
            "int twin(int), shy(int), work(void); int run(void) { return twin(1) + shy(2) + work(); }",
        ),
    )
    .report;
    assert_eq!(report.get("twin"), Some(&Err(Unresolved::Ambiguous { definitions: 2 })));
    // One of these is global: that is the one that other files mean.
    let Lookup::Found(global) = cache.lookup("shy") else { panic!("{cache:?}") };
    let names = done(Command::new("nm").arg(&sample.path));
    let line = names.lines().find(|line| line.ends_with(" T shy")).expect("a global one");
    assert_eq!(line.split(' ').next(), Some(&*format!("{:016x}", global.address.0)));
    assert!(matches!(report.get("shy"), Some(Ok(Stubbed::Trampoline { .. }))));
    assert!(matches!(report.get("work"), Some(Ok(Stubbed::Trampoline { .. }))));
}

/// Mistake 11: Absolute symbols behind references that linkers reject, and words that linkers may fold.
#[test]
fn nothing_that_is_referred_to_directly_is_absolute() {
    let sample = Sample::build(&[PLAIN], &[]);
    let cache = sample.cache();
    let source = "extern int data __attribute__((visibility(\"hidden\"))); int work(void); int run(void) { data++; return work(); }";
    let object = sample.object(source);
    let made = stub(&cache, &object);
    let why = Unresolved::Data { references: References::DIRECT };
    assert_eq!(made.report.get("data"), Some(&Err(why)));
    assert_eq!(defined(&made), ["work"]);
    // GNU ld's own word for why that is so.
    let absolute = sample.folder.path().join("absolute.s");
    std::fs::write(
        &absolute,
        ".globl data\n.hidden data\n.set data, 0x12345678\n.section .note.GNU-stack,\"\"\n",
    )
    .expect("written");
    std::fs::write(sample.folder.path().join("patch.o"), &object).expect("written");
    let refused = crate::tools::run(
        Command::new("gcc")
            .args(["-shared", "-nostdlib", "-o", "/dev/null"])
            .arg(&absolute)
            .arg(sample.folder.path().join("patch.o")),
    );
    assert!(refused.is_err_and(|why| why.contains("absolute symbol")));
    // Through the GOT it may be one; through a word of the stub's it need not.
    let object = sample.object("extern int data; int run(void) { return data++; }");
    let made = stub(&cache, &object);
    assert!(matches!(made.report.get("data"), Some(Ok(Stubbed::Absolute { .. }))));
    let adapted = adapt_objects(&[object], &cache, StubTarget::ELF_X86_64, reference(&cache, SLIDE));
    let made = stub(&cache, &adapted.expect("adapts")[0].bytes);
    let file = sample.folder.path().join("stub.o");
    std::fs::write(&file, &made.bytes).expect("written");
    let sections = done(Command::new("readelf").args(["-W", "-S"]).arg(&file));
    let constants = sections.lines().find(|line| line.contains(".rodata")).expect("words");
    let flags = constants.split_whitespace().rev().nth(3).expect("flags");
    assert_eq!(flags, "A", "not mergeable: {constants}");
}

/// Mistake 12: A function that is a thread-local elsewhere, and the other way round.
#[test]
fn kinds_that_do_not_match_are_said_not_to() {
    let sample = Sample::build(
        &[&format!("{PLAIN} _Thread_local int mine = 1; int *where(void) {{ return &mine; }}")],
        &["-lc"],
    );
    let cache = sample.cache();
    let object = sample.object(
        "int mine(void); extern _Thread_local int data, work; int run(void) { return mine() + data + work; }",
    );
    let made = stub(&cache, &object);
    for (name, host) in [("mine", "thread-local"), ("data", "data"), ("work", "function")] {
        assert_eq!(made.report.get(name), Some(&Err(Unresolved::KindMismatch { host })), "{name}");
    }
    // What it has is for the linker's own use.
    assert_eq!(defined(&made), ["__tls_get_addr"]);
    // The same kind, but in a shared object, whose block is where the loader puts it.
    let object = sample.object("extern _Thread_local int mine; int run(void) { return mine; }");
    let made = stub(&cache, &object);
    assert!(matches!(made.report.get("mine"), Some(Err(Unresolved::ThreadLocal { .. }))));
    let cell = NeededSymbols::from_names([format!("{}mine", livepatch_build::stubs::THREAD_OFFSET_OF)]);
    let made = build_stub_for_needed(&cell, &cache, StubTarget::ELF_X86_64, reference(&cache, SLIDE));
    let report = made.expect("a stub").report;
    assert_eq!(report.unresolved().next().map(|(_, why)| why), Some(&Unresolved::ThreadLocalOfLibrary));
}

/// What one object defines for another is not needed; what it keeps to itself is.
#[test]
fn objects_satisfy_each_other() {
    let sample = Sample::build(&[PLAIN], &[]);
    let one = sample.object("int two(void), local(void); int one(void) { return two() + local(); }");
    let two = sample.object("static int __attribute__((noinline)) local(void) { return __LINE__; } int two(void) { return local(); }");
    let needed = compute_needed_symbols_multi(&[&one, &two]).expect("needed");
    assert_eq!(needed.names().collect::<Vec<_>>(), ["local"]);
    let alone = compute_needed_symbols(&one).expect("needed");
    assert_eq!(alone.names().collect::<Vec<_>>(), ["local", "two"]);
    assert!(alone.iter().all(|symbol| symbol.references == References::CALL), "{alone:?}");
}

/// Names that each image has its own of are not the host's, though it has them.
#[test]
fn what_the_linker_defines_stays_the_linkers() {
    let sample = Sample::build(&[PLAIN], &[]);
    let cache = sample.cache();
    assert!(matches!(cache.lookup("_DYNAMIC"), Lookup::Found(_)));
    let needed = NeededSymbols::from_names(["_DYNAMIC", "_GLOBAL_OFFSET_TABLE_", "__dso_handle"]);
    let made = build_stub_for_needed(&needed, &cache, StubTarget::ELF_X86_64, reference(&cache, SLIDE));
    let made = made.expect("a stub");
    assert!(made.report.entries().iter().all(|entry| entry.outcome == Ok(Stubbed::OfTheImage)));
    assert_eq!(defined(&made), [""; 0]);
}

/// A process of another run of the same host has it elsewhere: nothing of the first one's is in the second's stub.
#[test]
fn each_process_gets_its_own_addresses() {
    if let Some(reason) = X86_64.missing() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let host = X86_64.host(folder);
    let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
    let object = X86_64.compile("patch.c", &folder.join("patch.o"), &["-fPIC"]);
    let object = std::fs::read(object).expect("an object");
    let mut lives: Vec<Live> = (0..2).map(|_| X86_64.start(&host)).collect();
    for (at, live) in lives.iter_mut().enumerate() {
        let adapted = adapt_objects(&[&object], &cache, X86_64.target, live.anchor).expect("adapts");
        let stub =
            create_undefined_symbol_stub(&cache, &adapted, X86_64.target, live.anchor).expect("a stub");
        let library = folder.join(format!("{at}.so"));
        link(X86_64, Linker::Any, &adapted[0].bytes, &stub, &library).expect("links");
        assert!(live.load(&library).starts_with("out 5 40 0 101 8 1 "));
    }
}

/// Every target is known by the triples that rustc and the NDK have for it.
#[test]
fn targets_have_names() {
    for target in StubTarget::ALL {
        let triple = match (target.format(), target.instructions()) {
            (Format::Elf, InstructionSet::X86_64) => "x86_64-unknown-linux-gnu",
            (Format::Elf, InstructionSet::Aarch64) => "aarch64-linux-android",
            (Format::Elf, InstructionSet::Arm) => "armv7-linux-androideabi",
            (Format::Elf, InstructionSet::Thumb) => "thumbv7neon-linux-androideabi",
            (Format::Elf, InstructionSet::I686) => "i686-linux-android",
            (Format::Elf, InstructionSet::Riscv64) => "riscv64gc-unknown-linux-gnu",
            (Format::MachO, InstructionSet::X86_64) => "x86_64-apple-darwin",
            (Format::MachO, _) => "aarch64-apple-ios-sim",
            (Format::Coff, InstructionSet::X86_64) => "x86_64-pc-windows-msvc",
            (Format::Coff, _) => "aarch64-pc-windows-gnullvm",
        };
        assert_eq!(StubTarget::from_triple(triple), Some(target), "{triple}");
    }
    for triple in ["", "x86_64", "wasm32-unknown-unknown", "powerpc64-unknown-linux-gnu", "i686-apple-darwin"]
    {
        assert_eq!(StubTarget::from_triple(triple), None, "{triple}");
    }
}
