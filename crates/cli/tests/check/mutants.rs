//! Files that are not what they say: whatever is in them, a check answers.

use crate::build::{Folder, can_build};
use crate::rules::stored;
use bytes::Bytes;
use livepatch_object::android::archive::{self, Kind};
use livepatch_object::android::library::Question;
use livepatch_object::android::{ApiLevel, PageSizes, Siblings, Verdict, check};

const MUTANTS: u32 = 3_000;
const SOURCE: &str = "static int a, b; int *all[] = { &a, &b, &a, &b }; __thread int mine; \
    int other(void); int f(void) { return mine + other(); }";

/// Some bytes of a file, mostly of its headers and tables, become others.
fn mutant(file: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..random.usize(1..6) {
        let place = match random.u8(0..4) {
            0 => random.usize(..0x40),
            1 => random.usize(..0x300.min(bytes.len())),
            _ => random.usize(..bytes.len()),
        };
        bytes[place] = match random.u8(0..4) {
            0 => 0xff,
            1 => 0,
            2 => bytes[place] ^ (1 << random.u8(0..8)),
            _ => random.u8(..),
        };
    }
    if random.u8(0..8) == 0 {
        bytes.truncate(random.usize(..bytes.len()));
    }
    bytes
}

fn answer(file: Vec<u8>, level: u32) -> Verdict {
    let file = Bytes::from(file);
    let siblings = Siblings::of([("libx.so".to_owned(), file.clone())]);
    let question = Question {
        level: ApiLevel::new(level).unwrap(),
        pages: PageSizes::With16Kib,
        machine: None,
        siblings: &siblings,
        complete: true,
    };
    check("libx.so", file, &question).verdict()
}

#[test]
fn mutants_of_libraries() {
    if !can_build() {
        return;
    }
    let folder = Folder::new();
    let links: [&[&str]; 4] =
        [&[], &["--hash-style=sysv"], &["--pack-dyn-relocs=android+relr"], &["--hash-style=gnu"]];
    let mut random = fastrand::Rng::with_seed(0x11_4e);
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    for link in links {
        let file = std::fs::read(folder.library("libx.so", SOURCE, link)).unwrap();
        for _ in 0..MUTANTS {
            let verdict = answer(mutant(&file, &mut random), random.u32(21..=36));
            *seen.entry(verdict.name()).or_default() += 1;
        }
    }
    // `other` is nowhere: what loads is what does not ask for it any more.
    assert!(seen["does-not-load"] > 3 * MUTANTS, "{seen:?}");
}

#[test]
fn mutants_of_archives() {
    let file = stored("lib/x86_64/libx.so", b"the contents of a library", 7);
    let mut random = fastrand::Rng::with_seed(0xa4c);
    let mut opened = 0;
    for _ in 0..MUTANTS {
        let archive = Bytes::from(mutant(&file, &mut random));
        for entry in archive::libraries(&archive, Kind::Apk).unwrap_or_default() {
            let _ = archive::check(&entry, ApiLevel::LAST, PageSizes::OfLevel);
            opened += u32::from(archive::contents(&archive, &entry.place).is_ok());
        }
    }
    // Most changes are to what is not looked at.
    assert!(opened > MUTANTS / 10, "{opened}");
}
