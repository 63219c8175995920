//! What is tried.

use crate::build::{Outcome, Project, fixtures, missing};
use std::path::PathBuf;
use std::process::Command;

pub(crate) type Trial = (&'static str, fn() -> Outcome);

pub(crate) const ALL: &[Trial] =
    &[("semantics", semantics), ("yoga", yoga), ("fbjni", fbjni), ("fbjni_alone", fbjni_alone)];

/// Native methods by short and long names, of a nested class; `JNI_OnLoad`.
const GOOD: &str = r#"
#include <jni.h>
static int loads;
JNIEXPORT jint JNI_OnLoad(JavaVM *vm, void *reserved) { loads++; return JNI_VERSION_1_6; }
JNIEXPORT jint JNICALL Java_Semantics_add(JNIEnv *env, jclass c, jint a, jint b) { return a + b; }
JNIEXPORT jint JNICALL Java_Semantics_loads(JNIEnv *env, jclass c) { return loads; }
JNIEXPORT jint JNICALL Java_Semantics_00024Nested_with_1underscore(JNIEnv *env, jclass c) { return 7; }
JNIEXPORT jstring JNICALL Java_Semantics_over__I(JNIEnv *env, jclass c, jint a) { return (*env)->NewStringUTF(env, "int"); }
JNIEXPORT jstring JNICALL Java_Semantics_over__Ljava_lang_String_2_3J(JNIEnv *env, jclass c, jstring a, jlongArray b) {
    return (*env)->NewStringUTF(env, "String and long[]");
}
"#;

fn semantics() -> Outcome {
    if let Some(why) = missing() {
        return Outcome::Skipped(why);
    }
    let mut project = Project::new();
    // They are made for this machine's own C library.
    project.properties.push("-Dlivepatch.bionic=false".to_owned());
    let returning = |value: &str| {
        format!(
            "#include <jni.h>\nJNIEXPORT jint JNI_OnLoad(JavaVM *vm, void *reserved) {{ return {value}; }}\n"
        )
    };
    let libraries = [
        ("libgood.so", GOOD.to_owned()),
        ("libother.so", GOOD.to_owned()),
        ("libplain.so", "int nothing;".to_owned()),
        ("liberr.so", returning("JNI_ERR")),
        ("libbad.so", returning("42")),
        ("libmissing.so", "int absent(void); int f(void) { return absent(); }".to_owned()),
    ];
    for (name, source) in &libraries {
        if let Err(said) = project.library(name, source) {
            return match said.contains("jni.h") {
                true => Outcome::Skipped("there is no jni.h".to_owned()),
                false => Outcome::Failed(said),
            };
        }
    }
    std::fs::write(project.libraries[0].join("libtext.so"), "no library").expect("a file");
    project.run("Semantics")
}

/// With React Native's classes; what they need of an app is in the trial's own sources.
fn with_react_native(main: &str) -> Outcome {
    if let Some(why) = missing() {
        return Outcome::Skipped(why);
    }
    if !cfg!(target_arch = "x86_64") {
        return Outcome::Skipped("Android's libraries are run on x86-64 only".to_owned());
    }
    let package = fixtures().join("react-native-0.70.15");
    if !package.join("complete").exists() {
        let why = "react-native is not fetched; `cargo xtask fixtures` fetches it";
        return Outcome::Skipped(why.to_owned());
    }
    let mut project = Project::new();
    let archive = package.join("react-native-0.70.15-release.aar");
    let jar =
        Command::new("jar").arg("xf").arg(archive).arg("classes.jar").current_dir(project.path("")).status();
    if !jar.is_ok_and(|status| status.success()) {
        return Outcome::Skipped("there is no jar".to_owned());
    }
    let libraries: PathBuf = package.join("jni/x86_64");
    project.classes.push(project.path("classes.jar"));
    project.libraries.push(libraries);
    project.run(main)
}

fn yoga() -> Outcome {
    with_react_native("Yoga")
}

fn fbjni() -> Outcome {
    with_react_native("Fbjni")
}

fn fbjni_alone() -> Outcome {
    with_react_native("FbjniAlone")
}
