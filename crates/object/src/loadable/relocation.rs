//! Dynamic relocations as data: which kinds a machine has, and what each writes.
//!
//! One table for each machine, in a file of its own, names as in its ABI. How a value is computed and stored is
//! [`Howto::value`] and [`Width::store`], over numbers and bytes, so that it is the same for a mapped image and
//! in a test.

mod aarch64;
mod arm;
mod i386;
mod riscv64;
mod x86_64;

use super::dynamic::Form;
use super::fields::{u32_at, u64_at};
use super::machine::{Class, Machine};
use super::problem::Problem;
use crate::address::LinkAddress;
use bytes::Bytes;

/// What a relocation writes. S: the symbol's run-time address, A: the addend, P: the place's run-time address,
/// B: the slide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Formula {
    /// Nothing.
    None,
    /// B + A.
    Base,
    /// S + A.
    Symbol,
    /// S + A; the slot of an import. A place without an addend in the table has none in itself either.
    Import,
    /// S + A; the slot of a function that may be bound at its first call.
    LazyImport,
    /// S + A − P.
    Relative,
    /// The symbol's size + A.
    Size,
    /// What the function at B + A returns.
    Indirect,
    /// A copy of the symbol's bytes: only in executables.
    Copy,
    /// The number of the module that has the thread-local.
    TlsModule,
    /// The thread-local's offset in its module's block.
    TlsOffset,
    /// The thread-local's offset from the thread pointer.
    TlsThread,
    /// The same, negated.
    TlsThreadNegated,
    /// Two words: a function, and what it is given to find the thread-local's offset from the thread pointer.
    TlsDescriptor,
}

/// How wide a place is, and what fits in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// Eight bytes: everything fits.
    Word64,
    /// Four bytes of an address space of 32 bits: what does not fit is cut off.
    Word32,
    /// Four bytes: numbers from 0 to 2³²−1.
    Unsigned32,
    /// Four bytes: numbers from −2³¹ to 2³¹−1.
    Signed32,
}

impl Width {
    /// Bytes of the place.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Word64 => 8,
            Self::Word32 | Self::Unsigned32 | Self::Signed32 => 4,
        }
    }

    /// Whether a value can be stored.
    pub fn fits(self, value: u64) -> bool {
        match self {
            Self::Word64 | Self::Word32 => true,
            Self::Unsigned32 => u32::try_from(value).is_ok(),
            Self::Signed32 => i32::try_from(value.cast_signed()).is_ok(),
        }
    }

    /// Stores a value that fits into the first bytes of `place`; false if there are too few or it does not fit.
    pub fn store(self, value: u64, place: &mut [u8]) -> bool {
        let bytes = value.to_le_bytes();
        let length = self.bytes() as usize;
        match place.get_mut(..length) {
            Some(place) if self.fits(value) => place.copy_from_slice(&bytes[..length]),
            _ => return false,
        }
        true
    }

    /// The addend that a place holds, of a table without addends.
    pub fn load(self, place: &[u8]) -> Option<i64> {
        match self {
            Self::Word64 => u64_at(place, 0).map(u64::cast_signed),
            Self::Word32 | Self::Unsigned32 | Self::Signed32 => {
                u32_at(place, 0).map(|word| i64::from(word.cast_signed()))
            }
        }
    }
}

/// How one kind of relocation is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Howto {
    /// `R_*`.
    pub number: u32,
    /// Its name without `R_*_`.
    pub name: &'static str,
    /// What is written.
    pub formula: Formula,
    /// How wide.
    pub width: Width,
}

/// What a formula needs to know. What it does not use may be 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inputs {
    /// B.
    pub slide: u64,
    /// S; for thread-locals, what the formula asks for but for A.
    pub symbol: u64,
    /// A.
    pub addend: i64,
    /// P.
    pub place: u64,
    /// The symbol's size.
    pub size: u64,
}

impl Howto {
    /// What is to be written, as a number of 64 bits. For [`Formula::Indirect`], the function that says it; for
    /// [`Formula::TlsDescriptor`] and [`Formula::Copy`] there is no one number.
    #[inline]
    pub fn value(&self, of: &Inputs) -> Option<u64> {
        let symbol = || of.symbol.wrapping_add_signed(of.addend);
        match self.formula {
            Formula::None | Formula::Copy | Formula::TlsDescriptor => None,
            Formula::Base | Formula::Indirect => Some(of.slide.wrapping_add_signed(of.addend)),
            Formula::Symbol | Formula::Import | Formula::LazyImport => Some(symbol()),
            Formula::Relative => Some(symbol().wrapping_sub(of.place)),
            Formula::Size => Some(of.size.wrapping_add_signed(of.addend)),
            Formula::TlsModule => Some(of.symbol),
            Formula::TlsOffset | Formula::TlsThread => Some(symbol()),
            Formula::TlsThreadNegated => Some(symbol().wrapping_neg()),
        }
    }

    /// Whether the place holds an addend if the table does not: slots of imports hold something else.
    pub fn has_addend_in_place(&self) -> bool {
        !matches!(self.formula, Formula::None | Formula::Import | Formula::LazyImport | Formula::TlsModule)
    }
}

/// Finds how a machine does a kind of relocation.
#[inline]
pub fn howto(machine: Machine, number: u32) -> Option<&'static Howto> {
    let table = table(machine);
    // Most numbers are places in the table of x86-64; the others have few entries.
    match table.get(number as usize) {
        Some(entry) if entry.number == number => Some(entry),
        _ => table.iter().find(|entry| entry.number == number),
    }
}

/// All kinds that a machine's shared objects can have.
pub fn table(machine: Machine) -> &'static [Howto] {
    match machine {
        Machine::X86_64 => x86_64::TABLE,
        Machine::Aarch64 => aarch64::TABLE,
        Machine::Arm => arm::TABLE,
        Machine::I386 => i386::TABLE,
        Machine::Riscv64 => riscv64::TABLE,
    }
}

/// What a machine subtracts from a thread-local's offset in its block (`TLS_DTV_OFFSET`).
pub fn dtv_offset(machine: Machine) -> u64 {
    match machine {
        Machine::Riscv64 => 0x800,
        _ => 0,
    }
}

/// An entry of a relocation table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// `r_offset`.
    pub place: LinkAddress,
    /// `R_*`.
    pub kind: u32,
    /// The symbol's number.
    pub symbol: u32,
    /// `r_addend`; of a table without addends, 0.
    pub addend: i64,
}

impl Entry {
    #[inline]
    pub(crate) fn from_info(place: u64, info: u64, addend: i64, class: Class) -> Self {
        let (kind, symbol) = match class {
            Class::Elf64 => (info as u32, (info >> 32) as u32),
            Class::Elf32 => ((info & 0xff) as u32, ((info >> 8) & 0xff_ffff) as u32),
        };
        let place = match class {
            Class::Elf64 => place,
            Class::Elf32 => place & u64::from(u32::MAX),
        };
        Self { place: LinkAddress(place), kind, symbol, addend }
    }
}

/// Bytes of an entry of a 64-bit machine's table with addends.
pub type Rela64 = [u8; 24];

impl From<&Rela64> for Entry {
    #[inline]
    fn from(bytes: &Rela64) -> Self {
        let [a, b, c] = [0, 8, 16].map(|at| {
            let word: [u8; 8] = std::array::from_fn(|index| bytes[at + index]);
            u64::from_le_bytes(word)
        });
        Self::from_info(a, b, c.cast_signed(), Class::Elf64)
    }
}

/// A relocation table of fixed-size entries.
#[derive(Clone, Debug)]
pub struct Plain {
    bytes: Bytes,
    form: Form,
    class: Class,
}

impl Plain {
    pub(crate) fn new(bytes: Bytes, form: Form, class: Class) -> Result<Self, Problem> {
        let entry = Self::entry_size(form, class);
        match bytes.len().is_multiple_of(entry) {
            true => Ok(Self { bytes, form, class }),
            false => Err(Problem::Invalid { what: "relocation table size", value: bytes.len() as u64 }),
        }
    }

    /// Those of its entries that lie within its first bytes.
    pub(crate) fn up_to(self, bytes: u64) -> Self {
        let entry = Self::entry_size(self.form, self.class);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.bytes.len()) / entry * entry;
        Self { bytes: self.bytes.slice(..length), ..self }
    }

    fn entry_size(form: Form, class: Class) -> usize {
        match form {
            Form::Rel => class.either(8, 16),
            Form::Rela => class.either(12, 24),
        }
    }

    /// Whether its entries have addends.
    pub fn form(&self) -> Form {
        self.form
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.bytes.len() / Self::entry_size(self.form, self.class)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries of the commonest form, as they are: of 64-bit machines, with addends.
    pub fn rela64(&self) -> Option<&[Rela64]> {
        match (self.class, self.form) {
            (Class::Elf64, Form::Rela) => Some(self.bytes.as_chunks().0),
            _ => None,
        }
    }

    /// The entry with that number.
    pub fn get(&self, index: usize) -> Option<Entry> {
        let size = Self::entry_size(self.form, self.class);
        let from = index.checked_mul(size)?;
        self.bytes.get(from..from.checked_add(size)?).map(|entry| decode(entry, self.form, self.class))
    }

    /// All entries.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        let (form, class) = (self.form, self.class);
        self.bytes.chunks_exact(Self::entry_size(form, class)).map(move |entry| decode(entry, form, class))
    }
}

#[inline]
fn decode(entry: &[u8], form: Form, class: Class) -> Entry {
    // `chunks_exact` sees to it that all fields are there.
    let word64 = |at| u64_at(entry, at).unwrap_or(0);
    let word32 = |at| u32_at(entry, at).unwrap_or(0);
    match (class, form) {
        (Class::Elf64, Form::Rela) => Entry::from_info(word64(0), word64(8), word64(16).cast_signed(), class),
        (Class::Elf64, Form::Rel) => Entry::from_info(word64(0), word64(8), 0, class),
        (Class::Elf32, Form::Rela) => {
            Entry::from_info(word32(0).into(), word32(4).into(), word32(8).cast_signed().into(), class)
        }
        (Class::Elf32, Form::Rel) => Entry::from_info(word32(0).into(), word32(4).into(), 0, class),
    }
}
