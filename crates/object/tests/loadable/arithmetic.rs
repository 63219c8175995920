//! What each relocation writes, on all five machines: expectations are computed by hand from the formulas in the
//! ABIs.

use livepatch_object::loadable::machine::Machine;
use livepatch_object::loadable::relocation::{Formula, Inputs, Width, dtv_offset, howto, table};

/// B, S, A, P as the ABIs call them, and the symbol's size; all different in every digit.
const INPUTS: Inputs =
    Inputs { slide: 0x7000_1000, symbol: 0x7123_4560, addend: -0x20, place: 0x7000_5678, size: 0x44 };

/// The bytes that a place has after a relocation; none if nothing is stored.
fn written(machine: Machine, name: &str, inputs: &Inputs) -> Option<Vec<u8>> {
    let howto = table(machine).iter().find(|howto| howto.name == name).expect(name);
    let mut place = [0xee; 12];
    let value = howto.value(inputs)?;
    assert!(howto.width.store(value, &mut place), "{name}");
    let length = howto.width.bytes() as usize;
    assert!(place[length..].iter().all(|&byte| byte == 0xee), "{name} writes more than its field");
    Some(place[..length].to_vec())
}

#[track_caller]
fn check(machine: Machine, inputs: &Inputs, expected: &[(&str, u64, usize)]) {
    for (name, value, length) in expected {
        let bytes = value.to_le_bytes()[..*length].to_vec();
        assert_eq!(written(machine, name, inputs), Some(bytes), "{machine:?} {name}");
    }
}

/// S + A = 7123_4540, B + A = 7000_0fe0, S + A − P = 122_eec8, size + A = 24.
#[test]
fn x86_64() {
    let expected = [
        ("64", 0x7123_4540, 8),
        ("PC32", 0x122_eec8, 4),
        ("GLOB_DAT", 0x7123_4540, 8),
        ("JUMP_SLOT", 0x7123_4540, 8),
        ("RELATIVE", 0x7000_0fe0, 8),
        ("RELATIVE64", 0x7000_0fe0, 8),
        ("32", 0x7123_4540, 4),
        ("32S", 0x7123_4540, 4),
        ("PC64", 0x122_eec8, 8),
        ("SIZE32", 0x24, 4),
        ("SIZE64", 0x24, 8),
        ("DTPMOD64", 0x7123_4560, 8),
        ("DTPOFF64", 0x7123_4540, 8),
        ("TPOFF64", 0x7123_4540, 8),
        ("IRELATIVE", 0x7000_0fe0, 8),
    ];
    check(Machine::X86_64, &INPUTS, &expected);
    // A thread-local below the thread pointer: variant II.
    let below = Inputs { symbol: (-64i64).cast_unsigned(), addend: 8, ..INPUTS };
    check(Machine::X86_64, &below, &[("TPOFF64", (-56i64).cast_unsigned(), 8)]);
}

#[test]
fn aarch64() {
    let expected = [
        ("ABS64", 0x7123_4540, 8),
        ("ABS32", 0x7123_4540, 4),
        ("PREL64", 0x122_eec8, 8),
        ("PREL32", 0x122_eec8, 4),
        ("GLOB_DAT", 0x7123_4540, 8),
        ("JUMP_SLOT", 0x7123_4540, 8),
        ("RELATIVE", 0x7000_0fe0, 8),
        ("TLS_DTPMOD", 0x7123_4560, 8),
        ("TLS_DTPREL", 0x7123_4540, 8),
        ("TLS_TPREL", 0x7123_4540, 8),
        ("IRELATIVE", 0x7000_0fe0, 8),
    ];
    check(Machine::Aarch64, &INPUTS, &expected);
}

#[test]
fn arm() {
    let expected = [
        ("ABS32", 0x7123_4540, 4),
        ("REL32", 0x122_eec8, 4),
        ("GLOB_DAT", 0x7123_4540, 4),
        ("JUMP_SLOT", 0x7123_4540, 4),
        ("RELATIVE", 0x7000_0fe0, 4),
        ("TLS_DTPMOD32", 0x7123_4560, 4),
        ("TLS_DTPOFF32", 0x7123_4540, 4),
        ("TLS_TPOFF32", 0x7123_4540, 4),
        ("IRELATIVE", 0x7000_0fe0, 4),
    ];
    check(Machine::Arm, &INPUTS, &expected);
}

#[test]
fn i386() {
    let expected = [
        ("32", 0x7123_4540, 4),
        ("PC32", 0x122_eec8, 4),
        ("GLOB_DAT", 0x7123_4540, 4),
        ("JMP_SLOT", 0x7123_4540, 4),
        ("RELATIVE", 0x7000_0fe0, 4),
        ("TLS_TPOFF", 0x7123_4540, 4),
        ("TLS_DTPMOD32", 0x7123_4560, 4),
        ("TLS_DTPOFF32", 0x7123_4540, 4),
        // How far below the thread pointer, as a positive number.
        ("TLS_TPOFF32", 0u64.wrapping_sub(0x7123_4540) & 0xffff_ffff, 4),
        ("SIZE32", 0x24, 4),
        ("IRELATIVE", 0x7000_0fe0, 4),
    ];
    check(Machine::I386, &INPUTS, &expected);
}

#[test]
fn riscv64() {
    let expected = [
        ("32", 0x7123_4540, 4),
        ("64", 0x7123_4540, 8),
        ("RELATIVE", 0x7000_0fe0, 8),
        ("JUMP_SLOT", 0x7123_4540, 8),
        ("TLS_DTPMOD64", 0x7123_4560, 8),
        ("TLS_DTPREL64", 0x7123_4540, 8),
        ("TLS_TPREL64", 0x7123_4540, 8),
        ("IRELATIVE", 0x7000_0fe0, 8),
    ];
    check(Machine::Riscv64, &INPUTS, &expected);
    assert_eq!(Machine::ALL.map(dtv_offset), [0, 0, 0, 0, 0x800]);
}

#[test]
fn what_does_not_fit_is_not_stored() {
    let mut place = [0; 8];
    assert!(!Width::Unsigned32.store(1 << 32, &mut place));
    assert!(!Width::Signed32.store(0x8000_0000, &mut place));
    assert!(!Width::Signed32.store((-0x8000_0001i64).cast_unsigned(), &mut place));
    assert!(!Width::Word64.store(1, &mut place[..7]));
    assert_eq!(place, [0; 8]);
    assert!(Width::Signed32.store((-2i64).cast_unsigned(), &mut place));
    assert_eq!(place, [0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    // An address space of 32 bits wraps.
    assert!(Width::Word32.store(0x1_0000_0010, &mut place));
    assert_eq!(place[..4], [0x10, 0, 0, 0]);
}

#[test]
fn addends_in_places() {
    assert_eq!(Width::Word32.load(&[0xfc, 0xff, 0xff, 0xff]), Some(-4));
    assert_eq!(Width::Word64.load(&[1, 0, 0, 0, 0, 0, 0, 0x80]), Some(i64::MIN + 1));
    assert_eq!(Width::Word64.load(&[1, 0, 0]), None);
    let has_addend = |machine, name: &str| {
        table(machine).iter().find(|howto| howto.name == name).unwrap().has_addend_in_place()
    };
    assert!(has_addend(Machine::Arm, "RELATIVE") && has_addend(Machine::I386, "32"));
    assert!(!has_addend(Machine::Arm, "JUMP_SLOT") && !has_addend(Machine::I386, "GLOB_DAT"));
}

/// Each machine's kinds are found by their numbers, and only those.
#[test]
fn numbers() {
    for machine in Machine::ALL {
        for entry in table(machine) {
            assert_eq!(howto(machine, entry.number), Some(entry), "{machine:?} {}", entry.name);
        }
        assert_eq!(howto(machine, 9999), None);
        let copies: Vec<_> = table(machine).iter().filter(|entry| entry.formula == Formula::Copy).collect();
        assert_eq!(copies.len(), 1, "{machine:?}");
    }
    use object::elf;
    assert_eq!(howto(Machine::X86_64, elf::R_X86_64_TLSDESC).unwrap().formula, Formula::TlsDescriptor);
    assert_eq!(howto(Machine::Aarch64, elf::R_AARCH64_TLSDESC).unwrap().formula, Formula::TlsDescriptor);
    assert_eq!(howto(Machine::Arm, elf::R_ARM_TLS_DESC).unwrap().formula, Formula::TlsDescriptor);
    assert_eq!(howto(Machine::I386, elf::R_386_TLS_DESC).unwrap().formula, Formula::TlsDescriptor);
    assert_eq!(howto(Machine::Riscv64, elf::R_RISCV_IRELATIVE).unwrap().formula, Formula::Indirect);
}
