//! The bytes of an image by their link-time addresses.

use super::program::ProgramHeaders;
use crate::address::LinkAddress;
use bytes::Bytes;

/// Where an image's bytes are had from: its file, or the memory that it was loaded into.
///
/// What a segment has in memory only (`p_memsz` beyond `p_filesz`) is no part of it.
pub trait Image {
    /// All bytes from `address` to the end of those of its segment; none where no segment has any.
    fn rest(&self, address: LinkAddress) -> Option<Bytes>;

    /// `length` bytes from `address` on, all of one segment.
    fn bytes(&self, address: LinkAddress, length: u64) -> Option<Bytes> {
        let rest = self.rest(address)?;
        let length = usize::try_from(length).ok()?;
        (length <= rest.len()).then(|| rest.slice(..length))
    }
}

/// An image by the bytes of its file.
#[derive(Clone, Debug)]
pub struct FileImage {
    file: Bytes,
    segments: Vec<Segment>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: usize,
    length: usize,
}

impl FileImage {
    /// Of program headers that were read from this file; segments that do not lie in it are left out.
    pub fn new(file: Bytes, headers: &ProgramHeaders) -> Self {
        let segment = |entry: &super::program::ProgramHeader| {
            let segment = Segment {
                address: entry.address.0,
                offset: usize::try_from(entry.offset.0).ok()?,
                length: usize::try_from(entry.file_size).ok()?,
            };
            let end = segment.offset.checked_add(segment.length)?;
            (end <= file.len()).then_some(segment)
        };
        let segments = headers.loads().filter_map(segment).collect();
        Self { file, segments }
    }
}

impl Image for FileImage {
    fn rest(&self, address: LinkAddress) -> Option<Bytes> {
        self.segments.iter().find_map(|segment| {
            let within = usize::try_from(address.0.checked_sub(segment.address)?).ok()?;
            if within >= segment.length {
                return None;
            }
            Some(self.file.slice(segment.offset + within..segment.offset + segment.length))
        })
    }
}
