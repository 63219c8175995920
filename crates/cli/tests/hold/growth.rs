//! What twenty patches take: on disk, and in the program.

use crate::live::Live;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const PATCHES: u64 = 20;

const CODE: &str = r#"
use std::collections::BTreeMap;
pub fn start() {}
pub fn answer(question: &str) -> String {
    let counts = question.split(' ').fold(BTreeMap::new(), |mut map: BTreeMap<String, u64>, word| {
        *map.entry(word.to_owned()).or_default() += 1;
        map
    });
    let mut words: Vec<_> = counts.into_iter().map(|(word, n)| format!("{word}:{n}")).collect();
    words.sort();
    format!("{} {}", "patch 0", words.join(","))
}
"#;

/// Kilobytes of a field of the program's memory, as the kernel counts.
fn memory(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn mappings(pid: u32) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().count() as u64
}

/// Bytes that a folder's files take, each file once.
fn disk(folder: &Path, seen: &mut HashSet<u64>) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            disk(&entry.path(), seen)
        } else if seen.insert(metadata.ino()) {
            metadata.blocks() * 512
        } else {
            0
        }
    });
    sizes.sum()
}

#[test]
fn twenty_patches_are_small() {
    let mut live = Live::new(CODE);
    let pid = live.pid();
    assert_eq!(live.ask("a b a"), "patch 0 a:2,b:1");
    let folder = live.project.file("target/livepatch");
    let figures = |live: &Live| {
        let target = disk(&live.project.file("target"), &mut HashSet::new());
        (
            disk(&folder, &mut HashSet::new()),
            target,
            memory(pid, "Rss"),
            memory(pid, "Anonymous"),
            mappings(pid),
        )
    };
    // The first patch makes room for islands.
    live.edit("patch 0", "patch 1");
    live.ask("a");
    let before = figures(&live);
    for n in 2..=PATCHES + 1 {
        live.edit(&format!("patch {}", n - 1), &format!("patch {n}"));
        assert_eq!(live.ask("a b a"), format!("patch {n} a:2,b:1"));
    }
    let after = figures(&live);
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / PATCHES as f64;
    let (disk, target) = (each(before.0, after.0) / 1024.0, each(before.1, after.1) / 1024.0);
    let (rss, anonymous, maps) = (each(before.2, after.2), each(before.3, after.3), each(before.4, after.4));
    println!(
        "each of {PATCHES} patches: {disk:.0} KiB in target/livepatch, {target:.0} KiB in target, \
         {rss:.1} KiB resident ({anonymous:.1} anonymous), {maps:.1} mappings"
    );
    println!("target/livepatch: {} KiB, then {} KiB", before.0 / 1024, after.0 / 1024);
    assert!(rss <= 64.0 && anonymous <= 64.0);
    assert!(maps <= 6.0);
    assert!(disk <= 1024.0 && target <= 2048.0);
}
