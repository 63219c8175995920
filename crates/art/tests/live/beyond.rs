//! What a comparison of two versions refuses, and what happens where such a body is live all the same. The later version's
//! body is written down as it would be in the patch.

use crate::Case;
use crate::runtime::Runtime;
use crate::versions::{Program, version};
use jni_sys::jobject;
use livepatch_art::dex::{Class, Handle, Member, MethodRef, Prototype, Reference};
use livepatch_art::diff::{Reason, diff};
use livepatch_art::jni::Thrown;
use std::sync::Arc;

pub(crate) const ALL: &[Case] = &[
    ("beyond::another_superclass", another_superclass),
    ("beyond::another_interface", another_interface),
    ("beyond::class_that_became_public", class_that_became_public),
    ("beyond::method_that_became_public", method_that_became_public),
    ("beyond::field_that_became_public", field_that_became_public),
    ("beyond::field_that_became_variable", field_that_became_variable),
    ("beyond::static_field_added", static_field_added),
    ("beyond::initial_value", initial_value),
    ("beyond::constructor_added", constructor_added),
    ("beyond::private_constructor", private_constructor),
    ("beyond::method_of_an_interface_added", method_of_an_interface_added),
    ("beyond::override_removed", override_removed),
    ("beyond::method_handle", method_handle),
    ("beyond::method_that_an_earlier_patch_added", method_that_an_earlier_patch_added),
    ("beyond::name_that_is_taken", name_that_is_taken),
];

const OLD: &str = include_str!("smali/beyond.smali");

/// Checks that a comparison refuses a change of the program's text, with a body that `f` of a class has then.
fn refused(class: &str, body: &str, changes: &[(&str, &str)]) -> Reason {
    let mut text = OLD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let at = text.find(&format!(".class public L{class};")).expect("the class");
    let old = "    .registers 2\n    const/4 v0, 1\n    return v0\n";
    let at = at + text[at..].find(&format!(".method public f()I\n{old}")).expect("the method");
    let rest = text[at..].replacen(old, body, 1);
    text.replace_range(at.., &rest);
    let difference = diff(&[version(OLD)], &[version(&text)]);
    assert_eq!(difference.patch, None);
    difference.refused.into_iter().next().expect("a reason").reason
}

/// Has `f` of a class have that body.
fn live(runtime: &mut Runtime, class: &str, parent: &str, body: &str) -> (Program, jobject) {
    let mut program = Program::start(runtime, &version(OLD));
    let object = program.object(&class.replace('/', "."));
    assert_eq!(program.int_of(object, "f"), Ok(1));
    let names = [class, &format!("{class}_CF")].map(|name| name.replace('/', "."));
    program.replace(runtime, fix(class, parent, body), [&names[0], &names[1]], ["f", "()I"]);
    (program, object)
}

/// The class beside it that has that body.
fn fix(class: &str, parent: &str, body: &str) -> Vec<Class> {
    let cast = body.replacen('\n', &format!("\n    check-cast p0, L{class};\n"), 1);
    let head = format!(".class public final L{class}_CF;\n.super L{parent};\n.method public f()I\n");
    version(&format!("{head}{cast}.end method\n")).classes
}

fn thrown(result: Result<i32, Thrown>) -> String {
    result.expect_err("an exception").class
}

/// Objects that are there do not extend it: the patch's class is none that can be verified.
fn another_superclass(runtime: &mut Runtime) {
    let body =
        "    .registers 2\n    invoke-super {p0}, Lapp/Other;->get()I\n    move-result v0\n    return v0\n";
    let changes = [
        (".super Lapp/Base;", ".super Lapp/Other;"),
        (
            "Lapp/Base;-><init>()V\n    return-void\n.end method\n.method private",
            "Lapp/Other;-><init>()V\n    return-void\n.end method\n.method private",
        ),
    ];
    assert_eq!(refused("app/Box", body, &changes), Reason::Parents);
    let mut program = Program::start(runtime, &version(OLD));
    let fix = fix("app/Box", "app/Other", body);
    let refused = program.try_replace(runtime, fix, ["app.Box", "app.Box_CF"], ["f", "()I"]);
    assert_eq!(refused.expect_err("an exception").class, "java.lang.VerifyError");
}

/// Objects that are there do not implement it.
fn another_interface(runtime: &mut Runtime) {
    let body = "    .registers 2\n    invoke-interface {p0}, Lapp/Shape;->corners()I\n    move-result v0\n    return v0\n";
    let changes = [(".super Lapp/Base;\n.field", ".super Lapp/Base;\n.implements Lapp/Shape;\n.field")];
    assert_eq!(refused("app/Box", body, &changes), Reason::Parents);
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.IncompatibleClassChangeError");
}

fn class_that_became_public(runtime: &mut Runtime) {
    let body =
        "    .registers 2\n    invoke-static {}, Lhidden/Inner;->get()I\n    move-result v0\n    return v0\n";
    let changes = [
        (".class Lhidden/Inner;", ".class public Lhidden/Inner;"),
        (".method static get", ".method public static get"),
    ];
    assert_eq!(refused("app/Box", body, &changes), Reason::Access);
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.IllegalAccessError");
}

/// New callers look it up in a vtable, in which it is not.
fn method_that_became_public(runtime: &mut Runtime) {
    let body = "    .registers 3\n    new-instance v0, Lapp/Box;\n    invoke-direct {v0}, Lapp/Box;-><init>()V\n    \
                invoke-virtual {v0}, Lapp/Box;->secret()I\n    move-result v0\n    return v0\n";
    let changes = [(".method private secret", ".method public secret")];
    assert_eq!(refused("hidden/User", body, &changes), Reason::Access);
    let (program, object) = live(runtime, "hidden/User", "java/lang/Object", body);
    let error = thrown(program.int_of(object, "f"));
    assert!(
        ["java.lang.IllegalAccessError", "java.lang.IncompatibleClassChangeError"].contains(&&*error),
        "{error}"
    );
}

fn field_that_became_public(runtime: &mut Runtime) {
    let body = "    .registers 3\n    new-instance v0, Lhidden/User;\n    \
                invoke-direct {v0}, Lhidden/User;-><init>()V\n    iget v0, v0, Lhidden/User;->inPackage:I\n    return v0\n";
    let changes = [(".field inPackage:I", ".field public inPackage:I")];
    assert_eq!(refused("app/Box", body, &changes), Reason::Access);
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.IllegalAccessError");
}

fn field_that_became_variable(runtime: &mut Runtime) {
    let body = "    .registers 2\n    const/4 v0, 2\n    iput v0, p0, Lapp/Box;->kept:I\n    return v0\n";
    assert_eq!(
        refused("app/Box", body, &[(".field public final kept", ".field public kept")]),
        Reason::Access
    );
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.IllegalAccessError");
}

fn static_field_added(runtime: &mut Runtime) {
    let body = "    .registers 2\n    sget v0, Lapp/Box;->more:I\n    return v0\n";
    let changes =
        [(".field public static text:I", ".field public static more:I\n.field public static text:I")];
    assert_eq!(refused("app/Box", body, &changes), Reason::StaticFieldAdded);
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.NoSuchFieldError");
}

/// The class has been initialised: the field has what it has.
fn initial_value(runtime: &mut Runtime) {
    let body = "    .registers 2\n    sget v0, Lapp/Box;->text:I\n    return v0\n";
    let changes = [(".field public static text:I", ".field public static text:I = 7")];
    assert_eq!(refused("app/Box", body, &changes), Reason::InitialValue);
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(program.int_of(object, "f"), Ok(0));
}

fn constructor_added(runtime: &mut Runtime) {
    let body = "    .registers 3\n    new-instance v0, Lapp/Box;\n    const-wide/16 v1, 2\n    \
                invoke-direct {v0, v1, v2}, Lapp/Box;-><init>(J)V\n    const/4 v0, 2\n    return v0\n"
        .replace(".registers 3", ".registers 4");
    let added = ".method public constructor <init>(J)V\n    .registers 3\n    \
                 invoke-direct {p0}, Lapp/Base;-><init>()V\n    return-void\n.end method\n.method private constructor";
    let changes = [(".method private constructor", added)];
    assert_eq!(refused("app/Box", &body, &changes), Reason::ConstructorAdded);
    let (program, object) = live(runtime, "app/Box", "app/Base", &body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.NoSuchMethodError");
}

fn private_constructor(runtime: &mut Runtime) {
    let body = "    .registers 3\n    new-instance v0, Lapp/Box;\n    const/4 v1, 2\n    \
                invoke-direct {v0, v1}, Lapp/Box;-><init>(I)V\n    return v1\n";
    assert_eq!(refused("app/Box", body, &[]), Reason::PrivateConstructor("app.Box.f()I".to_owned()));
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.IllegalAccessError");
}

fn method_of_an_interface_added(runtime: &mut Runtime) {
    let body = "    .registers 3\n    new-instance v0, Lapp/Square;\n    invoke-direct {v0}, Lapp/Square;-><init>()V\n    \
                invoke-interface {v0}, Lapp/Shape;->sides()I\n    move-result v0\n    return v0\n";
    let added = ".method public sides()I\n    .registers 2\n    const/4 v0, 4\n    return v0\n.end method\n\
                 .method public corners()I\n    .registers 2\n    const/4 v0, 4";
    let changes = [(".method public corners()I\n    .registers 2\n    const/4 v0, 4", added)];
    assert_eq!(refused("app/Box", body, &changes), Reason::InterfaceMethodAdded);
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.NoSuchMethodError");
}

/// The class still has it, and so it is called: 3 by `Square`, and not 4 by `Shape`.
fn override_removed(runtime: &mut Runtime) {
    let body = "    .registers 2\n    invoke-interface {p0}, Lapp/Shape;->corners()I\n    move-result v0\n    return v0\n";
    let corners =
        ".method public corners()I\n    .registers 2\n    const/4 v0, 3\n    return v0\n.end method\n";
    assert_eq!(refused("app/Square", body, &[(corners, "")]), Reason::OverrideRemoved);
    let (program, object) = live(runtime, "app/Square", "java/lang/Object", body);
    assert_eq!(program.int_of(object, "f"), Ok(3));
}

/// What a handle leads to is checked against the class that it is in.
fn method_handle(runtime: &mut Runtime) {
    let secret = MethodRef {
        class: "Lapp/Box;".into(),
        name: "secret".into(),
        prototype: Arc::new(Prototype { returns: "I".into(), parameters: Vec::new() }),
    };
    // `invoke-direct`
    let handle = Handle { kind: 7, member: Member::Method(secret) };
    // The string in `f` becomes that.
    let with_handle = |text: &str| {
        let mut dex = version(text);
        let classes = dex.classes.iter_mut().filter(|class| class.name().starts_with("app.Box"));
        for method in classes.flat_map(|class| class.methods_mut()).filter(|method| method.name.is("f")) {
            let code = method.code.as_mut().expect("a body");
            let (at, reference) = code
                .references
                .iter_mut()
                .find(|(_, one)| matches!(one, Reference::Text(_)))
                .expect("a string");
            code.units[*at as usize - 1] = 0x00fe;
            *reference = Reference::Handle(handle.clone());
        }
        dex
    };
    let body = "    .registers 2\n    const-string v0, \"\"\n    const/4 v0, 2\n    return v0\n";
    let at = OLD.find(".class public Lapp/Box;").expect("a class");
    let old = "    .registers 2\n    const/4 v0, 1\n    return v0\n";
    let new = with_handle(&format!("{}{}", &OLD[..at], OLD[at..].replacen(old, body, 1)));
    let difference = diff(&[version(OLD)], &[new]);
    assert_eq!(difference.refused[0].reason, Reason::Handles("app.Box.f()I".to_owned()));

    let fix =
        format!(".class public Lapp/Box_CF;\n.super Lapp/Base;\n.method public f()I\n{body}.end method\n");
    let mut program = Program::start(runtime, &version(OLD));
    let object = program.object("app.Box");
    program.replace(runtime, with_handle(&fix).classes, ["app.Box", "app.Box_CF"], ["f", "()I"]);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.IllegalAccessError");
}

/// The engine refuses it (`reported::andfix_241…`): the class that is loaded does not have it.
fn method_that_an_earlier_patch_added(runtime: &mut Runtime) {
    let body =
        "    .registers 2\n    invoke-virtual {p0}, Lapp/Box;->more()I\n    move-result v0\n    return v0\n";
    let (program, object) = live(runtime, "app/Box", "app/Base", body);
    assert_eq!(thrown(program.int_of(object, "f")), "java.lang.NoSuchMethodError");
}

/// The loader gives the class that it has.
fn name_that_is_taken(runtime: &mut Runtime) {
    let fix = |number: i32| {
        let text = format!(
            ".class public Lapp/Box_CF;\n.super Lapp/Base;\n.method public f()I\n    .registers 2\n    \
             const/4 v0, {number}\n    return v0\n.end method\n"
        );
        version(&text).classes
    };
    let mut program = Program::start(runtime, &version(OLD));
    let object = program.object("app.Box");
    for number in [2, 3] {
        program.replace(runtime, fix(number), ["app.Box", "app.Box_CF"], ["f", "()I"]);
    }
    assert_eq!(program.int_of(object, "f"), Ok(2));
}
