//! Libraries of the system, loaded by glibc and by this linker into one process: every relocated word and every
//! exported symbol must be the same, seen from the library's beginning; and initialisers must run in the same
//! order.
//!
//! The test does a few; `cargo xtask linker-differential` does all that it finds.

use crate::cases::{Case, Outcome, cases};
use livepatch_linker::trace::{Detail, Event, Trace};
use livepatch_linker::{ExtInfo, Flags, Linker};
use livepatch_object::address::LinkAddress;
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::packed;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::relocation::{Formula, howto};
use livepatch_object::loadable::tables::Tables;
use std::collections::BTreeSet;
use std::ffi::{CString, c_void};
use std::path::Path;
use std::process::{Command, Output};

pub(crate) const CASES: &[Case] = cases![
    differential::one,
    differential::libm,
    differential::libz,
    differential::libstdcxx,
    differential::libcrypto,
    differential::order_of_libraries_with_dependencies,
];

/// Environment variable: the library that [`one`] is about.
const FILE: &str = "LIVEPATCH_LINKER_DIFFERENTIAL";

/// The one that the environment names.
fn one() -> Outcome {
    match std::env::var(FILE) {
        Ok(path) => compare(&path),
        Err(_) => Outcome::Skipped(format!("{FILE} names no library")),
    }
}

fn libz() -> Outcome {
    compare("/usr/lib/x86_64-linux-gnu/libz.so.1")
}

fn libm() -> Outcome {
    compare("/usr/lib/x86_64-linux-gnu/libmpfr.so.6")
}

fn libstdcxx() -> Outcome {
    compare("/usr/lib/x86_64-linux-gnu/libstdc++.so.6")
}

fn libcrypto() -> Outcome {
    compare("/usr/lib/x86_64-linux-gnu/libcrypto.so.3")
}

/// Compares both, and prints how much there was to compare.
fn compare(path: &str) -> Outcome {
    if !Path::new(path).exists() {
        return Outcome::Skipped(format!("there is no {path}"));
    }
    // There are libraries whose initialisers end a process that loads them late.
    if by_glibc_alone(path).is_none() {
        return Outcome::Skipped("glibc does not load it".to_owned());
    }
    let name = CString::new(path).unwrap();
    // SAFETY: what the library's initialisers do is why this is a process of its own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return Outcome::Skipped("glibc does not load it".to_owned());
    }
    // SAFETY: an open handle.
    let theirs = unsafe { *handle.cast::<u64>() };
    let linker = Linker::new();
    // By its own path it is another copy; what it needs is what glibc has loaded.
    let ext_info = ExtInfo { without_constructors: true, ..ExtInfo::default() };
    let library = match linker.dlopen_ext(path, Flags::NOW, &ext_info) {
        Ok(library) => library,
        Err(error) => panic!("glibc loads it: {error}"),
    };
    let Some(slide) = library.slide() else {
        return Outcome::Skipped("there can be only one of it in a process".to_owned());
    };
    let bytes = bytes::Bytes::from(std::fs::read(path).unwrap());
    let header = Header::read(&bytes).unwrap();
    let headers = ProgramHeaders::read(&header, &bytes).unwrap();
    let image = FileImage::new(bytes, &headers);
    let tables = Tables::read(&headers, &image, Machine::native().unwrap()).unwrap();
    let both = Both { headers, tables, ours: slide.bits(), theirs, size: library.memory().unwrap().1 };
    let (words, changed) = both.compare_words();
    let symbols = both.compare_symbols(handle, &library);
    println!("{words} words, {symbols} symbols equal; {changed} words changed by initialisers");
    library.leak();
    Outcome::Passed
}

struct Both {
    headers: ProgramHeaders,
    tables: Tables,
    ours: u64,
    theirs: u64,
    size: u64,
}

/// What libraries that are loaded here find elsewhere than the program does, by intent.
const INTERPOSED: [&str; 10] = [
    "dlopen",
    "dlsym",
    "dlvsym",
    "dlclose",
    "dlerror",
    "dladdr",
    "dl_iterate_phdr",
    "_dl_find_object",
    "__tls_get_addr",
    "__cxa_thread_atexit_impl",
];

impl Both {
    /// An address as an offset in the library, if it is in this copy.
    fn relative(&self, value: u64, copy: u64) -> (bool, u64) {
        let offset = value.wrapping_sub(copy);
        // A symbol may be at the very end.
        if offset <= self.size { (true, offset) } else { (false, value) }
    }

    /// The same place in both copies, or one place for both: where there can be only one in a process, that may
    /// be in glibc's.
    fn are_same(&self, ours: u64, theirs: u64) -> bool {
        ours == theirs || self.relative(ours, self.ours) == self.relative(theirs, self.theirs)
    }

    fn is_read_only(&self, place: LinkAddress) -> bool {
        let relro = self.headers.first(object::elf::PT_GNU_RELRO).map(|segment| segment.span());
        // What glibc leaves writable at its end is not protected.
        relro.is_some_and(|span| span.start <= place.0 && place.0 < span.end & !0xfff)
    }

    /// Every place that a relocation changes, but for those of thread-locals.
    fn places(&self) -> BTreeSet<(u64, u64)> {
        let relocations = &self.tables.relocations;
        let relr = packed::relr(&relocations.relr, self.tables.class()).map(|place| (place.0, 8));
        let plain = relocations.plain.iter().chain(&relocations.plt).flat_map(|table| table.iter());
        let packed = relocations.packed.iter().flat_map(|(_, entries)| entries.iter().copied());
        let others = plain.chain(packed).filter_map(|entry| {
            use Formula::{None, TlsDescriptor, TlsModule, TlsThread};
            let howto = howto(Machine::native().unwrap(), entry.kind)?;
            let symbol = self.tables.symbols.get(entry.symbol)?;
            let name = self.tables.symbols.name(&symbol).unwrap_or_default();
            let is_interposed = INTERPOSED.iter().any(|own| own.as_bytes() == name);
            let is_own = matches!(howto.formula, None | TlsDescriptor | TlsModule | TlsThread);
            (!is_own && !is_interposed).then_some((entry.place.0, howto.width.bytes()))
        });
        relr.chain(others).collect()
    }

    fn compare_words(&self) -> (usize, usize) {
        let (mut equal, mut changed) = (0, 0);
        for (place, width) in self.places() {
            // SAFETY: both copies are loaded, and have a word there that was relocated.
            let (ours, theirs) = unsafe {
                match width {
                    8 => (
                        ((self.ours.wrapping_add(place)) as *const u64).read_unaligned(),
                        ((self.theirs.wrapping_add(place)) as *const u64).read_unaligned(),
                    ),
                    _ => (
                        ((self.ours.wrapping_add(place)) as *const u32).read_unaligned().into(),
                        ((self.theirs.wrapping_add(place)) as *const u32).read_unaligned().into(),
                    ),
                }
            };
            if self.are_same(ours, theirs) {
                equal += 1;
            } else {
                let place = LinkAddress(place);
                assert!(
                    !self.is_read_only(place),
                    "{place}: {ours:#x} in {:#x}, glibc {theirs:#x} in {:#x}",
                    self.ours,
                    self.theirs
                );
                changed += 1;
            }
        }
        (equal, changed)
    }

    fn compare_symbols(&self, handle: *mut c_void, library: &livepatch_linker::Library) -> usize {
        let mut equal = 0;
        for (name, symbol) in library.exported() {
            if symbol.is_thread_local() || INTERPOSED.contains(&name.as_str()) {
                continue;
            }
            let text = CString::new(name.clone()).unwrap();
            // SAFETY: an open handle and a text.
            let theirs = unsafe { libc::dlsym(handle, text.as_ptr()) } as u64;
            let ours = library.symbol(&name).map_or(0, |address| address.0);
            assert!(
                self.are_same(ours, theirs),
                "{name}: {ours:#x} in {:#x}, glibc {theirs:#x} in {:#x}",
                self.ours,
                self.theirs
            );
            equal += 1;
        }
        equal
    }
}

/// Initialisers, by what `LD_DEBUG=files` says of glibc.
fn order_of_libraries_with_dependencies() -> Outcome {
    const PATH: &str = "/usr/lib/x86_64-linux-gnu/libxml2.so.2";
    compare_order(&std::env::var(FILE).unwrap_or_else(|_| PATH.to_owned()))
}

fn compare_order(path: &str) -> Outcome {
    if !Path::new(path).exists() {
        return Outcome::Skipped(format!("there is no {path}"));
    }
    let Some(output) = by_glibc_alone(path) else {
        return Outcome::Skipped("glibc does not load it".to_owned());
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let real =
        |path: &str| std::fs::canonicalize(path).map_or(path.to_owned(), |path| path.display().to_string());
    let theirs: Vec<String> = said
        .lines()
        .filter_map(|line| line.split_once("calling init: "))
        .map(|(_, path)| real(path))
        .collect();
    let trace = Trace::new(Detail::Phases);
    Linker::builder().trace(&trace).build().dlopen(path, Flags::NOW).unwrap().leak();
    let mut ours: Vec<String> = Vec::new();
    for record in trace.records() {
        if let Event::Call { library, .. } = record.event
            && ours.last() != Some(&library)
        {
            ours.push(library);
        }
    }
    // glibc says so of libraries without initialisers, too, and of those of the program.
    let theirs: Vec<String> = theirs.into_iter().filter(|path| ours.contains(path)).collect();
    assert_eq!(ours, theirs);
    println!("{} libraries", ours.len());
    Outcome::Passed
}

/// Has glibc load it in a process of its own, and returns what `LD_DEBUG=files` said there; none where that does not
/// end well.
fn by_glibc_alone(path: &str) -> Option<Output> {
    const THEIRS: &str = "LIVEPATCH_LINKER_DIFFERENTIAL_GLIBC";
    if std::env::var_os(THEIRS).is_some() {
        let name = CString::new(path).unwrap();
        // SAFETY: as in `compare`.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        // What its finalisers would do at a process's end is not asked for.
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(handle.is_null())) };
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).env(THEIRS, "1").env("LD_DEBUG", "files").output().unwrap();
    output.status.success().then_some(output)
}
