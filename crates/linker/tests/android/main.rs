//! Real Android libraries, as they are published, loaded into this process on glibc and made to work.
//!
//! Each case is a process of its own: this program again, with the case's name. The libraries are those of
//! `cargo xtask fixtures`; without them, cases are skipped and say so. What a library answered is a line that begins
//! with `answers: `; `cargo xtask android-libraries` makes a table of these.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod call;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod libraries;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod shim;

/// One case.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
struct Case {
    name: &'static str,
    /// The package that it takes, by its folder; none if it takes none.
    package: Option<&'static str>,
    run: fn(&std::path::Path) -> String,
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};
    let all = || libraries::CASES.iter().chain(shim::CASES);
    if let Ok(name) = std::env::var(CASE) {
        let case = all().find(|case| case.name == name).expect("a case of that name");
        let answer = (case.run)(&fixtures());
        println!("answers: {answer}");
        return std::process::ExitCode::SUCCESS;
    }
    let trials = all().map(|case| Trial::test(case.name, move || run_apart(case))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
fn main() {
    println!("skipped: bionic is imitated for x86-64 with glibc only");
}

/// Environment variable: which case this process is.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const CASE: &str = "LIVEPATCH_ANDROID_TEST_CASE";

/// Where `cargo xtask fixtures` puts packages: this program is in <target>/<profile>/deps.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn fixtures() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("this program's path");
    own.ancestors().nth(3).expect("a target folder").join("fixtures")
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn run_apart(case: &Case) -> Result<(), libtest_mimic::Failed> {
    if let Some(package) = case.package
        && !fixtures().join(package).join("complete").exists()
    {
        println!("{} skipped: {package} is not fetched; `cargo xtask fixtures` fetches it", case.name);
        return Ok(());
    }
    let own = std::env::current_exe()?;
    let output = std::process::Command::new(own).env(CASE, case.name).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let wanted =
        |line: &&str| ["answers: ", "relocations: ", "skipped: "].iter().any(|start| line.starts_with(start));
    for line in said.lines().filter(wanted) {
        println!("{} {line}", case.name);
    }
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}
