//! How long one loader takes for one library whose dependencies are loaded already, in nanoseconds: for
//! `cargo xtask bench-linker`, which starts a process for each measurement.
//!
//! `load_time LOADER FILE`, where LOADER is `now` or `lazy` (this linker), `glibc-now` or `glibc-lazy`.

use livepatch_linker::{Flags, Linker};
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::tables::Tables;
use std::error::Error;
use std::ffi::CString;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, loader, file] = arguments.as_slice() else { return Err("load_time LOADER FILE".into()) };
    load_dependencies(file)?;
    // What a program does once, however many libraries it loads.
    let linker = Linker::new();
    let name = CString::new(file.as_str())?;
    let began = Instant::now();
    match loader.as_str() {
        "trace" => {
            let trace = livepatch_linker::trace::Trace::new(livepatch_linker::trace::Detail::Phases);
            Linker::builder().trace(&trace).build().dlopen(file, Flags::NOW)?.leak();
            println!("{trace}");
        }
        "loop" => {
            for _ in 0..3000 {
                linker.dlopen(file, Flags::NOW)?.close();
            }
        }
        "glibc-loop" => {
            for _ in 0..3000 {
                // SAFETY: as in `open`.
                unsafe { libc::dlclose(libc::dlopen(name.as_ptr(), libc::RTLD_NOW)) };
            }
        }
        "now" => linker.dlopen(file, Flags::NOW)?.leak(),
        "lazy" => linker.dlopen(file, Flags::LAZY)?.leak(),
        "glibc-now" => open(&name, libc::RTLD_NOW)?,
        "glibc-lazy" => open(&name, libc::RTLD_LAZY)?,
        other => return Err(format!("no loader is called {other}").into()),
    }
    println!("{}", began.elapsed().as_nanos());
    Ok(())
}

fn open(name: &CString, mode: i32) -> Result<(), Box<dyn Error>> {
    // SAFETY: a text; what the library's initialisers do is the caller's choice.
    let handle = unsafe { libc::dlopen(name.as_ptr(), mode) };
    if handle.is_null() { Err("glibc does not load it".into()) } else { Ok(()) }
}

/// Has glibc load all that a library needs.
fn load_dependencies(file: &str) -> Result<(), Box<dyn Error>> {
    // SAFETY: nobody changes a library of the system during a measurement.
    let bytes = bytes::Bytes::from_owner(unsafe { memmap2::Mmap::map(&std::fs::File::open(file)?)? });
    let header = Header::read(&bytes).map_err(|problem| problem.of(file))?;
    let headers = ProgramHeaders::read(&header, &bytes).map_err(|problem| problem.of(file))?;
    let machine = header.known_machine().unwrap_or(Machine::X86_64);
    let image = FileImage::new(bytes, &headers);
    let tables = Tables::read(&headers, &image, machine).map_err(|problem| problem.of(file))?;
    for needed in tables.needed() {
        open(&CString::new(needed)?, libc::RTLD_NOW)?;
    }
    Ok(())
}
