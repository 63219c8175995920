//! Methods replaced in a live Android runtime, each case in a process of its own.
//!
//! A case that misses the runtime says so and is skipped.

#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

fn main() {
    use livepatch_art::host::{Package, Setup};
    let version = std::env::var("V").unwrap_or("11".into()).parse().expect("version");
    let package = Package::of(version).expect("package");
    let folder = std::path::PathBuf::from(format!("/tmp/art/boot{version}"));
    std::fs::create_dir_all(&folder).expect("folder");
    let setup = Setup::write(package, &folder).expect("setup");
    if std::env::var_os("ANDROID_ROOT").is_none() {
        let me = std::env::current_exe().expect("exe");
        let s = std::process::Command::new(me).envs(setup.environment()).status().expect("run");
        println!("{s}");
        return;
    }
    let machine = setup.boot().expect("boot");
    println!("{:?}", machine.environment().find_class("java/lang/String"));
}
