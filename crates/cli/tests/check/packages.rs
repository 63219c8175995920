//! The verdicts on the packages of `cargo xtask fixtures`, all ABIs, as they are committed in `golden`.
//!
//! `UPDATE_GOLDEN=1` writes them anew.

use cargo_livepatch::loader::check::answer;
use livepatch_object::android::{ApiLevel, PageSizes};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where `cargo xtask fixtures` puts packages; none if it has not been run.
fn fixtures() -> Option<PathBuf> {
    // The test runs from <target>/<profile>/deps.
    let own = std::env::current_exe().ok()?;
    let folder = own.ancestors().nth(3)?.join("fixtures");
    folder.is_dir().then_some(folder)
}

fn package(name: &str, below: &str) {
    let Some(folder) = fixtures().map(|fixtures| fixtures.join(name)) else {
        println!("skipped: there are no fixtures; `cargo xtask fixtures` fetches them");
        return;
    };
    if !folder.join("complete").exists() {
        println!("skipped: {name} is not fetched; `cargo xtask fixtures` fetches it");
        return;
    }
    let mut text = String::new();
    for level in [21, 24, 36] {
        let answer = answer(&folder.join(below), ApiLevel::new(level).unwrap(), PageSizes::OfLevel).unwrap();
        let _ = writeln!(text, "# API level {level}: exit code {}", answer.code());
        text.push_str(&answer.text());
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&golden).expect("a golden file");
    let differs = expected.lines().zip(text.lines()).find(|(expected, is)| expected != is);
    assert_eq!(differs, None, "{name}");
    assert_eq!(expected.len(), text.len(), "{name}");
}

#[test]
fn react_native() {
    package("react-native-0.70.15", "react-native-0.70.15-release.aar");
}

#[test]
fn v8() {
    package("v8-android-9.93.0", "v8-android-9.93.0.aar");
}

#[test]
fn nativescript() {
    package("nativescript-android-9.1.1", "nativescript-optimized.aar");
}

#[test]
fn nodejs_mobile() {
    package("nodejs-mobile-react-native-18.20.4", "");
}

#[test]
fn jsc() {
    package("jsc-android-294992.0.0", "android-jsc-intl-r294992.aar");
}

#[test]
fn hermes() {
    package("hermes-engine-0.11.0", "hermes-release.aar");
}

#[test]
fn aiohttp_x86_64() {
    package("aiohttp-3.14.5-android_24_x86_64", "");
}

#[test]
fn aiohttp_arm64() {
    package("aiohttp-3.14.5-android_24_arm64_v8a", "");
}
