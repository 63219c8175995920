//! Small real files, made here, that targets start from.

use crate::run::{Result, output, write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a target starts from.
#[derive(Clone, Copy)]
pub(super) enum Seed {
    Objects,
    DebugInformation,
    Programs,
    Archives,
    /// Shared objects, with tables in each of their forms.
    Libraries,
    /// Mach-O images, with and without chained fixups.
    Images,
    /// Two objects: before and after an edit.
    Edits,
    /// The same behind a library that is linked from the first.
    Patches,
    /// An object that needs what it does not define, behind a host that has it.
    Needs,
    Nothing,
}

/// Code with what the parsers look for: sections, thread-locals, constants.
const C: &str = "static int n; _Thread_local int t = 3; const char *const s[] = {\"a\", \"b\"};
int f(int x) { return x + n++; }
int main(void) { switch (n) { case 1: return t; case 2: return f(2); case 3: return s[0][0]; case 4: return 9; } return 0; }";

/// Code with what debug information describes: enums, a vtable, a closure, a coroutine, generics, statics.
const RUST: &str = "#![no_std]
pub enum Kind { Square(f32), Round { r: f64 } }
pub trait Acts { fn first(&self) -> u64; }
impl Acts for Kind { fn first(&self) -> u64 { 1 } }
pub static KIND: Kind = Kind::Square(1.0);
pub struct Of<T>(T, u8);
pub async fn work(k: Of<Kind>) -> [u8; 3] { [k.0.first() as u8; 3] }
pub fn f(k: &Kind, by: u64) -> &dyn Acts { let c = |x: u64| x + by; c(1); k }
pub fn g(f: fn(u8) -> Kind) -> impl core::future::Future { work(Of(f(0), 1)) }";

/// The same with a coroutine that is polled, a table that a function reads, a landing pad, a thread-local.
const MORE: &str = "
use core::{future::{Future, ready}, pin::pin, task::Context};
pub static TABLE: [fn(&Kind, u64) -> &dyn Acts; 1] = [f];
pub static mut SPENT: u64 = 3;
async fn waits(by: u8) -> u8 { let kept = [by; 2]; ready(1).await; kept[1] }
#[inline(never)] pub fn poll(c: &mut Context<'_>) -> bool { pin!(waits(7)).poll(c).is_ready() }
impl Drop for Kind { #[inline(never)] fn drop(&mut self) { unsafe { SPENT += 1 } } }
pub fn call(by: u64, f: fn(u64)) { let k = g; let _held = Kind::Round { r: 0.0 }; f(by); drop(k) }";

/// An edit: what a closure captures, what a coroutine keeps, a value, bodies, a new function and static.
const EDIT: [(&str, &str); 6] = [
    ("{ 1 }", "{ more(2) }"),
    ("let c = |x: u64| x + by", "let d = by as u8; let c = |x: u64| x + by + u64::from(d)"),
    ("kept = [by; 2]; ready(1).await; kept[1]", "kept = [by; 9]; ready(2).await; kept[8]"),
    ("KIND: Kind = Kind::Square(1.0)", "KIND: Kind = Kind::Square(2.0)"),
    ("f(by);", "f(by + 1);"),
    (
        "pub struct Of",
        "static mut NEW: u64 = 4;\nfn more(x: u64) -> u64 { unsafe { NEW += x; NEW } }\npub struct Of",
    ),
];

/// What needs something of every kind of the code above.
const NEEDS: &str = "extern int f(int), host_data; extern _Thread_local int t; int *words[] = {&host_data};
extern int none __attribute__((weak)); int run(void) { return f(host_data++) + t + (&none != 0); }";

/// Functions that are called through stubs, one of which may be missing.
const STRINGS: &str = "unsigned long strlen(const char *); int puts(const char *);
int perhaps(void) __attribute__((weak_import));
int say(const char *s) { return puts(s) + (int)strlen(s) + (perhaps ? perhaps() : 0); }";

/// The same in C.
const C_EDIT: [(&str, &str); 2] = [
    ("return x + n++;", "static int m = 5; return g(x) + m++;"),
    ("int f(", "int puts(const char *); int g(int x) { return puts(s[1]) + x; }\nint f("),
];

const OTHER_MACHINES: [&str; 7] = [
    "aarch64-linux-gnu",
    "armv7-linux-gnueabihf",
    "i686-linux-gnu",
    "riscv64-linux-gnu",
    "x86_64-apple-macos11",
    "arm64-apple-macos11",
    "x86_64-pc-windows-gnu",
];

const SECTIONS: [&str; 5] = ["-c", "-g", "-fPIC", "-ffunction-sections", "-fdata-sections"];

/// Puts small real files where a target starts from. What they are made of stands beside that folder.
pub(super) fn plant(seed: Seed, corpus: &Path) -> Result {
    let source = beside(corpus, "c");
    write(&source, C)?;
    match seed {
        Seed::DebugInformation => {
            let source = beside(corpus, "rs");
            write(&source, RUST)?;
            ["4", "5"].into_iter().try_for_each(|version| {
                rustc(
                    &source,
                    &corpus.join(format!("dwarf-{version}.o")),
                    &[&format!("-Cdwarf-version={version}")],
                )
            })
        }
        Seed::Objects => gcc(&SECTIONS, &source, &corpus.join("c.o")),
        Seed::Programs => gcc(&["-Wl,--build-id"], &source, &corpus.join("program")),
        Seed::Libraries => {
            let forms = ["--hash-style=sysv", "--hash-style=gnu", "--hash-style=both,-z,now"];
            forms.into_iter().enumerate().try_for_each(|(index, form)| {
                let options = ["-shared", "-nostdlib", "-fPIC", &format!("-Wl,{form}")];
                gcc(&options, &source, &corpus.join(format!("{index}.so")))
            })
        }
        Seed::Images => images(corpus, &source),
        Seed::Archives => {
            let object = beside(corpus, "o");
            gcc(&SECTIONS, &source, &object)?;
            output(Command::new("ar").arg("rcs").arg(corpus.join("c.a")).arg(&object)).map(|_| ())
        }
        Seed::Edits => edits(corpus)?
            .into_iter()
            .try_for_each(|(name, old, new)| join(&[&old, &new], &corpus.join(name))),
        Seed::Patches => edits(corpus)?.into_iter().try_for_each(|(name, old, new)| {
            let host = beside(corpus, "so");
            gcc(&["-shared", "-nostdlib", "-Wl,--build-id"], &old, &host)?;
            join(&[&host, &old, &new], &corpus.join(name))
        }),
        Seed::Needs => {
            let host = beside(corpus, "so");
            gcc(&["-shared", "-nostdlib", "-fPIC", "-Dn=host_data", "-Dstatic="], &source, &host)?;
            let (needs, object) = (beside(corpus, "needs.c"), beside(corpus, "needs.o"));
            write(&needs, NEEDS)?;
            gcc(&SECTIONS, &needs, &object)?;
            join(&[&object, &host], &corpus.join("x86_64"))?;
            // Other machines' objects, where there is a compiler for them.
            for target in OTHER_MACHINES {
                let clang = ["-c", "-O1", "-fPIC", &format!("--target={target}")];
                let mut compile = Command::new("clang");
                if output(compile.args(clang).arg(&needs).arg("-o").arg(&object)).is_ok() {
                    join(&[&object, &host], &corpus.join(target))?;
                }
            }
            Ok(())
        }
        Seed::Nothing => Ok(()),
    }
}

/// Dylibs for macOS. One that this machine's tools cannot make is left out.
fn images(corpus: &Path, source: &Path) -> Result {
    // Only those know both flags.
    let mut linkers = (15..=22).rev().map(|version| format!("ld64.lld-{version}"));
    let works = |name: &String| output(Command::new(name).arg("--version")).is_ok();
    let linker = linkers.find(works).ok_or("there is no ld64.lld")?;
    let needs = beside(corpus, "needs.c");
    write(&needs, &format!("{NEEDS}\n{STRINGS}"))?;
    for architecture in ["x86_64", "arm64"] {
        let objects = [(source, "o"), (&needs, "needs.o")].map(|(source, extension)| {
            let object = beside(corpus, extension);
            let target = format!("--target={architecture}-apple-macos11");
            let mut compile = Command::new("clang");
            let compiled = output(compile.args(["-c", "-O1", &target]).arg(source).arg("-o").arg(&object));
            compiled.map(|_| object)
        });
        let [Ok(first), Ok(second)] = objects else { continue };
        for (name, fixups) in [("classic", "-no_fixup_chains"), ("chained", "-fixup_chains")] {
            let mut link = Command::new(&linker);
            link.args([
                "-arch",
                architecture,
                "-platform_version",
                "macos",
                "11.0",
                "11.0",
                "-dylib",
                fixups,
            ]);
            link.args(["-undefined", "dynamic_lookup", "-o"]);
            let image = corpus.join(format!("{architecture}-{name}"));
            if let Err(why) = output(link.arg(image).args([&first, &second])) {
                eprintln!("{why}");
            }
        }
    }
    Ok(())
}

/// Objects before and after an edit, under a name for the two.
fn edits(corpus: &Path) -> Result<Vec<(String, PathBuf, PathBuf)>> {
    let edit = |text: &str, edit: &[(&str, &str)]| {
        edit.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    let rust = [RUST, MORE].concat();
    let rust = [rust.clone(), edit(&rust, &EDIT)];
    let c = [C.to_owned(), edit(C, &C_EDIT)];
    let mut all = Vec::new();
    for (name, extension, texts) in [("debug", "rs", &rust), ("optimised", "rs", &rust), ("c", "c", &c)] {
        let [old, new] = ["old", "new"].map(|when| beside(corpus, &format!("{name}.{when}.o")));
        for (text, object) in texts.iter().zip([&old, &new]) {
            // The same name for both: objects have it inside.
            let source = beside(corpus, extension);
            write(&source, text)?;
            match name {
                "c" => gcc(&SECTIONS, &source, object)?,
                "optimised" => rustc(&source, object, &["-O"])?,
                _ => rustc(&source, object, &[])?,
            }
        }
        all.push((name.to_owned(), old, new));
    }
    Ok(all)
}

/// One file of several: before each but the last its length, four bytes, lowest first.
fn join(files: &[&Path], to: &Path) -> Result {
    let fail = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut all = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).map_err(|error| fail(path, error))?;
        if index + 1 < files.len() {
            let length = u32::try_from(bytes.len()).map_err(|error| error.to_string())?;
            all.extend_from_slice(&length.to_le_bytes());
        }
        all.extend_from_slice(&bytes);
    }
    std::fs::write(to, all).map_err(|error| fail(to, error))
}

fn beside(corpus: &Path, extension: &str) -> PathBuf {
    corpus.with_extension(extension)
}

fn gcc(arguments: &[&str], source: &Path, to: &Path) -> Result {
    output(Command::new("gcc").args(arguments).arg(source).arg("-o").arg(to)).map(|_| ())
}

fn rustc(source: &Path, to: &Path, arguments: &[&str]) -> Result {
    let flags = ["-g", "-Awarnings", "--edition=2024", "--crate-type=lib", "--emit=obj", "-Ccodegen-units=1"];
    output(Command::new("rustc").args(flags).args(arguments).arg(source).arg("-o").arg(to)).map(|_| ())
}
