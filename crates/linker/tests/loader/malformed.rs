//! Files that are not what they say: an error each, in the words of Android's linker, and never a crash before
//! code of the library runs.

use crate::build::Folder;
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::trace::{Detail, Event, Trace};
use livepatch_linker::{ExtInfo, Flags, Linker};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) const CASES: &[Case] = cases![
    malformed::empty_and_short,
    malformed::magic,
    malformed::class_and_machine,
    malformed::byte_order_type_and_version,
    malformed::program_headers,
    malformed::no_loadable_segments,
    malformed::segment_past_the_end,
    malformed::writable_and_executable_segment,
    malformed::without_dynamic_section,
    malformed::text_relocations,
    malformed::section_headers_do_not_matter,
    malformed::relocation_outside,
    malformed::initialiser_outside,
    malformed::thread_local_without_segment,
    malformed::text_file_and_folder,
    malformed::mutants_of_a_library,
    malformed::mutant,
];

const SOURCE: &str = "extern char **environ; static long n = 3; static __thread long t = 4; long *at = &n; void *e[2] = { &environ, &at };
    __attribute__((constructor)) static void c(void) { n++; } long get(void) { return n + t++; }";

fn library(folder: &Folder) -> Vec<u8> {
    std::fs::read(folder.library("liba.so", SOURCE, &[])).unwrap()
}

/// What loading these bytes says; `FILE` stands for the file's name.
#[track_caller]
fn error(folder: &Folder, bytes: &[u8]) -> String {
    let path = folder.file("bad.so");
    std::fs::write(&path, bytes).unwrap();
    let error = Linker::new().dlopen(&path, Flags::NOW).expect_err("it is loaded");
    error.to_string().replace(&path.canonicalize().unwrap().display().to_string(), "FILE")
}

/// The error of a good library with other bytes at some offsets.
#[track_caller]
fn changed(folder: &Folder, changes: &[(usize, &[u8])]) -> String {
    let mut bytes = library(folder);
    for (offset, new) in changes {
        bytes[*offset..offset + new.len()].copy_from_slice(new);
    }
    error(folder, &bytes)
}

fn empty_and_short() {
    let folder = Folder::new();
    for length in [0, 3, 40, 63] {
        let text = format!("\"FILE\" is too small to be an ELF executable: only found {length} bytes");
        assert_eq!(error(&folder, &library(&folder)[..length]), text);
    }
}

fn magic() {
    let folder = Folder::new();
    assert_eq!(changed(&folder, &[(0, b"\x7fELG")]), "\"FILE\" has bad ELF magic: 7f454c47");
}

fn class_and_machine() {
    let folder = Folder::new();
    assert_eq!(changed(&folder, &[(4, &[1])]), "\"FILE\" is 32-bit instead of 64-bit");
    assert_eq!(changed(&folder, &[(4, &[3])]), "\"FILE\" has unknown ELF class: 3");
    let own = if cfg!(target_arch = "x86_64") { "EM_X86_64 (62)" } else { "EM_AARCH64 (183)" };
    assert_eq!(
        changed(&folder, &[(18, &[243, 0])]),
        format!("\"FILE\" is for EM_RISCV (243) instead of {own}")
    );
    let unknown = format!("\"FILE\" is for EM_??? (1000) (1000) instead of {own}");
    assert_eq!(changed(&folder, &[(18, &1000u16.to_le_bytes())]), unknown);
}

fn byte_order_type_and_version() {
    let folder = Folder::new();
    assert_eq!(changed(&folder, &[(5, &[2])]), "\"FILE\" not little-endian: 2");
    assert_eq!(changed(&folder, &[(16, &[2, 0])]), "\"FILE\" has unexpected e_type: 2");
    assert_eq!(changed(&folder, &[(20, &[9, 0, 0, 0])]), "\"FILE\" has unexpected e_version: 9");
}

fn program_headers() {
    let folder = Folder::new();
    assert_eq!(changed(&folder, &[(56, &[0, 0])]), "\"FILE\" has invalid e_phnum: 0");
    assert_eq!(changed(&folder, &[(56, &[255, 255])]), "\"FILE\" has invalid e_phnum: 65535");
    let far = changed(&folder, &[(32, &0x100_0000u64.to_le_bytes())]);
    assert!(far.starts_with("\"FILE\" has invalid phdr offset/size: 16777216/"), "{far}");
}

/// Offsets of the program headers of a type.
fn headers_of(bytes: &[u8], kind: u32) -> Vec<usize> {
    let count = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    let all = (0..count).map(|index| 64 + index * 56);
    all.filter(|&at| bytes[at..at + 4] == kind.to_le_bytes()).collect()
}

fn no_loadable_segments() {
    let folder = Folder::new();
    let mut bytes = library(&folder);
    for at in headers_of(&bytes, 1) {
        bytes[at..at + 4].copy_from_slice(&4u32.to_le_bytes());
    }
    // What Android's linker finds out first: its headers would be nowhere.
    assert_eq!(error(&folder, &bytes), "\"FILE\" loaded phdr not in loadable segment");
}

fn segment_past_the_end() {
    let folder = Folder::new();
    let mut bytes = library(&folder);
    let last = *headers_of(&bytes, 1).last().unwrap();
    bytes[last + 32..last + 40].copy_from_slice(&0x100_0000u64.to_le_bytes());
    bytes[last + 40..last + 48].copy_from_slice(&0x100_0000u64.to_le_bytes());
    let text = error(&folder, &bytes);
    assert!(
        text.starts_with("invalid ELF file \"FILE\" load segment[")
            && text.contains(") past end of file (0x"),
        "{text}"
    );
}

fn writable_and_executable_segment() {
    let folder = Folder::new();
    let mut bytes = library(&folder);
    let first = headers_of(&bytes, 1)[0];
    bytes[first + 4] = 7;
    assert_eq!(error(&folder, &bytes), "\"FILE\": W+E load segments are not allowed");
}

fn without_dynamic_section() {
    let folder = Folder::new();
    let mut bytes = library(&folder);
    let at = headers_of(&bytes, 2)[0];
    bytes[at] = 4;
    assert_eq!(error(&folder, &bytes), "missing PT_DYNAMIC in \"FILE\"");
}

fn text_relocations() -> Outcome {
    let folder = Folder::new();
    // A word of the program text that depends on where it is.
    let source = "__asm__(\".text\\n.globl f\\nf: ret\\n.balign 8\\n.quad f\\n\");";
    let path = folder.library("libtext.so", source, &["-Wl,-z,notext"]);
    let error = Linker::new().dlopen(&path, Flags::NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("\"{}\" has text relocations", path.canonicalize().unwrap().display())
    );
    Outcome::Passed
}

fn section_headers_do_not_matter() {
    let folder = Folder::new();
    let bytes = library(&folder);
    // Not there, at an odd address, or empty.
    for (offset, value) in [(40, 0u64), (40, 0xfff_ffff), (40, 0x1235)] {
        let mut bytes = bytes.clone();
        bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        let path = folder.file("odd.so");
        std::fs::write(&path, bytes).unwrap();
        let library = Linker::new().dlopen(&path, Flags::NOW).unwrap();
        assert_eq!(crate::build::call(library.symbol("get").unwrap()), 8);
    }
}

/// The offset of a relocation table, by the section's name.
fn section(path: &Path, name: &str) -> usize {
    use object::{Object, ObjectSection};
    let bytes = std::fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    file.section_by_name(name).unwrap().file_range().unwrap().0 as usize
}

fn relocation_outside() {
    let folder = Folder::new();
    library(&folder);
    let at = section(&folder.file("liba.so"), ".rela.dyn");
    // In the program text, and nowhere.
    for place in [0x1000u64, 0x7fff_ffff_0000, u64::MAX - 3] {
        let text = changed(&folder, &[(at, &place.to_le_bytes())]);
        assert_eq!(text, format!("\"FILE\": relocation at {place:#x} is not in a writable segment"));
    }
}

fn initialiser_outside() {
    let folder = Folder::new();
    library(&folder);
    let at = section(&folder.file("liba.so"), ".rela.dyn");
    // The first relocation is that of `.init_array`: its addend leads nowhere now.
    let text = changed(&folder, &[(at + 16, &0x7000_0000u64.to_le_bytes())]);
    assert!(
        text.starts_with("\"FILE\": DT_INIT_ARRAY at 0x")
            && text.ends_with(" is not in an executable segment"),
        "{text}"
    );
}

fn thread_local_without_segment() {
    let folder = Folder::new();
    let mut bytes = library(&folder);
    let at = headers_of(&bytes, 7)[0];
    bytes[at] = 4;
    let text = error(&folder, &bytes);
    assert!(text.starts_with("unexpected TLS reference to ") && text.ends_with(" in \"FILE\""), "{text}");
}

fn text_file_and_folder() {
    let folder = Folder::new();
    assert_eq!(
        error(&folder, &[b"INPUT(libx.so)\n".as_slice(), &[b' '; 64]].concat()),
        "\"FILE\" has bad ELF magic: 494e5055"
    );
    let error = Linker::new().dlopen(folder.path(), Flags::NOW).unwrap_err().to_string();
    assert!(error.ends_with("not found"), "{error}");
}

/// Environment variables: a library, the first seed, and how many.
const FILE: &str = "LIVEPATCH_LINKER_MUTANT_OF";
const SEEDS: &str = "LIVEPATCH_LINKER_MUTANT_SEEDS";

/// Where bytes are changed: headers, the dynamic section, and the tables that it names.
fn targets(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    use object::{Object, ObjectSection};
    let count = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
    let file = object::File::parse(bytes).unwrap();
    let names = [
        ".dynamic",
        ".gnu.hash",
        ".hash",
        ".rela.dyn",
        ".rela.plt",
        ".relr.dyn",
        ".dynsym",
        ".dynstr",
        ".gnu.version",
        ".gnu.version_r",
        ".gnu.version_d",
        ".init_array",
    ];
    let sections = names.iter().filter_map(|name| file.section_by_name(name)?.file_range());
    let sections = sections.map(|(start, size)| start as usize..(start + size) as usize);
    [0..64, 64..64 + count * 56].into_iter().chain(sections).filter(|range| !range.is_empty()).collect()
}

/// A library with some bytes or words changed, the same for the same seed.
fn mutate(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let targets = targets(bytes);
    let mut mutant = bytes.to_vec();
    for _ in 0..random.usize(1..4) {
        let range = targets[random.usize(..targets.len())].clone();
        let at = random.usize(range);
        match random.u32(0..4) {
            0 => mutant[at] = random.u8(..),
            1 => mutant[at] ^= 1 << random.u32(0..8),
            2 => {
                let at = at & !7;
                let value =
                    *random.choice(&[0, 1, u64::MAX, 1 << 63, 0x1000, 0xfff, bytes.len() as u64]).unwrap();
                if let Some(word) = mutant.get_mut(at..at + 8) {
                    word.copy_from_slice(&value.to_le_bytes());
                }
            }
            _ => {
                let at = at & !7;
                let value = random.u64(..) >> random.u32(0..64);
                if let Some(word) = mutant.get_mut(at..at + 8) {
                    word.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
    }
    mutant
}

/// How a mutant went.
#[derive(Default, Debug)]
struct Tally {
    refused: usize,
    loaded: usize,
    /// Ended in code of the mutant itself, which ran because nothing was wrong with how it asked for that.
    ended_inside: usize,
}

/// Loads mutants, each in a child: first without its initialisers, which has to go well or be refused, then with
/// them, where only its own code may fail.
fn load_mutants(path: &Path, seeds: std::ops::Range<u64>) -> Tally {
    let bytes = std::fs::read(path).unwrap();
    let folder = Folder::new();
    let file = folder.file("mutant.so");
    let mut tally = Tally::default();
    for seed in seeds {
        std::fs::write(&file, mutate(&bytes, seed)).unwrap();
        let without = child(&file, true);
        match without {
            0 => {}
            1 => {
                tally.refused += 1;
                continue;
            }
            INSIDE => {
                tally.ended_inside += 1;
                continue;
            }
            other => {
                panic!("mutant {seed} of {}: status {other:#x} before any of its code ran", path.display())
            }
        }
        match child(&file, false) {
            0 => tally.loaded += 1,
            1 => tally.refused += 1,
            _ => tally.ended_inside += 1,
        }
    }
    tally
}

/// How a child ends if it does so in code of the mutant.
const INSIDE: i32 = 2;

static TRACE: OnceLock<Trace> = OnceLock::new();

/// Has signals that end a process tell whether the mutant's code runs: after relocation it does, if it has
/// functions that say where others are, and only then.
fn watch() {
    extern "C" fn ended(signal: libc::c_int) {
        let records = TRACE.get().map(Trace::records).unwrap_or_default();
        let is_relocated = records.iter().any(|record| matches!(record.event, Event::Relocate { .. }));
        // SAFETY: ends at once.
        unsafe { libc::_exit(if is_relocated { INSIDE } else { 0x40 + signal }) };
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP] {
        let handler: extern "C" fn(libc::c_int) = ended;
        // SAFETY: the handler looks at what this thread has written down, and ends the process.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// How a child that loads it ends: 0 if it is loaded, 1 if refused, a signal otherwise.
fn child(file: &Path, without_constructors: bool) -> i32 {
    // SAFETY: this process has one thread, so that the child can do whatever it could.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: limits of this process: a mutant that never ends, or fills memory, is ended.
        unsafe {
            libc::alarm(20);
            let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
        }
        let ext_info = ExtInfo { without_constructors, ..ExtInfo::default() };
        let trace = TRACE.get_or_init(|| Trace::new(Detail::Phases));
        watch();
        let opened = Linker::builder().trace(trace).build().dlopen_ext(file, Flags::NOW, &ext_info);
        let status = i32::from(opened.is_err());
        if let Ok(library) = opened {
            // What can be found must be found without a crash, too.
            for (name, _) in library.exported().iter().take(50) {
                let _ = library.symbol(name);
            }
            library.leak();
        }
        // SAFETY: ends at once; nothing of the parent's is to be finished.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { status | 0x1000 }
}

/// A few, of a small library that has everything.
fn mutants_of_a_library() {
    let folder = Folder::new();
    let path = folder.library("liba.so", SOURCE, &["-Wl,--hash-style=both"]);
    let tally = load_mutants(&path, 0..150);
    println!("{tally:?}");
    assert!(tally.refused > 20 && tally.loaded > 20, "{tally:?}");
}

/// As many as the environment says, of the library that it names.
fn mutant() -> Outcome {
    let (Some(path), Ok(seeds)) = (std::env::var_os(FILE), std::env::var(SEEDS)) else {
        return Outcome::Skipped(format!("{FILE} names no library"));
    };
    let (first, count) = seeds.split_once('+').unwrap();
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    println!("{:?}", load_mutants(&PathBuf::from(path), first..first + count));
    Outcome::Passed
}
