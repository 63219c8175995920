//! Callers whose calls the runtime checks: those that are loaded after a patch, and those of classes that it could not
//! verify wholly.

use crate::Case;
use crate::runtime::Runtime;
use crate::versions::{Program, version};
use livepatch_art::dex::Dex;

pub(crate) const ALL: &[Case] = &[
    ("checked::subclass_of_another_package", subclass_of_another_package),
    ("checked::same_package", same_package),
    ("checked::call_that_was_not_made_yet", call_that_was_not_made_yet),
    ("checked::class_that_is_not_verified_wholly", class_that_is_not_verified_wholly),
];

const OLD: &str = include_str!("smali/checked.smali");

/// The program with methods that return 2 instead of 1.
fn fixed(signatures: &[&str]) -> Dex {
    let mut text = OLD.to_owned();
    for signature in signatures {
        let at = text.find(signature).expect("a method");
        let rest = text[at..].replacen("const/4 v0, 1", "const/4 v0, 2", 1);
        text.replace_range(at.., &rest);
    }
    version(&text)
}

/// It is verified and linked after the patch: it may call protected methods, and what it overrides (AndFix #255) is
/// overridden.
fn subclass_of_another_package(runtime: &mut Runtime) {
    let old = version(OLD);
    let mut program = Program::start(runtime, &old);
    let protected = ["protected hook()I", "protected helper()I", "protected static shared()I"];
    let patch = program.patch(runtime, &old, &fixed(&[&protected[..], &[".method inPackage()I"]].concat()));
    let base = program.object("p.Base");
    assert_eq!(["callHook", "callInPackage"].map(|name| program.int_of(base, name)), [Ok(2), Ok(2)]);
    let sub = program.object("q.Sub");
    let all = ["callHook", "callHelper", "callShared", "callSuper", "callInPackage"];
    // Its own `hook`; not its own `inPackage`, which overrides nothing.
    assert_eq!(all.map(|name| program.int_of(sub, name)), [7, 2, 2, 2, 2].map(Ok));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(all.map(|name| program.int_of(sub, name)), [7, 1, 1, 1, 1].map(Ok));
}

fn same_package(runtime: &mut Runtime) {
    let old = version(OLD);
    let mut program = Program::start(runtime, &old);
    let patch = program.patch(runtime, &old, &fixed(&["public open()I", ".method inPackage()I"]));
    let (base, near) = (program.object("p.Base"), program.object("p.Near"));
    let all = |program: &Program| {
        let later = ["callOpen", "callInPackage"];
        let [open, in_package] = later.map(|name| program.int_with("p.Later", name, "(Lp/Base;)I", base));
        [open, in_package, program.int_of(near, "callInPackage")]
    };
    assert_eq!(all(&program), [2, 2, 7].map(Ok));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(all(&program), [1, 1, 7].map(Ok));
}

/// AndFix #146, #165, #232, #348: "Method 'void Activity_CF.initView()' is inaccessible to class 'Activity'".
fn class_that_is_not_verified_wholly(runtime: &mut Runtime) {
    let old = version(OLD);
    let mut program = Program::start(runtime, &old);
    let methods = ["private secret()I", "private static secretShared()I", "public open()I"];
    let soft = OLD.find(".class public Lp/Soft;").expect("a class");
    let mut new = fixed(&methods[..2]);
    let open = format!("{}{}", &OLD[..soft], OLD[soft..].replace("const/4 v0, 1", "const/4 v0, 2"));
    new.classes.retain(|class| class.name() != "p.Soft");
    new.classes.extend(version(&open).classes.into_iter().filter(|class| class.name() == "p.Soft"));
    program.patch(runtime, &old, &new);
    let soft = program.object("p.Soft");
    assert_eq!(["callSecret", "callOpen"].map(|name| program.int_of(soft, name)), [Ok(2), Ok(2)]);
    assert_eq!(program.int("p.Soft", "callSecretShared"), Ok(2));
}

/// A call from the same file that nobody has made yet is looked up by the index in that file, which the record has.
fn call_that_was_not_made_yet(runtime: &mut Runtime) {
    let old = version(OLD);
    let mut program = Program::start(runtime, &old);
    let base = program.object("p.Base");
    program.patch(runtime, &old, &fixed(&["public open()I"]));
    assert_eq!(program.int_with("p.Unused", "callOpen", "(Lp/Base;)I", base), Ok(2));
}
