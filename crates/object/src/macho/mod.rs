//! Mach-O images as a loader sees them: executables, dylibs and bundles of 64-bit Apple systems.
//!
//! Each file is a step that rests on the ones before it, with the names of Apple's headers:
//!
//! | module | answers |
//! | --- | --- |
//! | [`fat`] | which slice of the file is for this machine? |
//! | [`header`] | what kind of image is this, and what does it say about itself? |
//! | [`segment`] | which bytes of it go where in memory? |
//! | [`commands`] | which libraries does it need, and where are its tables? |
//! | [`image`] | all of these for one slice, checked against each other |
//! | [`symbol`] | what is symbol number n, and which one is this pointer or stub for? |
//! | [`fixup`] | which words have to be changed, and to what? One answer for three formats: |
//! | [`opcodes`] | … as `LC_DYLD_INFO` has it: rebase, bind, weak bind, lazy bind |
//! | [`chained`] | … as `LC_DYLD_CHAINED_FIXUPS` has it |
//! | [`relocation`] | … as images that are older than both have it |
//! | [`export`] | where is this name, or in which other library? |
//! | [`stub`] | which code jumps through which pointer, and where does it lead at first? |
//! | [`path`] | which way does a call of this symbol take? |
//! | [`initializer`] | what runs first and last, and what does a thread get? |
//! | [`hazard`] | which names mean something else on Linux? |
//!
//! Offsets count from the start of the slice. Nothing is believed: every offset, size and count is checked before it
//! is used, and what is wrong is a [`Problem`]. 32-bit and big-endian images are refused, relocatable objects too.

pub mod chained;
pub mod commands;
mod cursor;
pub mod export;
pub mod fat;
pub mod fixup;
pub mod hazard;
pub mod header;
pub mod image;
pub mod initializer;
pub mod opcodes;
pub mod path;
mod problem;
pub mod relocation;
pub mod segment;
pub mod stub;
pub mod symbol;

pub use export::{Export, ExportTarget, Exports};
pub use fat::{Architecture, Slice, choose, slices};
pub use fixup::{Action, Fixup, Fixups, Format, Import, ImportId, Ordinal, Slot, Table};
pub use header::{Header, ImageKind};
pub use image::Image;
pub use problem::Problem;
pub use segment::{Protection, Section, SectionId, Segment, SegmentId, Segments};
