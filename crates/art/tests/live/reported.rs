//! What AndFix's users reported, made again: two versions of a program, the patch between them, and what they saw crash.

use crate::Case;
use crate::runtime::Runtime;
use crate::versions::{Program, version};
use livepatch_art::dex::Dex;
use livepatch_art::engine::EngineError;
use livepatch_art::record::Way;

pub(crate) const ALL: &[Case] = &[
    ("reported::andfix_307_private_method_of_a_subclass", private_method_of_a_subclass),
    ("reported::andfix_274_super_call_and_private_method", super_call_and_private_method),
    ("reported::andfix_80_several_patches_call_each_other", several_patches_call_each_other),
    ("reported::andfix_115_same_method_again", same_method_again),
    ("reported::andfix_241_method_added_by_a_later_patch", method_added_by_a_later_patch),
    ("reported::andfix_280_inner_class_of_the_package", inner_class_of_the_package),
    ("reported::andfix_316_listener", listener),
    ("reported::patch_that_was_taken_back_again", patch_that_was_taken_back_again),
    ("reported::class_added_twice", class_added_twice),
];

const TEMPLATE: &str = include_str!("smali/screen.smali");

/// A version of the program: what its methods return.
fn screen(created: i32, show: i32, test: i32, clicked: i32) -> Dex {
    let numbers = [("CREATED", created), ("SHOW", show), ("TEST", test), ("CLICKED", clicked)];
    let text = numbers.iter().fold(TEMPLATE.to_owned(), |text, (name, number)| {
        text.replace(&format!("<{name}>"), &number.to_string())
    });
    version(&text)
}

/// "Expected to be of type direct but instead was found to be of type virtual": the method was made public.
fn private_method_of_a_subclass(runtime: &mut Runtime) {
    let (old, new) = (screen(1, 1, 1, 1), screen(1, 5, 1, 1));
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.Screen");
    assert_eq!(program.int_of(object, "callShow"), Ok(1));
    let patch = program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "callShow"), Ok(5));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(program.int_of(object, "callShow"), Ok(1));
}

/// "No super method onCreate in class …; or its super classes", and the above.
fn super_call_and_private_method(runtime: &mut Runtime) {
    let (old, new) = (screen(1, 1, 1, 1), screen(2, 3, 1, 1));
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.Screen");
    // Ten by the superclass.
    assert_eq!(program.int_with("base.Window", "start", "(Lbase/Window;)I", object), Ok(11));
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_with("base.Window", "start", "(Lbase/Window;)I", object), Ok(12));
    assert_eq!(program.int_of(object, "callShow"), Ok(3));
}

/// "Method Screen_CF.show() is inaccessible to class Screen_CF": the second patch's method calls the first one's.
fn several_patches_call_each_other(runtime: &mut Runtime) {
    let versions = [screen(1, 1, 1, 1), screen(1, 2, 1, 1), screen(1, 2, 30, 1), screen(1, 4, 30, 1)];
    let mut program = Program::start(runtime, &versions[0]);
    let object = program.object("app.Screen");
    // `test` adds what `show` returns.
    assert_eq!(program.int_of(object, "callTest"), Ok(2));
    let mut patches = Vec::new();
    for (nth, expected) in [(1, 3), (2, 32), (3, 34)] {
        patches.push(program.patch(runtime, &versions[nth - 1], &versions[nth]));
        // Where records are copied, the second patch goes on with the `show` that it was made with.
        let expected = if runtime.engine.way() == Way::Entry { expected } else { expected.min(32) };
        assert_eq!(program.int_of(object, "callTest"), Ok(expected));
    }
    runtime.collect();
    if runtime.engine.way() == Way::Entry {
        assert_eq!(program.int_of(object, "callTest"), Ok(34));
        // The first goes, which gave `show` its second body; then the third, which gave it its third.
        runtime.engine.roll_back(runtime.env, patches.remove(0)).expect("the way back");
        assert_eq!(program.int_of(object, "callTest"), Ok(34));
        runtime.engine.roll_back(runtime.env, patches.remove(1)).expect("the way back");
        assert_eq!(program.int_of(object, "callTest"), Ok(31));
    }
    for patch in patches {
        runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    }
    assert_eq!(program.int_of(object, "callTest"), Ok(2));
}

/// A patch from the first version to the third, after one from the first to the second; and (#103) many calls of it.
fn same_method_again(runtime: &mut Runtime) {
    let versions = [screen(1, 1, 1, 1), screen(1, 2, 1, 1), screen(1, 3, 1, 1)];
    let mut program = Program::start(runtime, &versions[0]);
    let object = program.object("app.Screen");
    for (nth, expected) in [(1, 2), (2, 3), (1, 2), (2, 3)] {
        program.patch(runtime, &versions[0], &versions[nth]);
        assert_eq!(program.int_of(object, "callShow"), Ok(expected));
    }
    for _ in 0..10_000 {
        assert_eq!(program.int_of(object, "callShow"), Ok(3));
    }
    runtime.engine.roll_back_all(runtime.env).expect("the way back");
    assert_eq!(program.int_of(object, "callShow"), Ok(1));
}

/// "No static method access$100 in class Screen_CF".
fn method_added_by_a_later_patch(runtime: &mut Runtime) {
    let versions = [screen(1, 1, 1, 1), screen(1, 2, 1, 1)];
    let added = TEMPLATE.replace("<CREATED>", "1").replace("<SHOW>", "2").replace("<CLICKED>", "1");
    let added = added
        .replace("const/16 v0, <TEST>", "invoke-direct {p0}, Lapp/Screen;->more()I\n    move-result v0")
        .replace(
            ".method private show()I",
            ".method private more()I\n    .registers 2\n    const/16 v0, 40\n    return v0\n.end method\n.method private show()I",
        );
    let mut program = Program::start(runtime, &versions[0]);
    let object = program.object("app.Screen");
    program.patch(runtime, &versions[0], &versions[1]);
    let added_twice = version(&added.replace("const/16 v0, 40", "const/16 v0, 50"));
    let added = version(&added);
    program.patch(runtime, &versions[1], &added);
    assert_eq!(program.int_of(object, "callTest"), Ok(42));
    // A patch from there would have to replace a method that the class does not have.
    let refused = program.try_patch(runtime, &added, &added_twice);
    assert!(matches!(refused, Err(EngineError::AddedBefore(name)) if name == "app.Screen.more()I"));
    program.patch(runtime, &versions[1], &added_twice);
    assert_eq!(program.int_of(object, "callTest"), Ok(52));
}

/// "Screen_CF attempting to access Screen$1" (#25, #64: "interface not accessible"): only classes of the same package
/// may, and a package is one of a class loader.
fn inner_class_of_the_package(runtime: &mut Runtime) {
    let (old, new) = (screen(1, 1, 1, 1), screen(6, 1, 1, 1));
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.Screen");
    program.patch(runtime, &old, &new);
    // The body makes an object of a class of the package, and calls it as an interface of the package.
    assert_eq!(program.int_with("base.Window", "start", "(Lbase/Window;)I", object), Ok(16));
    assert_eq!(program.int_of(object, "clickedNow"), Ok(2));
}

/// A method of an anonymous class, which calls a private one of the class around it.
fn listener(runtime: &mut Runtime) {
    let (old, new) = (screen(1, 1, 1, 1), screen(1, 1, 1, 20));
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.Screen");
    assert_eq!(program.int_of(object, "clickedNow"), Ok(2));
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "clickedNow"), Ok(21));
}

/// Its classes are there already, and are used again.
fn patch_that_was_taken_back_again(runtime: &mut Runtime) {
    let (old, new) = (screen(1, 1, 1, 1), screen(1, 5, 6, 7));
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.Screen");
    for _ in 0..3 {
        let patch = program.patch(runtime, &old, &new);
        assert_eq!(program.int_of(object, "callShow"), Ok(5));
        assert_eq!(program.int_of(object, "clickedNow"), Ok(12));
        runtime.engine.roll_back(runtime.env, patch).expect("the way back");
        assert_eq!(program.int_of(object, "callShow"), Ok(1));
    }
}

/// Two patches from the first version bring a class of the same name. If it is another one, the runtime would give the
/// second patch the first one's, without a word.
fn class_added_twice(runtime: &mut Runtime) {
    let old = screen(1, 1, 1, 1);
    let with = |number: i32, show: i32| {
        let class = format!(
            ".class public Lapp/Added;\n.super Ljava/lang/Object;\n.method public constructor <init>()V\n    .registers 1\n    \
             invoke-direct {{p0}}, Ljava/lang/Object;-><init>()V\n    return-void\n.end method\n.method public static get()I\n    .registers 1\n    \
             const/16 v0, {number}\n    return v0\n.end method\n"
        );
        let mut new = screen(1, show, 1, 1);
        new.classes.extend(version(&class).classes);
        new
    };
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.Screen");
    program.patch(runtime, &old, &with(7, 2));
    program.patch(runtime, &old, &with(7, 3));
    assert_eq!((program.int_of(object, "callShow"), program.int("app.Added", "get")), (Ok(3), Ok(7)));
    let refused = program.try_patch(runtime, &old, &with(8, 4));
    assert!(matches!(refused, Err(EngineError::ClassTaken(name)) if name == "app.Added"));
    assert_eq!(program.int_of(object, "callShow"), Ok(3));
    // From the version that runs, it is a method that changed.
    program.patch(runtime, &with(7, 3), &with(8, 4));
    assert_eq!((program.int_of(object, "callShow"), program.int("app.Added", "get")), (Ok(4), Ok(8)));
}
