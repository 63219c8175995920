//! Images that tests are about: from C and a hand-written list of what the system's library exports.

use bytes::Bytes;
use livepatch_object::macho::{Architecture, Image, choose, slices};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of a test's own, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("macho-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, contents).expect("a file");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that must succeed; what it prints.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The newest of LLVM's programs of that name that is installed.
pub(crate) fn newest(program: &str) -> Option<String> {
    let names = (14..=22).rev().map(|version| format!("{program}-{version}"));
    let works = |name: &String| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    names.chain([program.to_owned()]).find(works)
}

/// The version of one of LLVM's programs.
pub(crate) fn version(program: &str) -> u32 {
    let said = run(Command::new(program).arg("--version"));
    let after =
        said.split_once("LLD ").or_else(|| said.split_once("version ")).map_or("", |(_, after)| after);
    after.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

/// Compiler and linker.
pub(crate) struct Tools {
    pub(crate) linker: String,
    /// Whether the linker can write chained fixups.
    pub(crate) chains: bool,
}

impl Tools {
    /// Finds them, or says what is missing.
    pub(crate) fn find() -> Result<Self, String> {
        newest("clang").ok_or("there is no clang")?;
        let linker = newest("ld64.lld").ok_or("there is no ld64.lld")?;
        let chains = version(&linker) >= 15;
        Ok(Self { linker, chains })
    }
}

/// Finds tools, or ends the test and says why.
macro_rules! tools {
    () => {
        match crate::build::Tools::find() {
            Ok(tools) => tools,
            Err(why) => {
                println!("skipped: {why}");
                return;
            }
        }
    };
}
pub(crate) use tools;

/// What a linker has to know of the system's library.
const LIBRARY: &str = "--- !tapi-tbd
tbd-version:     4
targets:         [ x86_64-macos, arm64-macos ]
install-name:    '/usr/lib/libSystem.B.dylib'
exports:
  - targets:         [ x86_64-macos, arm64-macos ]
    symbols:         [ dyld_stub_binder, _puts, _strlen, _printf, ___stderrp, _sysconf, __tlv_bootstrap, _getpid, _absent ]
...
";

/// Something of everything that has to be written into an image: see the comments.
pub(crate) const SOURCE: &str = "
extern int puts(const char *); extern unsigned long strlen(const char *); extern int printf(const char *, ...);
extern int getpid(void); extern long sysconf(int); extern void *__stderrp;
extern int absent(void) __attribute__((weak_import));             /* a weak import */
__thread int counter = 5; __thread int zeroed;                     /* thread-locals */
static const char *table[] = {\"a\", \"b\", \"c\"};                /* rebased, one behind the other */
struct { long n; char *s; } pairs[] = {{1, \"x\"}, {2, \"y\"}, {3, \"z\"}, {4, \"w\"}};   /* rebased with gaps */
void *fn[] = { (void *)puts, (char *)strlen + 4, (void *)&fn, (void *)puts, (void *)puts, (char *)puts - 2 };  /* addends */
struct { void *p; long gap; } spaced[] = {{puts, 1}, {puts, 2}, {puts, 3}, {puts, 4}};    /* bound with gaps */
__attribute__((weak)) int weakling(void) { return 1; }             /* coalesced */
__attribute__((weak)) void *weak_data[2] = { (void *)weakling, 0 };
int shared(void);
__attribute__((constructor)) static void init(void) { counter += getpid(); }
static void fini(void) { counter -= getpid(); }
__attribute__((section(\"__DATA,__mod_term_func,mod_term_funcs\"), used)) static void (*last)(void) = fini;
int mo_len(const char *s) { return (int)strlen(s); }
int mo_puts(const char *s) { return puts(s) + zeroed; }
const char *mo_name(int n) { return table[n]; }
int mo_all(int n) {
    printf(\"%d %p\\n\", n, __stderrp);
    return getpid() + (int)sysconf(29) + weakling() + counter + (absent ? absent() : 0) + (weak_data[1] != 0);
}
int mo_shared(void) { return shared(); }
";

/// A library that others need and re-export from.
const SHARED: &str = "int shared(void) { return 7; } int shared_data = 3; __attribute__((weak)) int weakling(void) { return 2; }";

const MAIN: &str = "int mo_all(int); int main(int argc, char **argv) { return mo_all(argc); }";

/// One way of linking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub(crate) architecture: &'static str,
    /// `LC_DYLD_CHAINED_FIXUPS`; otherwise `LC_DYLD_INFO`.
    pub(crate) chained: bool,
    pub(crate) kind: Kind,
    pub(crate) names: Names,
    /// Which macOS it is for: it decides about initialisers and about formats of pointers.
    pub(crate) system: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Dylib,
    Bundle,
    Executable,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Names {
    TwoLevel,
    Flat,
    /// What nobody defines is looked for everywhere.
    DynamicLookup,
}

impl Way {
    pub(crate) const DYLIB: Self = Self {
        architecture: "x86_64",
        chained: false,
        kind: Kind::Dylib,
        names: Names::TwoLevel,
        system: "11.0",
    };

    /// Every combination.
    pub(crate) fn all() -> Vec<Self> {
        let mut ways = Vec::new();
        for architecture in ["x86_64", "arm64"] {
            for chained in [false, true] {
                for kind in [Kind::Dylib, Kind::Bundle, Kind::Executable] {
                    for names in [Names::TwoLevel, Names::Flat, Names::DynamicLookup] {
                        ways.push(Self { architecture, chained, kind, names, system: "11.0" });
                    }
                }
            }
        }
        let newer = |way: Self| Self { system: "14.0", ..way };
        ways.extend([newer(Self::DYLIB), newer(Self { chained: true, ..Self::DYLIB })]);
        ways.push(Self { system: "10.12", ..Self::DYLIB });
        ways
    }
}

fn object(folder: &Folder, architecture: &str, name: &str, source: &str) -> PathBuf {
    let object = folder.file(&format!("{name}-{architecture}.o"));
    if !object.exists() {
        let file = folder.write(&format!("{name}.c"), source);
        let target = format!("--target={architecture}-apple-macos11");
        let clang = newest("clang").expect("it was there");
        run(Command::new(clang)
            .args([&target, "-O1", "-fno-stack-protector", "-w", "-c", "-o"])
            .arg(&object)
            .arg(file));
    }
    object
}

/// Links an image.
pub(crate) fn link(folder: &Folder, tools: &Tools, way: Way) -> PathBuf {
    let system = folder.write("libSystem.tbd", LIBRARY);
    let base = |kind: &[&str], name: &str| {
        let mut command = Command::new(&tools.linker);
        command.args(["-arch", way.architecture, "-platform_version", "macos", way.system, way.system]);
        command.args(kind).arg("-o").arg(folder.file(name)).arg(&system);
        if tools.chains {
            command.arg(if way.chained { "-fixup_chains" } else { "-no_fixup_chains" });
        }
        command
    };
    let shared = format!("libshared-{}.dylib", way.architecture);
    if !folder.file(&shared).exists() {
        let of_shared = object(folder, way.architecture, "shared", SHARED);
        let id = ["-dylib", "-install_name", "@rpath/libshared.1.dylib"];
        run(base(&id, &shared).arg(of_shared));
    }
    let kind: &[&str] = match way.kind {
        Kind::Dylib => &["-dylib", "-install_name", "@rpath/libdemo.dylib"],
        Kind::Bundle => &["-bundle"],
        Kind::Executable => &["-execute"],
    };
    let name = format!(
        "demo-{}-{}-{:?}-{:?}-{}",
        way.architecture,
        if way.chained { "chained" } else { "classic" },
        way.kind,
        way.names,
        way.system
    );
    let mut command = base(kind, &name);
    command.arg(object(folder, way.architecture, "demo", SOURCE));
    if way.kind == Kind::Executable {
        command.arg(object(folder, way.architecture, "main", MAIN));
    }
    command.args(["-rpath", "@loader_path/../lib"]);
    match way.names {
        Names::TwoLevel if way.kind == Kind::Dylib => {
            command.arg("-reexport_library").arg(folder.file(&shared))
        }
        Names::TwoLevel => command.arg("-weak_library").arg(folder.file(&shared)),
        Names::Flat => command.args(["-flat_namespace", "-undefined", "suppress"]),
        Names::DynamicLookup => command.args(["-undefined", "dynamic_lookup"]),
    };
    run(&mut command);
    folder.file(&name)
}

/// The image of a file for a machine.
#[track_caller]
pub(crate) fn read(file: &Path, architecture: Option<Architecture>) -> Image {
    let bytes = Bytes::from(std::fs::read(file).expect("the file"));
    let slices = slices(&bytes).expect("slices");
    let slice = match architecture {
        Some(architecture) => choose(&slices, architecture).expect("a slice"),
        None => &slices[0],
    };
    Image::read(slice).unwrap_or_else(|problem| panic!("{}: {problem}", file.display()))
}
