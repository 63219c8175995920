//! Files that are not what they say: an error each, and never a crash before code of the image runs.

use crate::build::{Folder, builder};
use crate::cases::{CASE, Case, Outcome, cases};
use livepatch_linker::macho::Mode;
use livepatch_linker::trace::{Detail, Trace};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const CASES: &[Case] = cases![
    malformed::empty_and_short,
    malformed::other_formats,
    malformed::mutants_of_an_image,
    malformed::mutant,
];

fn error(folder: &Folder, bytes: &[u8]) -> String {
    let path = folder.file("bad.dylib");
    std::fs::write(&path, bytes).unwrap();
    let error =
        builder(&Trace::new(Detail::Phases)).build().dlopen(&path, Mode::Now).expect_err("it is loaded");
    error.to_string().replace(&path.canonicalize().unwrap().display().to_string(), "FILE")
}

fn empty_and_short() {
    let folder = Folder::new();
    assert_eq!(error(&folder, b""), "\"FILE\": the Mach header ends early, at 0x0");
    assert_eq!(
        error(&folder, &[0xcf, 0xfa, 0xed, 0xfe, 7, 0]),
        "\"FILE\": the Mach header ends early, at 0x4"
    );
}

fn other_formats() {
    let folder = Folder::new();
    assert_eq!(
        error(&folder, b"\x7fELF and more"),
        "\"FILE\": no Mach-O file: it begins with [7f, 45, 4c, 46]"
    );
}

const SOURCE: &str = "extern unsigned long strlen(const char *); extern int getppid(void);
    __thread long t = 4; static const char *words[] = { \"a\", \"b\" }; const char **at = words;
    static long n = 3; __attribute__((constructor)) static void c(void) { n++; }
    long get(void) { return n + t++ + strlen(*at) + getppid(); }";

/// Environment variables: which file, from which number, and how many.
const OF: &str = "LIVEPATCH_MACHO_MUTANT_OF";
const FROM: &str = "LIVEPATCH_MACHO_MUTANT_FROM";
/// Mutants of a child: one that ends early is said by the last number that it has begun.
const BATCH: u64 = 250;
const ALL: u64 = 1000;

/// Loads damaged images without running anything of them, in children: each is an error or a library.
fn mutants_of_an_image() {
    let folder = Folder::new();
    let path = folder.dylib("liba.dylib", SOURCE, &[]);
    let count = std::env::var("LIVEPATCH_MACHO_MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(ALL);
    for from in (0..count).step_by(BATCH as usize) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(CASE, "malformed::mutant").env(OF, &path).env(FROM, from.to_string());
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("all done"),
            "after mutant {:?}: {}\n{}",
            said.lines().last(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A batch, in a process of its own.
fn mutant() -> Outcome {
    let Some(of) = std::env::var_os(OF).map(PathBuf::from) else {
        return Outcome::Skipped(format!("{OF} names no image"));
    };
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let original = std::fs::read(&of).unwrap();
    let place = tempfile::tempdir().unwrap();
    for number in from..from + BATCH {
        println!("{number}");
        one(&original, number, &place.path().join("mutant.dylib"));
    }
    println!("all done");
    Outcome::Passed
}

/// A few bytes of the header, the load commands, the tables, or anywhere, are others. What runs first is not code of
/// the image, which would do anything: there are no initializers in a mutant, as their sections have another type.
fn one(original: &[u8], number: u64, path: &Path) {
    let mut random = fastrand::Rng::with_seed(number);
    let mut bytes = original.to_vec();
    let commands = 32 + u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
    let tables = bytes.len() - bytes.len() / 4;
    for _ in 0..random.usize(1..6) {
        let range = match random.u8(0..3) {
            0 => 0..commands,
            1 => tables..bytes.len(),
            _ => 0..bytes.len(),
        };
        let at = random.usize(range);
        bytes[at] = match random.u8(0..3) {
            0 => random.u8(..),
            1 => bytes[at] ^ (1 << random.u8(0..8)),
            _ => [0, 1, 0x7f, 0x80, 0xff][random.usize(0..5)],
        };
    }
    std::fs::write(path, &bytes).unwrap();
    let linker = builder(&Trace::new(Detail::Phases)).without_initializers().build();
    for mode in [Mode::Now, Mode::Lazy] {
        if let Ok(library) = linker.dlopen(path, mode) {
            let _ = (library.symbol("get"), library.symbol("nothing"));
            drop(library);
        }
    }
}
