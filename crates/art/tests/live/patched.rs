//! Patches that are made of two versions of a program, applied to the one that runs.

use crate::Case;
use crate::runtime::{Runtime, write_dex};
use crate::versions::{Program, version};
use jni_sys::jvalue;
use livepatch_art::dex::{self, Dex};
use livepatch_art::diff::diff;
use livepatch_art::exported::*;
use livepatch_art::flags::{CONSTRUCTOR, INTERFACE, PRIVATE, STATIC};
use livepatch_art::jni::Receiver;
use livepatch_art::layout::Layout;
use livepatch_art::patch::{self, About, Created, Key};
use livepatch_art::release::{Pointer, Release};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const ALL: &[Case] = &[
    ("patched::two_versions", two_versions),
    ("patched::many_registers", many_registers),
    ("patched::super_call_of_a_default_method", super_call_of_a_default_method),
    ("patched::through_the_exports", through_the_exports),
    ("patched::from_a_real_compiler", from_a_real_compiler),
    ("patched::all_methods_by_themselves", all_methods_by_themselves),
];

const OLD: &str = include_str!("../../data/demo-old.smali");
const NEW: &str = include_str!("../../data/demo-new.smali");

/// Private fields and methods, methods and a class that are new, handlers and tables behind code that moved.
fn two_versions(runtime: &mut Runtime) {
    let (old, new) = (version(OLD), version(NEW));
    let mut program = Program::start(runtime, &old);

    let env = runtime.env;
    let account = program.class("Account");
    let constructor = env.method(account, "<init>", "()V", false).expect("a constructor");
    let object = env.new_object(account, constructor, &[]).expect("an object");
    let of_object = |name: &str, argument: i32| {
        let id = env.method(account, name, "(I)I", false).expect("a method");
        env.call_int(Receiver::Object(object), id, &[jvalue { i: argument }]).expect("a call")
    };
    let count = || {
        let id = env.method(account, "count", "()I", true).expect("a method");
        env.call_int(Receiver::Class(account), id, &[]).expect("a call")
    };
    let all = || [of_object("withdraw", 20), of_object("risky", 0), of_object("kind", 2), count()];
    // 100 less 20, and a fee of 1 twice.
    assert_eq!(all(), [78, -1, 2, -1]);

    let number = program.patch(runtime, &old, &new);
    // 78 less 20, and a fee of a tenth, because that is rich; the object is the one that was there.
    assert_eq!(all(), [56, -2, 3, 1]);
    runtime.collect();
    assert_eq!(all(), [34, -2, 3, 1]);
    // Poor by now: no fee.
    assert_eq!(of_object("withdraw", 4), 30);

    runtime.engine.roll_back(env, number).expect("the way back");
    assert_eq!(all(), [8, -1, 2, -1]);
}

/// An object in a register that `check-cast` cannot name, arguments behind it, and a handler.
fn many_registers(runtime: &mut Runtime) {
    let text = |number: i32| {
        format!(
            ".class public LMany;\n.super Ljava/lang/Object;\n.field public value:I\n\
             .method public constructor <init>()V\n.registers 1\n\
             invoke-direct {{p0}}, Ljava/lang/Object;-><init>()V\nreturn-void\n.end method\n\
             .method public f()I\n.registers 300\nmove-object/from16 v0, p0\nconst/16 v1, {number}\n\
             iput v1, v0, LMany;->value:I\n:from\nconst/4 v2, 0\ndiv-int v1, v1, v2\n:to\nreturn v1\n\
             :caught\nmove-exception v1\nmove-object/from16 v0, p0\niget v1, v0, LMany;->value:I\nreturn v1\n\
             .catch Ljava/lang/ArithmeticException; {{:from .. :to}} :caught\n.end method\n"
        )
    };
    let (old, new) = (version(&text(7)), version(&text(8)));
    let mut program = Program::start(runtime, &old);
    let object = program.object("Many");
    assert_eq!(program.int_of(object, "f"), Ok(7));
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "f"), Ok(8));
}

/// `Shape.super.corners()`, which only classes that implement `Shape` may call; in a private method, too.
fn super_call_of_a_default_method(runtime: &mut Runtime) {
    let text = |number: i32| {
        format!(
            ".class public abstract interface LShape;\n.super Ljava/lang/Object;\n\
             .method public corners()I\n.registers 2\nconst/4 v0, 4\nreturn v0\n.end method\n\
             .class public LSquare;\n.super Ljava/lang/Object;\n.implements LShape;\n\
             .method public constructor <init>()V\n.registers 1\n\
             invoke-direct {{p0}}, Ljava/lang/Object;-><init>()V\nreturn-void\n.end method\n\
             .method public corners()I\n.registers 3\ninvoke-super {{p0}}, LShape;->corners()I\nmove-result v0\n\
             invoke-direct {{p0}}, LSquare;->more()I\nmove-result v1\nadd-int/2addr v0, v1\n\
             add-int/lit8 v0, v0, {number}\nreturn v0\n.end method\n\
             .method private more()I\n.registers 2\ninvoke-super {{p0}}, LShape;->corners()I\nmove-result v0\n\
             mul-int/lit8 v0, v0, 10\nreturn v0\n.end method\n"
        )
    };
    let (mut old, mut new) = (version(&text(1)), version(&text(2)));
    // Files that have default methods are of 7.0 and later.
    (old.version, new.version) = (37, 37);
    let mut program = Program::start(runtime, &old);
    let object = program.object("Square");
    assert_eq!(program.int_of(object, "corners"), Ok(45));
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "corners"), Ok(46));
}

const KEY: &str = include_str!("../../data/demo-key.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../data/demo-certificate.pem");

/// What `NativePatcher` calls, and what C programs do.
fn through_the_exports(runtime: &mut Runtime) {
    let env = runtime.env;
    let raw = env.raw();
    let old = version(OLD);
    let difference = diff(std::slice::from_ref(&old), &[version(NEW)]);
    let about = About {
        name: "fix".to_owned(),
        created: Created::from_seconds(7),
        from: String::new(),
        to: String::new(),
        by: String::new(),
        classes: difference.fixes,
    };
    // In two files, as a patch has them that is large: the second one's bodies call the first one's.
    let patch = difference.patch.expect("a patch");
    let files: Vec<Vec<u8>> = patch
        .classes
        .into_iter()
        .map(|class| dex::write(&Dex { version: patch.version, classes: vec![class] }).expect("a dex file"))
        .collect();
    assert_eq!(files.len(), 2);
    let key = Key::read(KEY, CERTIFICATE).expect("a key");
    let archive = patch::write(&about, &files, &key).expect("a patch");
    let path = runtime.folder.join("fix.apatch");
    std::fs::write(&path, archive).expect("a file");
    let loader = runtime.loader(&write_dex(&runtime.folder, "old.dex", old.classes));
    let text = |text: &str| env.string(text).expect("a string");
    let error = || {
        // SAFETY: a text that ends with a NUL, until the next call.
        unsafe { CStr::from_ptr(livepatch_art_error()) }.to_string_lossy().into_owned()
    };
    let release = runtime.engine.layout().release();
    let probe = runtime.class("livepatch.art.Probe");

    // SAFETY: the environment is this thread's, and classes, strings and arrays are its.
    unsafe {
        assert_eq!(livepatch_art_roll_back(raw, 1), -1);
        assert_eq!(error(), "the engine is not started");
        // Records of 12 are smaller.
        let other = Release::of_version(if release.level() < 31 { 12 } else { 11 }).expect("a version");
        let [own, wrong] = [release, other].map(|release| Layout::of(release, Pointer::OWN).size());
        assert_eq!(livepatch_art_start(raw, other.level(), probe), -1);
        let expected = format!("records are {own} bytes long, and not {wrong} as in Android {other}");
        assert!(error().contains(&expected), "{}", error());
        assert_eq!(livepatch_art_start(raw, 99, probe), -1);
        Java_livepatch_art_NativePatcher_start(raw, probe, release.level() as i32, probe);

        let certificate = env.byte_array(CERTIFICATE.len() as i32).expect("an array");
        env.set_bytes(certificate, CERTIFICATE).expect("set");
        let [patch_path, folder] = [&path, &runtime.folder].map(|path| text(&path.display().to_string()));
        let said = Java_livepatch_art_NativePatcher_verify(raw, probe, patch_path, certificate, folder);
        let said: Vec<String> =
            env.elements(said).expect("strings").into_iter().map(|text| env.text(text)).collect();
        let [name, time, dex] = &said[..] else { panic!("{said:?}") };
        assert_eq!((name.as_str(), time.as_str()), ("fix", "7"));
        let to_define = || {
            let names = Java_livepatch_art_NativePatcher_toDefine(raw, probe, text(dex));
            let names = env.elements(names).expect("strings").into_iter().map(|name| env.text(name));
            names.collect::<Vec<String>>()
        };
        let names = to_define();
        assert_eq!(names.len(), 2);
        assert!(names[0] == "Fees" && names[1].starts_with("Account_CF"), "{names:?}");

        let defined = loader.define(dex.as_ref(), &names).expect("classes");
        let class = env.find_class("java/lang/Class").expect("a class");
        let array = env.array(2, class, defined[0]).expect("an array");
        env.set_element(array, 1, defined[1]).expect("set");
        let strings = env.texts(&names).expect("strings");
        let number =
            Java_livepatch_art_NativePatcher_apply(raw, probe, loader.object(), array, strings, text(dex));
        assert_eq!(number, 1);
        let count = |expected: i32| {
            let account = loader.class("Account", true).expect("a class");
            let id = env.method(account, "count", "()I", true).expect("a method");
            assert_eq!(env.call(Receiver::Class(account), id, 'I', &[]).expect("a call").i, expected);
        };
        count(0);
        let mut buffer = [0; 256];
        let length = livepatch_art_list(buffer.as_mut_ptr(), buffer.len());
        let listed = CStr::from_ptr(buffer.as_ptr()).to_string_lossy().into_owned();
        assert_eq!(listed.len() + 1, length);
        assert_eq!(listed.lines().count(), 5);
        assert_eq!(livepatch_art_list(buffer.as_mut_ptr(), 8), length);
        assert_eq!(CStr::from_ptr(buffer.as_ptr()).to_bytes().len(), 7);

        assert_eq!(livepatch_art_refresh(), 0);
        Java_livepatch_art_NativePatcher_rollBack(raw, probe, number);
        count(-1);
        // Once more: its classes are there.
        assert_eq!(to_define(), Vec::<String>::new());
        let none = env.array(0, class, std::ptr::null_mut()).expect("an array");
        let no_names = env.texts(&[]).expect("strings");
        let number =
            Java_livepatch_art_NativePatcher_apply(raw, probe, loader.object(), none, no_names, text(dex));
        assert_eq!(number, 2);
        count(0);
        Java_livepatch_art_NativePatcher_rollBack(raw, probe, number);
        count(-1);
        assert_eq!(livepatch_art_roll_back(raw, 1), -1);
        assert_eq!(error(), "there is no patch 1");

        let (target, fix) = (runtime.class("App"), runtime.class("App_CF"));
        let [name, signature] = [c"div", c"(II)I"].map(CStr::as_ptr);
        assert_eq!(livepatch_art_replace(raw, target, fix, name, signature, true), 3);
        assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
        assert_eq!(livepatch_art_roll_back_all(raw), 0);
        assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
    }
}

/// Names the archive of `dx`, which Debian 11 packages as `dalvik-exchange`.
const DX: &str = "LIVEPATCH_DX";

/// What a real compiler makes of a source.
fn compiled(folder: &Path, version: &str, file: &str, dx: &Path) -> Dex {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/java").join(version).join(file);
    let (classes, out) = (folder.join(version), folder.join(format!("{version}.dex")));
    let run = |command: &mut Command| {
        let output = command.output().expect("a tool");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new("javac").args(["-nowarn", "--release", "8", "-d"]).arg(&classes).arg(&source));
    let mut java = Command::new("java");
    java.arg("-cp").arg(dx).args(["com.android.dx.command.Main", "--dex", "--min-sdk-version=26"]);
    run(java.arg(format!("--output={}", out.display())).arg(&classes));
    dex::read(&std::fs::read(&out).expect("a file")).expect("a dex file")
}

/// Switches, handlers, arrays, variable arguments, an anonymous class with an accessor, as a compiler writes them.
fn from_a_real_compiler(runtime: &mut Runtime) {
    let Some(dx) = std::env::var_os(DX).map(PathBuf::from) else {
        println!("skipped: {DX} does not name the archive of dx");
        return;
    };
    let [old, new] = ["old", "new"].map(|version| compiled(&runtime.folder, version, "Shop.java", &dx));
    let difference = diff(std::slice::from_ref(&old), &[new]);
    assert_eq!(difference.refused, []);
    assert_eq!(difference.added, ["Shop$1"]);
    let names = ["cheapest()I", "checked(I)I", "price(I)I", "sell(I)I", "sold()I"];
    let mut changed = difference.changed.clone();
    changed.sort();
    assert_eq!(changed, names.map(|name| format!("Shop.{name}")));
    let mut program = Program::start(runtime, &old);
    let env = runtime.env;
    let shop = program.class("Shop");
    let constructor = env.method(shop, "<init>", "()V", false).expect("a constructor");
    let object = env.new_object(shop, constructor, &[]).expect("an object");
    let with = |name: &str, argument: i32| {
        let id = env.method(shop, name, "(I)I", false).expect("a method");
        env.call_int(Receiver::Object(object), id, &[jvalue { i: argument }]).expect("a call")
    };
    let all = || {
        let cheapest = env.method(shop, "cheapest", "()I", false).expect("a method");
        let cheapest = env.call_int(Receiver::Object(object), cheapest, &[]).expect("a call");
        let sold = env.method(shop, "sold", "()I", true).expect("a method");
        let sold = env.call_int(Receiver::Class(shop), sold, &[]).expect("a call");
        [with("sell", 1), cheapest, with("price", 7), with("price", 8), with("checked", 9), sold]
    };
    // 10 less 1, and one too many.
    assert_eq!(all(), [8, 6, 5, -1, -1, 0]);
    let number = program.apply(runtime, &difference.patch.expect("a patch")).expect("a patch").number;
    // 8 less 1; 3 + 5 + 8 times the stock before the sale of this round; what was sold before that.
    assert_eq!(all(), [7, 16 * 8 / 20, 5, 8, 8, 1]);
    runtime.engine.roll_back(env, number).expect("the way back");
    assert_eq!(all(), [5, 6, 5, -1, -1, 0]);
}

/// Every method that can be replaced is replaced by itself, from a class beside its own: nothing is different.
fn all_methods_by_themselves(runtime: &mut Runtime) {
    let Some(dx) = std::env::var_os(DX).map(PathBuf::from) else {
        println!("skipped: {DX} does not name the archive of dx");
        return;
    };
    let old = compiled(&runtime.folder, "every", "Every.java", &dx);
    let mut new = old.clone();
    let mut expected = Vec::new();
    for class in &mut new.classes {
        let (name, in_interface) = (class.name(), class.access & INTERFACE != 0);
        for method in class.methods_mut().filter(|method| method.access & CONSTRUCTOR == 0) {
            if in_interface && method.access & (STATIC | PRIVATE) == 0 {
                continue;
            }
            let Some(code) = &mut method.code else { continue };
            // Two instructions that do nothing, in front.
            code.units.splice(0..0, [0, 0]);
            code.references.iter_mut().for_each(|(at, _)| *at += 2);
            for part in &mut code.tries {
                part.start += 2;
                part.catches.iter_mut().for_each(|(_, target)| *target += 2);
                part.catch_all.iter_mut().for_each(|target| *target += 2);
            }
            expected.push(format!("{name}.{}{}", method.name, method.prototype));
        }
    }
    let difference = diff(std::slice::from_ref(&old), std::slice::from_ref(&new));
    assert_eq!(difference.refused, []);
    let mut changed = difference.changed.clone();
    changed.sort();
    expected.sort();
    assert_eq!(changed, expected);
    assert!(expected.len() > 30, "{expected:?}");
    let mut program = Program::start(runtime, &old);
    // What it returns in the virtual machine of a JDK.
    let before = 85_925_981;
    assert_eq!(program.int("Every", "run"), Ok(before));
    let number = program.patch(runtime, &old, &new);
    assert_eq!(program.int("Every", "run"), Ok(before));
    assert_eq!(runtime.engine.list().len(), expected.len());
    runtime.collect();
    assert_eq!(program.int("Every", "run"), Ok(before));
    runtime.engine.roll_back(runtime.env, number).expect("the way back");
    assert_eq!(program.int("Every", "run"), Ok(before));
}
