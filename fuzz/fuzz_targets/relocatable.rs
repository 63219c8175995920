//! An object from anywhere: read, compared with itself, its references interpreted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_object::compare::{Comparer, Strictness, referent};
use livepatch_object::relocatable::{Relocatable, SectionKind};
use livepatch_object::relocation::howto;
use livepatch_object::tls;
use livepatch_object::unwind::{Unwind, relocations_within};

fuzz_target!(|data: &[u8]| {
    let Ok(object) = Relocatable::parse(data.to_vec()) else { return };
    let unwind = Unwind::parse(&object).unwrap_or_default();
    let mut comparer = Comparer::new(&object, &object, Strictness::IgnoreLocations);
    for (id, section) in object.sections() {
        assert!(comparer.same_section(id, id), "an object equals itself");
        let mut bytes = object.data(id).to_vec();
        for relocation in object.relocations(id) {
            let _ = referent(&object, id, relocation);
            let _ = tls::relax(&mut bytes, relocation, -8);
            if let Ok(howto) = howto(relocation.kind) {
                let _ = howto.write(&mut bytes, relocation.offset.0, relocation.addend);
            }
        }
        if section.kind == SectionKind::Text {
            for frame in unwind.fdes_in(id) {
                if let Some(section) = unwind.section {
                    let _ = relocations_within(&object, section, &frame.range);
                }
            }
        }
    }
    for (id, _) in object.symbols() {
        let _ = livepatch_object::demangle(object.name(id));
    }
});
