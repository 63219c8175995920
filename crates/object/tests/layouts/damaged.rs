//! Damaged debug information.

use crate::unit::*;
use livepatch_object::layout::{Layouts, describe, difference};
use livepatch_object::relocatable::{Relocatable, SectionKind};
use proptest::prelude::*;
use std::sync::OnceLock;

/// Reads everything there is to read.
fn read_all(image: &Relocatable) {
    let Ok(Some(layouts)) = Layouts::read(image) else { return };
    for ty in layouts.types().take(3) {
        let described = describe(image, ty.id()).expect("it was read before");
        assert!(!ty.is_relaid(&ty));
        assert!(!difference(&described, &described).is_empty());
        assert_eq!(ty.reaches().filter(|id| layouts.get(*id).is_none()).count(), 0);
    }
}

/// A small real object with a bit of everything, once with each version of DWARF.
fn samples() -> &'static [Vec<u8>; 2] {
    static SAMPLES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let source = "#![no_std]".to_owned()
            + "pub enum Kind { Square(f32), Round { r: f64 } }
            pub trait Acts { fn first(&self) -> u64; }
            impl Acts for Kind { fn first(&self) -> u64 { 1 } }
            pub static KIND: Kind = Kind::Square(1.0);
            pub async fn work(k: Kind) -> [u8; 3] { [k.first() as u8; 3] }
            pub fn f(k: &Kind, by: u64) -> &dyn Acts { let c = |x: u64| x + by; c(1); k }
            pub fn g<'a>(f: fn(u8) -> Kind) -> impl core::future::Future { work(f(0)) }";
        [DEV, DWARF_5].map(|arguments| {
            let arguments = [&["--emit=obj", "--crate-type=lib", "-Ccodegen-units=1"], arguments].concat();
            let path = rustc("damaged", &source, &arguments, "app.o");
            std::fs::read(path).expect("reading")
        })
    })
}

#[test]
fn the_samples_have_what_damage_could_reach() {
    for sample in samples() {
        let image = Relocatable::parse(sample.clone()).expect("an object");
        let layouts = Layouts::read(&image).expect("readable").expect("debug information");
        assert!(layouts.types().count() > 10 && layouts.functions().count() > 3);
        assert!(layouts.vtables().count() == 1 && layouts.statics().count() == 1);
        read_all(&image);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn damaged_debug_information_is_an_error_or_ignored(
        sample in 0..2usize,
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let mut bytes = samples()[sample].clone();
        let object = Relocatable::parse(bytes.clone()).expect("an object");
        // Where debug sections are: the rest is damaged by the tests of the object's other readers.
        let mut places: Vec<usize> = Vec::new();
        for (id, section) in object.sections().filter(|(_, section)| section.kind == SectionKind::Debug) {
            if section.size > 0 && object.section_name(id) != ".debug_line" {
                let data = object.data(id);
                let at = bytes.windows(data.len()).position(|window| window == data).expect("in the file");
                places.extend(at..at + data.len());
            }
        }
        for (index, value) in flips {
            bytes[places[index.index(places.len())]] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(image) = Relocatable::parse(bytes) {
            read_all(&image);
        }
    }
}
