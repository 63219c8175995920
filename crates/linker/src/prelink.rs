//! Prelink (`PrelinkImage`): the dynamic section and all that it names, where it was mapped.

use crate::LinkerError;
use crate::memory::Mapped;
use crate::trace::{Event, Phase, Trace};
use bytes::Bytes;
use livepatch_object::address::LinkAddress;
use livepatch_object::loadable::hash::HashTable;
use livepatch_object::loadable::image::Image;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::tables::Tables;
use std::ops::Range;

/// Reads and checks the tables.
pub(crate) fn prelink(
    path: &str,
    headers: &ProgramHeaders,
    mapped: &Mapped,
    machine: Machine,
    trace: Option<&Trace>,
) -> Result<Tables, LinkerError> {
    let tables = Tables::read(headers, &MappedImage::new(headers, mapped), machine)
        .map_err(|problem| problem.of(path))?;
    if let Some(trace) = trace {
        let hash = match tables.hash {
            HashTable::Gnu(_) => "DT_GNU_HASH",
            HashTable::Sysv(_) => "DT_HASH",
        };
        trace.record(
            Phase::Prelink,
            Event::Dynamic {
                library: path.to_owned(),
                soname: tables.soname(),
                needed: tables.needed().collect(),
                runpath: tables.runpath(),
                symbols: tables.symbol_count(),
                relocations: tables.relocations.count(machine.class()),
                hash,
            },
        );
        if tables.dynamic.preinit_array.present().is_some() {
            let text = "DT_PREINIT_ARRAY in a shared library is ignored".to_owned();
            trace.record(Phase::Prelink, Event::Warning { library: path.to_owned(), text });
        }
    }
    Ok(tables)
}

/// An image's bytes where it was mapped, before it was relocated. What it may write to later is copied.
struct MappedImage<'a> {
    mapped: &'a Mapped,
    /// Link-time addresses of what segments have in the file, and their bytes if they are constant.
    segments: Vec<(Range<u64>, Option<Bytes>)>,
}

impl<'a> MappedImage<'a> {
    fn new(headers: &ProgramHeaders, mapped: &'a Mapped) -> Self {
        let segments = headers.loads().map(|segment| {
            let range = segment.address.0..segment.address.0 + segment.file_size;
            let constant = mapped.constant(range.clone());
            (range, constant)
        });
        Self { mapped, segments: segments.collect() }
    }

    fn segment(&self, address: LinkAddress) -> Option<&(Range<u64>, Option<Bytes>)> {
        self.segments.iter().find(|(range, _)| range.contains(&address.0))
    }
}

impl Image for MappedImage<'_> {
    fn rest(&self, address: LinkAddress) -> Option<Bytes> {
        match self.segment(address)? {
            (range, Some(constant)) => Some(constant.slice((address.0 - range.start) as usize..)),
            (range, None) => self.mapped.copy(address.0..range.end),
        }
    }

    fn bytes(&self, address: LinkAddress, length: u64) -> Option<Bytes> {
        let (range, constant) = self.segment(address)?;
        let end = address.0.checked_add(length).filter(|&end| end <= range.end)?;
        match constant {
            Some(constant) => {
                let (start, end) = (address.0 - range.start, end - range.start);
                Some(constant.slice(start as usize..end as usize))
            }
            None => self.mapped.copy(address.0..end),
        }
    }
}
