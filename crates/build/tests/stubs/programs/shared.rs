//! What a Rust host and its patch share.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

pub static COUNTER: AtomicU64 = AtomicU64::new(40);

thread_local! {
    pub static MINE: Cell<u32> = const { Cell::new(7) };
}

#[inline(never)]
pub fn describe(number: u64) -> String {
    format!("<{number:>5}>")
}

#[inline(never)]
pub fn grow() -> u64 {
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

pub trait Shape {
    fn area(&self) -> u64;
}

pub struct Square(pub u64);

impl Shape for Square {
    #[inline(never)]
    fn area(&self) -> u64 {
        self.0 * self.0
    }
}
