//! `livepatch art`, as it is called from a shell.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use livepatch_art::dex::{self, Dex};
use livepatch_art::host::Package;
use livepatch_art::smali;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const OLD: &str = include_str!("../../../art/data/demo-old.smali");
const NEW: &str = include_str!("../../../art/data/demo-new.smali");
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../art/data/demo-certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../art/data/demo-key.pem");

fn write_dex(path: &Path, text: &str) {
    let parts = text.split("\n.class ").skip(1);
    let classes = parts.map(|part| smali::assemble(&format!(".class {part}")).unwrap()).collect();
    std::fs::write(path, dex::write(&Dex { version: 35, classes }).unwrap()).unwrap();
}

fn art(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livepatch"));
    command.arg("art").args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn from_two_versions_to_a_verified_patch() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    write_dex(&path.join("old.dex"), OLD);
    write_dex(&path.join("new.dex"), NEW);
    let sign = ["-o", "fix.apatch", "--key", KEY, "--certificate", CERTIFICATE];
    let made = art(path, &[&["diff", "old.dex", "new.dex"], &sign[..]].concat());
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let text = said(&made);
    assert!(text.contains("changed  Account.withdraw(I)I\n"), "{text}");
    assert!(
        text.contains("added    Fees\n5 changed methods and 1 added class\nwrote fix.apatch\n"),
        "{text}"
    );

    let shown = said(&art(path, &["show", "fix.apatch"]));
    let expected = [
        "patch    fix\n",
        "from     new.dex\n",
        "entry    META-INF/PATCH.MF, ",
        "replaces Account.withdraw(I)I by Account_CF",
        "opens    LAccount;->balance:I\n",
    ];
    expected.iter().for_each(|line| assert!(shown.contains(line), "{line}: {shown}"));

    let verify = ["verify", "fix.apatch", "--certificate", CERTIFICATE];
    let verified = art(path, &verify);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    // One byte of the code.
    let mut bytes = std::fs::read(path.join("fix.apatch")).unwrap();
    let at = bytes.windows(4).position(|word| word == b"dex\n").unwrap() + 0x100;
    bytes[at] ^= 1;
    std::fs::write(path.join("fix.apatch"), bytes).unwrap();
    let verified = art(path, &verify);
    assert_eq!(verified.status.code(), Some(1));
    assert!(said(&verified).contains("classes.dex is not as it was signed"), "{}", said(&verified));
}

#[test]
fn what_cannot_be_patched_and_what_did_not_change() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    write_dex(&path.join("old.dex"), OLD);
    let field = ".field private balance:I\n";
    write_dex(&path.join("new.dex"), &OLD.replace(field, &format!("{field}.field private more:I\n")));
    let refused = art(path, &["diff", "old.dex", "new.dex"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).starts_with("refused  Account.more: the field is new"), "{}", said(&refused));
    let same = art(path, &["diff", "old.dex", "old.dex"]);
    assert_eq!(same.status.code(), Some(3));
    assert_eq!(said(&same), "nothing changed\n");
    let broken = art(path, &["diff", "old.dex", CERTIFICATE]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(said(&broken).contains("not a readable archive"), "{}", said(&broken));
}

#[test]
fn demo() {
    let folder = TempDir::new().unwrap();
    let shown = art(folder.path(), &["demo"]);
    if let Err(why) = Package::of(11) {
        println!("demo skipped: {why}");
        assert_eq!(shown.status.code(), Some(1));
        assert!(said(&shown).contains("hint: on Debian 12: apt install"), "{}", said(&shown));
        return;
    }
    assert_eq!(shown.status.code(), Some(0), "{}", said(&shown));
    // With the bug, with the fix, and after it was taken back.
    let lines = String::from_utf8_lossy(&shown.stdout).into_owned();
    let left: Vec<&str> =
        lines.lines().filter_map(|line| line.strip_prefix("  withdraw(20) leaves ")).collect();
    assert_eq!(left, ["78", "56", "34"]);
    assert!(lines.contains("dex_code_item_offset_"));
}
