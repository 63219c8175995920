//! `livepatch load` and `livepatch trace`, with libraries that are built here.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// What a run of the command has left.
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

fn livepatch(arguments: &[&str]) -> Ran {
    let output: Output =
        Command::new(env!("CARGO_BIN_EXE_livepatch")).args(arguments).output().expect("the command");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

/// Compiles a library; says so if there is no compiler.
fn library(folder: &TempDir, name: &str, source: &str, link: &[&str]) -> Option<String> {
    let (input, out): (PathBuf, PathBuf) =
        (folder.path().join(format!("{name}.c")), folder.path().join(name));
    std::fs::write(&input, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&out).arg(&input).args(link).current_dir(folder.path());
    let Ok(output) = cc.output() else {
        println!("skipped: there is no cc");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(out.display().to_string())
}

const CALLS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
long number(void) { return -42; }
const char *text(void) { return "a text"; }
const char *nothing(void) { return 0; }
void print(void) { puts("printed"); fflush(stdout); }
int crash(void) { *(volatile int *) 8 = 1; return 0; }
void give_up(void) { abort(); }
void leave(void) { exit(7); }
"#;

#[test]
fn functions_are_called() {
    let folder = TempDir::new().unwrap();
    let Some(path) = library(&folder, "libcalls.so", CALLS, &[]) else { return };
    let call = |arguments: &[&str]| {
        let ran = livepatch(&[&["load", path.as_str(), "--call"], arguments].concat());
        (ran.code, ran.out)
    };
    assert_eq!(call(&["number"]), (Some(0), "-42\n".into()));
    assert_eq!(call(&["text", "--returns", "text"]), (Some(0), "a text\n".into()));
    assert_eq!(call(&["nothing", "--returns", "text"]), (Some(0), "(null)\n".into()));
    assert_eq!(call(&["print", "--returns", "nothing"]), (Some(0), "printed\n".into()));
    let alone = livepatch(&["load", &path]);
    assert_eq!((alone.code, alone.out.as_str()), (Some(0), ""));
    assert!(alone.error.starts_with(&format!("{path}: loaded in ")), "{}", alone.error);
}

#[test]
fn what_ends_the_process_is_told() {
    let folder = TempDir::new().unwrap();
    let Some(path) = library(&folder, "libcalls.so", CALLS, &[]) else { return };
    let call = |symbol: &str| livepatch(&["load", &path, "--call", symbol]);
    let crash = call("crash");
    assert_eq!(crash.code, Some(128 + 11));
    assert!(crash.error.contains("SIGSEGV in phase call"), "{}", crash.error);
    let aborted = call("give_up");
    assert_eq!(aborted.code, Some(128 + 6));
    assert!(aborted.error.contains("SIGABRT in phase call"), "{}", aborted.error);
    let left = call("leave");
    assert_eq!(left.code, Some(3));
    assert!(left.error.contains("ended itself with exit code 7, in phase call"), "{}", left.error);
    let absent = call("absent");
    assert_eq!(absent.code, Some(1));
    assert!(absent.error.contains("undefined symbol: absent"), "{}", absent.error);
    if cfg!(target_arch = "x86_64") {
        assert!(crash.error.contains("of libcalls.so (crash+0x"), "{}", crash.error);
        assert!(aborted.error.contains("in libc.so.6"), "{}", aborted.error);
    }
}

#[test]
fn an_entry_of_an_archive_is_loaded() {
    let folder = TempDir::new().unwrap();
    let Some(path) = library(&folder, "libcalls.so", CALLS, &[]) else { return };
    let zip = folder.path().join("app.apk");
    // Stored, at a page: the extra field is as long as it takes.
    let script = "import sys, zipfile\nentry = zipfile.ZipInfo('lib/x86_64/libcalls.so')\n\
        entry.extra = bytes(16384 - 30 - len(entry.filename))\n\
        zipfile.ZipFile(sys.argv[1], 'w').writestr(entry, open(sys.argv[2], 'rb').read())";
    let python = Command::new("python3").args(["-c", script]).arg(&zip).arg(&path).status();
    if !python.is_ok_and(|status| status.success()) {
        println!("skipped: there is no python3 to make an archive");
        return;
    }
    let entry = format!("{}!/lib/x86_64/libcalls.so", zip.display());
    let call = |symbol: &str| livepatch(&["load", &entry, "--bionic", "never", "--call", symbol]);
    assert_eq!((call("number").code, call("number").out), (Some(0), "-42\n".into()));
    let crash = call("crash");
    assert_eq!(crash.code, Some(128 + 11));
    if cfg!(target_arch = "x86_64") {
        assert!(crash.error.contains("of libcalls.so (crash+0x"), "{}", crash.error);
    }
}

#[test]
fn a_constructor_that_crashes_is_in_its_phase() {
    let folder = TempDir::new().unwrap();
    let source = "__attribute__((constructor)) static void boom(void) { *(volatile int *) 8 = 1; }";
    let Some(path) = library(&folder, "libboom.so", source, &[]) else { return };
    let ran = livepatch(&["trace", &path, "--json"]);
    assert_eq!(ran.code, Some(128 + 11));
    assert!(ran.error.contains("SIGSEGV in phase construct"), "{}", ran.error);
    let last: serde_json::Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["signal"]), (&"ended".into(), &"SIGSEGV".into()));
    assert_eq!(last["exit_code"], 139);
}

#[test]
fn what_cannot_be_loaded_and_wrong_usage() {
    let absent = livepatch(&["load", "/absent/libx.so"]);
    assert_eq!(absent.code, Some(1));
    assert!(absent.error.contains("library \"/absent/libx.so\" not found"), "{}", absent.error);
    assert_eq!(livepatch(&["load"]).code, Some(2));
    assert_eq!(livepatch(&["check", "/absent/libx.so", "--android", "30"]).code, Some(2));
    assert_eq!(livepatch(&["check", "x.so", "--android", "99"]).code, Some(2));
}

/// A library and one that it needs.
fn two(folder: &TempDir) -> Option<String> {
    let inner =
        "int table[3]; int *pointers[] = { table, table + 1, table + 2 }; int inner(void) { return 1; }";
    library(folder, "libinner.so", inner, &["-Wl,-soname,libinner.so"])?;
    let outer = "int inner(void); __attribute__((constructor)) static void start(void) { inner(); } int outer(void) { return inner(); }";
    library(folder, "libouter.so", outer, &["-L.", "-linner", "-Wl,-rpath,$ORIGIN"])
}

#[test]
fn every_phase_is_shown_in_its_order() {
    let folder = TempDir::new().unwrap();
    let Some(path) = two(&folder) else { return };
    let ran = livepatch(&["trace", &path]);
    assert_eq!(ran.code, Some(0), "{}", ran.error);
    let line = |what: &[&str]| {
        let has = |line: &str| what.iter().all(|what| line.contains(what));
        ran.out.lines().position(has).unwrap_or_else(|| panic!("no line with {what:?} in\n{}", ran.out))
    };
    let order = [
        line(&["find ", "libouter.so"]),
        line(&["find ", "libinner.so, needed by"]),
        line(&["link ", "libinner.so", "relative"]),
        line(&["construct ", "libouter.so", "DT_INIT_ARRAY"]),
        line(&["libouter.so: loaded in"]),
    ];
    assert!(order.is_sorted(), "{order:?} in\n{}", ran.out);
    for line in livepatch(&["trace", &path, "--json", "--bindings"]).out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

/// How many dynamic relocations a file has, by readelf.
fn relocations(path: &Path) -> Option<usize> {
    let output = Command::new("readelf").args(["-r", "-W"]).arg(path).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("R_")).count())
}

#[test]
fn the_page_needs_nothing_else_and_has_readelfs_numbers() {
    let folder = TempDir::new().unwrap();
    let Some(path) = two(&folder) else { return };
    let file = folder.path().join("load.html");
    let ran = livepatch(&["trace", &path, "--html", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.error);
    let page = std::fs::read_to_string(file).unwrap();
    for elsewhere in ["<script", "src=", "href=", "http:", "https:", "url(", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    for section in ["When", "Where in memory", "Who needs whom", "Relocations", "Every step"] {
        assert!(page.contains(&format!("<h2>{section}</h2>")), "{section}");
    }
    for name in ["libinner.so", "libouter.so"] {
        let Some(count) = relocations(&folder.path().join(name)) else {
            println!("skipped: there is no readelf");
            return;
        };
        let row = page.lines().find(|line| line.starts_with(&format!("<tr><td>{name}<td class=\"bar\">")));
        let row = row.unwrap_or_else(|| panic!("no row of {name}"));
        assert!(row.contains(&format!("</div><td>{count}<td")), "{count} relocations: {row}");
    }
}

/// A Mach-O image that calls three functions of the system; none, and a word about it, where it cannot be linked.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn macho(folder: &TempDir) -> Option<String> {
    let is_there = |tool: &&str| Command::new(tool).arg("--version").output().is_ok();
    let linkers = ["ld64.lld", "ld64.lld-19", "ld64.lld-14"];
    let (true, Some(linker)) = (is_there(&"clang"), linkers.into_iter().find(|linker| is_there(linker)))
    else {
        println!("skipped: there is no clang or no ld64.lld");
        return None;
    };
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tbd = "--- !tapi-tbd\ntbd-version: 4\ntargets: [ x86_64-macos ]\ninstall-name: '/usr/lib/libSystem.B.dylib'\n\
        exports:\n  - targets: [ x86_64-macos ]\n    symbols: [ dyld_stub_binder, _puts, _strlen, _getppid, _nowhere ]\n...\n";
    let source = "int puts(const char *); unsigned long strlen(const char *); int getppid(void); void nowhere(void);
        __attribute__((constructor)) static void begin(void) { puts(\"begins\"); }
        long demo(void) { puts(\"calls\"); return strlen(\"hello\") + (getppid() > 0); } void lost(void) { nowhere(); }";
    std::fs::write(file("libSystem.tbd"), tbd).unwrap();
    std::fs::write(file("demo.c"), source).unwrap();
    let done = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let compile = ["-target", "x86_64-apple-macos10.12", "-O2", "-fno-builtin", "-w", "-c", "-o"];
    done(Command::new("clang").args(compile).args([file("demo.o"), file("demo.c")]));
    let link = ["-arch", "x86_64", "-platform_version", "macos", "10.12", "10.12", "-dylib", "-o"];
    done(Command::new(linker).args(link).args([
        file("libdemo.dylib"),
        file("demo.o"),
        file("libSystem.tbd"),
    ]));
    Some(file("libdemo.dylib"))
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn a_mach_o_image_is_loaded_and_traced() {
    let folder = TempDir::new().unwrap();
    let Some(path) = macho(&folder) else { return };
    for lazy in [&["--lazy"][..], &[]] {
        let ran = livepatch(&[&["load", &path, "--call", "demo"], lazy].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "begins\ncalls\n6\n"), "{}", ran.error);
        assert!(ran.error.contains("nothing defines _nowhere") != lazy.contains(&"--lazy"), "{}", ran.error);
    }
    let lost = livepatch(&["load", &path, "--lazy", "--call", "lost"]);
    assert_eq!(lost.code, Some(128 + 6));
    assert!(lost.error.contains("`_nowhere` was called, which nothing defines"), "{}", lost.error);

    let file = folder.path().join("load.html");
    let ran =
        livepatch(&["trace", &path, "--lazy", "--json", "--call", "demo", "--html", file.to_str().unwrap()]);
    let steps: Vec<serde_json::Value> =
        ran.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let kinds = |wanted: &str| steps.iter().filter(|step| step["event"] == wanted).count();
    // One call comes before the image is loaded, by its initializer, and two more by the function.
    assert_eq!(["slice", "fixups", "stub_hit", "decode", "resolve", "store"].map(kinds), [1, 1, 3, 3, 3, 3]);
    assert!(
        steps.iter().all(|step| step["event"].is_null() || step["at"].is_u64() || step["event"] == "ended")
    );
    let page = std::fs::read_to_string(file).unwrap();
    assert!(
        page.contains("<h2>Functions bound at their first call</h2>") && page.contains("3 bound functions")
    );
    // `__TEXT` is shown as the code that it is.
    assert!(page.contains("<i class=\"code\""));
    // The way of the first one, with the very addresses.
    let store = steps.iter().find(|step| step["event"] == "store").unwrap();
    for key in ["place", "old", "new"] {
        assert!(page.contains(&format!("{:#x}", store[key].as_u64().unwrap())), "{key}");
    }
    for station in ["call", "stub", "slot", "stub helper", "dyld_stub_binder", "function"] {
        assert!(page.contains(&format!("<b>{station}</b>")), "{station}");
    }
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn a_symbol_is_explained_in_a_process() {
    let folder = TempDir::new().unwrap();
    let Some(path) = macho(&folder) else { return };
    let ran = livepatch(&["explain", &path, "--symbol", "strlen", "--run"]);
    assert_eq!(ran.code, Some(0), "{}", ran.error);
    let (_, live) = ran.out.split_once("in a process, slide ").expect(&ran.out);
    for step in ["stub", "slot", "helper", "binder", "then"] {
        assert!(live.lines().any(|line| line.trim_start().starts_with(step)), "{step}: {}", ran.out);
    }
    let ran = livepatch(&["explain", &path, "--symbol", "_strlen", "--run", "--json"]);
    // What the image prints when it begins is not the command's own.
    let json = ran.out.split_once('{').map(|(_, rest)| format!("{{{rest}")).unwrap();
    let root: serde_json::Value = serde_json::from_str(&json).unwrap();
    let slide = root["live"]["slide"].as_u64().unwrap();
    let address = |steps: &serde_json::Value, step: &str| {
        let steps = steps.as_array().unwrap();
        steps.iter().find(|known| known["step"] == step).unwrap()["address"].as_u64().unwrap()
    };
    for step in ["stub", "slot", "helper"] {
        assert_eq!(address(&root["live"]["steps"], step), address(&root["steps"], step) + slide, "{step}");
    }
}
