//! Our readings of AArch64 files, and what we make of their relocations, against what the linker made.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot do without")]

use livepatch_object::address::SectionOffset;
use livepatch_object::architecture::Architecture;
use livepatch_object::host::Host;
use livepatch_object::relocatable::{Relocatable, SectionKind, SymbolKind};
use livepatch_object::relocation::{Formula, howto};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Every kind of reference that does not go through a cell.
const SOURCE: &str = r#"
    .text
    .globl _start, callee, value, own, small
_start:
    bl callee
    b callee
    b.eq callee
    tbz x1, #2, callee
    adrp x0, value
    adrp x0, value + 0x3000
    add x0, x0, :lo12:value
    ldrb w1, [x0, :lo12:value + 1]
    ldrh w1, [x0, :lo12:value + 2]
    ldr w1, [x0, :lo12:value + 4]
    ldr x1, [x0, :lo12:value + 8]
    ldr q1, [x0, :lo12:value + 16]
    adr x2, callee
    ldr x3, callee
    movz x4, #:abs_g0:small
    movz x5, #:abs_g3:value
    movk x5, #:abs_g2_nc:value
    movk x5, #:abs_g1_nc:value
    movk x5, #:abs_g0_nc:value
    mrs x6, tpidr_el0
    add x7, x6, :tprel_hi12:own
    add x7, x7, :tprel_lo12_nc:own
    ldr x7, [x7, :tprel_lo12_nc:own]
    ldr w7, [x7, :tprel_lo12:own]
    movz x8, #:tprel_g1:own
    movk x8, #:tprel_g0_nc:own
    .xword value, value - .
    .word value, value - .
    .skip 4096
callee:
    ret
    .data
    .balign 64
    .skip 64
value:
    .xword 1, 2, 3, 4
    .set small, 0x1234
    .section .tbss, "awT", %nobits
    .balign 32
    .skip 24
own:
    .skip 8
"#;

/// Once for all tests: the files have fixed names. None where there is no linker for the architecture.
fn build() -> Option<(Vec<u8>, Vec<u8>)> {
    static BUILT: LazyLock<Option<(Vec<u8>, Vec<u8>)>> = LazyLock::new(build_files);
    BUILT.clone()
}

fn build_files() -> Option<(Vec<u8>, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let [source, object, linked] = ["a64.s", "a64.o", "a64"].map(|name| folder.join(name));
    std::fs::write(&source, SOURCE).expect("writing");
    let run = |tool: &str, arguments: &[&str], input: &Path, output: &Path| {
        let done = Command::new(tool).args(arguments).arg("-o").arg(output).arg(input).output();
        let Ok(done) = done else {
            println!("skipped: there is no {tool}");
            return None;
        };
        assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(output).ok()
    };
    let relocatable = run("aarch64-linux-gnu-as", &[], &source, &object)?;
    let link = ["-Ttext=0x410000", "-Tdata=0x12345000", "--build-id=0xabcd"];
    Some((relocatable, run("aarch64-linux-gnu-ld", &link, &object, &linked)?))
}

#[test]
fn references_are_what_the_linker_makes_of_them() {
    let Some((object, linked)) = build() else { return };
    let object = Relocatable::parse(object).expect("an object");
    let host = Host::parse(linked).expect("an image");
    assert_eq!((object.architecture(), host.architecture()), (Architecture::Aarch64, Architecture::Aarch64));
    assert_eq!(host.build_id(), [0xab, 0xcd]);
    let (text, _) =
        object.sections().find(|(_, section)| section.kind == SectionKind::Text).expect("the code");
    let start = host.definitions("_start").next().expect("its start").address;
    let mut ours = object.data(text).to_vec();
    let relocations = object.relocations(text);
    assert!(relocations.len() >= 25, "{}", relocations.len());
    for relocation in relocations {
        let howto = howto(relocation.kind).expect("a known kind");
        let name = object.name(relocation.symbol);
        let symbol = host.definitions(name).next().unwrap_or_else(|| panic!("{name}"));
        let address = symbol.address.0.wrapping_add_signed(relocation.addend);
        let place = start.0 + relocation.offset.0;
        let value = match howto.formula {
            Formula::Absolute => address.cast_signed(),
            Formula::Relative | Formula::Branch => howto.distance(address, place),
            Formula::ThreadOffset => host.tls().expect("thread-locals").tp_offset(address),
            other => panic!("{other:?} of {}", howto.name),
        };
        howto.write(&mut ours, relocation.offset.0, value).expect("it fits");
    }
    let (code, at) = host.code(start).expect("the linked code");
    for (index, (ours, theirs)) in ours.chunks(4).zip(code[at..].chunks(4)).enumerate() {
        assert_eq!(ours, theirs, "at {:#x}", 4 * index);
    }
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let Some((object, _)) = build() else { return };
    let object = Relocatable::parse(object).expect("an object");
    let (text, _) =
        object.sections().find(|(_, section)| section.kind == SectionKind::Text).expect("the code");
    let mut code = object.data(text).to_vec();
    let relocation = |name: &str| {
        let mut all = object.relocations(text).iter();
        *all.find(|relocation| howto(relocation.kind).is_ok_and(|howto| howto.name == name)).expect(name)
    };
    let mut write = |name: &str, value: i64| {
        let relocation = relocation(name);
        howto(relocation.kind).expect("a known kind").write(&mut code, relocation.offset.0, value).is_ok()
    };
    for (name, reach) in
        [("R_AARCH64_CALL26", 1 << 27), ("R_AARCH64_CONDBR19", 1 << 20), ("R_AARCH64_TSTBR14", 1 << 15)]
    {
        assert!(write(name, reach - 4) && write(name, -reach), "{name}");
        assert!(!write(name, reach) && !write(name, -reach - 4) && !write(name, 2), "{name}");
    }
    assert!(write("R_AARCH64_ADR_PREL_PG_HI21", (1 << 32) - 4096));
    assert!(!write("R_AARCH64_ADR_PREL_PG_HI21", 1 << 32));
    assert!(write("R_AARCH64_LDST64_ABS_LO12_NC", 0x7654_3218));
    assert!(!write("R_AARCH64_LDST64_ABS_LO12_NC", 0x7654_3214), "not a multiple of eight");
    assert!(write("R_AARCH64_TLSLE_ADD_TPREL_HI12", 0xff_ffff));
    assert!(!write("R_AARCH64_TLSLE_ADD_TPREL_HI12", 0x100_0000));
}

#[test]
fn mapping_symbols_name_nothing() {
    let Some((object, _)) = build() else { return };
    let object = Relocatable::parse(object).expect("an object");
    let marks = object.symbols().filter(|(_, symbol)| symbol.kind == SymbolKind::Mapping);
    assert!(marks.count() >= 3, "code, data, and data in code");
    for (section, _) in object.sections() {
        assert!(object.symbols_in(section).all(|symbol| !object.name(symbol).starts_with('$')));
        assert!(object.symbols_at(section, SectionOffset(0)).all(|s| !object.name(s).starts_with('$')));
    }
}
