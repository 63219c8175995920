//! Reading and writing the bytes of thread-locals, which other threads may be reading.

use livepatch_proto::TlsInit;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Writes each value at its offset from `start`; returns what was there.
///
/// # Safety
/// All of that must be mapped and writable, and stay so; whoever else uses it uses atomic accesses, or
/// machine code, for which a racing access is no undefined behaviour.
pub(super) unsafe fn exchange(start: u64, inits: &[TlsInit]) -> Vec<TlsInit> {
    let each = |init: &TlsInit| {
        let at = start + u64::from(init.offset);
        // SAFETY: the caller's promise.
        let old = unsafe { read(at, init.bytes.len()) };
        // SAFETY: the caller's promise.
        unsafe { write(at, &init.bytes) };
        TlsInit { offset: init.offset, bytes: old }
    };
    inits.iter().map(each).collect()
}

/// # Safety
/// As for [`exchange`].
unsafe fn read(at: u64, length: usize) -> Vec<u8> {
    // SAFETY: the caller's promise.
    (at..)
        .take(length)
        .map(|at| unsafe { AtomicU8::from_ptr(at as *mut u8) }.load(Ordering::Relaxed))
        .collect()
}

/// Writes bytes so that what is aligned and has the size of a register is seen whole or not at all.
///
/// # Safety
/// As for [`exchange`].
pub(super) unsafe fn write(mut at: u64, mut bytes: &[u8]) {
    macro_rules! store {
        ($atomic:ty, $integer:ty) => {{
            if at.is_multiple_of(size_of::<$integer>() as u64)
                && let Some((first, rest)) = bytes.split_first_chunk()
            {
                // SAFETY: aligned, as was just asked; the rest is the caller's promise.
                let place = unsafe { <$atomic>::from_ptr(at as *mut $integer) };
                place.store(<$integer>::from_le_bytes(*first), Ordering::Release);
                at += size_of::<$integer>() as u64;
                bytes = rest;
                continue;
            }
        }};
    }
    while !bytes.is_empty() {
        store!(AtomicU64, u64);
        store!(AtomicU32, u32);
        store!(AtomicU16, u16);
        store!(AtomicU8, u8);
    }
}

/// Copies a whole reserve: `length` and both addresses are multiples of eight.
///
/// # Safety
/// `from` must be readable and `to` writable; for those who use them otherwise see [`exchange`].
pub(super) unsafe fn copy(from: u64, to: u64, length: u32) {
    for offset in (0..u64::from(length)).step_by(8) {
        // SAFETY: the caller's promise.
        unsafe {
            let word = AtomicU64::from_ptr((from + offset) as *mut u64).load(Ordering::Relaxed);
            AtomicU64::from_ptr((to + offset) as *mut u64).store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_are_exchanged_and_copied() {
        let mut memory = [0u64; 8];
        let start = memory.as_mut_ptr() as u64;
        let bytes: Vec<u8> = (1..=64).collect();
        for offset in 0..16 {
            for length in 0..40 {
                let init = [TlsInit { offset, bytes: bytes[..length].to_vec() }];
                // SAFETY: within `memory`, which nobody else uses.
                let old = unsafe { exchange(start, &init) };
                assert_eq!(old, [TlsInit { offset, bytes: vec![0; length] }]);
                // SAFETY: as above.
                let all = unsafe { read(start, 64) };
                assert_eq!(all[offset as usize..][..length], bytes[..length]);
                assert_eq!(all.iter().filter(|&&byte| byte != 0).count(), length);
                // SAFETY: as above.
                assert_eq!(unsafe { exchange(start, &old) }, init);
            }
        }
        let (mut from, mut to) = ([1u64, 2, 3], [0u64; 3]);
        // SAFETY: two arrays of 24 bytes, which nobody else uses.
        unsafe { copy(from.as_mut_ptr() as u64, to.as_mut_ptr() as u64, 24) };
        assert_eq!(from, to);
    }
}
