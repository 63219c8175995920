//! Publishes this crate's folder to the build scripts of its dependents (`DEP_LIVEPATCH_LINKER_*`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(dir) = std::env::var("CARGO_MANIFEST_DIR") {
        println!("cargo::metadata=manifest_dir={dir}");
    }
}
