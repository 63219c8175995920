//! `livepatch explain`, with images that are linked here.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

use cargo_livepatch::loader::explain::answer;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// What a run of the command has left.
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

fn explain(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livepatch"));
    let output = command.arg("explain").args(arguments).output().expect("the command");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

const SYSTEM: &str = "--- !tapi-tbd
tbd-version:     4
targets:         [ x86_64-macos, arm64-macos ]
install-name:    '/usr/lib/libSystem.B.dylib'
exports:
  - targets:         [ x86_64-macos, arm64-macos ]
    symbols:         [ dyld_stub_binder, _strlen, _sysconf, _memset_pattern16, _perhaps ]
...
";

const HELPER: &str = "int helps(void) { return 3; }";

const DEMO: &str = "unsigned long strlen(const char *); long sysconf(int); int helps(void);
void memset_pattern16(void *, const void *, unsigned long); int perhaps(void) __attribute__((weak_import));
int demo(char *s) { memset_pattern16(s, s, 16); return strlen(s) + sysconf(29) + helps() + (perhaps ? perhaps() : 0); }";

/// The newest of LLVM's programs of that name.
fn newest(program: &str) -> Option<String> {
    let names = (14..=22).rev().map(|version| format!("{program}-{version}")).chain([program.to_owned()]);
    { names }.find(|name| Command::new(name).arg("--version").output().is_ok())
}

/// Compiles and links a dylib; none, and a word about it, where that cannot be done.
fn dylib(folder: &Path, architecture: &str, name: &str, source: &str, link: &[&str]) -> Option<String> {
    let (Some(clang), Some(linker)) = (newest("clang"), newest("ld64.lld")) else {
        println!("skipped: there is no clang or no ld64.lld");
        return None;
    };
    let file = |name: &str| folder.join(name).display().to_string();
    std::fs::write(file("libSystem.tbd"), SYSTEM).unwrap();
    std::fs::write(file("source.c"), source).unwrap();
    let target = format!("--target={architecture}-apple-macos11");
    let (source, object, out) = (file("source.c"), file("object.o"), file(name));
    let done = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    done(Command::new(clang).args([
        &target,
        "-O1",
        "-w",
        "-fno-stack-protector",
        "-c",
        &source,
        "-o",
        &object,
    ]));
    let mut command = Command::new(linker);
    command.args(["-arch", architecture, "-platform_version", "macos", "11.0", "11.0", "-dylib"]);
    command.args(["-install_name", &format!("@rpath/{name}"), "-o", &out, &object, &file("libSystem.tbd")]);
    done(command.args(link));
    Some(out)
}

/// A dylib and the one beside it that it needs.
fn demo(folder: &TempDir, architecture: &str) -> Option<String> {
    let folder = folder.path();
    let helper = dylib(folder, architecture, "libhelper.dylib", HELPER, &[])?;
    dylib(folder, architecture, "libdemo.dylib", DEMO, &[&helper, "-rpath", "@loader_path"])
}

#[test]
fn everything_is_said_of_an_image() {
    let folder = TempDir::new().unwrap();
    let Some(path) = demo(&folder, "x86_64") else { return };
    let ran = explain(&[&path]);
    assert_eq!((ran.code, ran.error.as_str()), (Some(0), ""));
    let has = |text: &str| assert!(ran.out.contains(text), "{text} is not in\n{}", ran.out);
    has(": x86_64 dylib\n");
    has("\n    1 load      /usr/lib/libSystem.B.dylib\n");
    has("\n    2 load      @rpath/libhelper.dylib\n");
    has("hazards: ");
    has("\n  _sysconf ");
    has("unresolved: ");
    has("\n  _memset_pattern16 (1: libSystem)\n");
    has("\n  _perhaps (1: libSystem, may be missing)\n");
    // What is beside it is found, what the C library has is no trouble.
    let trouble = &ran.out[ran.out.find("hazards: ").unwrap()..];
    assert!(!trouble.contains("_helps") && !trouble.contains("_strlen"), "{trouble}");
}

#[test]
fn a_call_is_walked_through() {
    let folder = TempDir::new().unwrap();
    let Some(path) = demo(&folder, "x86_64") else { return };
    let ran = explain(&[&path, "--symbol", "strlen", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.error);
    let walk: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((walk["version"].as_u64(), walk["symbol"].as_str()), (Some(1), Some("_strlen")));
    let steps = walk["steps"].as_array().unwrap();
    let of = |kind: &str| steps.iter().find(|step| step["step"] == kind);
    // The stub leads to the slot.
    let stub = of("stub").expect("a stub");
    let slot = of("slot").expect("a slot");
    assert_eq!(stub["leads_to"], slot["address"]);
    let lazy = walk["lazy"].as_bool().unwrap();
    if !lazy {
        return println!("skipped, what happens at a first call: this linker binds nothing lazily");
    }
    // The slot leads to the helper, whose last instruction leads to the common part, which leads to the binder's slot.
    let rebased = steps.iter().find(|step| step["step"] == "slot" && step["leads_to"].is_u64()).unwrap();
    let helper: Vec<&Value> = steps.iter().filter(|step| step["step"] == "helper").collect();
    assert_eq!(rebased["leads_to"], helper[0]["address"]);
    let common: Vec<&Value> = steps.iter().filter(|step| step["step"] == "common").collect();
    assert_eq!(helper.last().unwrap()["leads_to"], common[0]["address"]);
    assert_eq!(common.last().unwrap()["leads_to"], of("binder").expect("the binder")["address"]);
    // The opcodes name the symbol and the slot.
    let opcodes: Vec<&str> = steps
        .iter()
        .filter(|step| step["step"] == "opcode")
        .filter_map(|step| step["what"].as_str())
        .collect();
    assert!(opcodes.iter().any(|opcode| opcode.starts_with("SET_SYMBOL_TRAILING_FLAGS_IMM _strlen")));
    let slot = format!("= {:#x}", slot["address"].as_u64().unwrap());
    assert!(opcodes.iter().any(|opcode| opcode.ends_with(&slot)), "{opcodes:?} {slot}");
}

#[test]
fn tools_get_the_same() {
    let folder = TempDir::new().unwrap();
    let Some(path) = demo(&folder, "arm64") else { return };
    let ran = explain(&[&path, "--json"]);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["architecture"], "arm64");
    let import = |name: &str| {
        let imports = answer["imports"].as_array().unwrap();
        imports.iter().find(|import| import["symbol"] == name).cloned().unwrap_or_else(|| panic!("{name}"))
    };
    assert_eq!(import("_strlen")["supplied_by"], "machine");
    assert_eq!(import("_helps")["supplied_by"], "file");
    assert_eq!(import("_sysconf")["hazard"]["kind"], "constants");
    let perhaps = import("_perhaps");
    assert_eq!((perhaps["resolved"].as_bool(), perhaps["weak_import"].as_bool()), (Some(false), Some(true)));
    let stubs = answer["stubs"].as_array().unwrap();
    let symbols: Vec<&str> = stubs.iter().filter_map(|stub| stub["symbol"].as_str()).collect();
    assert_eq!(symbols.len(), 5, "{symbols:?}");
}

#[test]
fn libraries_that_re_export_are_followed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let Some(helper) = dylib(folder, "x86_64", "libhelper.dylib", HELPER, &[]) else { return };
    let outer = ["-reexport_library", &helper, "-rpath", "@loader_path/."];
    let outer = dylib(folder, "x86_64", "libouter.dylib", "int outer(void) { return 1; }", &outer).unwrap();
    let source = "int helps(void); int outer(void); int absent(void); int demo(void) { return helps() + outer() + absent(); }";
    let stub = dylib(folder, "x86_64", "libabsent.dylib", "int absent(void) { return 1; }", &[]).unwrap();
    let link = [outer.as_str(), &stub, "-rpath", "@loader_path"];
    let demo = dylib(folder, "x86_64", "libdemo.dylib", source, &link).unwrap();
    std::fs::remove_file(stub).unwrap();
    let ran = explain(&[&demo, "--json"]);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    let supplied = |name: &str| {
        let imports = answer["imports"].as_array().unwrap();
        imports
            .iter()
            .find(|import| import["symbol"] == name)
            .map(|import| import["supplied_by"].clone())
            .unwrap()
    };
    assert_eq!(["_helps", "_outer", "_absent"].map(supplied), ["file", "file", "absent"]);
    // It is not named by the one that uses it.
    assert!(!answer["libraries"].to_string().contains("libhelper"), "{}", answer["libraries"]);
    let walk = explain(&[&demo, "--symbol", "_helps"]);
    assert!(walk.out.contains("libhelper.dylib has it"), "{}", walk.out);
}

/// Whatever is in a file, there is an answer: text, or an error.
#[test]
fn mutants_are_explained_or_refused() {
    let folder = TempDir::new().unwrap();
    let mut random = fastrand::Rng::with_seed(0x6d61_6368);
    let (mut explained, mut refused) = (0, 0);
    for architecture in ["x86_64", "arm64"] {
        let Some(path) = demo(&folder, architecture) else { return };
        let original = std::fs::read(&path).unwrap();
        let mutant = folder.path().join("mutant.dylib");
        for _ in 0..300 {
            let mut bytes = original.clone();
            for _ in 0..random.usize(1..4) {
                // Headers, and the tables at the end.
                let tables = bytes.len().saturating_sub(1500)..bytes.len();
                let place = if random.bool() { random.usize(..1500) } else { random.usize(tables) };
                bytes[place] = random.choice([0, 1, 0x7f, 0x80, 0xff, bytes[place] ^ 4]).unwrap();
            }
            std::fs::write(&mutant, bytes).unwrap();
            let rendered = answer(&mutant, None)
                .and_then(|answer| Ok((answer.text()?, answer.json()?, answer.walk_text("strlen")?)));
            match rendered {
                Ok(_) => explained += 1,
                Err(error) => {
                    assert!(error.render().starts_with("error: "));
                    refused += 1;
                }
            }
        }
    }
    assert!(explained > 20 && refused > 20, "{explained} explained, {refused} refused");
}

#[test]
fn what_cannot_be_explained_is_said_by_the_exit_code() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "no image").unwrap();
    let text = file.display().to_string();
    let ran = explain(&[&text]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.error.contains("caused by: no Mach-O file"), "{}", ran.error);
    assert_eq!(explain(&["/no/such/file"]).code, Some(2));
    assert_eq!(explain(&[&text, "--arch", "vax"]).code, Some(2));
    let Some(path) = demo(&folder, "x86_64") else { return };
    let ran = explain(&[&path, "--arch", "arm64"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.error.contains("no slice for arm64") && ran.error.contains("hint: it has x86_64"));
    let ran = explain(&[&path, "--symbol", "_nobody"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.error.contains("neither imports nor exports _nobody"), "{}", ran.error);
}
