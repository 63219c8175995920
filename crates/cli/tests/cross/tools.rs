//! What a program for AArch64 takes on this machine.

use std::path::Path;
use std::process::Command;

pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Environment variable: a rustc that has a std for the target.
const RUSTC_VARIABLE: &str = "TEST_AARCH64_RUSTC";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where distributions have the target's libraries.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

pub(crate) struct Tools {
    rustc: String,
}

/// Finds everything, or says what is missing.
pub(crate) fn find() -> Result<Tools, String> {
    for tool in [LINKER, EMULATOR] {
        let works = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
        works.then_some(()).ok_or_else(|| format!("there is no {tool}"))?;
    }
    let loader = Path::new(LIBRARIES).join("lib/ld-linux-aarch64.so.1");
    loader.exists().then_some(()).ok_or_else(|| format!("there is no {}", loader.display()))?;
    let rustc = std::env::var(RUSTC_VARIABLE).unwrap_or_else(|_| "rustc".into());
    let output = Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let folder = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match folder {
        Ok(folder) if Path::new(&folder).is_dir() => Ok(Tools { rustc }),
        _ => Err(format!("{rustc} has no std for {TARGET} ({RUSTC_VARIABLE} can name one that has)")),
    }
}

impl Tools {
    /// A project's configuration that builds and runs with them.
    pub(crate) fn configuration(&self) -> String {
        format!(
            "[build]\nrustc = '{}'\n[target.{TARGET}]\nlinker = '{LINKER}'\nrunner = '{EMULATOR} -L {LIBRARIES}'\n\
             [env]\nRUST_BACKTRACE = '1'\n",
            self.rustc
        )
    }
}

/// The target that this machine's programs are built for.
pub(crate) fn own_triple() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}
