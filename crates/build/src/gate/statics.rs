//! Statics and thread-locals of another type: their live values cannot be kept. Names alone do not always
//! tell (those of the `v0` kind do not cover types).

use super::{Findings, Pair};
use crate::objects::Object;
use livepatch_object::demangle;
use livepatch_object::layout::{TypeId, describe};
use livepatch_object::relocatable::{Place, SectionKind, SymbolId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Compares the types of everything that the program writes.
pub(super) fn check(pairs: &[Pair<'_>], findings: &mut Findings<'_>) {
    let mut before: FxHashMap<&str, (TypeId, &Arc<Object>)> = FxHashMap::default();
    for Pair { old: (object, layouts), .. } in pairs {
        let statics = layouts.statics().map(|known| (object.image.name(known.symbol), (known.ty, *object)));
        before.extend(statics);
    }
    for Pair { new: (object, layouts), .. } in pairs {
        for known in layouts.statics().filter(|known| is_storage(object, known.symbol)) {
            let name = object.image.name(known.symbol);
            let Some(&(old, was)) = before.get(name).filter(|(old, _)| *old != known.ty) else { continue };
            let (old, new) = (type_name(was, old), type_name(object, known.ty));
            findings.unsound.push(format!("`{}`: {old} → {new}", demangle(name)));
        }
    }
}

fn is_storage(object: &Object, symbol: SymbolId) -> bool {
    use SectionKind::{Bss, Data, TlsBss, TlsData};
    match object.image.symbol(symbol).place {
        Place::Section(section) => {
            matches!(object.image.section(section).kind, Data | Bss | TlsBss | TlsData)
        }
        _ => false,
    }
}

fn type_name(object: &Object, id: TypeId) -> String {
    describe(&object.image, id).map_or_else(|| "another type".to_owned(), |text| text.name)
}
