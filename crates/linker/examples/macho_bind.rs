//! What binding costs, in nanoseconds: for `cargo xtask bench macho`, which starts a process for each measurement.
//!
//! * `macho_bind load lazy|now FILE`: loading an image, once its file is known to the system.
//! * `macho_bind calls macho|glibc FILE COUNT`: calling `all` of a library, which calls COUNT imported functions once
//!   each: the first time, a second time, and (of a Mach-O image) once more with all slots as they were at first. Three
//!   numbers, each for one of the functions.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod measure {
    use livepatch_linker::macho::{Library, Linker, Mode};
    use livepatch_linker::rebinder::Word;
    use livepatch_linker::{Precedence, Trap, darwin};
    use livepatch_object::macho::Table;
    use std::error::Error;
    use std::ffi::CString;
    use std::sync::Arc;
    use std::time::Instant;

    type All = unsafe extern "C" fn(i64) -> i64;

    fn linker() -> Linker {
        darwin::add_to(Linker::builder()).provider(Precedence::Last, Arc::new(Trap::new())).build()
    }

    pub(crate) fn load(mode: &str, file: &str) -> Result<(), Box<dyn Error>> {
        let mode = if mode == "now" { Mode::Now } else { Mode::Lazy };
        std::fs::read(file)?;
        let linker = linker();
        let began = Instant::now();
        let library = linker.dlopen(file, mode)?;
        println!("{}", began.elapsed().as_nanos());
        library.leak();
        Ok(())
    }

    pub(crate) fn calls(format: &str, file: &str, count: u64) -> Result<(), Box<dyn Error>> {
        match format {
            "macho" => macho(file, count),
            _ => glibc(file, count),
        }
    }

    /// One call of all of them, for one of them.
    fn timed(all: All, count: u64) -> u64 {
        let began = Instant::now();
        // SAFETY: a function of this type, of a library that is loaded.
        std::hint::black_box(unsafe { all(std::hint::black_box(1)) });
        began.elapsed().as_nanos() as u64 / count
    }

    fn macho(file: &str, count: u64) -> Result<(), Box<dyn Error>> {
        let library = linker().dlopen(file, Mode::Lazy)?;
        let at = library.symbol("all")?.0 as usize as *const ();
        // SAFETY: `cargo xtask bench macho` has built it.
        let all: All = unsafe { std::mem::transmute(at) };
        let slots = lazy_slots(&library)?;
        let first = timed(all, count);
        let second = timed(all, count);
        let mut again = u64::MAX;
        for _ in 0..50 {
            // SAFETY: the image's own slots, which lead to its helpers again; no other thread runs its code.
            slots.iter().for_each(|(slot, unbound)| unsafe { slot.store(*unbound) });
            again = again.min(timed(all, count));
        }
        println!("{first} {second} {again} {}", library.binder_calls());
        library.leak();
        Ok(())
    }

    fn lazy_slots(library: &Library) -> Result<Vec<(Word, usize)>, Box<dyn Error>> {
        let mut slots = Vec::new();
        for record in library.image().fixups()?.records {
            if let Table::LazyBind { .. } = record.table {
                let at = library.slide().runtime(record.slot.address).ok_or("a slot that is nowhere")?;
                // SAFETY: a slot of an image that is never unloaded here.
                let slot = unsafe { Word::new(at.0 as usize) }.ok_or("a slot that is not aligned")?;
                slots.push((slot, slot.load()));
            }
        }
        Ok(slots)
    }

    fn glibc(file: &str, count: u64) -> Result<(), Box<dyn Error>> {
        let name = CString::new(file)?;
        // SAFETY: a library that `cargo xtask bench macho` has built, and its function.
        let all: All = unsafe {
            let handle = libc::dlopen(name.as_ptr(), libc::RTLD_LAZY);
            if handle.is_null() {
                return Err("glibc does not load it".into());
            }
            let at = libc::dlsym(handle, c"all".as_ptr());
            if at.is_null() {
                return Err("it has no function `all`".into());
            }
            std::mem::transmute(at)
        };
        let first = timed(all, count);
        println!("{first} {} 0 0", timed(all, count));
        Ok(())
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [_, "load", mode, file] => measure::load(mode, file),
        [_, "calls", format, file, count] => measure::calls(format, file, count.parse()?),
        _ => Err("macho_bind load lazy|now FILE, or macho_bind calls macho|glibc FILE COUNT".into()),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
fn main() {
    println!("Mach-O images are run on x86-64 with glibc only");
}
