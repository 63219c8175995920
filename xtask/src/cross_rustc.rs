//! A rustc with a std for AArch64: the user's own, or Debian's, unpacked under the target directory.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells tests which rustc it is.
pub(crate) const VARIABLE: &str = "LIVEPATCH_TEST_AARCH64_RUSTC";
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// A std takes the very rustc that it was built with, so both are Debian's.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev:arm64"];
/// What of those that they depend on may not be there already: this machine's.
const PARTS: [&str; 2] = ["libstd-rust-web-", "libllvm"];

/// Finds one, or unpacks it where that is possible.
pub(crate) fn find() -> Result<PathBuf, String> {
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    for rustc in given.into_iter().chain([PathBuf::from("rustc")]) {
        if has_target(&rustc) {
            return Ok(rustc);
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = std::path::absolute(target.join("cross")).map_err(|error| error.to_string())?;
    let rustc = folder.join("rustc");
    if has_target(&rustc) {
        return Ok(rustc);
    }
    eprintln!("── unpack {}", PACKAGES.join(", "));
    unpack(&folder).map_err(|error| format!("no rustc for {TARGET} can be had: {error}"))?;
    has_target(&rustc).then_some(rustc).ok_or_else(|| format!("Debian's rustc for {TARGET} does not work"))
}

fn has_target(rustc: &Path) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn unpack(folder: &Path) -> Result<(), String> {
    let (lists, cache, root) = (folder.join("lists"), folder.join("cache"), folder.join("root"));
    for inner in [&lists.join("partial"), &cache.join("archives/partial"), &root] {
        std::fs::create_dir_all(inner).map_err(|error| error.to_string())?;
    }
    // The system's own lists stay as they are: they know no other architecture.
    let configuration = folder.join("apt.conf");
    let text = format!(
        "APT::Architectures {{ \"amd64\"; \"arm64\"; }};\nDir::State::lists \"{}\";\nDir::Cache \"{}\";\nAcquire::Languages \"none\";\n",
        lists.display(),
        cache.display()
    );
    std::fs::write(&configuration, text).map_err(|error| error.to_string())?;
    let apt = |program: &str, arguments: &[String]| {
        let mut command = Command::new(program);
        command.args(arguments).env("APT_CONFIG", &configuration).current_dir(&cache);
        run(&mut command)
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    apt("apt-get", &words(&["update", "--quiet"]))?;
    let mut names = words(&PACKAGES);
    let depends = [
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
    ];
    let all = apt("apt-cache", &[words(&depends), words(&PACKAGES)].concat())?;
    let is_part = |name: &&str| PARTS.iter().any(|part| name.starts_with(part)) && !name.contains(':');
    names.extend(all.split_whitespace().filter(is_part).map(str::to_owned));
    names.sort();
    names.dedup();
    apt("apt-get", &[words(&["download", "--quiet"]), names].concat())?;
    let files = std::fs::read_dir(&cache).map_err(|error| error.to_string())?;
    for file in
        files.flatten().map(|file| file.path()).filter(|path| path.extension() == Some("deb".as_ref()))
    {
        run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&root))?;
        let _ = std::fs::remove_file(&file);
    }
    let rustc = folder.join("rustc");
    let (libraries, program) = (root.join("usr/lib/x86_64-linux-gnu"), root.join("usr/bin/rustc"));
    let script = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH='{}'\nexec '{}' \"$@\"\n",
        libraries.display(),
        program.display()
    );
    std::fs::write(&rustc, script).map_err(|error| error.to_string())?;
    std::fs::set_permissions(&rustc, PermissionsExt::from_mode(0o755)).map_err(|error| error.to_string())
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}", said.lines().last().unwrap_or("no reason given")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
