//! The bytes of a method's record, and what replacing makes of them. Nothing here touches a process.

use crate::flags;
use crate::layout::{Field, Layout};

/// A copy of a record. Of what it says about the class, only comparisons are to be believed: the collector
/// updates the live record, and not this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    layout: Layout,
    bytes: Vec<u8>,
}

/// The bytes are not as many as a record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a record of {expected} bytes was given {given}")]
pub struct WrongLength {
    expected: usize,
    given: usize,
}

/// How callers of a method get to another one's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The record's entry leads to the other method. All else that it says stays true.
    Entry,
    /// The fields that make the body are copied; flags are composed. What callers rely on stays as it was.
    Fields,
    /// All bytes are copied but the index in the vtable, whatever the release keeps in them.
    Whole,
}

impl Record {
    /// As read from a process.
    pub fn new(layout: Layout, bytes: Vec<u8>) -> Result<Self, WrongLength> {
        match bytes.len() == layout.size() {
            true => Ok(Self { layout, bytes }),
            false => Err(WrongLength { expected: layout.size(), given: bytes.len() }),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How it is laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A field's value; none if the release has no such field.
    pub fn get(&self, field: Field) -> Option<u64> {
        let place = self.layout.place(field)?;
        let bytes = self.bytes.get(place.offset..)?.get(..place.width)?;
        // Android runs on machines that have the lowest byte first.
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Java's flags and the runtime's.
    pub fn flags(&self) -> u32 {
        self.get(Field::AccessFlags).and_then(|flags| flags.try_into().ok()).unwrap_or_default()
    }

    /// Sets a field to the lowest bytes of a value; nothing if the release has no such field.
    pub fn set(&mut self, field: Field, value: u64) {
        let Some(place) = self.layout.place(field) else { return };
        let bytes = self.bytes.get_mut(place.offset..).and_then(|rest| rest.get_mut(..place.width));
        for (byte, value) in bytes.into_iter().flatten().zip(value.to_le_bytes()) {
            *byte = value;
        }
    }

    /// The record of a method with the body of `fix`, copied: all of it, or its fields.
    pub fn with_body_of(&self, fix: &Self, whole: bool) -> Self {
        let mut made = if whole { fix.clone() } else { self.clone() };
        for (field, _) in self.layout.fields() {
            let value = match field {
                // The place in the vtable is the caller's business: whoever reads it calls what is there.
                Field::MethodIndex => self.get(field),
                Field::AccessFlags if !whole => {
                    let composed = flags::with_body(self.flags(), fix.flags(), self.layout.release());
                    Some(composed.into())
                }
                // The count of calls comes with the body, too. Nobody has called that one, and so the count begins
                // anew, whether the release counts up to where it compiles, or down (14).
                _ => fix.get(field),
            };
            made.set(field, value.unwrap_or_default());
        }
        made
    }

    /// The same record with what another one says about its class: what the collector has made of it meanwhile.
    pub fn with_class_of(&self, other: &Self) -> Self {
        let mut made = self.clone();
        made.set(Field::DeclaringClass, other.get(Field::DeclaringClass).unwrap_or_default());
        made
    }

    /// Both values of every field that differs or, if `all`, of every field.
    pub fn compare<'a>(&'a self, other: &'a Self, all: bool) -> impl Iterator<Item = (Field, u64, u64)> + 'a {
        let values = |field| (self.get(field).unwrap_or_default(), other.get(field).unwrap_or_default());
        let fields = self.layout.fields().map(move |(field, _)| (field, values(field).0, values(field).1));
        fields.filter(move |(_, old, new)| all || old != new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Pointer, Release};

    fn records(release: Release, pointer: Pointer) -> Option<(Record, Record)> {
        let layout = Layout::of(release, pointer);
        // Every byte of the target differs from the fix's.
        let target = (0..layout.size()).map(|at| at as u8 | 0x80).collect();
        let fix = (0..layout.size()).map(|at| at as u8).collect();
        Some((Record::new(layout, target).ok()?, Record::new(layout, fix).ok()?))
    }

    #[test]
    fn the_body_comes_from_the_fix_and_the_place_stays() {
        for release in Release::all() {
            for pointer in [Pointer::Bits32, Pointer::Bits64] {
                let Some((target, fix)) = records(release, pointer) else { panic!("{release}") };
                for whole in [false, true] {
                    let made = target.with_body_of(&fix, whole);
                    assert_eq!(made.get(Field::MethodIndex), target.get(Field::MethodIndex));
                    for field in [
                        Field::DeclaringClass,
                        Field::CodeItem,
                        Field::DexMethodIndex,
                        Field::Hotness,
                        Field::Data,
                        Field::Quick,
                    ] {
                        assert_eq!(made.get(field), fix.get(field), "{release} {field:?}");
                    }
                }
            }
        }
    }

    /// What no field covers: the whole copy takes it from the fix, the other one leaves it.
    #[test]
    fn padding_is_left_alone_by_fields() {
        let Some(release) = Release::of_version(11) else { panic!("11") };
        let Some((target, fix)) = records(release, Pointer::Bits64) else { panic!("records") };
        assert_eq!(target.with_body_of(&fix, false).bytes()[20..24], target.bytes()[20..24]);
        assert_eq!(target.with_body_of(&fix, true).bytes()[20..24], fix.bytes()[20..24]);
    }

    #[test]
    fn lengths_are_checked() {
        let layout = Layout::of(Release::LAST, Pointer::Bits64);
        assert!(Record::new(layout, vec![0; 31]).is_err());
        assert!(Record::new(layout, vec![0; 33]).is_err());
    }
}
