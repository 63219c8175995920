//! Mach-O and COFF: linked by LLD's faces, looked at with LLVM's tools.

use crate::tools::{done, lld, missing, program, skip};
use livepatch_build::stubs::{
    HotpatchModuleCache, Lookup, StubTarget, Stubbed, SymbolSource, adapt_objects,
    create_undefined_symbol_stub,
};
use livepatch_object::address::RuntimeAddress;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How far the process is said to have the host from where its file has it.
const SLIDE: u64 = 0x1_2345_6000;

/// A target, its triple, and how its linker makes an executable and a library.
pub(crate) struct Platform {
    pub(crate) target: StubTarget,
    triple: &'static str,
    face: &'static str,
    pub(crate) host: &'static [&'static str],
    library: &'static [&'static str],
    output: &'static str,
}

const MACHO: [&str; 8] =
    ["-platform_version", "macos", "11.0", "11.0", "-undefined", "dynamic_lookup", "-e", "_main"];
const DYLIB: [&str; 6] = ["-platform_version", "macos", "11.0", "11.0", "-dylib", "-no_fixup_chains"];
const EXE: [&str; 4] = ["/entry:main", "/subsystem:console", "/nodefaultlib", "/debug:symtab"];
const DLL: [&str; 5] = ["/dll", "/noentry", "/nodefaultlib", "/export:run", "/debug:symtab"];

pub(crate) const PLATFORMS: [Platform; 4] = [
    Platform {
        target: StubTarget::MACHO_X86_64,
        triple: "x86_64-apple-macos11",
        face: "ld64.lld",
        host: &MACHO,
        library: &DYLIB,
        output: "-o",
    },
    Platform {
        target: StubTarget::MACHO_AARCH64,
        triple: "arm64-apple-macos11",
        face: "ld64.lld",
        host: &MACHO,
        library: &DYLIB,
        output: "-o",
    },
    Platform {
        target: StubTarget::COFF_X86_64,
        triple: "x86_64-pc-windows-msvc",
        face: "lld-link",
        host: &EXE,
        library: &DLL,
        output: "/out:",
    },
    Platform {
        target: StubTarget::COFF_AARCH64,
        triple: "aarch64-pc-windows-msvc",
        face: "lld-link",
        host: &EXE,
        library: &DLL,
        output: "/out:",
    },
];

impl Platform {
    pub(crate) fn compile(&self, source: &str, to: PathBuf, options: &[&str]) -> PathBuf {
        let target = format!("--target={}", self.triple);
        done(
            Command::new("clang")
                .args([&target, "-O1", "-c"])
                .args(options)
                .arg(program(source))
                .arg("-o")
                .arg(&to),
        );
        to
    }

    pub(crate) fn link(&self, how: &[&str], inputs: &[&Path], to: PathBuf) -> PathBuf {
        let mut command = Command::new(lld(self.face));
        command.args(how).args(inputs);
        if self.face == "ld64.lld" {
            command.args(["-arch", self.triple.split('-').next().expect("a triple"), "-fatal_warnings"]);
            command.arg(self.output).arg(&to);
        } else {
            command.arg(format!("{}{}", self.output, to.display())).arg("/WX");
        }
        done(&mut command);
        to
    }

    /// A name as this platform's C compilers spell it.
    fn c(&self, name: &str) -> String {
        if self.face == "ld64.lld" { format!("_{name}") } else { name.to_owned() }
    }
}

/// What there is after building host, patch and stub.
struct Built {
    _folder: tempfile::TempDir,
    library: PathBuf,
    add: u64,
    counter: u64,
}

pub(crate) fn missing_tools(platform: &Platform) -> Option<String> {
    let lld = lld(platform.face);
    missing(&[Path::new("clang"), &lld, Path::new("llvm-nm"), Path::new("llvm-objdump")])
}

fn build(platform: &Platform) -> Built {
    build_for(platform, |_| SLIDE)
}

/// The same for a process that has the host at the slide that a function says.
fn build_for(platform: &Platform, slide: impl FnOnce(&Path) -> u64) -> Built {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let object = platform.compile("flat_host.c", at("host.o"), &[]);
    let host = platform.link(platform.host, &[&object], at("host"));
    let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
    assert_eq!((cache.target(), cache.source()), (platform.target, SymbolSource::Symtab));
    let slide = slide(&host);
    // Where the host has its symbols, by LLVM's word.
    let names = done(Command::new("llvm-nm").arg(&host));
    let address = |name: &str| {
        let mut found = names.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let (address, _, is) = (words.next()?, words.next()?, words.next()?);
            (is == platform.c(name)).then(|| u64::from_str_radix(address, 16).ok())?
        });
        found.next().expect("the host has it").wrapping_add(slide)
    };
    let (add, counter) = (address("host_add"), address("host_counter"));
    let reference = RuntimeAddress(address("__livepatch_aslr_anchor"));
    let object = std::fs::read(platform.compile("flat_patch.c", at("patch.o"), &[])).expect("an object");
    let adapted = adapt_objects(&[&object], &cache, platform.target, reference).expect("adapts");
    let stub = create_undefined_symbol_stub(&cache, &adapted, platform.target, reference).expect("a stub");
    assert_eq!(stub.report.unresolved().collect::<Vec<_>>(), []);
    let trampoline = Ok(Stubbed::Trampoline { address: RuntimeAddress(add) });
    assert_eq!(stub.report.get(&platform.c("host_add")), Some(&trampoline));
    std::fs::write(at("patch.o"), &adapted[0].bytes).expect("written");
    std::fs::write(at("stub.o"), &stub.bytes).expect("written");
    // A name is as it was: an underscore more is another name.
    let names = done(Command::new("llvm-nm").arg("--format=just-symbols").arg(at("stub.o")));
    let name = platform.c("host_add");
    assert!(names.lines().any(|line| line == name) && !names.contains(&format!("_{name}")), "{names}");
    // What defines a symbol first is what it means: a weak stub gives way to it.
    let library = platform.link(platform.library, &[&at("patch.o"), &at("stub.o")], at("library"));
    Built { library, add, counter, _folder: folder }
}

fn disassembly(library: &Path) -> String {
    done(Command::new("llvm-objdump").args(["-d", "--no-show-raw-insn"]).arg(library))
}

/// Whether the file has a word somewhere in a section.
fn has_word(library: &Path, section: &str, word: u64) -> bool {
    use object::{Object as _, ObjectSection as _};
    let file = std::fs::read(library).expect("the library");
    let file = object::File::parse(&*file).expect("a library");
    let section = file.section_by_name(section).expect("the section");
    section.data().expect("its data").chunks_exact(8).any(|chunk| chunk == word.to_le_bytes())
}

/// The address that the instructions build in x16, by LLVM's disassembler.
fn built_in_x16(disassembly: &str) -> Vec<u64> {
    let mut all = Vec::new();
    let mut value = 0;
    for line in disassembly.lines() {
        let words: Vec<&str> = line.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
        let number = |text: &str| {
            let text = text.trim_start_matches('#');
            match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            }
            .expect("a number")
        };
        match words[..] {
            [_, "mov", "x16", low] => value = number(low),
            [_, "movk", "x16", part, "lsl", by] => value |= number(part) << number(by),
            [_, "br", "x16"] => all.push(value),
            _ => {}
        }
    }
    all
}

#[test]
fn what_is_linked_leads_to_the_host() {
    for platform in &PLATFORMS {
        if let Some(reason) = missing_tools(platform) {
            skip!("{reason}");
        }
        let Built { library, add, counter, _folder } = build(platform);
        let code = disassembly(&library);
        if platform.triple.starts_with("x86_64") {
            // The trampoline's word stands in the code, the variable's among the constants.
            assert!(code.contains("jmpq\t*6(%rip)"), "{code}");
            let text = if platform.face == "ld64.lld" { "__text" } else { ".text" };
            assert!(has_word(&library, text, add), "{}", platform.triple);
        } else {
            assert!(built_in_x16(&code).contains(&add), "{}: {add:x}\n{code}", platform.triple);
        }
        let constants = if platform.face == "ld64.lld" { "__const" } else { ".rdata" };
        assert!(has_word(&library, constants, counter), "{}", platform.triple);
        // Nothing is left to be looked up, and nothing of the host's is offered to others.
        if platform.face == "ld64.lld" {
            let names = done(Command::new("llvm-nm").arg("-u").arg(&library));
            assert_eq!(names.trim(), "", "{}", platform.triple);
            let names = done(Command::new("llvm-nm").arg("-g").arg(&library));
            assert!(names.contains("_run") && !names.contains("host"), "{names}");
            assert!(has_word(&library, "__data", counter), "the word in data holds the address itself");
            // They hold addresses of the process, which must stay as they are when the library is moved.
            let rebased = done(Command::new("llvm-objdump").args(["--macho", "--rebase"]).arg(&library));
            let pointers = rebased.lines().filter(|line| line.contains("pointer")).count();
            assert!(rebased.contains("Rebase table"), "{rebased}");
            assert_eq!(pointers, 0, "{rebased}");
        } else {
            let imports = done(Command::new("llvm-objdump").arg("-p").arg(&library));
            assert!(!imports.contains("DLL Name: host") && imports.contains("run"), "{imports}");
        }
    }
}

#[test]
fn a_host_with_exports_only_serves() {
    for platform in &PLATFORMS[2..] {
        if let Some(reason) = missing_tools(platform) {
            skip!("{reason}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let object = platform.compile("flat_host.c", folder.path().join("host.o"), &[]);
        let mut how = platform.host[..3].to_vec();
        how.extend(["/export:host_add", "/export:host_counter,DATA", "/export:__livepatch_aslr_anchor"]);
        let host = platform.link(&how, &[&object], folder.path().join("host"));
        let cache = HotpatchModuleCache::from_path(&host).expect("the host can be read");
        assert_eq!(cache.source(), SymbolSource::Exports);
        let Lookup::Found(add) = cache.lookup("host_add") else { panic!("{cache:?}") };
        let exports = done(Command::new("llvm-objdump").arg("-p").arg(&host));
        // PE exports are relative to the image base, which LLD puts at 0x140000000.
        let rva = format!("{:#x}", add.address.0 - 0x1_4000_0000);
        let line = exports.lines().find(|line| line.ends_with(" host_add")).expect("exported");
        assert!(line.contains(&rva), "{line} {rva}");
    }
}

/// Host and library in this process, by the linker of Mach-O images: the library's code calls the host's, and reads its
/// variable, where they are.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[test]
fn macho_x86_64_runs() {
    use livepatch_linker::macho::{Linker, Mode};
    let platform = &PLATFORMS[0];
    if let Some(reason) = missing_tools(platform) {
        skip!("{reason}");
    }
    let linker = Linker::builder().build();
    let mut host = None;
    let built = build_for(platform, |path| {
        let loaded = linker.dlopen(path, Mode::Now).expect("the host is loaded");
        host.insert(loaded).slide().bits()
    });
    let host = host.expect("the host");
    assert_eq!(host.symbol("host_counter").map(|at| at.0).ok(), Some(built.counter));
    let library = linker.dlopen(&built.library, Mode::Lazy).expect("the library is loaded");
    let at =
        |library: &livepatch_linker::macho::Library, name: &str| library.symbol(name).expect("it has it").0;
    // SAFETY: functions and a variable of these types, of `flat_host.c` and `flat_patch.c`.
    unsafe {
        let run: unsafe extern "C" fn() -> i32 =
            std::mem::transmute(at(&library, "run") as usize as *const ());
        // host_add(host_counter, 1) + host_add(1, 2)
        assert_eq!(run(), 44);
        *(at(&host, "host_counter") as *mut i32) = 50;
        assert_eq!(run(), 54);
        // The host's own main function sees the same variable.
        assert_eq!(host.run_main(&["host"]).expect("a main function"), 52);
    }
}
