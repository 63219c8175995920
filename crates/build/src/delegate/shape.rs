//! Where everything is in a future of before and in its new version.

use super::texts::Texts;
use crate::gate::Relaid;
use crate::live::Entity;
use livepatch_object::layout::{FieldText, LayoutText, Layouts, TypeId, TypeKind};
use rustc_hash::FxHashSet;

/// The mark of the first shim at an entry; each further one has the value below, and the hundredth
/// is not met by a future of the first. No coroutine that is taken has that many states.
const FIRST_MARK: u8 = 0xEE;
const MOST_STATES: usize = 0x80;
const MARKS: usize = 100;

/// `malloc` aligns to this many bytes.
const MALLOC_ALIGN: u64 = 16;

/// How deep a result is looked into.
const MAX_DEPTH: u32 = 16;

/// A future in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Environment {
    /// Its size in bytes.
    pub(super) size: u32,
    /// Where its state byte is.
    pub(super) state: u32,
}

/// A captured variable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// Its offset in the old environment.
    pub(super) from: u32,
    /// Its offset in the new one.
    pub(super) to: u32,
    /// Its size in bytes.
    pub(super) size: u32,
}

/// What the shims must know.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) old: Environment,
    pub(super) new: Environment,
    /// The value of the old state byte that says: it is elsewhere.
    pub(super) mark: u8,
    /// Where the old environment has the new one's address then.
    pub(super) pointer: u32,
    /// The state of a future that is done, in both.
    pub(super) returned: u8,
    /// Whether `poll` is given a place for its result as its first argument.
    pub(super) result_in_memory: bool,
    pub(super) moves: Vec<Move>,
}

impl Shape {
    /// None when a future of before cannot become one of the new version. `earlier` shims are at its entry.
    pub(super) fn of(
        future: &Relaid<'_>,
        texts: &Texts,
        old_poll: &Entity,
        new_poll: &Entity,
        changed: &FxHashSet<TypeId>,
        earlier: usize,
    ) -> Option<Self> {
        let (before, after) = (texts.get(future.old, future.id)?, texts.get(future.new, future.id)?);
        if !before.whole.name.contains("{async_") {
            return None;
        }
        let (old, new) = (one(&before.whole.layouts)?, one(&after.whole.layouts)?);
        let result_in_memory = result_in_memory(old_poll, new_poll, changed)?;
        let from = &one(&before.unresumed.as_ref()?.layouts)?.fields;
        let to = &one(&after.unresumed.as_ref()?.layouts)?.fields;
        let moves = moves(from, to, future.old.layouts()?, changed)?;
        let (old_place, new_place) = (environment(old)?, environment(new)?);
        fit(&old_place, moves.iter().map(|captured| (captured.from, captured.size)))?;
        fit(&new_place, moves.iter().map(|captured| (captured.to, captured.size)))?;
        let returned = state(old, "Returned")?;
        let possible = new.align <= MALLOC_ALIGN
            && old_place.size > 8
            && state(new, "Returned")? == returned
            && state(old, "Unresumed")? == 0
            && state(new, "Unresumed")? == 0
            && old.variants.len() < MOST_STATES;
        possible.then_some(())?;
        let mark = FIRST_MARK - u8::try_from(earlier % MARKS).ok()?;
        let pointer = if old_place.state < 8 { old_place.state + 1 } else { 0 };
        (pointer + 8 <= old_place.size).then_some(())?;
        Some(Self { old: old_place, new: new_place, mark, pointer, returned, result_in_memory, moves })
    }
}

fn one(layouts: &[LayoutText]) -> Option<&LayoutText> {
    match layouts {
        [only] => Some(only),
        _ => None,
    }
}

fn environment(layout: &LayoutText) -> Option<Environment> {
    let tag = layout.tag.as_ref().filter(|tag| tag.ty == "u8")?;
    Some(Environment { size: layout.size.try_into().ok()?, state: tag.offset.try_into().ok()? })
}

fn state(layout: &LayoutText, name: &str) -> Option<u8> {
    let discriminants = layout
        .variants
        .iter()
        .filter(|variant| variant.name == name || variant.name.ends_with(&format!("::{name}")));
    discriminants.filter_map(|variant| variant.discriminant).next()?.try_into().ok()
}

/// Where each captured variable goes; none unless both versions capture the same.
fn moves(
    from: &[FieldText],
    to: &[FieldText],
    layouts: &Layouts,
    changed: &FxHashSet<TypeId>,
) -> Option<Vec<Move>> {
    let mut moves = Vec::new();
    for field in from {
        let is_same = |other: &&FieldText| {
            (&other.name, &other.ty, other.align) == (&field.name, &field.ty, field.align)
        };
        let same = to.iter().find(is_same)?;
        let size = if is_function_item(layouts, field) { 0 } else { size_of(layouts, &field.ty)? };
        if changed.contains(&TypeId::of(&field.ty)) {
            return None;
        }
        moves.push(Move {
            from: field.offset.try_into().ok()?,
            to: same.offset.try_into().ok()?,
            size: size.try_into().ok()?,
        });
    }
    (from.len() == to.len()).then_some(moves)
}

/// Whether what is captured is a function itself and not a pointer to one: it has no bytes, but is described
/// as the pointer is.
fn is_function_item(layouts: &Layouts, field: &FieldText) -> bool {
    let ty = layouts.get(TypeId::of(&field.ty));
    field.align == 1 && ty.is_some_and(|ty| ty.kind() == TypeKind::Pointer)
}

/// Whether variables, by offset and size, lie within an environment, beside each other and its state: where
/// they do not, something is not as it is described, and nothing is moved.
fn fit(environment: &Environment, variables: impl Iterator<Item = (u32, u32)>) -> Option<()> {
    let mut all: Vec<(u32, u32)> = variables.filter(|&(_, size)| size > 0).collect();
    all.push((environment.state, 1));
    all.sort_unstable();
    let mut free = 0;
    for (offset, size) in all {
        (offset >= free).then_some(())?;
        free = offset.checked_add(size)?;
    }
    (free <= environment.size).then_some(())
}

/// The size of a type by its name. Arrays have none of their own, and types that share a name not one.
fn size_of(layouts: &Layouts, name: &str) -> Option<u64> {
    if let Some((element, count)) =
        name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.rsplit_once("; "))
    {
        return size_of(layouts, element)?.checked_mul(count.parse().ok()?);
    }
    layouts.get(TypeId::of(name)).filter(|ty| !ty.is_ambiguous()).map(|ty| ty.size())
}

/// Whether `poll` returns through memory: the Rust ABI does so with what is larger than two registers,
/// unless it is one or two numbers, of which the large ones are not looked into further here.
fn result_in_memory(old: &Entity, new: &Entity, changed: &FxHashSet<TypeId>) -> Option<bool> {
    let (old_layouts, new_layouts) = (old.object.layouts()?, new.object.layouts()?);
    let before = *old_layouts.function(old.symbol)?.signature_types().last()?;
    let after = *new_layouts.function(new.symbol)?.signature_types().last()?;
    if before != after || changed.contains(&before) {
        return None;
    }
    let large = old_layouts.get(before).filter(|ty| !ty.is_ambiguous())?.size() > 16;
    (!large || !has_wide_number(old_layouts, before, 0)).then_some(large)
}

fn has_wide_number(layouts: &Layouts, id: TypeId, depth: u32) -> bool {
    let Some(ty) = layouts.get(id) else { return true };
    let wide = ty.kind() == TypeKind::Primitive && ty.size() > 8;
    wide || depth > MAX_DEPTH || ty.embedded().any(|inner| has_wide_number(layouts, inner, depth + 1))
}
