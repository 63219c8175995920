//! Profiles and flags that people build with.

use crate::live::{Live, package_with};
use std::process::Command;

const CODE: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
static COUNT: AtomicU32 = AtomicU32::new(0);
std::thread_local! { static LOCAL: std::cell::RefCell<Vec<u32>> = std::cell::RefCell::new(vec![]); }
pub trait Speak { fn speak(&self, x: u32) -> String; }
struct Dog;
impl Speak for Dog { fn speak(&self, x: u32) -> String { format!("woof {x}") } }
pub fn start() {}
#[inline(never)]
fn plain(x: u32) -> u32 { x + 1 }
#[inline(never)]
fn sum(all: &[u64]) -> u64 { all.iter().map(|x| x * 2).sum() }
#[inline(never)]
fn kind(x: u32) -> &'static str {
    match x { 0 => "none", 1 => "one", 2 => "two", 3 => "three", 4 => "four", 5 => "five", _ => "many" }
}
#[inline(never)]
pub fn answer(question: &str) -> String {
    let dog: Box<dyn Speak> = std::hint::black_box(Box::new(Dog));
    LOCAL.with_borrow_mut(|v| v.push(1));
    let x = question.len() as u32;
    let all: Vec<u64> = (0..u64::from(x)).collect();
    let counts = [COUNT.fetch_add(1, Relaxed) as usize, LOCAL.with_borrow(Vec::len)];
    format!("{counts:?} {} {} {} {}", plain(x), sum(&all), kind(x), dog.speak(x))
}
"#;

/// Edits of each function of a program that was built that way.
fn holds(configuration: &str, profile: &str, arguments: &[&str]) -> Live {
    let project = package_with(profile, CODE);
    if !configuration.is_empty() {
        project.write(".cargo/config.toml", configuration);
    }
    let mut live = Live::start(project, arguments);
    assert_eq!(live.ask("abcd"), "[0, 1] 5 12 four woof 4");
    live.edit("x + 1 }", "x.rotate_left(3) ^ 1 }");
    assert_eq!(live.ask("abcd"), "[1, 2] 33 12 four woof 4");
    live.edit("x * 2", "x * x + 1");
    assert_eq!(live.ask("abcd"), "[2, 3] 33 18 four woof 4");
    live.edit("4 => \"four\"", "4 => \"FOUR\"");
    assert_eq!(live.ask("abcd"), "[3, 4] 33 18 FOUR woof 4");
    live.edit("woof {x}", "wuff {x:03}");
    assert_eq!(live.ask("abcd"), "[4, 5] 33 18 FOUR wuff 004");
    live.edit("{counts:?} {}", "{} {counts:?}");
    assert_eq!(live.ask("abcd"), "33 [5, 6] 18 FOUR wuff 004");
    live
}

fn release(settings: &str) -> Live {
    holds("", &format!("[profile.release]\n{settings}\n"), &["--release"])
}

#[test]
fn release_without_debug_information() {
    release("debug = 0");
}

#[test]
fn release_that_aborts_on_panic() {
    use std::os::unix::process::ExitStatusExt;
    let mut live = release("panic = 'abort'");
    live.edit("x * x + 1", "x / (x - x)");
    live.tell("abcd");
    assert_eq!(live.session.wait().signal(), Some(6));
    live.session.wait_until_said("attempt to divide by zero");
}

#[test]
fn release_for_size() {
    release("opt-level = 's'");
    release("opt-level = 'z'\ndebug = 2");
}

#[test]
fn release_with_link_time_optimisation_and_one_unit() {
    release("lto = 'fat'\ncodegen-units = 1\nstrip = true");
}

#[test]
fn development_with_one_unit_and_without_incremental() {
    holds("", "[profile.dev]\ncodegen-units = 1\nincremental = false\nopt-level = 1\n", &[]);
    holds("", "[profile.dev]\noverflow-checks = false\nsplit-debuginfo = 'unpacked'\n", &[]);
}

#[test]
fn both_manglings() {
    holds("[build]\nrustflags = ['-Csymbol-mangling-version=v0']\n", "", &[]);
    holds(
        "[build]\nrustflags = ['-Csymbol-mangling-version=v0', '-Ctarget-cpu=native']\n",
        "",
        &["--release"],
    );
}

#[test]
fn linkers() {
    // rustc brings its own LLD and takes it unless it is told not to.
    holds("[build]\nrustflags = ['-Clinker-features=-lld']\n", "", &[]);
    for (program, flag) in [("ld.lld", "lld"), ("ld.gold", "gold"), ("mold", "mold"), ("wild", "wild")] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("skipped: there is no {program}");
            continue;
        }
        let flags = format!("'-Clinker-features=-lld', '-Clink-arg=-fuse-ld={flag}'");
        holds(&format!("[build]\nrustflags = [{flags}]\n"), "", &[]);
    }
}

#[test]
fn programs_at_fixed_addresses_and_with_lazy_binding() {
    holds("[build]\nrustflags = ['-Crelocation-model=static']\n", "", &[]);
    holds(
        "[build]\nrustflags = ['-Zunstable-options']\n[env]\nX = '1'\n"
            .replace(
                "rustflags = ['-Zunstable-options']",
                "rustflags = ['-Crelro-level=off', '-Cforce-frame-pointers=yes']",
            )
            .as_str(),
        "",
        &[],
    );
}
