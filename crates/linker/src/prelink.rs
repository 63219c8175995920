//! Prelink (`PrelinkImage`): the dynamic section and all that it names, from the file's bytes, before any of it
//! is mapped to run.

use crate::LinkerError;
use crate::trace::{Event, Phase, Trace};
use bytes::Bytes;
use livepatch_object::loadable::hash::HashTable;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::tables::Tables;

/// Reads and checks the tables.
pub(crate) fn prelink(
    path: &str,
    file: &Bytes,
    headers: &ProgramHeaders,
    machine: Machine,
    trace: Option<&Trace>,
) -> Result<Tables, LinkerError> {
    let image = FileImage::new(file.clone(), headers);
    let tables = Tables::read(headers, &image, machine).map_err(|problem| problem.of(path))?;
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
