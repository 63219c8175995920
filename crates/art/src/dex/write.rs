//! Writing: names become sorted tables, and what refers to them indexes.

mod annotations;
mod bytes;
mod class;
mod code;
mod pool;
mod tables;

use super::{Class, Dex, ENDIAN, HEADER, Text, VERSIONS, adler32, item};
use bytes::Output;
use pool::Pool;
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use thiserror::Error;

/// Why classes cannot be written to one file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WriteError {
    /// There are more than an index can say.
    #[error("more {0} than one dex file can have")]
    TooMany(&'static str),
    /// The version is not one that is written.
    #[error("version {0} of the format is not known")]
    Version(u32),
    /// The version has no such thing.
    #[error("version {version} of the format has no {what}")]
    NotInVersion {
        /// The version.
        version: u32,
        /// What it does not have.
        what: &'static str,
    },
    /// A class is there twice, or a member of it.
    #[error("{0} is there twice")]
    Twice(String),
    /// A class is its own superclass.
    #[error("{0} extends or implements itself")]
    Circle(Text),
    /// Something does not fit together.
    #[error("{what} of {of} cannot be written")]
    Malformed {
        /// What.
        what: &'static str,
        /// Whose.
        of: String,
    },
}

/// Writes a dex file: checksum and signature, sorted tables, superclasses before what extends them.
pub fn write(dex: &Dex) -> Result<Vec<u8>, WriteError> {
    if !VERSIONS.contains(&dex.version) {
        return Err(WriteError::Version(dex.version));
    }
    let classes = superclasses_first(&dex.classes)?;
    let pool = Pool::of(&classes, dex.version)?;
    let mut file = File::new(&pool, &classes)?;
    file.write_tables()?;
    file.write_classes(&classes)?;
    file.finish(dex.version)
}

/// Makes the signature and the checksum of a file right; of what is shorter than they are, nothing.
pub fn seal(bytes: &mut [u8]) {
    if bytes.len() < 32 {
        return;
    }
    let signature = Sha1::digest(&bytes[32..]);
    bytes[12..32].copy_from_slice(&signature);
    let checksum = adler32(&bytes[12..]);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
}

/// Classes in an order in which a runtime can define them: what a class extends or implements is before it.
fn superclasses_first(classes: &[Class]) -> Result<Vec<&Class>, WriteError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Begun,
        Done,
    }
    let mut by_name = HashMap::new();
    for (index, class) in classes.iter().enumerate() {
        if by_name.insert(&class.descriptor, index).is_some() {
            return Err(WriteError::Twice(class.descriptor.to_string()));
        }
    }
    let mut states = vec![State::New; classes.len()];
    let mut order = Vec::with_capacity(classes.len());
    // A stack of its own: a file may have very long chains.
    let mut stack = Vec::new();
    for first in 0..classes.len() {
        stack.push(first);
        while let Some(&index) = stack.last() {
            let class = &classes[index];
            if states[index] != State::New {
                stack.pop();
                if states[index] == State::Begun {
                    states[index] = State::Done;
                    order.push(class);
                }
                continue;
            }
            states[index] = State::Begun;
            for parent in class.superclass.iter().chain(&class.interfaces) {
                match by_name.get(parent).map(|&parent| (parent, states[parent])) {
                    Some((parent, State::New)) => stack.push(parent),
                    Some((_, State::Begun)) => return Err(WriteError::Circle(class.descriptor.clone())),
                    _ => {}
                }
            }
        }
    }
    Ok(order)
}

/// Where a section is, for the map.
struct Section {
    kind: u16,
    count: u32,
    offset: u32,
}

/// A file that is being written.
struct File<'p> {
    pool: &'p Pool,
    out: Output,
    sections: Vec<Section>,
    /// Where the tables' entries for classes are.
    class_defs: u32,
    /// Lists of types, by their indexes.
    type_lists: HashMap<Vec<u16>, u32>,
    /// What classes implement: more lists of types.
    interfaces: Vec<Vec<Text>>,
}

impl<'p> File<'p> {
    /// With room for the header and for the tables.
    fn new(pool: &'p Pool, classes: &[&Class]) -> Result<Self, WriteError> {
        let mut file = Self {
            pool,
            out: Output::default(),
            sections: Vec::new(),
            class_defs: 0,
            type_lists: HashMap::new(),
            interfaces: classes.iter().map(|class| class.interfaces.clone()).collect(),
        };
        file.reserve(item::HEADER, 1, HEADER as usize)?;
        file.reserve(item::STRING_ID, pool.texts.len(), 4)?;
        file.reserve(item::TYPE_ID, pool.types.len(), 4)?;
        file.reserve(item::PROTO_ID, pool.prototypes.len(), 12)?;
        file.reserve(item::FIELD_ID, pool.fields.len(), 8)?;
        file.reserve(item::METHOD_ID, pool.methods.len(), 8)?;
        file.class_defs = file.out.position();
        file.reserve(item::CLASS_DEF, classes.len(), 32)?;
        file.reserve(item::CALL_SITE_ID, pool.call_sites.len(), 4)?;
        file.reserve(item::METHOD_HANDLE, pool.handles.len(), 8)?;
        Ok(file)
    }

    fn reserve(&mut self, kind: u16, count: usize, size: usize) -> Result<(), WriteError> {
        let offset = self.out.position();
        self.out.zeros(count * size);
        self.section(kind, count, offset)
    }

    /// Notes a section, if there is anything in it.
    fn section(&mut self, kind: u16, count: usize, offset: u32) -> Result<(), WriteError> {
        let count = u32::try_from(count).map_err(|_| WriteError::TooMany("items"))?;
        if count > 0 {
            self.sections.push(Section { kind, count, offset });
        }
        Ok(())
    }

    /// Where the entries of a table are.
    fn table(&self, kind: u16) -> u32 {
        self.sections.iter().find(|section| section.kind == kind).map_or(0, |section| section.offset)
    }

    /// Writes the map and the header, which say where everything is.
    fn finish(mut self, version: u32) -> Result<Vec<u8>, WriteError> {
        self.out.align_to_4();
        let map = self.out.position();
        self.sections.push(Section { kind: item::MAP_LIST, count: 1, offset: map });
        self.out.u32(self.sections.len() as u32);
        for section in &self.sections {
            self.out.u16(section.kind);
            self.out.u16(0);
            self.out.u32(section.count);
            self.out.u32(section.offset);
        }
        let length = self.out.position();
        if length == u32::MAX {
            return Err(WriteError::TooMany("pieces"));
        }
        let tables = [
            item::STRING_ID,
            item::TYPE_ID,
            item::PROTO_ID,
            item::FIELD_ID,
            item::METHOD_ID,
            item::CLASS_DEF,
        ];
        let tables = tables.map(|kind| {
            let found = self.sections.iter().find(|section| section.kind == kind);
            found.map_or((0, 0), |section| (section.count, section.offset))
        });
        let data = self.data_start();
        let mut at = 0x20;
        let mut word = |out: &mut Output, value: u32| {
            out.patch(at, value);
            at += 4;
        };
        for value in [length, HEADER, ENDIAN, 0, 0, map] {
            word(&mut self.out, value);
        }
        for (count, offset) in tables {
            word(&mut self.out, count);
            word(&mut self.out, offset);
        }
        word(&mut self.out, length - data);
        word(&mut self.out, data);
        let mut bytes = self.out.into_bytes();
        bytes[..8].copy_from_slice(format!("dex\n{version:03}\0").as_bytes());
        seal(&mut bytes);
        Ok(bytes)
    }

    /// What follows the tables is data.
    fn data_start(&self) -> u32 {
        let sizes = [(item::CALL_SITE_ID, 4), (item::METHOD_HANDLE, 8), (item::CLASS_DEF, 32)];
        let ends = sizes.map(|(kind, size)| {
            let found = self.sections.iter().find(|section| section.kind == kind);
            found.map_or(0, |section| section.offset + section.count * size)
        });
        ends.into_iter().max().unwrap_or(0).max(self.class_defs)
    }
}
