//! A program that wants to know about its patches. It runs the same where nothing patches it.

use std::io::{BufRead as _, stdin};
use std::sync::atomic::{AtomicU32, Ordering};

static TOLD: AtomicU32 = AtomicU32::new(0);

fn main() {
    let patched_by_something = livepatch::on_patch(|patch| {
        TOLD.store(patch, Ordering::Release);
        assert_ne!(patch, 13, "a callback may panic");
    });
    println!("{patched_by_something}");
    for _ in stdin().lock().lines() {
        println!("at {}, told {}", livepatch::version(), TOLD.load(Ordering::Acquire));
    }
}
