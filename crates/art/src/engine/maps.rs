//! What is mapped where in this process: `/proc/self/maps` (proc(5)).

use std::io;
use std::ops::Range;

/// A line of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mapping<'t> {
    /// Its addresses.
    pub(super) range: Range<u64>,
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// The file, or what the kernel says in its place; empty if that is nothing.
    pub(super) file: &'t str,
}

/// The whole of it, as it is now.
pub(super) fn read() -> io::Result<String> {
    std::fs::read_to_string("/proc/self/maps")
}

/// All mappings.
pub(super) fn all(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    text.lines().filter_map(mapping)
}

/// The mapping that an address is in.
pub(super) fn at(text: &str, address: u64) -> Option<Mapping<'_>> {
    all(text).find(|mapping| mapping.range.contains(&address))
}

fn mapping(line: &str) -> Option<Mapping<'_>> {
    let number = |word| u64::from_str_radix(word, 16).ok();
    // The file's name may have spaces, and has some before it.
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let offset = number(words.nth(1)?)?;
    let file = words.nth(2).map(str::trim).unwrap_or_default();
    Some(Mapping { range: number(start)?..number(end)?, offset, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As phones say it.
    const MAPS: &str = "\
12c00000-32c00000 rw-p 00000000 00:00 0 [anon:dalvik-main space (region space)]
4a000000-4b000000 r-xp 02000000 00:01 1027 /memfd:jit-cache (deleted)
70d00000-70f00000 r-xp 00100000 fd:05 233 /apex/com.android.art/lib64/libart.so
7fe00000-7ff00000 r-xp 00000000 00:00 0
";

    #[test]
    fn code_that_goes_away_is_told_by_what_is_mapped() {
        let mapped_file = |maps, address| at(maps, address).map(|mapping| mapping.file);
        assert_eq!(mapped_file(MAPS, 0x4a00_0010), Some("/memfd:jit-cache (deleted)"));
        assert_eq!(mapped_file(MAPS, 0x70e0_0000), Some("/apex/com.android.art/lib64/libart.so"));
        assert_eq!(mapped_file(MAPS, 0x7fe0_0000).unwrap_or_default(), "");
        assert_eq!(mapped_file(MAPS, 0x1000), None);
    }
}
