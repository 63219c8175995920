//! Images that cases are about, built from C as they run.

use crate::cases::{Case, Outcome};
use livepatch_linker::darwin;
use livepatch_linker::macho::{Library, Linker, LinkerBuilder, Mode};
use livepatch_linker::trace::{Detail, Event, Phase, Trace};
use livepatch_object::address::RuntimeAddress;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What images import from the system in these cases. An image that imports more does not link.
const SYSTEM: &str = "--- !tapi-tbd
tbd-version:     4
targets:         [ x86_64-macos, arm64-macos ]
install-name:    '/usr/lib/libSystem.B.dylib'
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ dyld_stub_binder, __tlv_bootstrap, ___cxa_atexit, ___error, ___stack_chk_fail, ___stack_chk_guard,
               ___stderrp, ___maskrune, __DefaultRuneLocale, __tlv_atexit, _abs, _close, _dlopen, _dlsym, _dlclose,
               _dlerror, _dispatch_once, _dispatch_once_f, '_fstat$INODE64', '_stat$INODE64', _getpid, _getppid,
               _getenv, _labs, _madvise, _malloc, _free, _memcpy, _memset, _memset_pattern16, _memset_s, _mmap,
               _munmap, _open, _os_unfair_lock_lock, _os_unfair_lock_unlock, _printf, _pthread_cond_signal,
               _pthread_cond_wait, _pthread_create, _pthread_join, _pthread_key_create, _pthread_getspecific,
               _pthread_setspecific, _pthread_mutex_lock, _pthread_mutex_trylock, _pthread_mutex_unlock,
               _pthread_once, _puts, _qsort_r, _raise, _read, _sigaction, _signal, _snprintf, _strlen, _strtol,
               _sysconf, _sysctlbyname, _mach_absolute_time, __Unwind_Resume, _socket, _strlcpy, __NSConcreteStackBlock ]
...
";

const CXX: &str = "--- !tapi-tbd
tbd-version:     4
targets:         [ x86_64-macos ]
install-name:    '/usr/lib/libc++abi.dylib'
exports:
  - targets: [ x86_64-macos ]
    symbols: [ ___cxa_throw, ___cxa_rethrow, ___cxa_allocate_exception, ___cxa_begin_catch, ___cxa_end_catch,
               ___gxx_personality_v0, __ZTIi, __ZTIl, __ZSt9terminatev, ___cxa_call_unexpected, ___clang_call_terminate ]
...
";

/// Which tool is not there.
pub(crate) fn missing_tools() -> Option<String> {
    let is_there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let missing = if !is_there("clang") {
        "clang"
    } else if lld().is_none() {
        "ld64.lld"
    } else {
        return None;
    };
    Some(format!("{missing} is not installed"))
}

/// The same cases, each of which says what is not there.
pub(crate) fn skipped(all: &[Case]) -> Vec<Case> {
    let why = || Outcome::Skipped(missing_tools().unwrap_or_default());
    all.iter().map(|case| Case { name: case.name, run: why }).collect()
}

/// Debian has it under its version's name, too.
fn lld() -> Option<&'static str> {
    let names = [
        "ld64.lld",
        "ld64.lld-14",
        "ld64.lld-19",
        "ld64.lld-18",
        "ld64.lld-17",
        "ld64.lld-16",
        "ld64.lld-15",
    ];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

/// A folder of a case's own, with its images.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for images");
        std::fs::write(folder.path().join("libSystem.tbd"), SYSTEM).expect("a text stub");
        // Where it is found if it is looked for by its own name.
        std::fs::create_dir_all(folder.path().join("usr/lib")).expect("a folder");
        std::fs::write(folder.path().join("usr/lib/libSystem.B.tbd"), SYSTEM).expect("a text stub");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds a dylib from C that binds lazily, with more arguments for the linker: `-lx` finds `libx.dylib` of the
    /// same folder.
    pub(crate) fn dylib(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        let id = format!("@rpath/{name}");
        let mut all = vec!["-dylib", "-install_name", &id, "-rpath", "@loader_path"];
        all.extend(arguments);
        self.image(name, source, &all)
    }

    /// Builds a dylib from C++ that needs nothing of a library but the C++ ABI.
    pub(crate) fn dylib_cxx(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        std::fs::write(self.file("libc++abi.tbd"), CXX).expect("a text stub");
        let id = format!("@rpath/{name}");
        let mut all = vec!["-dylib", "-install_name", &id, "-rpath", "@loader_path", "-lc++abi"];
        all.extend(arguments);
        self.image_from(&["-x", "c++"], "x86_64", name, source, &all)
    }

    /// The same, with functions that have no base pointer.
    pub(crate) fn frameless_cxx(&self, name: &str, source: &str) -> PathBuf {
        let id = format!("@rpath/{name}");
        let link = ["-dylib", "-install_name", &id, "-lc++abi"];
        self.image_from(&["-x", "c++", "-fomit-frame-pointer"], "x86_64", name, source, &link)
    }

    /// Builds an image of any kind.
    pub(crate) fn image(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        self.image_for("x86_64", name, source, arguments)
    }

    pub(crate) fn image_for(&self, machine: &str, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        self.image_from(&[], machine, name, source, arguments)
    }

    fn image_from(
        &self,
        options: &[&str],
        machine: &str,
        name: &str,
        source: &str,
        arguments: &[&str],
    ) -> PathBuf {
        let (file, object) = (self.file(&format!("{name}.c")), self.file(&format!("{name}.o")));
        let output = self.file(name);
        std::fs::write(&file, source).expect("a source file");
        let mut clang = Command::new("clang");
        clang.args(["-target", &format!("{machine}-apple-macos10.12"), "-O2", "-w", "-fPIC", "-c", "-o"]);
        done(clang.arg(&object).args(options).arg(&file));
        let mut linker = Command::new(lld().expect("a linker"));
        linker.args(["-arch", machine, "-platform_version", "macos", "10.12", "10.12", "-o"]).arg(&output);
        linker.arg(&object).arg("-L").arg(self.path()).args(arguments).arg("-lSystem");
        done(&mut linker);
        output
    }
}

/// Has a segment be read-only once everything in it is bound (`SG_READ_ONLY`), as newer linkers have `__DATA_CONST`.
pub(crate) fn make_read_only(path: &Path, segment: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    // `segment_command_64`, which is the first to have its name: the flags are 60 bytes behind it.
    let at =
        bytes.windows(segment.len()).position(|window| window == segment.as_bytes()).expect("the segment");
    bytes[at + 60] |= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Runs a command that has to succeed; what it writes.
#[track_caller]
pub(crate) fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A linker for macOS images that writes everything down.
pub(crate) fn builder(trace: &Trace) -> LinkerBuilder {
    darwin::add_to(Linker::builder()).trace(trace)
}

/// Loads an image, or says why not, with all steps.
#[track_caller]
pub(crate) fn load(path: &Path, mode: Mode) -> (Library, Trace) {
    let trace = Trace::new(Detail::Bindings);
    let linker = builder(&trace).build();
    let library = linker.dlopen(path, mode).unwrap_or_else(|error| panic!("{error}\n{trace}"));
    (library, trace)
}

/// Calls a function of an image that takes nothing and returns a number.
pub(crate) fn call(at: RuntimeAddress) -> i64 {
    // SAFETY: cases pass addresses of functions of this type, which they have built themselves.
    unsafe {
        let function: unsafe extern "C" fn() -> i64 = std::mem::transmute(at.0 as usize as *const ());
        function()
    }
}

/// The same by its name.
#[track_caller]
pub(crate) fn call_named(library: &Library, name: &str) -> i64 {
    call(library.symbol(name).unwrap())
}

/// Symbols that the binder has bound, in order.
pub(crate) fn bound(trace: &Trace) -> Vec<String> {
    let records = trace.records().into_iter().filter(|record| record.phase == Phase::Bind);
    let symbols = records.filter_map(|record| match record.event {
        Event::Decode { symbol, .. } => Some(symbol),
        _ => None,
    });
    symbols.collect()
}
