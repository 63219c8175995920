//! Damaged patches: an error each, and never a panic.

use crate::{Outcome, demo_key, patch, read};
use livepatch_art::archive;
use livepatch_art::patch::{Manifest, Strictness};

/// A generator of numbers that is the same everywhere (xorshift64*, Marsaglia and Vigna).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut mutant = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(mutant.len());
            match self.below(5) {
                0 => mutant[at] = 0,
                1 => mutant[at] = 0xff,
                2 => mutant[at] ^= 1 << self.below(8),
                3 => mutant.truncate(at.max(1)),
                _ => {
                    let from = self.below(mutant.len());
                    let piece = mutant[from..(from + 16).min(mutant.len())].to_vec();
                    mutant.splice(at..at, piece);
                }
            }
        }
        mutant
    }
}

/// Bytes that nobody has to look at: the local headers of entries, and what a ZIP says twice or that does not matter.
/// Whatever is accepted has the same content as the original.
#[test]
fn of_the_archive() -> Outcome {
    let original = patch();
    // Names and dates of the certificate may differ: its key and its signature of the rest do not.
    let content =
        |bytes: Vec<u8>| archive::read(&bytes.into(), |name| !name.ends_with(".EC")).unwrap_or_default();
    let expected = content(original.clone());
    let certificate = demo_key().certificate().clone();
    let mut numbers = Numbers(3);
    let mut refused = 0;
    for _ in 0..10_000 {
        let mutant = numbers.damage(&original);
        let verified = read(mutant.clone()).and_then(|read| read.verify(&certificate, Strictness::Strict));
        match verified {
            Err(_) => refused += 1,
            Ok(_) => assert!(content(mutant) == expected),
        }
    }
    assert!(refused > 8000, "{refused}");
    Ok(())
}

/// An error, or a manifest that is written and read back the same.
#[test]
fn of_manifests() -> Outcome {
    let entries = archive::read(&patch().into(), |name| name.ends_with(".MF"))?;
    let mut numbers = Numbers(4);
    for nth in 0..10_000 {
        let mutant = numbers.damage(&entries[nth % entries.len()].bytes);
        if let Ok(read) = Manifest::read(&mutant)
            && let Ok(written) = read.write()
            && read.main.headers().next().is_some()
        {
            assert_eq!(Manifest::read(&written)?.main, read.main);
        }
    }
    Ok(())
}

/// With everything else in place: no damaged signature is one.
#[test]
fn of_signatures() -> Outcome {
    let entries = archive::read(&patch().into(), |_| true)?;
    let certificate = demo_key().certificate().clone();
    let mut numbers = Numbers(5);
    for _ in 0..1000 {
        let block = entries.iter().find(|entry| entry.name.ends_with(".EC")).unwrap();
        let mutant = numbers.damage(&block.bytes);
        if mutant == block.bytes {
            continue;
        }
        let all: Vec<(&str, &[u8])> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), if entry == block { &mutant } else { &entry.bytes[..] }))
            .collect();
        let verified = read(archive::write(&all)?)?.verify(&certificate, Strictness::Strict);
        // Names and dates of the certificate may differ: its key and its signature of the content do not.
        if let Ok(verified) = verified {
            assert_eq!(verified.about().name, "a patch");
        }
    }
    Ok(())
}
