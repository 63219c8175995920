//! What changed in a type, in one line for a person: `State: 24 → 32 bytes, field name: String added at 24`.

use super::TypeKind;
use super::names::shorten;
use super::text::{FieldText, LayoutText, TypeText, VariantText};

/// How many changes are named one by one.
const MAX_CHANGES: usize = 6;

/// How many fields that only moved are named one by one.
const MAX_MOVES: usize = 2;

/// What changed between two versions of a type.
pub fn difference(old: &TypeText, new: &TypeText) -> String {
    let mut changes = Vec::new();
    // Where there are several types of this name, those count that the other version does not have.
    let gone = old.layouts.iter().find(|layout| !new.layouts.contains(layout));
    let came = new.layouts.iter().find(|layout| !old.layouts.contains(layout));
    let (before, after) = (kind(old.kind, gone), kind(new.kind, came));
    if before != after {
        changes.push(format!("{before} → {after}"));
    }
    if let (Some(gone), Some(came)) = (gone, came) {
        sizes(gone, came, &mut changes);
        let mut moved = Vec::new();
        fields("", &gone.fields, &came.fields, &mut changes, &mut moved);
        let same_variants = variants(&gone.variants, &came.variants, &mut changes, &mut moved);
        if same_variants {
            tags(gone, came, &mut changes);
            moves(&moved, &mut changes);
        }
        if gone.what != came.what && !gone.what.is_empty() && !came.what.is_empty() {
            changes.push(arrow(&gone.what, &came.what));
        }
    }
    if changes.is_empty() {
        changes.push("layout changed".into());
    }
    if let Some(more) = changes.len().checked_sub(MAX_CHANGES).filter(|&more| more > 1) {
        changes.truncate(MAX_CHANGES);
        changes.push(format!("{more} more changes"));
    }
    format!("{}: {}", shorten(&new.name), changes.join(", "))
}

/// Whether nothing changed but names of fields, so that every value of before is one of the new type and
/// means the same. It does not where fields got each other's names, nor in closures and coroutines: what is
/// captured under another name is something else.
pub fn is_renaming(old: &TypeText, new: &TypeText) -> bool {
    let ([a], [b]) = (&*old.layouts, &*new.layouts) else { return false };
    let variants = || a.variants.iter().zip(&b.variants);
    let rest = |layout: &LayoutText| (layout.size, layout.align, layout.tag.clone(), layout.what.clone());
    old.kind == new.kind
        && !old.kind.is_environment()
        && rest(a) == rest(b)
        && are_renamed(&a.fields, &b.fields)
        && a.variants.len() == b.variants.len()
        && variants().all(|(a, b)| (&a.name, a.discriminant) == (&b.name, b.discriminant))
        && variants().all(|(a, b)| are_renamed(&a.fields, &b.fields))
}

fn are_renamed(old: &[FieldText], new: &[FieldText]) -> bool {
    let pairs = || old.iter().zip(new);
    let is_new = |name: &str| old.iter().all(|field| field.name != name);
    old.len() == new.len()
        && pairs().all(|(a, b)| (a.offset, &a.ty) == (b.offset, &b.ty))
        && pairs().all(|(a, b)| a.name == b.name || is_new(&b.name))
}

/// What a person calls such a type.
fn kind(kind: TypeKind, layout: Option<&LayoutText>) -> &'static str {
    let has_variants = layout.is_some_and(|layout| !layout.variants.is_empty());
    match kind {
        TypeKind::Struct if has_variants => "enum",
        TypeKind::Struct => "struct",
        TypeKind::Enum => "enum",
        TypeKind::Union => "union",
        TypeKind::Primitive => "primitive",
        TypeKind::Pointer => "pointer",
        TypeKind::Array => "array",
        TypeKind::Function => "function type",
        TypeKind::Closure => "closure",
        TypeKind::Coroutine => "coroutine",
        TypeKind::Alias => "alias",
        TypeKind::Opaque => "opaque type",
    }
}

fn sizes(old: &LayoutText, new: &LayoutText, changes: &mut Vec<String>) {
    if old.size != new.size {
        changes.push(format!("{} → {} bytes", old.size, new.size));
    }
    if old.align != new.align {
        changes.push(format!("alignment {} → {}", old.align, new.align));
    }
}

/// Whether both have the same variants. If not, it is no wonder that others have new numbers.
fn variants(
    old: &[VariantText],
    new: &[VariantText],
    changes: &mut Vec<String>,
    moved: &mut Vec<Move>,
) -> bool {
    let find = |all: &[VariantText], name: &str| all.iter().position(|it| it.name == name);
    let before = changes.len();
    for variant in new.iter().filter(|it| find(old, &it.name).is_none()) {
        changes.push(format!("variant {} added", variant.name));
    }
    for variant in old.iter().filter(|it| find(new, &it.name).is_none()) {
        changes.push(format!("variant {} removed", variant.name));
    }
    let same = changes.len() == before;
    let pairs = || old.iter().filter_map(|it| Some((it, &new[find(new, &it.name)?])));
    for (a, b) in pairs() {
        fields(&format!("{}.", a.name), &a.fields, &b.fields, changes, moved);
    }
    if same {
        let renumbered: Vec<_> = pairs().filter(|(a, b)| a.discriminant != b.discriminant).collect();
        renumberings(&renumbered, changes);
    }
    same
}

/// Variants that other values select than before.
fn renumberings(renumbered: &[(&VariantText, &VariantText)], changes: &mut Vec<String>) {
    match renumbered {
        [] => {}
        [(a, b), (c, d)] if (a.discriminant, c.discriminant) == (d.discriminant, b.discriminant) => {
            changes.push(format!("variants {} and {} swapped", a.name, c.name));
        }
        [(a, b)] => {
            let value = |variant: &VariantText| {
                variant.discriminant.map_or("any other".into(), |value| value.cast_signed().to_string())
            };
            changes.push(format!("variant {}: value {} → {}", a.name, value(a), value(b)));
        }
        _ => changes.push(format!("{} variants renumbered", renumbered.len())),
    }
}

fn tags(old: &LayoutText, new: &LayoutText, changes: &mut Vec<String>) {
    let (Some(a), Some(b)) = (&old.tag, &new.tag) else { return };
    if a.ty != b.ty {
        changes.push(format!("tag: {}", arrow(&a.ty, &b.ty)));
    } else if a.offset != b.offset {
        changes.push(format!("tag moved {} → {}", a.offset, b.offset));
    }
}

/// A field that is elsewhere: its name, where it was, where it is.
type Move = (String, u64, u64);

/// `within` is what stands before the names of fields: the variant that has them.
fn fields(
    within: &str,
    old: &[FieldText],
    new: &[FieldText],
    changes: &mut Vec<String>,
    moved: &mut Vec<Move>,
) {
    let label = |field: &FieldText| format!("{within}{}", label(field));
    let (mut old, mut new) = (old.to_vec(), new.to_vec());
    // Coroutines may keep several locals of one name: what is equal goes first.
    take_pairs(&mut old, &mut new, |a, b| a == b, |_, _| {});
    take_pairs(
        &mut old,
        &mut new,
        |a, b| a.name == b.name,
        |a, b| {
            if a.ty == b.ty {
                moved.push((label(a), a.offset, b.offset));
            } else {
                changes.push(format!("field {}: {}", label(a), arrow(&a.ty, &b.ty)));
            }
        },
    );
    let alike = |a: &FieldText, b: &FieldText| (a.offset, &a.ty) == (b.offset, &b.ty);
    take_pairs(&mut old, &mut new, alike, |a, b| {
        changes.push(format!("field {} renamed to {}", label(a), label(b)));
    });
    for field in &new {
        changes.push(format!("field {}: {} added at {}", label(field), shorten(&field.ty), field.offset));
    }
    for field in &old {
        changes.push(format!("field {}: {} removed", label(field), shorten(&field.ty)));
    }
}

/// Takes fields that belong together out of both lists.
fn take_pairs(
    old: &mut Vec<FieldText>,
    new: &mut Vec<FieldText>,
    belong: impl Fn(&FieldText, &FieldText) -> bool,
    mut found: impl FnMut(&FieldText, &FieldText),
) {
    old.retain(|a| {
        let at = new.iter().position(|b| belong(a, b));
        if let Some(at) = at {
            found(a, &new.remove(at));
        }
        at.is_none()
    });
}

/// Fields that are there under the same name and type, elsewhere.
fn moves(moved: &[Move], changes: &mut Vec<String>) {
    match moved {
        [(a, from, to), (b, from_b, to_b)] if (from, to) == (to_b, from_b) => {
            changes.push(format!("fields {a} and {b} swapped"));
        }
        _ if moved.len() > MAX_MOVES => changes.push(format!("{} fields moved", moved.len())),
        _ => changes.extend(moved.iter().map(|(name, from, to)| format!("field {name} moved {from} → {to}"))),
    }
}

/// A field as its author calls it: `0` for what debug information calls `__0`.
fn label(field: &FieldText) -> &str {
    let number = field.name.strip_prefix("__").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    number.unwrap_or(&field.name)
}

/// Two types, short unless only their full names tell them apart.
fn arrow(old: &str, new: &str) -> String {
    let (short_old, short_new) = (shorten(old), shorten(new));
    if short_old == short_new { format!("{old} → {new}") } else { format!("{short_old} → {short_new}") }
}
