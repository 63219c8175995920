//! Reaches functions, a method behind a vtable, a static and a thread-local of the host's.

use shared::{COUNTER, MINE, Shape, Square};
use std::sync::atomic::Ordering;

#[unsafe(no_mangle)]
pub extern "C" fn run(out: *mut u64) {
    let out = unsafe { std::slice::from_raw_parts_mut(out, 6) };
    out[0] = shared::describe(1234).len() as u64;
    out[1] = shared::grow();
    out[2] = COUNTER.fetch_add(10, Ordering::Relaxed);
    out[3] = MINE.with(|mine| mine.replace(mine.get() + 1)).into();
    let shape: Box<dyn Shape> = Box::new(Square(5));
    out[4] = shape.area();
    out[5] = (&raw const COUNTER as u64 != 0).into();
}
