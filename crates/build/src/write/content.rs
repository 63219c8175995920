//! Code, constants, variables, stubs and cells: copied, and every reference made final.

use super::{Bind, WriteError, machine};
use crate::place::{Cell, Layout, target_of};
use crate::resolve::{Closure, Part, Target};
use livepatch_object::compare::{Referent, referent};
use livepatch_object::demangle;
use livepatch_object::relocatable::{Relocation, SectionKind};
use livepatch_object::relocation::{Formula, Howto, RelocationError, howto, pc_bias};
use livepatch_object::tls;

/// Writes the image's bytes, from its first to the last that is not zero-initialised.
pub(super) fn write(closure: &Closure, layout: &Layout, bind: &Bind<'_>) -> Result<Vec<u8>, WriteError> {
    let length = layout.code_length().max(layout.data.end());
    let mut image = vec![0; usize::try_from(length).map_err(|_| WriteError::Inconsistent("its size"))?];
    let architecture = closure.architecture;
    image[offset(layout.text.start)..offset(layout.text.end())].fill(machine::filling(architecture));
    for (part, &start) in closure.parts.iter().zip(&layout.parts) {
        if in_image(part) {
            write_part(closure, layout, bind, part, start, &mut image)?;
        }
    }
    for (&target, &at) in &layout.stubs {
        let stub = machine::stub(architecture, bind.address(target)?);
        image[offset(at)..][..stub.len()].copy_from_slice(&stub);
    }
    for (&cell, &at) in &layout.cells {
        let words = bind.cell(cell)?.map(u64::to_le_bytes);
        let length = offset(cell.size());
        image[offset(at)..][..length].copy_from_slice(&words.as_flattened()[..length]);
    }
    Ok(image)
}

/// Offsets were laid out by us, in an image that fits memory.
pub(super) fn offset(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn in_image(part: &Part) -> bool {
    let kind = part.object.image.section(part.section).kind;
    matches!(kind, SectionKind::Text | SectionKind::ReadOnly | SectionKind::Data)
}

fn write_part(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    part: &Part,
    start: u64,
    image: &mut [u8],
) -> Result<(), WriteError> {
    let data = part.object.image.data(part.section);
    let bytes = image
        .get_mut(offset(start)..offset(start).saturating_add(data.len()))
        .ok_or(WriteError::Inconsistent("a part outside the image"))?;
    bytes.copy_from_slice(data);
    let mut skip = false;
    for relocation in part.object.image.relocations(part.section) {
        if std::mem::take(&mut skip) {
            continue;
        }
        skip = write_reference(closure, layout, bind, part, relocation, start, bytes)
            .map_err(|error| error.at(part, relocation))?;
    }
    Ok(())
}

/// The initial value of a new thread-local: the bytes of its part, with every reference made final.
pub(super) fn thread_local(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    part: &Part,
) -> Result<Vec<u8>, WriteError> {
    let mut bytes = part.object.image.data(part.section).to_vec();
    write_part(closure, layout, bind, part, 0, &mut bytes)?;
    Ok(bytes)
}

/// Why one reference could not be written.
pub(super) enum ReferenceError {
    Relocation(RelocationError),
    Write(WriteError),
}

impl From<RelocationError> for ReferenceError {
    fn from(error: RelocationError) -> Self {
        Self::Relocation(error)
    }
}

impl From<WriteError> for ReferenceError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl ReferenceError {
    pub(super) fn at(self, part: &Part, relocation: &Relocation) -> WriteError {
        let image = &part.object.image;
        match self {
            Self::Write(error) => error,
            Self::Relocation(source) => WriteError::Reference {
                from: demangle(image.symbols_in(part.section).next().map_or("", |s| image.name(s))),
                to: match referent(image, part.section, relocation) {
                    Referent::Named { symbol, .. } => demangle(image.name(symbol)),
                    Referent::Content { section, .. } | Referent::Interior { section, .. } => {
                        image.section_name(section).to_owned()
                    }
                    Referent::Absolute { value } => format!("{value:#x}"),
                },
                source,
            },
        }
    }
}

/// Makes one reference final. `bytes` stand at `start` in the image. Returns whether the next
/// relocation was taken in by this one.
pub(super) fn write_reference(
    closure: &Closure,
    layout: &Layout,
    bind: &Bind<'_>,
    part: &Part,
    relocation: &Relocation,
    start: u64,
    bytes: &mut [u8],
) -> Result<bool, ReferenceError> {
    let howto = howto(relocation.kind)?;
    if howto.formula == Formula::None {
        return Ok(false);
    }
    let place = bind.runtime(start.wrapping_add(relocation.offset.0)).0;
    let (target, addend) = match referent(&part.object.image, part.section, relocation) {
        Referent::Absolute { value } => (Target::Absolute(value), 0),
        Referent::Named { offset, .. }
        | Referent::Content { offset, .. }
        | Referent::Interior { offset, .. } => {
            let target = target_of(closure, part, relocation);
            (target.ok_or(WriteError::Inconsistent("a reference that was not resolved"))?, offset)
        }
    };
    let relative = |to: u64| howto.distance(to.wrapping_add_signed(addend), place);
    let absolute = |to: u64| to.wrapping_add_signed(addend).cast_signed();
    let value = match howto.formula {
        Formula::Absolute => absolute(bind.address(target)?),
        Formula::Relative => relative(bind.address(target)?),
        Formula::Branch => {
            let to = bind.address(target)?;
            match layout.stubs.get(&target) {
                Some(&stub) if !machine::branch_reaches(closure.architecture, relative(to)) => {
                    relative(bind.runtime(stub).0)
                }
                _ => relative(to),
            }
        }
        Formula::CellAbsolute => absolute(cell_address(layout, bind, Cell::Address(target))?),
        Formula::CellRelative => relative(cell_address(layout, bind, Cell::Address(target))?),
        Formula::ThreadCellAbsolute => absolute(cell_address(layout, bind, Cell::ThreadOffset(target))?),
        Formula::ThreadCellRelative => relative(cell_address(layout, bind, Cell::ThreadOffset(target))?),
        Formula::ThreadOffset => bind.tp_offset(target)?.wrapping_add(addend),
        Formula::ThreadBlockOffset => bind.block_offset(target)?.wrapping_add(addend),
        Formula::ThreadGeneral if closure.is_dynamic(target) => {
            relative(cell_address(layout, bind, Cell::ThreadIndex(target))?)
        }
        Formula::ThreadModule if closure.is_dynamic(target) => {
            relative(cell_address(layout, bind, Cell::ThreadModule)?)
        }
        Formula::ThreadGeneral
        | Formula::ThreadModule
        | Formula::ThreadDescriptor
        | Formula::ThreadDescriptorCall => {
            return relax(bind, howto, target, relocation, addend, bytes);
        }
        Formula::Size | Formula::None => {
            return Err(RelocationError::Unsupported { kind: relocation.kind }.into());
        }
    };
    howto.write(bytes, relocation.offset.0, value)?;
    Ok(false)
}

fn cell_address(layout: &Layout, bind: &Bind<'_>, cell: Cell) -> Result<u64, WriteError> {
    let at = layout.cells.get(&cell).ok_or(WriteError::Inconsistent("a cell that was not placed"))?;
    Ok(bind.runtime(*at).0)
}

fn relax(
    bind: &Bind<'_>,
    howto: &Howto,
    target: Target,
    relocation: &Relocation,
    addend: i64,
    bytes: &mut [u8],
) -> Result<bool, ReferenceError> {
    let tp_offset = match howto.formula {
        // The block of the program itself ends at the thread pointer, which the rewritten code returns.
        Formula::ThreadModule | Formula::ThreadDescriptorCall => 0,
        _ => bind.tp_offset(target)?.wrapping_add(addend).wrapping_add(pc_bias(relocation)),
    };
    Ok(tls::relax(bytes, relocation, tp_offset)?)
}
