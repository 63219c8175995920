//! A library file that holds nothing but metadata.
//!
//! rustc takes `.rmeta` files for what it compiles into libraries, but wants an `.rlib` for what it
//! links, long before it links. A thin rebuild never links, so an archive with the metadata as its
//! only member will do, and it can be had before the library's own code is compiled.

/// The archive (`ar` format) with `metadata` as its member `lib.rmeta`.
pub(super) fn stub_library(metadata: &[u8]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "lib.rmeta/", 0, 0, 0, 644, metadata.len());
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(metadata);
    if metadata.len() % 2 == 1 {
        archive.push(b'\n');
    }
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_sixty_bytes_and_members_are_even() {
        for metadata in [b"rust".as_slice(), b"rust1"] {
            let archive = stub_library(metadata);
            assert_eq!(archive.len(), 8 + 60 + metadata.len().next_multiple_of(2));
            assert_eq!(&archive[66..68], b"`\n");
        }
    }
}
