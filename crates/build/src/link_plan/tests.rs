//! Commands as they were captured, and what is made of them. `UPDATE_GOLDEN=1` writes the plans anew.

use super::*;
use std::fmt::Write as _;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/link_plan/argv")
}

fn planned(text: &str) -> LinkPlan {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).expect(name);
    let linker = value("linker ").to_owned();
    let format = if value("format ") == "elf" { Format::Elf } else { Format::MachO };
    let captured = CapturedLink::new(linker, lines.map(OsString::from), format).expect("no response file");
    let inputs = ["/p/patch.o", "/p/stub.o"].map(Path::new);
    captured.plan(&PatchLink { inputs: &inputs, output: Path::new("/p/patch.so") })
}

#[test]
fn captured_commands_become_plans() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("listed").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        seen += 1;
        let plan = planned(&std::fs::read_to_string(&path).expect("text"));
        let mut text = String::new();
        for argument in &plan.arguments {
            writeln!(text, "{}", argument.display()).expect("written");
        }
        writeln!(text, "\ndropped:").expect("written");
        for argument in &plan.dropped {
            writeln!(text, "{}", argument.display()).expect("written");
        }
        let golden = path.with_extension("plan");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, expected, "{}", path.display());
    }
    assert!(seen >= 9, "{seen} commands");
}

fn plan(linker: &str, arguments: &str) -> LinkPlan {
    planned(&format!("linker {linker}\nformat elf\n{}", arguments.replace(' ', "\n")))
}

fn texts(arguments: &[OsString]) -> String {
    arguments.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

#[test]
fn values_are_not_taken_for_inputs_wherever_they_stand() {
    let kept =
        "-L dir -Wl,-rpath -Wl,/opt -Xlinker -z -Xlinker now -target x86_64-linux-gnu -Wl,-z -Wl,relro";
    assert!(texts(&plan("clang", kept).arguments).starts_with(kept));
    let gone =
        plan("clang", "-Wl,-soname -Wl,libx.so -Wl,-T,script.ld -e start a.o -Wl,-u,sym,--version-script,v");
    assert!(texts(&gone.arguments).starts_with("-shared "), "{:?}", gone.arguments);
    assert_eq!(texts(&gone.dropped), "-soname libx.so -T script.ld -e start a.o -u sym --version-script v");
}

#[test]
fn linkers_are_told_from_drivers() {
    let bare = [
        "ld",
        "/usr/bin/ld.lld",
        "x86_64-linux-gnu-ld.bfd",
        "aarch64-linux-gnu-ld",
        "mold",
        "rust-lld",
        "ld64.lld",
    ];
    for name in bare {
        assert!(is_bare_linker(OsStr::new(name), &[]), "{name}");
    }
    for name in
        ["cc", "clang-14", "aarch64-linux-android30-clang", "x86_64-linux-gnu-gcc", "build/cc-ld-shim"]
    {
        assert!(!is_bare_linker(OsStr::new(name), &[]), "{name}");
    }
    assert!(is_bare_linker(OsStr::new("any"), &["-flavor".into(), "gnu".into()]));
    assert!(texts(&plan("ld.lld", "a.o -o b").arguments).starts_with("-shared -Bsymbolic --build-id=none"));
}

#[test]
fn response_files_are_read_and_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("arguments");
    std::fs::write(&file, "-m64\n\"a b.o\"\n-Wl,-z,relro\n-o\napp\n").expect("written");
    let link = CapturedLink::new("cc", [format!("@{}", file.display()).into()], Format::Elf).expect("read");
    let plan = link.plan(&PatchLink { inputs: &[], output: Path::new("out.so") });
    assert!(texts(&plan.arguments).starts_with("-m64 -Wl,-z,relro -shared"));
    assert_eq!(texts(&plan.dropped), "a b.o -o app");

    let output = dir.path().join("out.so");
    let inputs: Vec<PathBuf> =
        (0..5_000).map(|n| format!("/objects/with a space/number-{n}.o").into()).collect();
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let plan = link.plan(&PatchLink { inputs: &inputs, output: &output });
    let command = plan.command(&output).expect("written");
    let arguments: Vec<OsString> = command.get_args().map(OsStr::to_owned).collect();
    let again = CapturedLink::new("cc", arguments, Format::Elf).expect("read");
    assert_eq!(again.arguments, plan.arguments);
}

/// The plans of real links, run: the library exports its anchor and its own functions, and needs no other.
#[test]
fn linkers_that_are_here_link_what_was_planned() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    std::fs::write(dir.join("a.c"), "int patched(int n) { return n + 1; }\nint main(void) { return 0; }\n")
        .expect("written");
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).current_dir(dir).output().ok()
    };
    let Some(compiled) = run("cc", &["-fPIC", "-c", "a.c", "-o", "a.o"]) else {
        return eprintln!("skipped: there is no C compiler `cc`");
    };
    assert!(compiled.status.success());
    let anchor = anchor_object(&std::fs::read(dir.join("a.o")).expect("read")).expect("an anchor");
    std::fs::write(dir.join("anchor.o"), anchor).expect("written");
    for linker in ["bfd", "gold", "lld", "mold"] {
        let which = format!("-fuse-ld={linker}");
        let host = [
            "-pie",
            "a.o",
            &which,
            "-Wl,--gc-sections,-z,relro,--export-dynamic",
            "-lm",
            "-nodefaultlibs",
            "-lc",
        ];
        let host: Vec<OsString> =
            host.map(OsString::from).into_iter().chain(["-o".into(), "host".into()]).collect();
        let linked = Command::new("cc").args(&host).current_dir(dir).output().expect("it compiled before");
        if !linked.status.success() {
            eprintln!("skipped: cc cannot link with {linker}");
            continue;
        }
        let output = dir.join(format!("{linker}.so"));
        let captured = CapturedLink::new("cc", host, Format::Elf).expect("no response file");
        let inputs = [Path::new("a.o"), Path::new("anchor.o")];
        let plan = captured.plan(&PatchLink { inputs: &inputs, output: &output });
        let linked = plan.command(&output).expect("short").current_dir(dir).output().expect("it ran before");
        assert!(linked.status.success(), "{linker}: {}", String::from_utf8_lossy(&linked.stderr));
        let bytes = std::fs::read(&output).expect("linked");
        let image = object::File::parse(&*bytes).expect("an image");
        use object::{Object as _, ObjectSymbol as _};
        let exports: Vec<&str> = image.dynamic_symbols().filter_map(|symbol| symbol.name().ok()).collect();
        for name in [livepatch_proto::PATCH_ANCHOR, "patched"] {
            assert!(exports.contains(&name), "{linker}: {exports:?}");
        }
        assert_eq!(
            image.imports().map(|imports| imports.iter().filter(|i| i.name() == b"patched").count()),
            Ok(0)
        );
        assert_eq!(crate::stubs::HotpatchModuleCache::from_bytes(&bytes).expect("read").build_id(), b"");
        let Some(shown) = run("readelf", &["--dynamic", output.to_str().expect("text")]) else { continue };
        assert!(!String::from_utf8_lossy(&shown.stdout).contains("NEEDED"), "{linker}");
    }
}
