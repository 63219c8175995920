//! `LC_DYLD_INFO`: four little programs, each of which says what is done to which slots (`<mach-o/loader.h>`).

mod lazy;

pub use lazy::{LazyEntry, Opcode};

use super::chained::{Pointer, PointerFormat};
use super::cursor::Cursor;
use super::fixup::{Action, At, Builder, Fixup, Import, ImportId, Ordinal, Table};
use super::{Image, Problem};
use crate::address::LinkAddress;
use bytes::Bytes;
use object::macho;

/// Reads all four.
pub(super) fn read(image: &Image, builder: &mut Builder<'_>) -> Result<(), Problem> {
    rebases(image, builder)?;
    for stream in [Stream::Bind, Stream::Weak, Stream::Lazy] {
        let bytes = stream.bytes(image);
        binds(image, Interpreter::new(image, stream, &bytes, 0), builder)?;
    }
    Ok(())
}

fn rebases(image: &Image, builder: &mut Builder<'_>) -> Result<(), Problem> {
    const TABLE: &str = "rebase opcodes";
    let bytes = image.table(&image.tables.rebase);
    let mut cursor = Cursor::new(TABLE, &bytes, 0);
    let (mut segment, mut offset) = (None, 0_u64);
    while !cursor.is_at_end() {
        let at = At { table: TABLE, at: cursor.at };
        let byte = cursor.byte()?;
        let immediate = byte & macho::REBASE_IMMEDIATE_MASK;
        // How many are rebased, and how far one is from the next.
        let (count, step) = match byte & macho::REBASE_OPCODE_MASK {
            macho::REBASE_OPCODE_DONE => break,
            macho::REBASE_OPCODE_SET_TYPE_IMM => {
                if immediate != macho::REBASE_TYPE_POINTER {
                    return Err(at.bad("only pointers are rebased in 64-bit images"));
                }
                continue;
            }
            macho::REBASE_OPCODE_SET_SEGMENT_AND_OFFSET_ULEB => {
                (segment, offset) = (Some(usize::from(immediate)), cursor.uleb()?);
                continue;
            }
            macho::REBASE_OPCODE_ADD_ADDR_ULEB => {
                offset = offset.wrapping_add(cursor.uleb()?);
                continue;
            }
            macho::REBASE_OPCODE_ADD_ADDR_IMM_SCALED => {
                offset = offset.wrapping_add(u64::from(immediate) * 8);
                continue;
            }
            macho::REBASE_OPCODE_DO_REBASE_IMM_TIMES => (immediate.into(), 8),
            macho::REBASE_OPCODE_DO_REBASE_ULEB_TIMES => (cursor.uleb()?, 8),
            macho::REBASE_OPCODE_DO_REBASE_ADD_ADDR_ULEB => (1, cursor.uleb()?.wrapping_add(8)),
            macho::REBASE_OPCODE_DO_REBASE_ULEB_TIMES_SKIPPING_ULEB => {
                (cursor.uleb()?, cursor.uleb()?.wrapping_add(8))
            }
            _ => return Err(at.bad("no rebase opcode")),
        };
        for _ in 0..count {
            let segment = segment.ok_or_else(|| at.bad("no segment was set"))?;
            let slot = builder.slot(at, segment, offset)?;
            builder.rebase(at, slot, Table::Rebase)?;
            offset = offset.wrapping_add(step);
        }
    }
    Ok(())
}

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Bind,
    Weak,
    Lazy,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind opcodes",
            Self::Weak => "weak bind opcodes",
            Self::Lazy => "lazy bind opcodes",
        }
    }

    fn bytes(self, image: &Image) -> Bytes {
        image.table(match self {
            Self::Bind => &image.tables.bind,
            Self::Weak => &image.tables.weak_bind,
            Self::Lazy => &image.tables.lazy_bind,
        })
    }
}

/// What an opcode does, but for changing the state.
enum Step {
    Nothing,
    /// A symbol was named.
    Symbol,
    /// The end, or in a lazy program the end of an entry.
    Done,
    /// So many are bound, each so far from the one before.
    Bind {
        count: u64,
        step: u64,
    },
    /// The imports of a chain follow.
    Imports,
    /// A chain begins here.
    Chain,
}

struct Interpreter<'a> {
    cursor: Cursor<'a>,
    stream: Stream,
    libraries: usize,
    segment: Option<usize>,
    offset: u64,
    symbol: Option<&'a [u8]>,
    flags: u8,
    ordinal: Ordinal,
    addend: i64,
}

impl<'a> Interpreter<'a> {
    fn new(image: &Image, stream: Stream, bytes: &'a [u8], at: usize) -> Self {
        let ordinal = if stream == Stream::Weak { Ordinal::WeakLookup } else { Ordinal::ThisImage };
        Self {
            cursor: Cursor::new(stream.name(), bytes, at),
            stream,
            libraries: image.libraries.len(),
            segment: None,
            offset: 0,
            symbol: None,
            flags: 0,
            ordinal,
            addend: 0,
        }
    }

    fn at(&self) -> At {
        At { table: self.stream.name(), at: self.cursor.at }
    }

    fn step(&mut self) -> Result<Step, Problem> {
        let at = self.at();
        let byte = self.cursor.byte()?;
        let immediate = byte & macho::BIND_IMMEDIATE_MASK;
        match byte & macho::BIND_OPCODE_MASK {
            macho::BIND_OPCODE_DONE => return Ok(Step::Done),
            macho::BIND_OPCODE_SET_DYLIB_ORDINAL_IMM => self.set_ordinal(immediate.into())?,
            macho::BIND_OPCODE_SET_DYLIB_ORDINAL_ULEB => {
                let number = i64::try_from(self.cursor.uleb()?).unwrap_or(i64::MAX);
                self.set_ordinal(number)?;
            }
            macho::BIND_OPCODE_SET_DYLIB_SPECIAL_IMM => {
                // Four bits with a sign.
                let number = (immediate << 4).cast_signed() >> 4;
                self.set_ordinal(number.into())?;
            }
            macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM => {
                (self.flags, self.symbol) = (immediate, Some(self.cursor.text()?));
                return Ok(Step::Symbol);
            }
            macho::BIND_OPCODE_SET_TYPE_IMM if immediate == macho::BIND_TYPE_POINTER => {}
            macho::BIND_OPCODE_SET_TYPE_IMM => {
                return Err(at.bad("only pointers are bound in 64-bit images"));
            }
            macho::BIND_OPCODE_SET_ADDEND_SLEB => self.addend = self.cursor.sleb()?,
            macho::BIND_OPCODE_SET_SEGMENT_AND_OFFSET_ULEB => {
                (self.segment, self.offset) = (Some(immediate.into()), self.cursor.uleb()?);
            }
            macho::BIND_OPCODE_ADD_ADDR_ULEB => self.offset = self.offset.wrapping_add(self.cursor.uleb()?),
            macho::BIND_OPCODE_DO_BIND => return Ok(Step::Bind { count: 1, step: 8 }),
            macho::BIND_OPCODE_DO_BIND_ADD_ADDR_ULEB => {
                return Ok(Step::Bind { count: 1, step: self.cursor.uleb()?.wrapping_add(8) });
            }
            macho::BIND_OPCODE_DO_BIND_ADD_ADDR_IMM_SCALED => {
                return Ok(Step::Bind { count: 1, step: u64::from(immediate) * 8 + 8 });
            }
            macho::BIND_OPCODE_DO_BIND_ULEB_TIMES_SKIPPING_ULEB => {
                let count = self.cursor.uleb()?;
                return Ok(Step::Bind { count, step: self.cursor.uleb()?.wrapping_add(8) });
            }
            macho::BIND_OPCODE_THREADED if self.stream == Stream::Bind => match immediate {
                macho::BIND_SUBOPCODE_THREADED_SET_BIND_ORDINAL_TABLE_SIZE_ULEB => {
                    // How many there will be: they are counted as they come.
                    self.cursor.uleb()?;
                    return Ok(Step::Imports);
                }
                macho::BIND_SUBOPCODE_THREADED_APPLY => return Ok(Step::Chain),
                _ => return Err(at.bad("no bind opcode")),
            },
            _ => return Err(at.bad("no bind opcode")),
        }
        Ok(Step::Nothing)
    }

    fn set_ordinal(&mut self, number: i64) -> Result<(), Problem> {
        self.ordinal = Ordinal::of(number, self.libraries)?;
        Ok(())
    }

    fn import(&self, at: At, table: &Bytes) -> Result<Import, Problem> {
        let symbol = self.symbol.ok_or_else(|| at.bad("no symbol was set"))?;
        Ok(Import {
            symbol: table.slice_ref(symbol),
            ordinal: self.ordinal,
            weak_import: self.flags & macho::BIND_SYMBOL_FLAGS_WEAK_IMPORT != 0,
        })
    }

    fn is_strong(&self) -> bool {
        self.flags & macho::BIND_SYMBOL_FLAGS_NON_WEAK_DEFINITION != 0
    }

    fn segment(&self, at: At) -> Result<usize, Problem> {
        self.segment.ok_or_else(|| at.bad("no segment was set"))
    }
}

fn binds(image: &Image, mut state: Interpreter<'_>, builder: &mut Builder<'_>) -> Result<(), Problem> {
    let stream = state.stream;
    let bytes = stream.bytes(image);
    // Imports of chains that follow (arm64e before it had chained fixups).
    let mut threaded: Option<Vec<(ImportId, i64)>> = None;
    let mut entry = 0;
    while !state.cursor.is_at_end() {
        let at = state.at();
        match state.step()? {
            Step::Nothing => {}
            Step::Symbol if stream == Stream::Weak && state.is_strong() => {
                builder.strong_definitions.extend(state.symbol.map(|name| bytes.slice_ref(name)));
            }
            Step::Symbol => {}
            Step::Done if stream == Stream::Lazy => {
                // Each entry says all that it needs.
                entry = state.cursor.at;
                state = Interpreter { cursor: state.cursor, ..Interpreter::new(image, stream, &[], 0) };
            }
            Step::Done => break,
            Step::Imports => threaded = Some(Vec::new()),
            Step::Chain => {
                let imports = threaded.as_deref().unwrap_or_default();
                chain(at, state.segment(at)?, state.offset, imports, image, builder)?;
            }
            Step::Bind { count, step } => {
                let import = builder.import(state.import(at, &bytes)?)?;
                if let Some(imports) = &mut threaded {
                    imports.push((import, state.addend));
                    continue;
                }
                let table = match stream {
                    Stream::Bind => Table::Bind,
                    Stream::Weak => Table::WeakBind,
                    Stream::Lazy => Table::LazyBind { entry: At { at: entry, ..at }.number() },
                };
                let action = Action::Bind { import, addend: state.addend, auth: None };
                for _ in 0..count {
                    let slot = builder.slot(at, state.segment(at)?, state.offset)?;
                    builder.push(Fixup { slot, table, at: at.number(), action })?;
                    state.offset = state.offset.wrapping_add(step);
                }
                if stream == Stream::Lazy {
                    entry = state.cursor.at;
                }
            }
        }
    }
    Ok(())
}

/// A chain of pointers that the bind opcodes name: rebases and binds, each with the distance to the next.
fn chain(
    at: At,
    segment: usize,
    mut offset: u64,
    imports: &[(ImportId, i64)],
    image: &Image,
    builder: &mut Builder<'_>,
) -> Result<(), Problem> {
    loop {
        let slot = builder.slot(at, segment, offset)?;
        let (pointer, next) = PointerFormat::Arm64e.decode(builder.value(&slot));
        let action = match pointer {
            Pointer::Rebase { target, high8, auth } => {
                // A signed one counts from the Mach header, any other is an address.
                let target =
                    if auth.is_some() { image.base().checked_add(target) } else { Some(LinkAddress(target)) };
                let target = target.ok_or_else(|| at.bad("a pointer to no address"))?;
                Action::Rebase { target, high8, auth }
            }
            Pointer::Bind { import, addend, auth } => {
                let named = imports.get(import as usize);
                let (import, of_import) =
                    *named.ok_or_else(|| at.bad("an import that is not in the table"))?;
                Action::Bind { import, addend: addend.wrapping_add(of_import), auth }
            }
        };
        builder.push(Fixup { slot, table: Table::Bind, at: at.number(), action })?;
        if next == 0 {
            return Ok(());
        }
        offset = offset.checked_add(next).ok_or_else(|| at.bad("a chain that leads nowhere"))?;
    }
}
