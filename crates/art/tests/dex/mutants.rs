//! Damaged files: an error each, and never a panic.

use crate::{Outcome, classes};
use livepatch_art::dex::{self, Dex, DexError};
use sha1::{Digest, Sha1};

/// A generator of numbers that is the same everywhere (xorshift64*, Marsaglia and Vigna).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

fn original() -> Vec<u8> {
    dex::write(&Dex { version: 39, classes: classes(crate::EVERYTHING) }).unwrap()
}

/// Every change is found, as the file has a checksum and a signature.
#[test]
fn changed_bytes_are_noticed() -> Outcome {
    let original = original();
    let mut numbers = Numbers(1);
    for _ in 0..10_000 {
        let mut mutant = original.clone();
        // The version is not covered: another one is another file.
        let at = 7 + numbers.below(mutant.len() - 7);
        mutant[at] ^= 1 << numbers.below(8);
        assert!(dex::read(&mutant).is_err(), "byte {at:#x}");
    }
    for length in 0..original.len() {
        assert!(dex::read(&original[..length]).is_err(), "{length} bytes");
    }
    Ok(())
}

/// With checksum and signature made right again: an error, or classes; what is read can be written or is refused.
#[test]
fn signed_mutants_do_no_harm() -> Outcome {
    let original = original();
    let mut numbers = Numbers(2);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..10_000 {
        let mut mutant = original.clone();
        for _ in 0..=numbers.below(3) {
            // Past checksum, signature and length.
            let at = 0x24 + numbers.below(mutant.len() - 0x24);
            mutant[at] = match numbers.below(4) {
                0 => 0,
                1 => 0xff,
                2 => mutant[at].wrapping_add(1),
                _ => numbers.below(256) as u8,
            };
        }
        let signature = Sha1::digest(&mutant[32..]);
        mutant[12..32].copy_from_slice(&signature);
        let sum = adler32(&mutant[12..]);
        mutant[8..12].copy_from_slice(&sum.to_le_bytes());
        match dex::read(&mutant) {
            Ok(dex) => {
                read += 1;
                let _ = dex::write(&dex);
            }
            Err(DexError::Checksum(_) | DexError::Magic | DexError::Version(_)) => {
                panic!("what was made right is wrong")
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000 && read > 1000, "{refused} refused, {read} read");
    Ok(())
}
