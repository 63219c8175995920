//! How long one loader takes for one library whose dependencies are loaded already, in nanoseconds: for
//! `cargo xtask bench linker`, which starts a process for each measurement.
//!
//! `load_time LOADER FILE`, where LOADER is `now` or `lazy` (this linker), `glibc-now` or `glibc-lazy`, or `floor`:
//! mapping the segments and adding the slide to the words that need nothing else.

use livepatch_linker::{Flags, Linker};
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::tables::Tables;
use std::error::Error;
use std::ffi::CString;
use std::time::Instant;

/// A small library that every system has.
const OTHERS: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/libgcc_s.so.1", "/usr/lib/libgcc_s.so.1"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, loader, file] = arguments.as_slice() else { return Err("load_time LOADER FILE".into()) };
    let needed = load_dependencies(file)?;
    // What a program does once, however many libraries it loads. As glibc has, it has loaded some before.
    let linker = Linker::new();
    if let Some(other) = OTHERS.iter().find(|other| std::path::Path::new(other).exists()) {
        linker.dlopen(other, Flags::NOW)?.leak();
    }
    // What the library needs is loaded already, and each loader knows it.
    for needed in needed {
        linker.dlopen(&needed, Flags::NOW)?.leak();
    }
    let name = CString::new(file.as_str())?;
    let began = Instant::now();
    match loader.as_str() {
        "now" => linker.dlopen(file, Flags::NOW)?.leak(),
        "lazy" => linker.dlopen(file, Flags::LAZY)?.leak(),
        "glibc-now" => open(&name, libc::RTLD_NOW)?,
        "glibc-lazy" => open(&name, libc::RTLD_LAZY)?,
        "floor" => floor(file)?,
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

/// Has glibc load all that a library needs; its names.
fn load_dependencies(file: &str) -> Result<Vec<String>, Box<dyn Error>> {
    // SAFETY: nobody changes a library of the system during a measurement.
    let bytes = bytes::Bytes::from_owner(unsafe { memmap2::Mmap::map(&std::fs::File::open(file)?)? });
    let header = Header::read(&bytes).map_err(|problem| problem.of(file))?;
    let headers = ProgramHeaders::read(&header, &bytes).map_err(|problem| problem.of(file))?;
    let machine = header.known_machine().unwrap_or(Machine::X86_64);
    let image = FileImage::new(bytes, &headers);
    let tables = Tables::read(&headers, &image, machine).map_err(|problem| problem.of(file))?;
    let all: Vec<String> = tables.needed().collect();
    for needed in &all {
        open(&CString::new(needed.as_str())?, libc::RTLD_NOW)?;
    }
    Ok(all)
}

/// No more than every loader has to do.
fn floor(file: &str) -> Result<(), Box<dyn Error>> {
    use livepatch_object::loadable::relocation::{Formula, howto};
    use std::os::fd::AsRawFd;
    let opened = std::fs::File::open(file)?;
    // SAFETY: nobody changes a library of the system during a measurement.
    let bytes = bytes::Bytes::from_owner(unsafe { memmap2::Mmap::map(&opened)? });
    let header = Header::read(&bytes).map_err(|problem| problem.of(file))?;
    let headers = ProgramHeaders::read(&header, &bytes).map_err(|problem| problem.of(file))?;
    let machine = Machine::native().ok_or("which machine is this?")?;
    let tables = Tables::read(&headers, &FileImage::new(bytes, &headers), machine);
    let tables = tables.map_err(|problem| problem.of(file))?;
    let page = livepatch_linker::page_size();
    let extent = headers.extent(page).map_err(|problem| problem.of(file))?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, and others over parts of it that are this function's.
    let base = unsafe {
        let base =
            libc::mmap(std::ptr::null_mut(), extent.size as usize, libc::PROT_NONE, flags, -1, 0) as u64;
        for segment in headers.loads().filter(|segment| segment.file_size > 0) {
            let skew = segment.address.0 % page;
            let at = (base + segment.address.0 - skew - extent.start.0) as *mut libc::c_void;
            let protection =
                if segment.writable() { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
            let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
            let offset = (segment.offset.0 - skew) as libc::off_t;
            libc::mmap(
                at,
                (segment.file_size + skew) as usize,
                protection,
                flags,
                opened.as_raw_fd(),
                offset,
            );
        }
        base - extent.start.0
    };
    for entry in tables.relocations.plain.iter().flat_map(|table| table.iter()) {
        if howto(machine, entry.kind).is_some_and(|howto| howto.formula == Formula::Base) {
            let at = (base + entry.place.0) as *mut u64;
            // SAFETY: in a writable segment, as in every library that works.
            unsafe { at.write_unaligned(base.wrapping_add_signed(entry.addend)) };
        }
    }
    Ok(())
}
