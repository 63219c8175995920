//! Says where its anchor is, loads what it is told to, and lets that call back.

use shared::{COUNTER, MINE, Shape, Square};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::atomic::Ordering;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

#[unsafe(no_mangle)]
pub extern "C" fn __livepatch_aslr_anchor() {}

fn main() {
    println!("anchor {:x}", __livepatch_aslr_anchor as *const () as usize);
    let shapes: [Box<dyn Shape>; 1] = [Box::new(Square(3))];
    let started = shared::describe(shared::grow()).len() as u64 + shapes[0].area();
    MINE.set(8);
    for path in std::io::stdin().lines() {
        let path = CString::new(path.expect("a line")).expect("a path");
        let mut out = [0_u64; 6];
        unsafe {
            let library = dlopen(path.as_ptr(), 2);
            assert!(!library.is_null());
            let run: extern "C" fn(*mut u64) = std::mem::transmute(dlsym(library, c"run".as_ptr()));
            run(out.as_mut_ptr());
        }
        println!("out {out:?} counter {} mine {} {started}", COUNTER.load(Ordering::Relaxed), MINE.get());
    }
}
