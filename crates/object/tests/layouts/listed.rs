//! All types of an object against what `readelf` lists.

use crate::sources::*;
use crate::unit::*;
use livepatch_object::layout::{LayoutText, TypeId, TypeKind, describe};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A type as `readelf` lists it.
#[derive(Debug)]
struct Listed {
    name: String,
    within_type: bool,
    size: u64,
    fields: BTreeSet<(String, u64)>,
}

/// What `readelf` says about all structs, unions, enums and primitives, names qualified.
fn listed(object: &Path) -> Vec<Listed> {
    let output = Command::new("readelf").args(["--debug-dump=info", "--wide"]).arg(object).output();
    let output = output.expect("binutils are installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The entries that are open: depth, tag, index in `found` of the type that it is.
    let mut open: Vec<(usize, String, String, Option<usize>)> = Vec::new();
    let mut found: Vec<Listed> = Vec::new();
    for line in text.lines() {
        if let Some((head, tag)) = line.split_once(": Abbrev Number: ") {
            let Some((_, tag)) = tag.split_once('(') else { continue };
            let depth = head.trim_start().trim_start_matches('<').split('>').next().expect("a depth");
            let depth = depth.parse().expect("a depth");
            open.retain(|entry| entry.0 < depth);
            open.push((depth, tag.trim_end_matches(')').to_owned(), String::new(), None));
            let is_type = |tag: &str| {
                ["structure_type", "union_type", "enumeration_type", "base_type"]
                    .iter()
                    .any(|kind| tag.strip_prefix("DW_TAG_") == Some(kind))
            };
            let (last, outer) = open.split_last_mut().expect("just opened");
            if is_type(&last.1) {
                let within_type = outer.last().is_some_and(|outer| is_type(&outer.1));
                found.push(Listed { name: String::new(), within_type, size: 0, fields: BTreeSet::new() });
                last.3 = Some(found.len() - 1);
            }
        } else if let Some((key, value)) = line.split_once(": ")
            && let Some((_, key)) = key.split_once("DW_AT_")
            && let Some((last, outer)) = open.split_last_mut()
        {
            match (key.trim(), last.3) {
                ("name", index) => {
                    // (indirect string, offset: 0x1234): the name
                    let value = value.rsplit_once("): ").map_or(value, |(_, name)| name);
                    last.2 = value.trim().to_owned();
                    if let Some(index) = index {
                        let spaces = outer.iter().filter(|it| it.1 == "DW_TAG_namespace" || it.3.is_some());
                        let spaces: String = spaces.map(|it| it.2.clone() + "::").collect();
                        found[index].name = spaces + &last.2;
                    }
                }
                ("byte_size", Some(index)) => found[index].size = number(value),
                ("data_member_location", None) => {
                    if let Some((_, _, _, Some(index))) = outer.last()
                        && last.1 == "DW_TAG_member"
                    {
                        found[*index].fields.insert((last.2.clone(), number(value)));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn number(text: &str) -> u64 {
    // The form may stand before it: (data1) 48
    let text = text.split_whitespace().last().unwrap_or_default();
    let hexadecimal = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    hexadecimal.or_else(|| text.parse().ok()).expect(text)
}

#[test]
fn types_are_those_that_readelf_lists() {
    let source = SHAPES.to_owned() + ASYNC + "pub mod more {" + FUNCTIONS + "}";
    for arguments in [DEV, DWARF_5, RELEASE] {
        let unit = Unit::of("listed", &source, arguments);
        let listed = listed(&folder("listed").join("app.o"));
        assert!(listed.len() > 100);
        for Listed { name, within_type, size, fields } in &listed {
            let found = unit.layouts.get(TypeId::of(name));
            if *within_type {
                assert!(found.is_none(), "{name} is part of another type");
                continue;
            }
            let found = found.expect(name);
            assert_eq!(found.size(), *size, "{name}");
            if name.contains("app::") {
                let text = describe(&unit.image, found.id()).expect("a description");
                assert_eq!(&text.name, name);
                let fields_of = |layout: &LayoutText| -> BTreeSet<(String, u64)> {
                    layout.fields.iter().map(|field| (field.name.clone(), field.offset)).collect()
                };
                assert!(text.layouts.iter().any(|layout| fields_of(layout) == *fields), "{name}: {text:?}");
            }
        }
        let named = listed.iter().filter(|it| !it.within_type).map(|it| TypeId::of(&it.name));
        let named: BTreeSet<_> = named.collect();
        let others = unit.layouts.types().filter(|ty| !named.contains(&ty.id()));
        for ty in others {
            let structural = [TypeKind::Pointer, TypeKind::Array, TypeKind::Function];
            assert!(structural.contains(&ty.kind()), "{ty:?}");
        }
    }
}
