//! The libraries that come along with one, of the same machine.

use crate::loadable::Problem;
use crate::loadable::hash::Name;
use crate::loadable::header::Header;
use crate::loadable::image::FileImage;
use crate::loadable::program::ProgramHeaders;
use crate::loadable::tables::Tables;
use crate::loadable::version::Wanted;
use bytes::Bytes;
use std::collections::HashMap;

/// Libraries by the names under which others may need them: the file's, and `DT_SONAME`.
#[derive(Clone, Debug, Default)]
pub struct Siblings {
    all: Vec<Tables>,
    by_name: HashMap<String, usize>,
}

impl Siblings {
    /// Of files by their names. What is no shared object is left out; a check of it says so.
    pub fn of(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let mut siblings = Self::default();
        for (name, file) in files {
            let Ok(tables) = read(&file) else { continue };
            let index = siblings.all.len();
            if let Some(soname) = tables.soname() {
                siblings.by_name.entry(soname).or_insert(index);
            }
            siblings.by_name.insert(name, index);
            siblings.all.push(tables);
        }
        siblings
    }

    /// The library of a name.
    pub fn get(&self, name: &str) -> Option<&Tables> {
        self.by_name.get(name).and_then(|&index| self.all.get(index))
    }
}

fn read(file: &Bytes) -> Result<Tables, Problem> {
    let header = Header::read(file)?;
    let wrong = Problem::WrongMachine { found: header.machine, wanted: header.machine };
    let machine = header.known_machine().ok_or(wrong)?;
    let headers = ProgramHeaders::read(&header, file)?;
    Tables::read(&headers, &FileImage::new(file.clone(), &headers), machine)
}

/// Whether a library defines a name for others.
pub(crate) fn defines(tables: &Tables, name: &[u8]) -> bool {
    tables.find(&Name::new(name), Wanted::Default).is_some()
        || tables.find(&Name::new(name), Wanted::Oldest).is_some()
}
