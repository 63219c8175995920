//! Dep-info files: which files a compilation read.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The files that a dep-info file names: sources, and what `include_str!` and its like read.
/// Relative paths in it are meant from `cwd`.
pub fn read(path: &Path, cwd: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(parse(&std::fs::read(path)?).into_iter().map(|file| cwd.join(file)).collect())
}

/// Reads the contents of a dep-info file. Each file also has a rule of its own, with no
/// prerequisites: that list needs no guess about which rule is the right one.
pub fn parse(contents: &[u8]) -> Vec<PathBuf> {
    contents
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"#"))
        .filter_map(|line| line.strip_suffix(b":"))
        .map(|file| OsString::from_vec(unescape(file)).into())
        .collect()
}

/// rustc writes a space in a path as `\ `, and nothing else specially.
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.peek() == Some(&b' ') {
            continue;
        }
        path.push(byte);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_includes() {
        let files = parse(
            b"/t/deps/a-1.d: src/main.rs src/my\\ text.txt\n\n\
              /t/deps/a-1: src/main.rs src/my\\ text.txt\n\n\
              src/main.rs:\nsrc/my\\ text.txt:\n/t/build/a/out/gen.rs:\n\n\
              # env-dep:CARGO_PKG_NAME=a\n# env-dep:ODD=x:\n# checksum:blake3=00 file_len:3 src/main.rs\n",
        );
        let expected = ["src/main.rs", "src/my text.txt", "/t/build/a/out/gen.rs"];
        assert_eq!(files, expected.map(PathBuf::from).to_vec());
    }
}
