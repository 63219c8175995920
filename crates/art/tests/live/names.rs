//! What names lead to in the later version of a program, and in the one that runs: members of superclasses, and of other
//! packages.

use crate::Case;
use crate::runtime::Runtime;
use crate::versions::{Program, version};
use livepatch_art::dex::Dex;
use livepatch_art::engine::EngineError;
use livepatch_art::preflight::Refusal;
use livepatch_art::record::Way;
use std::ffi::c_void;
use std::fmt::Write as _;

pub(crate) const ALL: &[Case] = &[
    ("names::new_private_method_called_as_a_superclasses", new_private_method_called_as_a_superclasses),
    ("names::new_methods_of_a_superclass", new_methods_of_a_superclass),
    ("names::added_before_and_called_by_a_subclass", added_before_and_called_by_a_subclass),
    ("names::new_methods_without_an_object", new_methods_without_an_object),
    ("names::two_helpers_of_one_name", two_helpers_of_one_name),
    ("names::fields_after_every_method_was_replaced", fields_after_every_method_was_replaced),
    ("names::classes_only", classes_only),
    ("names::private_native_methods", private_native_methods),
    ("names::index_of_another_method", index_of_another_method),
    ("names::circles", circles),
    ("names::protected_of_another_package", protected_of_another_package),
    ("names::enumerations_and_interfaces", enumerations_and_interfaces),
    ("names::registers_around_256", registers_around_256),
    ("names::wide_and_static_private_methods", wide_and_static_private_methods),
];

fn class(head: &str, parent: &str, rest: &str) -> String {
    format!(
        ".class public {head};\n.super {parent}\n{rest}\
         .method public constructor <init>()V\n    .registers 1\n    \
         invoke-direct {{p0}}, {parent}-><init>()V\n    return-void\n.end method\n"
    )
}

const OBJECT: &str = "Ljava/lang/Object;";

/// A method that returns what its lines leave in `v0`.
fn method(head: &str, lines: &str) -> String {
    format!(
        ".method {head}\n    .registers 8\n    {}\n    return v0\n.end method\n",
        lines.replace("; ", "\n    ")
    )
}

fn both(texts: [String; 2]) -> [Dex; 2] {
    texts.map(|text| version(&text))
}

/// The superclass has a private method and a static one of the same names: they are others.
fn new_private_method_called_as_a_superclasses(runtime: &mut Runtime) {
    let text = |f: &str, more: &str| {
        let base =
            [method("private log()I", "const/4 v0, 1"), method("private static of()I", "const/4 v0, 1")];
        let base = class("LBase", OBJECT, &base.concat());
        base + &class("LC", "LBase;", &(method("public f()I", f) + more))
    };
    let more = [method("private log()I", "const/4 v0, 7"), method("private static of()I", "const/4 v0, 6")];
    let calls = "invoke-direct {p0}, LC;->log()I; move-result v0; invoke-static {}, LC;->of()I; \
                 move-result v1; mul-int/2addr v0, v1";
    let [old, new] = both([text("const/4 v0, 1", ""), text(calls, &more.concat())]);
    let mut program = Program::start(runtime, &old);
    let object = program.object("C");
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "f"), Ok(42));
}

/// A program whose `D` extends `Base`, which may have more.
fn with_subclass(f: &str, more: &str) -> Dex {
    let base = class("LBase", OBJECT, more);
    version(&(base + &class("LD", "LBase;", &method("public f()I", f))))
}

const CALLS: &str = "invoke-virtual {p0}, LD;->extra()I; move-result v0; invoke-static {}, LD;->more()I; move-result v1; \
                     mul-int/2addr v0, v1";

fn extra() -> String {
    let extra = method("protected extra()I", "const/4 v0, 7");
    extra + &method("public static more()I", "const/4 v0, 6")
}

/// Compilers name the class that a method is looked for in, and not the one that it is found in.
fn new_methods_of_a_superclass(runtime: &mut Runtime) {
    let (old, new) = (with_subclass("const/4 v0, 1", ""), with_subclass(CALLS, &extra()));
    let mut program = Program::start(runtime, &old);
    let object = program.object("D");
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "f"), Ok(42));
}

/// A patch has added a method to the superclass; the next one is made of the version that has it.
fn added_before_and_called_by_a_subclass(runtime: &mut Runtime) {
    let more = CALLS.replace("mul-int", "add-int");
    let versions =
        [with_subclass("const/4 v0, 1", ""), with_subclass(CALLS, &extra()), with_subclass(&more, &extra())];
    let mut program = Program::start(runtime, &versions[0]);
    let object = program.object("D");
    program.patch(runtime, &versions[0], &versions[1]);
    let error = program.try_patch(runtime, &versions[1], &versions[2]).expect_err("a refusal");
    assert!(matches!(error, EngineError::AddedBefore(_)), "{error}");
    assert_eq!(program.int_of(object, "f"), Ok(42));
    program.patch(runtime, &versions[0], &versions[2]);
    assert_eq!(program.int_of(object, "f"), Ok(13));
}

/// A method that is new is called without an object: that is thrown, although its body does without one. Its arguments fill
/// more than the first registers.
fn new_methods_without_an_object(runtime: &mut Runtime) {
    let text = |f: &str, more: &str| class("LC", OBJECT, &(method("public f()I", f) + more));
    let body = ":from; move/from16 v0, p1; const/4 v1, 0; div-int v0, v0, v1; :to; return v0; :caught; \
                move-exception v0; move/from16 v0, p1";
    let of_more = method("private more(IJJJJJJJJ)I", body)
        .replace(".registers 8", ".registers 40")
        .replace(".end method", ".catch Ljava/lang/ArithmeticException; {:from .. :to} :caught\n.end method");
    let calls = |object: &str| {
        format!(
            "{object}; const/16 v1, 42; const-wide/16 v2, 1; const-wide/16 v4, 1; const-wide/16 v6, 1; \
             const-wide/16 v8, 1; const-wide/16 v10, 1; const-wide/16 v12, 1; const-wide/16 v14, 1; \
             const-wide/16 v16, 1; invoke-direct/range {{v0 .. v17}}, LC;->more(IJJJJJJJJ)I; move-result v0"
        )
    };
    let new =
        |object: &str| version(&text(&calls(object), &of_more).replace(".registers 8", ".registers 20"));
    let old = version(&text("const/4 v0, 1", ""));
    let mut program = Program::start(runtime, &old);
    let object = program.object("C");
    program.patch(runtime, &old, &new("move-object/from16 v0, p0"));
    assert_eq!(program.int_of(object, "f"), Ok(42));
    program.patch(runtime, &old, &new("const/4 v0, 0"));
    assert_eq!(
        program.int_of(object, "f").expect_err("an exception").class,
        "java.lang.NullPointerException"
    );
}

/// A private method of objects, and a static one that takes an object: as helpers both take that.
fn two_helpers_of_one_name(runtime: &mut Runtime) {
    let text = |f: &str| {
        let of_class = [
            method("private size()I", "const/4 v0, 7"),
            method("private static size(LC;)I", "const/4 v0, 6"),
            method("public f()I", f),
        ];
        class("LC", OBJECT, &of_class.concat())
    };
    let calls = "invoke-direct {p0}, LC;->size()I; move-result v0; invoke-static {p0}, LC;->size(LC;)I; \
                 move-result v1; mul-int/2addr v0, v1";
    let [old, new] = both([text("const/4 v0, 1"), text(calls)]);
    let mut program = Program::start(runtime, &old);
    let object = program.object("C");
    program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "f"), Ok(42));
}

/// Functions outside of classes, as Kotlin has them, and a private variable beside them.
fn fields_after_every_method_was_replaced(runtime: &mut Runtime) {
    let text = |f: &str, g: &str| {
        let of_class = [method("public static f()I", f), method("public static g()I", g)].concat();
        version(&format!(
            ".class public LAllKt;\n.super {OBJECT}\n.field private static counter:I\n{of_class}"
        ))
    };
    let uses = "sget v0, LAllKt;->counter:I; add-int/lit8 v0, v0, 5; sput v0, LAllKt;->counter:I";
    let versions = [
        text("const/4 v0, 1", "const/4 v0, 2"),
        text("const/4 v0, 3", "const/4 v0, 4"),
        text("const/4 v0, 3", uses),
    ];
    let mut program = Program::start(runtime, &versions[0]);
    if runtime.engine.way() != Way::Entry {
        println!("skipped: by copies, the first patch is refused");
        return;
    }
    program.patch(runtime, &versions[0], &versions[1]);
    assert_eq!((program.int("AllKt", "f"), program.int("AllKt", "g")), (Ok(3), Ok(4)));
    program.patch(runtime, &versions[1], &versions[2]);
    assert_eq!((program.int("AllKt", "g"), program.int("AllKt", "g")), (Ok(5), Ok(10)));
}

/// Classes that are new, and nothing that calls them: a patch that is taken back as others are.
fn classes_only(runtime: &mut Runtime) {
    let old = version(&class("LC", OBJECT, &method("public f()I", "const/4 v0, 1")));
    let mut new = old.clone();
    // The first one of them extends and implements the others.
    new.classes.extend(version(&class("LAdded", "LZbase;", ".implements LZface;\n")).classes);
    new.classes.extend(version(&class("LZbase", OBJECT, "")).classes);
    let face = format!(".class public abstract interface LZface;\n.super {OBJECT}\n");
    new.classes.extend(version(&face).classes);
    let mut program = Program::start(runtime, &old);
    let number = program.patch(runtime, &old, &new);
    program.object("Added");
    runtime.engine.roll_back(runtime.env, number).expect("the way back");
    assert!(matches!(runtime.engine.roll_back(runtime.env, number), Err(EngineError::NoPatch(_))));
    program.patch(runtime, &old, &new);
    runtime.engine.roll_back_all(runtime.env).expect("the way back");
}

extern "C" fn seven(_env: *mut c_void, _object: *mut c_void, wide: i64) -> i32 {
    i32::try_from(wide).unwrap_or_default() + 7
}

/// A private method that is native has no body that a helper could have: that leads to it, which copies do not.
fn private_native_methods(runtime: &mut Runtime) {
    let text = |f: &str| {
        let of_class = [
            ".method private native own(J)I\n.end method\n".to_owned(),
            ".method private static native all(J)I\n.end method\n".to_owned(),
            method("public f()I", f),
        ];
        class("LC", OBJECT, &of_class.concat())
    };
    let calls = "const-wide/16 v2, 100; invoke-direct {p0, v2, v3}, LC;->own(J)I; move-result v0; \
                 const-wide/16 v2, 1000; invoke-static {v2, v3}, LC;->all(J)I; move-result v1; add-int/2addr v0, v1";
    let [old, new] = both([text("const/4 v0, 1"), text(calls)]);
    let mut program = Program::start(runtime, &old);
    for name in ["own", "all"] {
        let function = seven as extern "C" fn(*mut c_void, *mut c_void, i64) -> i32;
        // SAFETY: it takes an environment, an object or a class, and a `long`, and returns an `int`.
        unsafe { runtime.env.register(program.class("C"), name, "(J)I", function as *mut c_void) }
            .expect("registered");
    }
    let object = program.object("C");
    let patched = program.try_patch(runtime, &old, &new);
    match runtime.engine.way() {
        Way::Entry => {
            let number = patched.expect("a patch").number;
            assert_eq!(program.int_of(object, "f"), Ok(1114));
            runtime.engine.roll_back(runtime.env, number).expect("the way back");
        }
        _ => assert!(
            matches!(patched, Err(EngineError::Refused { refusal: Refusal::Native, .. })),
            "{patched:?}"
        ),
    }
    assert_eq!(program.int_of(object, "f"), Ok(1));
}

/// In the patch's file the fix has the index that another method of the class has in the program's. A copied record says
/// that index, by which 14 finds methods of a class when they are called for the first time.
fn index_of_another_method(runtime: &mut Runtime) {
    let text = |a: &str| {
        let of_class = [method("public static a()I", a), method("public static b()I", "const/4 v0, 2")];
        let calls = method("public static f()I", "invoke-static {}, LC;->b()I; move-result v0");
        class("LC", OBJECT, &of_class.concat()) + &class("LD", OBJECT, &calls)
    };
    // In the one file: the constructor, `a`, and `b`; in the other one the constructor, `b`, and `a` of the patch's class.
    let fix = "new-instance v0, LC;; invoke-direct {v0}, LC;-><init>()V; invoke-static {}, LC;->b()I; \
               move-result v0; add-int/lit8 v0, v0, 5";
    let [old, new] = both([text("const/4 v0, 1"), text(fix)]);
    let mut program = Program::start(runtime, &old);
    assert_eq!(program.int("C", "a"), Ok(1));
    program.patch(runtime, &old, &new);
    let by_index = runtime.engine.way() != Way::Entry && runtime.engine.layout().release().level() >= 31;
    let expected = if by_index { 7 } else { 2 };
    assert_eq!((program.int("C", "a"), program.int("D", "f")), (Ok(7), Ok(expected)));
}

/// A method that leads to another one that leads back would be called for ever.
fn circles(runtime: &mut Runtime) {
    if runtime.engine.way() != Way::Entry {
        println!("skipped: copies lead nowhere");
        return;
    }
    let of = |name: &str, number: i32| {
        class(&format!("L{name}"), OBJECT, &method("public static f()I", &format!("const/4 v0, {number}")))
    };
    let program = Program::start(runtime, &version(&[of("A", 1), of("B", 2), of("C", 3)].concat()));
    let change = |runtime: &Runtime, target: &str, fix: &str| {
        program.change_of(runtime, target, fix, ["f", "()I"]).expect("classes")
    };
    let refused = |runtime: &mut Runtime, changes: &[[&str; 2]]| {
        let changes: Vec<_> = changes.iter().map(|[target, fix]| change(runtime, target, fix)).collect();
        match runtime.engine.apply(runtime.env, &changes) {
            Err(EngineError::Refused { refusal: Refusal::Itself, .. }) => true,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(runtime, &[["A", "B"], ["B", "A"]]));
    assert!(refused(runtime, &[["A", "B"], ["B", "C"], ["C", "A"]]));
    let first = change(runtime, "A", "B");
    let first = runtime.apply(first);
    let second = change(runtime, "A", "C");
    let second = runtime.apply(second);
    // It is not a circle now, and would be one if the second patch was taken back.
    assert!(refused(runtime, &[["B", "A"]]));
    assert_eq!((program.int("A", "f"), program.int("B", "f")), (Ok(3), Ok(2)));
    // One leads to the other, which leads on.
    let third = change(runtime, "C", "B");
    runtime.apply(third);
    assert_eq!(program.int("A", "f"), Ok(2));
    runtime.engine.roll_back(runtime.env, second).expect("the way back");
    runtime.engine.roll_back(runtime.env, first).expect("the way back");
    assert_eq!((program.int("A", "f"), program.int("C", "f")), (Ok(1), Ok(2)));
}

/// Protected fields and methods of a superclass in another package, in a class that only its package sees, from a method
/// that is replaced and from a private one that is its helper.
fn protected_of_another_package(runtime: &mut Runtime) {
    let text = |f: &str| {
        let far = [
            ".field protected kept:I\n.field protected static shared:I\n".to_owned(),
            method("protected seven()I", "const/4 v0, 7"),
            method("protected static three()I", "const/4 v0, 3"),
        ];
        let far =
            class("Lfar/Base", OBJECT, &far.concat()).replace(".class public", ".class public abstract");
        let uses = "const/4 v0, 2; iput v0, p0, Lapp/Mid;->kept:I; sput v0, Lapp/Mid;->shared:I; \
                    iget v0, p0, Lapp/C;->kept:I; sget v1, Lapp/C;->shared:I; add-int/2addr v0, v1; \
                    invoke-virtual {p0}, Lapp/C;->seven()I; move-result v1; mul-int/2addr v0, v1; \
                    invoke-super {p0}, Lapp/Mid;->seven()I; move-result v1; add-int/2addr v0, v1; \
                    invoke-static {}, Lapp/C;->three()I; move-result v1; add-int/2addr v0, v1";
        let mid = class("Lapp/Mid", "Lfar/Base;", "").replace(".class public", ".class abstract");
        let own = [
            method("public f()I", f),
            method("private helper()I", uses),
            method("public test()I", &f.replace("const/4 v0, 1", uses)),
        ];
        let own = class("Lapp/C", "Lapp/Mid;", &own.concat()).replace(".class public", ".class final");
        far + &mid + &own
    };
    let calls = "invoke-direct {p0}, Lapp/C;->helper()I; move-result v0; add-int/lit8 v0, v0, 1";
    let [old, new] = both([text("const/4 v0, 1"), text(calls)]);
    let mut program = Program::start(runtime, &old);
    let object = program.object("app.C");
    // 4 * 7 + 7 + 3.
    assert_eq!(program.int_of(object, "test"), Ok(38));
    program.patch(runtime, &old, &new);
    assert_eq!((program.int_of(object, "f"), program.int_of(object, "test")), (Ok(39), Ok(39)));
    if runtime.engine.way() != Way::Entry && runtime.engine.layout().release().level() >= 31 {
        println!(
            "skipped: where records are copied although calls go through entries, as no engine does that starts by \
             itself, the next patch's `test` is said to be no static method"
        );
        return;
    }
    let back = version(&text("const/4 v0, 1"));
    program.patch(runtime, &new, &back);
    assert_eq!((program.int_of(object, "f"), program.int_of(object, "test")), (Ok(1), Ok(38)));
}

/// Static and private methods of an interface.
fn enumerations_and_interfaces(runtime: &mut Runtime) {
    let text = |number: i32| {
        let of_interface = [
            method(
                "public static f()I",
                &format!("invoke-static {{}}, LFace;->own()I; move-result v0; add-int/lit8 v0, v0, {number}"),
            ),
            method("private static own()I", &format!("const/16 v0, {}", 10 * number)),
            method("private mine()I", &format!("const/16 v0, {}", 100 * number)),
            method("public all()I", "invoke-direct {p0}, LFace;->mine()I; move-result v0"),
        ];
        let of_interface = of_interface.concat();
        format!(".class public abstract interface LFace;\n.super {OBJECT}\n{of_interface}")
            + &class("LC", OBJECT, ".implements LFace;\n")
    };
    let [mut old, mut new] = both([text(1), text(2)]);
    (old.version, new.version) = (37, 37);
    let mut program = Program::start(runtime, &old);
    let object = program.object("C");
    assert_eq!((program.int("Face", "f"), program.int_of(object, "all")), (Ok(11), Ok(100)));
    if runtime.engine.way() != Way::Entry {
        println!("skipped: by copies, nothing would be left as it was");
        return;
    }
    program.patch(runtime, &old, &new);
    assert_eq!((program.int("Face", "f"), program.int_of(object, "all")), (Ok(22), Ok(200)));
}

/// The object's register is the last one that `check-cast` can name, or the first one that it cannot; handlers and tables
/// are behind it.
fn registers_around_256(runtime: &mut Runtime) {
    let counts = [1, 2, 254, 255, 256, 257, 258, 300];
    let text = |number: i32| {
        let methods = counts.iter().fold(String::new(), |mut text, count| {
            let body = match count {
                1 => format!("    const/16 p0, {number}\n    return p0\n"),
                // `this` is overwritten, and it goes back to where it began.
                _ => format!(
                    ":begin\n    const/16 v0, {number}\n    packed-switch v0, :table\n    \
                     move/16 p0, v0\n    goto :from\n:seven\n    const/4 v0, 1\n    move/16 p0, v0\n:from\n    const/4 v0, 0\n    \
                     div-int v0, v0, v0\n:to\n    goto :begin\n:caught\n    move-exception v0\n    move/16 v0, p0\n    \
                     return v0\n    .catch Ljava/lang/ArithmeticException; {{:begin .. :to}} :caught\n\
                     :table\n    .packed-switch 7\n    :seven\n    .end packed-switch\n"
                ),
            };
            let _ = write!(text, ".method public f{count}()I\n    .registers {count}\n{body}.end method\n");
            text
        });
        class("LC", OBJECT, &methods)
    };
    let [old, new] = both([text(7), text(9)]);
    let mut program = Program::start(runtime, &old);
    let object = program.object("C");
    for count in counts {
        let expected = if count == 1 { 7 } else { 1 };
        assert_eq!(program.int_of(object, &format!("f{count}")), Ok(expected), "{count}");
    }
    program.patch(runtime, &old, &new);
    for count in counts {
        assert_eq!(program.int_of(object, &format!("f{count}")), Ok(9), "{count}");
    }
}

/// Private methods with arguments of two registers, many of them, called with `/range`, and static ones.
fn wide_and_static_private_methods(runtime: &mut Runtime) {
    let text = |number: i32| {
        let sum = "add-long/2addr p1, p4; long-to-int v0, p1; add-int/2addr v0, p3; double-to-int v1, p6; \
                   add-int/2addr v0, v1; float-to-int v1, p8; add-int/2addr v0, v1; array-length v1, p9; add-int/2addr v0, v1";
        let of_static = ["p1", "p4", "p3", "p6", "p8", "p9"].iter().zip(["p0", "p3", "p2", "p5", "p7", "p8"]);
        let mut static_sum = sum.to_owned();
        for (from, to) in of_static {
            static_sum = static_sum.replace(from, &to.replace('p', "q"));
        }
        let static_sum = static_sum.replace('q', "p");
        let with = |head: &str, lines: &str| method(head, lines).replace(".registers 8", ".registers 12");
        let calls = format!(
            "move-object/from16 v1, p0; const-wide/16 v2, 1; const/4 v4, 2; const-wide/16 v5, 3; \
             const-wide/high16 v7, 0x4010000000000000; const/high16 v9, 0x40a00000; const/4 v10, {number}; \
             new-array v10, v10, [I; invoke-direct/range {{v1 .. v10}}, LC;->sum(JIJDF[I)I; move-result v0; \
             invoke-static/range {{v2 .. v10}}, LC;->all(JIJDF[I)J; move-result-wide v2; long-to-int v1, v2; \
             mul-int/lit16 v1, v1, 100; add-int/2addr v0, v1"
        );
        let of_class = [
            with("private varargs sum(JIJDF[I)I", sum),
            with("private static all(JIJDF[I)J", &static_sum)
                .replace("return v0", "int-to-long v0, v0\n    return-wide v0"),
            method("public f()I", &calls).replace(".registers 8", ".registers 14"),
        ];
        class("LC", OBJECT, &of_class.concat())
    };
    let [old, new] = both([text(6), text(7)]);
    let mut program = Program::start(runtime, &old);
    let object = program.object("C");
    // 1 + 3 + 2 + 4.0 + 5.0, and the array's length: twice.
    assert_eq!(program.int_of(object, "f"), Ok(2121));
    let number = program.patch(runtime, &old, &new);
    assert_eq!(program.int_of(object, "f"), Ok(2222));
    runtime.engine.roll_back(runtime.env, number).expect("the way back");
    assert_eq!(program.int_of(object, "f"), Ok(2121));
}
