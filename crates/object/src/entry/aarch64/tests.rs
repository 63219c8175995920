//! Entries in assembly, and their copies as another tool reads them.

use super::*;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ENTRY: RuntimeAddress = RuntimeAddress(0x55_5555_4000);
/// On another page, where the lowest bits are others.
const COPY: RuntimeAddress = RuntimeAddress(0x55_5455_6a90);

/// None, and a word on it, where the tools of the other architecture are not there.
fn tools() -> Option<()> {
    let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let missing = ["aarch64-linux-gnu-as", "aarch64-linux-gnu-objdump", "aarch64-linux-gnu-objcopy"]
        .into_iter()
        .find(|tool| !works(tool));
    match missing {
        Some(tool) => {
            eprintln!("skipped: there is no {tool}");
            None
        }
        None => Some(()),
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("livepatch-a64-{}-{name}", std::process::id()))
}

fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output().expect("it is there");
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assemble(name: &str, source: &str) -> Vec<u8> {
    let (object, flat) = (path(&format!("{name}.o")), path(&format!("{name}.bin")));
    let mut child = Command::new("aarch64-linux-gnu-as")
        .args(["-march=armv8.5-a", "-o"])
        .arg(&object)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .expect("it is there");
    child.stdin.take().expect("a pipe").write_all(source.as_bytes()).expect("writing");
    assert!(child.wait().expect("it ends").success(), "{source}");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    run("aarch64-linux-gnu-objcopy", &["-O", "binary", "-j", ".text", &text(&object), &text(&flat)]);
    let bytes = std::fs::read(&flat).expect("reading");
    [object, flat].iter().for_each(|path| drop(std::fs::remove_file(path)));
    bytes
}

/// Instructions as objdump spells them, without what it adds about symbols.
fn disassemble(name: &str, code: &[u8], at: RuntimeAddress) -> Vec<String> {
    let flat = path(&format!("{name}.copy"));
    std::fs::write(&flat, code).expect("writing");
    let place = format!("--adjust-vma={:#x}", at.0);
    let listing = run(
        "aarch64-linux-gnu-objdump",
        &["-D", "-b", "binary", "-m", "aarch64", "--no-show-raw-insn", &place, &flat.to_string_lossy()],
    );
    let _ = std::fs::remove_file(&flat);
    let instruction = |line: &str| {
        let (address, text) = line.trim().split_once(':')?;
        u64::from_str_radix(address, 16).ok()?;
        let text = text.split("//").next()?.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(text)
    };
    listing.lines().filter_map(instruction).collect()
}

fn function(text: &[u8]) -> Function<'_> {
    Function { entry: ENTRY, text, offset: 0, size: text.len(), padding: 0 }
}

/// The copy of the entry of what `source` assembles to, disassembled; and what was found out about it.
fn copied(name: &str, source: &str) -> Option<(Vec<String>, Entry)> {
    tools()?;
    let text = assemble(name, source);
    let function = function(&text);
    let entry = analyze(&function).expect("an entry");
    let copy = entry.relocate(&function, COPY).expect("a copy");
    assert_eq!(copy.bytes.len(), entry.copy_length());
    Some((disassemble(name, &copy.bytes, copy.at), entry))
}

fn hex(at: RuntimeAddress, offset: i64) -> String {
    format!("{:#x}", at.checked_add_signed(offset).expect("an address").0)
}

#[test]
fn plain_instructions_stay_and_the_way_back_follows() {
    let Some((copy, entry)) = copied("plain", "stp x29, x30, [sp, #-16]!\nmov x29, sp\nret\n") else {
        return;
    };
    assert_eq!(copy[..2], ["stp x29, x30, [sp, #-16]!".to_owned(), format!("b {}", hex(ENTRY, 4))]);
    assert_eq!((entry.site(), entry.hazards()), (0, Hazards::default()));
}

#[test]
fn addresses_are_those_of_the_original() {
    let Some((copy, _)) = copied("adrp", ".inst 0xb0000023 // adrp x3, five pages on\nret\n") else { return };
    let page = RuntimeAddress(ENTRY.0 + 0x5000);
    assert_eq!(copy[..2], [format!("adrp x3, {}", hex(page, 0)), "add x3, x3, #0x0".to_owned()]);
    let Some((copy, _)) = copied("adr", "adr x5, .+0x124\nret\n") else { return };
    assert_eq!(copy[..2], [format!("adrp x5, {}", hex(ENTRY, 0)), "add x5, x5, #0x124".to_owned()]);
    assert_eq!(copy[2], format!("b {}", hex(ENTRY, 4)));
}

#[test]
fn calls_return_into_the_original() {
    let Some((copy, _)) = copied("bl", "bl .+0x800\nret\n") else { return };
    let link = [format!("adrp x30, {}", hex(ENTRY, 0)), "add x30, x30, #0x4".to_owned()];
    assert_eq!(copy[..3], [link[0].clone(), link[1].clone(), format!("b {}", hex(ENTRY, 0x800))]);
    let Some((copy, _)) = copied("blr", "blr x30\nret\n") else { return };
    assert_eq!(copy[..4], ["mov x16, x30".to_owned(), link[0].clone(), link[1].clone(), "br x16".to_owned()]);
}

#[test]
fn conditions_branch_to_the_same_places() {
    for (source, near) in
        [("cbz x0, .+0x40", "cbz x0"), ("b.ne .+0x40", "b.ne"), ("tbnz w7, #3, .+0x40", "tbnz w7, #3")]
    {
        let Some((copy, _)) = copied("branch", &format!("{source}\nret\n")) else { return };
        assert!(copy[0].starts_with(near) && copy[0].ends_with(&hex(COPY, 8)), "{copy:?}");
        assert_eq!(copy[1], format!("b {}", hex(COPY, 12)), "past the far one");
        assert_eq!(copy[2..4], [format!("b {}", hex(ENTRY, 0x40)), format!("b {}", hex(ENTRY, 4))]);
    }
}

#[test]
fn literals_are_found_from_elsewhere() {
    let Some((copy, _)) = copied("literal", "ldr x2, 1f\nret\n1: .quad 7\n") else { return };
    let expected =
        [format!("adrp x2, {}", hex(ENTRY, 0)), "add x2, x2, #0x8".to_owned(), "ldr x2, [x2]".to_owned()];
    assert_eq!(copy[..3], expected);
    let Some(()) = tools() else { return };
    let text = assemble("vector", "ldr q1, 1f\nret\n.balign 16\n1: .quad 0x1122334455667788, 9\n");
    let function = function(&text);
    let copy = analyze(&function).expect("an entry").relocate(&function, COPY).expect("a copy");
    assert_eq!(copy.bytes[copy.bytes.len() - 16..], text[16..32]);
    let first = disassemble("vector", &copy.bytes, COPY).remove(0);
    assert_eq!(first, format!("ldr q1, {}", hex(COPY, copy.bytes.len() as i64 - 16)));
}

#[test]
fn landing_pads_stay() {
    let Some((copy, entry)) = copied("bti", "bti c\ncbz x0, 1f\nret\n1: ret\n") else { return };
    assert_eq!(entry.site(), 4);
    assert_eq!(copy[0], "bti c");
    assert_eq!(copy[3..5], [format!("b {}", hex(ENTRY, 12)), format!("b {}", hex(ENTRY, 8))]);
}

#[test]
fn loops_to_the_entry_lead_into_the_copy() {
    let Some((copy, entry)) = copied("loop", "subs x0, x0, #1\nb.ne .-4\nbl .-8\nret\n") else { return };
    assert_eq!(entry.loops().collect::<Vec<_>>(), [4]);
    assert!(entry.hazards().loop_head);
    // subs; b back; b.ne past; b behind; b to the copied subs; b back
    assert_eq!(copy[0], "subs x0, x0, #0x1");
    assert_eq!(copy[4], format!("b {}", hex(COPY, 0)));
    assert_eq!(copy[5], format!("b {}", hex(ENTRY, 8)));
}

#[test]
fn jumps_through_tables_are_told() {
    let Some((_, entry)) = copied("jump", "add x0, x0, #1\nbr x1\n") else { return };
    assert!(entry.hazards().unseen_loops);
    let Some((_, entry)) = copied("framed", "sub sp, sp, #16\nbr x1\n") else { return };
    assert!(!entry.hazards().unseen_loops, "nothing loops to where the stack grows");
    let Some(()) = tools() else { return };
    let text = assemble("table", "add x0, x0, #1\nadr x2, .-4\nadd x2, x2, x0, lsl #2\nbr x2\n");
    assert!(matches!(analyze(&function(&text)), Err(EntryError::Unsupported { offset: 4, .. })));
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let word = |word: u32| {
        let text = word.to_le_bytes();
        let function = function(&text);
        analyze(&function).and_then(|entry| entry.relocate(&function, COPY)).map(|_| ())
    };
    assert_eq!(word(0), Err(EntryError::Undecodable { offset: 0 }), "udf");
    assert!(matches!(word(0xd400_0001), Err(EntryError::Resumable { .. })), "svc");
    assert!(matches!(word(0xd73f_0801), Err(EntryError::Unsupported { .. })), "blraa");
    assert_eq!(analyze(&function(&[])).map(|_| ()), Err(EntryError::Empty));
    assert_eq!(analyze(&function(&[1, 2])).map(|_| ()), Err(EntryError::Undecodable { offset: 0 }));
    let text = 0x1400_0010u32.to_le_bytes();
    let far = analyze(&function(&text)).expect("b").relocate(&function(&text), RuntimeAddress(0x1000));
    assert!(matches!(far, Err(EntryError::OutOfReach { .. })));
}

#[test]
fn branches_reach_what_the_manual_says() {
    let at = RuntimeAddress(0x4000_0000);
    let to = |distance: i64| branch(at, at.checked_add_signed(distance).expect("an address"));
    assert_eq!(to(4), Some(0x1400_0001));
    assert_eq!(to(-4), Some(0x17ff_ffff));
    assert_eq!(to((128 << 20) - 4), Some(0x15ff_ffff));
    assert_eq!(to(-(128 << 20)), Some(0x1600_0000));
    assert_eq!((to(128 << 20), to(-(128 << 20) - 4), to(2)), (None, None, None));
}
