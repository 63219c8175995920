//! Debug information from anywhere: what it says about types, functions and vtables, as hashes and as text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_object::layout::{Layouts, describe, difference, is_renaming};
use livepatch_object::relocatable::Relocatable;

fuzz_target!(|data: &[u8]| {
    let Ok(object) = Relocatable::parse(data.to_vec()) else { return };
    let Ok(Some(layouts)) = Layouts::read(&object) else { return };
    for ty in layouts.types() {
        assert!(!ty.is_relaid(&ty), "a type is what it is");
        assert!(ty.reaches().all(|id| layouts.get(id).is_some()), "what is reached is there");
    }
    let mut before = None;
    for ty in layouts.types().take(4) {
        let Some(text) = describe(&object, ty.id()) else { panic!("{ty:?} was read before") };
        if let Some(before) = before.replace(text.clone()) {
            let _ = (difference(&before, &text), is_renaming(&before, &text));
        }
    }
    for function in layouts.functions() {
        assert!(layouts.function(function.symbol()).is_some(), "a function is found by its symbol");
    }
    assert!(layouts.vtables().all(|vtable| vtable.slots.iter().all(|slot| slot.offset < vtable.size)));
    assert!(layouts.closure_families().all(|(_, mut family)| family.next().is_some()));
});
