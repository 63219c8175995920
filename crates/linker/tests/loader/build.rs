//! Libraries that cases are about, built from C as they run.

use livepatch_object::address::RuntimeAddress;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of a case's own, with its libraries.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for libraries") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds `name` from C, with more arguments for the compiler. `-lx` finds `libx.so` of the same folder.
    pub(crate) fn library(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        self.compile(c_compiler(), "c", name, source, arguments)
    }

    /// The same from C++.
    pub(crate) fn library_cpp(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        self.compile("c++", "cc", name, source, arguments)
    }

    fn compile(&self, compiler: &str, ending: &str, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        let base = name.replace('/', "_");
        let (file, output) = (self.file(&format!("{base}.{ending}")), self.file(name));
        std::fs::write(&file, source).expect("a source file");
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-O1", "-w", "-o"]).arg(&output).arg(&file);
        command
            .arg("-L")
            .arg(self.path())
            .arg(format!("-Wl,-soname,{}", name.rsplit('/').next().unwrap_or(name)));
        command.arg("-Wl,--no-as-needed").args(arguments);
        done(&mut command);
        output
    }
}

/// The C compiler for what this program runs as: on another machine's emulator, a cross compiler.
pub(crate) fn c_compiler() -> &'static str {
    const CROSS: &str = "aarch64-linux-gnu-gcc";
    let is_there = || Command::new(CROSS).arg("--version").output().is_ok();
    if cfg!(target_arch = "aarch64") && is_there() { CROSS } else { "cc" }
}

/// Whether this program runs on an emulator, where not everything can be built and run.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os(crate::RUNNER).is_some()
}

/// The argument that chooses between descriptors and `__tls_get_addr`.
pub(crate) fn tls_dialect(descriptors: bool) -> &'static str {
    match (cfg!(target_arch = "aarch64"), descriptors) {
        (true, true) => "-mtls-dialect=desc",
        (true, false) => "-mtls-dialect=trad",
        (false, true) => "-mtls-dialect=gnu2",
        (false, false) => "-mtls-dialect=gnu",
    }
}

/// Runs a command that has to succeed; what it writes.
#[track_caller]
pub(crate) fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Calls a function of a library that takes nothing and returns a number.
pub(crate) fn call(at: RuntimeAddress) -> i64 {
    // SAFETY: cases pass addresses of functions of this type, which they have built themselves.
    unsafe {
        let function: unsafe extern "C" fn() -> i64 = std::mem::transmute(at.0 as usize as *const ());
        function()
    }
}

/// Reads a variable of a library.
pub(crate) fn read<T: Copy>(at: RuntimeAddress) -> T {
    // SAFETY: cases pass addresses of variables of this type, which they have built themselves.
    unsafe { (at.0 as *const T).read() }
}

/// Arguments that have the C compiler link with LLD, which rustc brings along; none if it is not there.
pub(crate) fn lld() -> Option<Vec<String>> {
    let libraries = Command::new("rustc").args(["--print", "target-libdir"]).output().ok()?;
    let libraries = String::from_utf8(libraries.stdout).ok()?;
    let folder = Path::new(libraries.trim()).parent()?.join("bin/gcc-ld");
    let folder = folder.join("ld.lld").exists().then_some(folder)?;
    Some(vec![format!("-B{}", folder.display()), "-fuse-ld=lld".to_owned()])
}
