//! Which crate may depend on which: the arrows of ARCHITECTURE.md.

use crate::run::{Result, cargo, output};
use std::collections::{BTreeMap, BTreeSet};

/// Crate, and every crate of ours that it may depend on, directly or not.
const ALLOWED: &[(&str, &[&str])] = &[
    ("livepatch-proto", &[]),
    ("livepatch-object", &[]),
    ("livepatch-linker", &["livepatch", "livepatch-object"]),
    ("livepatch-art", &["livepatch-object"]),
    ("livepatch-jni", &["livepatch-linker", "livepatch-object"]),
    ("livepatch", &["livepatch-proto"]),
    ("livepatch-build", &["livepatch-object", "livepatch-proto"]),
    (
        "cargo-livepatch",
        &[
            "livepatch",
            "livepatch-art",
            "livepatch-build",
            "livepatch-linker",
            "livepatch-object",
            "livepatch-proto",
        ],
    ),
    ("xtask", &["cargo-livepatch", "livepatch", "livepatch-build", "livepatch-object", "livepatch-proto"]),
];

/// Fails if a crate of the workspace depends on another that it may not know.
pub(crate) fn check() -> Result {
    let actual = actual()?;
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, dependencies) in &actual {
        let Some(may) = allowed.get(name.as_str()) else {
            return Err(format!("`{name}` has no entry in xtask/src/directions.rs"));
        };
        wrong.extend(
            dependencies.iter().filter(|d| !may.contains(&d.as_str())).map(|d| format!("{name} → {d}")),
        );
    }
    if wrong.is_empty() {
        eprintln!("dependency directions hold for {} crates", actual.len());
        Ok(())
    } else {
        Err(format!("these dependencies must not be: {}", wrong.join(", ")))
    }
}

/// Every crate of the workspace and its normal and build dependencies within it.
fn actual() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let mut all = BTreeMap::new();
    for package in packages {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let normal = dependencies.filter(|d| d["kind"].as_str() != Some("dev")).map(name);
        all.insert(name(package), normal.filter(|d| ours.contains(d)).collect());
    }
    Ok(all)
}
