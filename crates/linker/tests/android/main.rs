//! Real Android libraries, as they are published, loaded into this process on glibc and made to work.
//!
//! Each case is a process of its own: this program again, with the case's name. The libraries are those of
//! `cargo xtask fixtures`; without them, cases are skipped and say so. What a library answered is a line that begins
//! with `answers: `; `cargo xtask android-libraries` makes a table of these.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
mod call;
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
mod libraries;
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
mod shim;

/// One case.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
struct Case {
    name: &'static str,
    /// The package that it takes, by its folder; none if it takes none.
    package: Option<&'static str>,
    run: fn(&std::path::Path) -> String,
}

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
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

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu")))]
fn main() {
    println!("skipped: bionic is imitated for x86-64 and AArch64 with glibc only");
}

/// Environment variable: which case this process is.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
const CASE: &str = "LIVEPATCH_ANDROID_TEST_CASE";

/// Where `cargo xtask fixtures` puts packages: this program is in <target>[/<triple>]/<profile>/deps.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
fn fixtures() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("this program's path");
    let found = own.ancestors().skip(3).take(3).map(|folder| folder.join("fixtures"));
    found.max_by_key(|folder| folder.is_dir()).expect("a target folder")
}

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu"))]
fn run_apart(case: &Case) -> Result<(), libtest_mimic::Failed> {
    if let Some(package) = case.package
        && !fixtures().join(package).join("complete").exists()
    {
        println!("{} skipped: {package} is not fetched; `cargo xtask fixtures` fetches it", case.name);
        return Ok(());
    }
    let own = std::env::current_exe()?;
    let runner = std::env::var("TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().map(std::ffi::OsString::from).chain([own.into_os_string()]);
    let program = words.next().ok_or("no program")?;
    let output = std::process::Command::new(program).args(words).env(CASE, case.name).output()?;
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
