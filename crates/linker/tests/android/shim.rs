//! What the libraries need of bionic, asked by code that is compiled here for Android (`shim.c`).

use crate::Case;
use livepatch_linker::{Flags, Library, Linker, bionic};
use std::ffi::c_int;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    Case { name: "shim::streams", package: None, run: streams },
    Case { name: "shim::signals", package: None, run: |_| returns_0("signals") },
    Case { name: "shim::mutexes", package: None, run: |_| returns_0("mutexes") },
    Case { name: "shim::structures", package: None, run: |_| returns_0("structures") },
    Case { name: "shim::semaphores", package: None, run: |_| returns_0("semaphores") },
    Case { name: "shim::jumps", package: None, run: |_| returns_0("jumps") },
    Case { name: "shim::system", package: None, run: |_| returns_0("system_") },
    Case { name: "shim::names", package: None, run: |_| returns_0("names") },
    Case { name: "shim::logging", package: None, run: logging },
    Case { name: "shim::giving_up", package: None, run: giving_up },
];

/// Compiles and links it, if clang and lld are here, and loads it.
fn library() -> Option<Library> {
    let folder = tempfile::tempdir().expect("a folder");
    let (object, library) = (folder.path().join("shim.o"), folder.path().join("libshim.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/android/shim.c");
    let mut clang = Command::new("clang");
    let target = format!("--target={}-linux-android21", std::env::consts::ARCH);
    clang.args([target.as_str(), "-O1", "-fPIC", "-ffreestanding", "-w", "-c", "-o"]);
    let mut lld = Command::new("ld.lld");
    lld.args(["-shared", "--hash-style=both", "-z", "undefs", "-soname", "libshim.so", "-o"]);
    // Its names are those of the C library, but for the provider that stands for libc.so.
    let stub = folder.path().join("libc.so");
    let mut libc = Command::new("ld.lld");
    libc.args(["-shared", "-soname", "libc.so", "-o"]).arg(&stub).arg(&object);
    for command in [clang.arg(&object).arg(source), &mut libc, lld.arg(&library).arg(&object).arg(&stub)] {
        let Ok(output) = command.output() else {
            println!("skipped: clang and ld.lld are needed");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let linker = bionic::add_to(Linker::builder()).build();
    Some(linker.dlopen(library, Flags::NOW).unwrap_or_else(|error| panic!("{error}")))
}

fn call(library: &Library, name: &str) -> c_int {
    let at = library.symbol(name).expect("a function of shim.c").0 as usize as *const ();
    // SAFETY: it takes nothing and returns an int.
    unsafe { std::mem::transmute::<*const (), extern "C" fn() -> c_int>(at)() }
}

fn returns_0(name: &str) -> String {
    if let Some(library) = library() {
        assert_eq!(call(&library, name), 0, "the line of shim.c that is not as it should be");
    }
    "as bionic's".to_owned()
}

/// What is written to a file descriptor meanwhile.
fn written(file: c_int, meanwhile: impl FnOnce()) -> String {
    let mut ends = [0; 2];
    // SAFETY: room for two numbers; descriptors of this process, which has one thread that writes.
    let (read, kept) = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let kept = libc::dup(file);
        libc::dup2(ends[1], file);
        libc::close(ends[1]);
        (OwnedFd::from_raw_fd(ends[0]), kept)
    };
    meanwhile();
    // SAFETY: as above: the pipe's only other end is closed by this.
    unsafe {
        libc::dup2(kept, file);
        libc::close(kept);
    }
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).expect("text");
    text
}

fn streams(_: &Path) -> String {
    let Some(library) = library() else { return "skipped".to_owned() };
    let text = written(1, || assert_eq!(call(&library, "streams"), 0, "the line of shim.c"));
    assert_eq!(text, "1 two 3.0 4 5 6 7 8.25\nputs\nwrite\nc");
    "as bionic's".to_owned()
}

fn logging(_: &Path) -> String {
    let Some(library) = library() else { return "skipped".to_owned() };
    let text = written(2, || assert_eq!(call(&library, "logging"), 0, "the line of shim.c"));
    assert_eq!(text, "I/tag: 1 two 3.0 4 5 6 7.25\nE/tag: an error\n");
    "as bionic's".to_owned()
}

/// In a process of its own: it ends.
fn giving_up(_: &Path) -> String {
    let Some(library) = library() else { return "skipped".to_owned() };
    // SAFETY: the child only calls the function, and has no other threads.
    let text = written(2, || unsafe {
        let child = libc::fork();
        if child == 0 {
            call(&library, "giving_up");
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT, "{status:#x}");
    });
    // An emulator says so, too.
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("qemu: ")).collect();
    assert_eq!(text, ["F/libc: file.c:7: f: assertion \"x > 0\" failed"]);
    "as bionic's".to_owned()
}
