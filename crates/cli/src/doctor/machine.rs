//! Checks of the machine and the toolchain.

use super::Finding;
use crate::attach;
use crate::private_dir::PrivateDir;
use std::process::{Command, Stdio};

/// The oldest C library that patches were tried with: older ones may put images elsewhere.
const TRIED_GLIBC: (u32, u32) = (2, 36);
/// The compiler whose incremental folder this was written for.
const TRIED_RUSTC: (u32, u32) = (1, 95);

pub(super) fn check() -> Vec<Finding> {
    vec![system(), c_library(), compiler(), private_folder(), watches(), tracing()]
}

fn system() -> Finding {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    if (system, machine) == ("linux", "x86_64") {
        Finding::ok(format!("{system} on {machine}"))
    } else {
        Finding::problem(format!("{system} on {machine}"), "linux on x86_64 is what works")
    }
}

fn c_library() -> Finding {
    let said = output("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_default();
    match said.trim().strip_prefix("glibc ").map(|version| (version, two_numbers(version))) {
        Some((version, Some(numbers))) if numbers >= TRIED_GLIBC => Finding::ok(format!("glibc {version}")),
        Some((version, _)) => Finding::note(format!(
            "glibc {version}: patches were tried with {}.{} and later",
            TRIED_GLIBC.0, TRIED_GLIBC.1
        )),
        None => Finding::problem("no glibc was found", "the agent is preloaded by glibc's dynamic linker"),
    }
}

fn compiler() -> Finding {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let Some(said) = output(&rustc, &["-V"]) else {
        return Finding::problem(format!("{rustc} cannot be run"), "install a Rust toolchain");
    };
    let said = said.trim();
    let numbers = said.split(' ').nth(1).and_then(two_numbers);
    if numbers.is_some_and(|numbers| numbers >= TRIED_RUSTC) {
        return Finding::ok(said);
    }
    let (major, minor) = TRIED_RUSTC;
    Finding::note(format!("{said}: {major}.{minor} and later were tried"))
}

fn private_folder() -> Finding {
    match PrivateDir::create() {
        Ok(folder) => {
            Finding::ok(format!("sockets in {}", folder.path().parent().unwrap_or(folder.path()).display()))
        }
        Err(error) => Finding::problem(
            format!("no private folder for sockets can be made: {error}"),
            "set XDG_RUNTIME_DIR to a folder of yours, or make /tmp writable",
        ),
    }
}

fn watches() -> Finding {
    let read = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok()
    };
    match read("max_user_watches") {
        Some(watches) if watches < 1024 => {
            Finding::note(format!("only {watches} folders can be watched (fs.inotify.max_user_watches)"))
        }
        Some(watches) => Finding::ok(format!("up to {watches} folders can be watched")),
        None => Finding::problem("files cannot be watched: no inotify", "is /proc mounted?"),
    }
}

fn tracing() -> Finding {
    match attach::hindrance() {
        Some(why) => Finding::note(format!("`attach` cannot come into programs: {why}")),
        None => Finding::ok("`attach` may trace this user's programs, by the kernel's settings"),
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn two_numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(two_numbers("2.9") < Some(TRIED_GLIBC));
        assert_eq!(two_numbers("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(two_numbers("x"), None);
    }

    #[test]
    fn this_machine_is_checked() {
        assert_eq!(check().len(), 6);
    }
}
