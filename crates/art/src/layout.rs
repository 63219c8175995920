//! Where the fields of a method's record (`ArtMethod`, `art/runtime/art_method.h`) are, in each release.
//!
//! The 64-bit layouts of 10, 11 and 14 have been seen in live runtimes; the others are as the headers say.

use crate::release::{Pointer, Release};

/// A field of a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Field {
    /// A compressed reference to the class, which the collector updates: never to be kept.
    DeclaringClass,
    /// Java's flags, and the runtime's own.
    AccessFlags,
    /// Where the body is in the dex file. From 12 on `Data` says it.
    CodeItem,
    /// The method's index in its dex file.
    DexMethodIndex,
    /// Its index in the vtable, for methods that are called through one.
    MethodIndex,
    /// How often it was called; of abstract methods, its place in the interface table.
    Hotness,
    /// The dex file's resolved methods.
    ResolvedMethods,
    /// The dex file's resolved types.
    ResolvedTypes,
    /// The entry for callers that are interpreted.
    Interpreter,
    /// Of native methods the native function; of others what the release keeps there.
    Data,
    /// The entry for callers that are compiled.
    Quick,
    /// Where references are in compiled code.
    GcMap,
}

impl Field {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::DeclaringClass,
        Self::AccessFlags,
        Self::CodeItem,
        Self::DexMethodIndex,
        Self::MethodIndex,
        Self::Hotness,
        Self::ResolvedMethods,
        Self::ResolvedTypes,
        Self::Interpreter,
        Self::Data,
        Self::Quick,
        Self::GcMap,
    ];

    /// Its name in the runtime's source.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeclaringClass => "declaring_class_",
            Self::AccessFlags => "access_flags_",
            Self::CodeItem => "dex_code_item_offset_",
            Self::DexMethodIndex => "dex_method_index_",
            Self::MethodIndex => "method_index_",
            Self::Hotness => "hotness_count_",
            Self::ResolvedMethods => "dex_cache_resolved_methods_",
            Self::ResolvedTypes => "dex_cache_resolved_types_",
            Self::Interpreter => "entry_point_from_interpreter_",
            Self::Data => "data_",
            Self::Quick => "entry_point_from_quick_compiled_code_",
            Self::GcMap => "gc_map_",
        }
    }
}

/// Where a field is in a record, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where it begins.
    pub offset: usize,
    /// How long it is: 2, 4 or 8.
    pub width: usize,
}

/// How records look in a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    release: Release,
    pointer: Pointer,
    row: &'static Row,
}

/// One line of the table: offsets for 32 and for 64 bits.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    /// The first API level that has it; the next row's first ends it.
    from: u32,
    size: [u8; 2],
    fields: &'static [(Field, [u8; 2])],
}

/// Both widths alike.
const fn both(offset: u8) -> [u8; 2] {
    [offset, offset]
}

const TABLE: [Row; 7] = {
    use Field::*;
    [
        Row {
            from: 21,
            size: both(72),
            fields: &[
                (DeclaringClass, both(8)),
                (Interpreter, both(24)),
                (Data, both(32)),
                (Quick, both(40)),
                (GcMap, both(48)),
                (AccessFlags, both(56)),
                (CodeItem, both(60)),
                (DexMethodIndex, both(64)),
                (MethodIndex, both(68)),
            ],
        },
        Row {
            from: 22,
            size: [48, 64],
            fields: &[
                (DeclaringClass, both(8)),
                (AccessFlags, both(20)),
                (CodeItem, both(24)),
                (DexMethodIndex, both(28)),
                (MethodIndex, both(32)),
                (Interpreter, [36, 40]),
                (Data, [40, 48]),
                (Quick, [44, 56]),
            ],
        },
        Row {
            from: 23,
            size: [40, 56],
            fields: &[
                (DeclaringClass, both(0)),
                (AccessFlags, both(12)),
                (CodeItem, both(16)),
                (DexMethodIndex, both(20)),
                (MethodIndex, both(24)),
                (Interpreter, [28, 32]),
                (Data, [32, 40]),
                (Quick, [36, 48]),
            ],
        },
        Row {
            from: 24,
            size: [36, 56],
            fields: &[
                (DeclaringClass, both(0)),
                (AccessFlags, both(4)),
                (CodeItem, both(8)),
                (DexMethodIndex, both(12)),
                (MethodIndex, both(16)),
                (Hotness, both(18)),
                (ResolvedMethods, [20, 24]),
                (ResolvedTypes, [24, 32]),
                (Data, [28, 40]),
                (Quick, [32, 48]),
            ],
        },
        Row {
            from: 26,
            size: [32, 48],
            fields: &[
                (DeclaringClass, both(0)),
                (AccessFlags, both(4)),
                (CodeItem, both(8)),
                (DexMethodIndex, both(12)),
                (MethodIndex, both(16)),
                (Hotness, both(18)),
                (ResolvedMethods, [20, 24]),
                (Data, [24, 32]),
                (Quick, [28, 40]),
            ],
        },
        Row {
            from: 28,
            size: [28, 40],
            fields: &[
                (DeclaringClass, both(0)),
                (AccessFlags, both(4)),
                (CodeItem, both(8)),
                (DexMethodIndex, both(12)),
                (MethodIndex, both(16)),
                (Hotness, both(18)),
                (Data, [20, 24]),
                (Quick, [24, 32]),
            ],
        },
        Row {
            from: 31,
            size: [24, 32],
            fields: &[
                (DeclaringClass, both(0)),
                (AccessFlags, both(4)),
                (DexMethodIndex, both(8)),
                (MethodIndex, both(12)),
                (Hotness, both(14)),
                (Data, both(16)),
                (Quick, [20, 24]),
            ],
        },
    ]
};

impl Layout {
    /// The layout of a release.
    pub fn of(release: Release, pointer: Pointer) -> Self {
        let newest = TABLE.iter().rev().find(|row| row.from <= release.level());
        Self { release, pointer, row: newest.unwrap_or(&TABLE[0]) }
    }

    /// Whose it is.
    pub fn release(&self) -> Release {
        self.release
    }

    /// How long a record is, in bytes.
    pub fn size(&self) -> usize {
        self.row.size[self.column()].into()
    }

    /// Where a field is; none if the release has no such field.
    pub fn place(&self, field: Field) -> Option<Place> {
        let (_, offsets) = self.row.fields.iter().find(|(other, _)| *other == field)?;
        let width = match field {
            Field::MethodIndex if self.row.from < 24 => 4,
            Field::MethodIndex | Field::Hotness => 2,
            Field::ResolvedMethods | Field::ResolvedTypes => self.pointer.bytes(),
            // 5.0 has pointers of 64 bits in every process.
            Field::Interpreter | Field::Data | Field::Quick | Field::GcMap => match self.row.from {
                21 => 8,
                _ => self.pointer.bytes(),
            },
            _ => 4,
        };
        Some(Place { offset: offsets[self.column()].into(), width })
    }

    /// The fields that the release has.
    pub fn fields(&self) -> impl Iterator<Item = (Field, Place)> + '_ {
        Field::ALL.into_iter().filter_map(|field| Some((field, self.place(field)?)))
    }

    /// Whether records are objects on the heap (5.x).
    pub fn is_heap_object(&self) -> bool {
        self.row.from < 23
    }

    fn column(&self) -> usize {
        match self.pointer {
            Pointer::Bits32 => 0,
            Pointer::Bits64 => 1,
        }
    }
}

/// Why the runtime at hand is none that the table describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// Two pairs of neighbours are not equally far apart.
    #[error("methods that should be neighbours are {first} and {second} bytes apart")]
    NoNeighbours {
        /// From the first to the second method.
        first: isize,
        /// From the second to the third.
        second: isize,
    },
    /// Records have another size than the table says.
    #[error("records are {measured} bytes long, and not {expected} as in Android {release}")]
    Size {
        /// What was measured.
        measured: isize,
        /// What the table says.
        expected: usize,
        /// Which release it is said to be.
        release: Release,
    },
}

/// Checks what is said about the release against the addresses of three methods that are neighbours in a class.
pub fn check_size(layout: &Layout, records: [usize; 3]) -> Result<(), Mismatch> {
    let [first, second] = [1, 2].map(|at| records[at].wrapping_sub(records[at - 1]).cast_signed());
    if first != second {
        return Err(Mismatch::NoNeighbours { first, second });
    }
    // From 6.0 on records of a class are in one array; before, they are objects, whose distance says less.
    match layout.is_heap_object() || usize::try_from(first) == Ok(layout.size()) {
        true => Ok(()),
        false => Err(Mismatch::Size { measured: first, expected: layout.size(), release: layout.release }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Layout> {
        let widths = [Pointer::Bits32, Pointer::Bits64];
        Release::all().flat_map(move |release| widths.map(|pointer| Layout::of(release, pointer)))
    }

    /// `PtrSizedFields` stand last, and the entry from compiled code is the last of them.
    #[test]
    fn the_last_pointers_are_at_the_end() {
        for layout in all().filter(|layout| layout.release > Release::FIRST) {
            let pointer = layout.pointer.bytes();
            let offset = |field| layout.place(field).map(|place| place.offset);
            assert_eq!(offset(Field::Quick), Some(layout.size() - pointer), "{layout:?}");
            assert_eq!(offset(Field::Data), Some(layout.size() - 2 * pointer), "{layout:?}");
        }
    }

    /// As a C++ compiler lays out a class: aligned, and nothing over anything else.
    #[test]
    fn fields_are_aligned_and_apart() {
        for layout in all() {
            let mut places: Vec<Place> = layout.fields().map(|(_, place)| place).collect();
            places.sort_by_key(|place| place.offset);
            for pair in places.windows(2) {
                assert!(pair[0].offset + pair[0].width <= pair[1].offset, "{layout:?}");
            }
            for place in &places {
                assert_eq!(place.offset % place.width, 0, "{layout:?} {place:?}");
                assert!(place.offset + place.width <= layout.size(), "{layout:?}");
            }
            assert_eq!(layout.size() % layout.pointer.bytes(), 0, "{layout:?}");
        }
    }

    /// Whatever is not named is padding before pointers: at most one word, or the object's header on 5.x and
    /// the two references to caches on 5.1 and 6.0.
    #[test]
    fn what_is_not_named_is_known() {
        for layout in all() {
            let named: usize = layout.fields().map(|(_, place)| place.width).sum();
            let rest = layout.size() - named;
            let known = match layout.release.level() {
                21 => 8 + 12,
                22 => 8 + 8 + if layout.pointer == Pointer::Bits64 { 4 } else { 0 },
                23 => 8 + if layout.pointer == Pointer::Bits64 { 4 } else { 0 },
                24..=30 if layout.pointer == Pointer::Bits64 => 4,
                _ => 0,
            };
            assert_eq!(rest, known, "{layout:?}");
        }
    }

    #[test]
    fn a_runtime_of_another_size_is_refused() -> Result<(), Mismatch> {
        let release = Release::of_version(11).unwrap_or(Release::LAST);
        let layout = Layout::of(release, Pointer::Bits64);
        check_size(&layout, [0x1000, 0x1028, 0x1050])?;
        let measured = |records| check_size(&layout, records);
        assert_eq!(
            measured([0x1000, 0x1020, 0x1040]),
            Err(Mismatch::Size { measured: 32, expected: 40, release })
        );
        assert_eq!(measured([0x1000, 0x1028, 0x1040]), Err(Mismatch::NoNeighbours { first: 40, second: 24 }));
        assert!(measured([0x1028, 0x1000, 0xfd8]).is_err());
        Ok(())
    }
}
