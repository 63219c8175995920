//! Kinds of methods: each is called from Java before, with the fix, and after it was taken back.

use crate::Case;
use crate::runtime::Runtime;
use jni_sys::jvalue;
use livepatch_art::engine::EngineError;
use livepatch_art::jni::{Receiver, Thrown};
use livepatch_art::layout::Field;
use livepatch_art::record::Way;

pub(crate) const ALL: &[Case] = &[
    ("static_method", static_method),
    ("virtual_method", |runtime| of_object(runtime, "virt", "callVirt", 2)),
    ("private_method", |runtime| of_object(runtime, "priv", "callPriv", 2)),
    ("final_method", |runtime| of_object(runtime, "fin", "callFin", 2)),
    ("synchronized_method", |runtime| of_object(runtime, "sync", "callSync", 2)),
    ("invoke_super", |runtime| of_object(runtime, "superHello", "superHello", 10)),
    ("fields_and_helpers", |runtime| of_object(runtime, "withHelpers", "withHelpers", 42)),
    ("interface_method", interface_method),
    ("overridden_method", overridden_method),
    ("arguments_of_all_types", arguments_of_all_types),
    ("varargs", varargs),
    ("exception_thrown", exception_thrown),
    ("exception_caught", exception_caught),
    ("recursion", recursion),
    ("many_at_once", many_at_once),
    ("a_then_b_then_a", a_then_b_then_a),
    ("in_each_way", in_each_way),
    ("flags_of_callers_stay", flags_of_callers_stay),
    ("records_as_the_table_says", records_as_the_table_says),
    ("every_method_of_a_class", every_method_of_a_class),
    ("called_by_reflection", called_by_reflection),
];

fn static_method(runtime: &mut Runtime) {
    // AndFix's own example: a division by zero.
    let thrown = runtime.int("App", "callDiv", &[7, 0]).expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.ArithmeticException");
    let patch = runtime.apply(runtime.change("App", "div", "(II)I", true));
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
    assert_eq!(runtime.int("App", "callDiv", &[8, 2]), Ok(4));
    // From native code, too.
    assert_eq!(runtime.int("App", "div", &[7, 0]), Ok(1234));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
    assert_eq!(runtime.int("App", "callDiv", &[8, 2]), Ok(4));
}

fn of_object(runtime: &mut Runtime, name: &str, caller: &str, fixed: i32) {
    let object = runtime.new_object("App");
    assert_eq!(runtime.int_of(object, caller), Ok(1));
    let patch = runtime.apply(runtime.change("App", name, "()I", false));
    // An object that was there before, and a new one.
    assert_eq!(runtime.int_of(object, caller), Ok(fixed));
    assert_eq!(runtime.int_of(runtime.new_object("App"), caller), Ok(fixed));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(runtime.int_of(object, caller), Ok(1));
}

fn interface_method(runtime: &mut Runtime) {
    let square = runtime.new_object("Square");
    let call = |runtime: &Runtime| runtime.int_with("Square", "callArea", "(LShape;)I", square);
    assert_eq!(call(runtime), Ok(1));
    let patch = runtime.apply(runtime.change("Square", "area", "()I", false));
    assert_eq!(call(runtime), Ok(2));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(call(runtime), Ok(1));
}

/// The superclass's method is replaced: the subclass's own is not.
fn overridden_method(runtime: &mut Runtime) {
    let (base, app) = (runtime.new_object("Base"), runtime.new_object("App"));
    let patch = runtime.apply(runtime.change("Base", "hello", "()I", false));
    assert_eq!(runtime.int_of(base, "hello"), Ok(12));
    assert_eq!(runtime.int_of(base, "other"), Ok(11));
    assert_eq!(runtime.int_of(app, "hello"), Ok(20));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    // The overriding one is replaced: the superclass's is not.
    runtime.apply(runtime.change("App", "hello", "()I", false));
    assert_eq!(runtime.int_of(base, "hello"), Ok(10));
    assert_eq!(runtime.int_of(app, "hello"), Ok(30));
}

fn arguments_of_all_types(runtime: &mut Runtime) {
    assert_eq!(runtime.long("App", "callAll"), Ok(1));
    let patch = runtime.apply(runtime.change("App", "all", "(ZBSCIJFDLjava/lang/Object;[I)J", true));
    // 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8, and three elements.
    assert_eq!(runtime.long("App", "callAll"), Ok(39));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(runtime.long("App", "callAll"), Ok(1));
}

fn varargs(runtime: &mut Runtime) {
    assert_eq!(runtime.int("App", "callSum", &[]), Ok(1));
    runtime.apply(runtime.change("App", "sum", "([I)I", true));
    assert_eq!(runtime.int("App", "callSum", &[]), Ok(60));
}

/// The fix throws, and a caller that is as it was catches.
fn exception_thrown(runtime: &mut Runtime) {
    assert_eq!(runtime.int("App", "guarded", &[3]), Ok(3));
    let patch = runtime.apply(runtime.change("App", "thrower", "(I)I", true));
    assert_eq!(runtime.int("App", "guarded", &[3]), Ok(-1));
    let thrown = runtime.int("App", "thrower", &[3]).expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.ArithmeticException");
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(runtime.int("App", "guarded", &[3]), Ok(3));
}

/// The fix catches what the method threw.
fn exception_caught(runtime: &mut Runtime) {
    assert!(runtime.int("App", "catcher", &[]).is_err());
    runtime.apply(runtime.change("App", "catcher", "()I", true));
    assert_eq!(runtime.int("App", "catcher", &[]), Ok(2));
}

fn recursion(runtime: &mut Runtime) {
    assert_eq!(runtime.int("App", "fact", &[10]), Ok(1));
    runtime.apply(runtime.change("App", "fact", "(I)I", true));
    assert_eq!(runtime.int("App", "fact", &[10]), Ok(3_628_800));
}

fn many_at_once(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    let names = ["virt", "priv", "fin", "sync", "withHelpers", "superHello"];
    let mut changes: Vec<_> = names.map(|name| runtime.change("App", name, "()I", false)).into();
    changes.push(runtime.change("App", "div", "(II)I", true));
    changes.push(runtime.change("Square", "area", "()I", false));
    let patch = runtime.engine.apply(runtime.env, &changes).expect("a patch");
    assert_eq!(patch.methods.len(), 8);
    assert_eq!(runtime.engine.list().len(), 8);
    let callers = ["callVirt", "callPriv", "callFin", "callSync", "withHelpers", "superHello"];
    assert_eq!(callers.map(|name| runtime.int_of(object, name)), [2, 2, 2, 2, 42, 10].map(Ok));
    // A patch that would not do as a whole does nothing.
    let refused = [changes[0].clone(), changes[0].clone()];
    assert!(matches!(
        runtime.engine.apply(runtime.env, &refused),
        Err(EngineError::Twice(name)) if name == "App.virt()I"
    ));
    runtime.engine.roll_back_all(runtime.env).expect("the way back");
    assert_eq!(callers.map(|name| runtime.int_of(object, name)), [1; 6].map(Ok));
    assert!(runtime.engine.list().is_empty());
    assert!(matches!(runtime.engine.roll_back(runtime.env, patch.number), Err(EngineError::NoPatch(_))));
}

fn a_then_b_then_a(runtime: &mut Runtime) {
    let a = runtime.change("App", "div", "(II)I", true);
    let b = runtime.change_to("App", "div", ("App_CF2", "div"), "(II)I", true);
    let call = |runtime: &Runtime| runtime.int("App", "callDiv", &[7, 0]).unwrap_or(-1);
    let first = runtime.apply(a.clone());
    assert_eq!(call(runtime), 1234);
    let second = runtime.apply(b);
    assert_eq!(call(runtime), 77);
    let third = runtime.apply(a);
    assert_eq!(call(runtime), 1234);
    assert_eq!(runtime.engine.list()[0].patches, [first, second, third]);
    // The newest one goes, then one that is below another, then the last.
    runtime.engine.roll_back(runtime.env, third).expect("the way back");
    assert_eq!(call(runtime), 77);
    runtime.engine.roll_back(runtime.env, first).expect("the way back");
    assert_eq!(call(runtime), 77);
    runtime.engine.roll_back(runtime.env, second).expect("the way back");
    assert_eq!(call(runtime), -1);
}

/// All ways work; what they leave in the record is not the same.
fn in_each_way(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    let change = runtime.change_to("App", "virt", ("App_CF", "virt"), "()I", false);
    // Called before, so that the runtime has noted what it notes then.
    assert_eq!(runtime.int_of(object, "callVirt"), Ok(1));
    let before = runtime.engine.record(&change.target);
    for (way, keeps_off_the_compiler) in ways(runtime, [true, true, false]) {
        runtime.engine.set_way(way).expect("nothing is live");
        let patch = runtime.apply(change.clone());
        if way == Way::Entry {
            assert!(matches!(runtime.engine.set_way(Way::Fields), Err(EngineError::AnotherWay)));
        }
        assert_eq!(runtime.int_of(object, "callVirt"), Ok(2), "{way:?}");
        let after = runtime.engine.record(&change.target);
        let different: Vec<_> = before.compare(&after, false).map(|(field, _, _)| field).collect();
        assert!(!different.contains(&Field::MethodIndex));
        // By an entry, all that it says about the class and the file stays true.
        let body = [Field::DeclaringClass, Field::CodeItem, Field::DexMethodIndex];
        assert_eq!(body.iter().any(|field| different.contains(field)), way != Way::Entry, "{different:?}");
        // "The compiler leaves it alone" is not in the fix's own record.
        assert_eq!(after.flags() & 0x0200_0000 != 0, keeps_off_the_compiler, "{way:?}");
        runtime.engine.roll_back(runtime.env, patch).expect("the way back");
        assert_eq!(runtime.int_of(object, "callVirt"), Ok(1));
        let back = runtime.engine.record(&change.target);
        // Calls are counted.
        let different: Vec<_> = before.compare(&back, false).map(|(field, _, _)| field).collect();
        assert!(different.iter().all(|field| *field == Field::Hotness), "{different:?}");
    }
}

/// The ways that the runtime at hand is capable of, with something for each.
fn ways<T>(runtime: &Runtime, each: [T; 3]) -> impl Iterator<Item = (Way, T)> + use<T> {
    let skipped = usize::from(runtime.engine.way() != Way::Entry);
    [Way::Entry, Way::Fields, Way::Whole].into_iter().zip(each).skip(skipped)
}

/// Whoever looks at the method sees what it was declared as, unless the whole record is copied: that makes a private
/// method public, and so one that is looked up in a vtable, in which it is not.
fn flags_of_callers_stay(runtime: &mut Runtime) {
    const PRIVATE: u32 = 0x2;
    let change = runtime.change_to("App", "priv", ("App_CF2", "priv"), "()I", false);
    for (way, is_private) in ways(runtime, [true, true, false]) {
        runtime.engine.set_way(way).expect("nothing is live");
        let patch = runtime.engine.apply_unchecked(std::slice::from_ref(&change)).expect("a patch");
        assert_eq!(runtime.engine.record(&change.target).flags() & PRIVATE != 0, is_private, "{way:?}");
        if way == Way::Entry {
            runtime.engine.roll_back(runtime.env, patch.number).expect("the way back");
        }
    }
}

/// What the table says where each field is, is there: flags as Java sees them, neighbours' indexes, one class.
fn records_as_the_table_says(runtime: &mut Runtime) {
    let [a, b, c] = ["a", "b", "c"].map(|name| {
        let method = runtime.method("livepatch.art.Probe", name, "()V", true);
        runtime.engine.record(&method)
    });
    for record in [&a, &b, &c] {
        // `public static`, as the class was written.
        assert_eq!(record.flags() & 0xffff, 0x9);
        assert_eq!(record.get(Field::DeclaringClass), a.get(Field::DeclaringClass));
        assert_eq!(record.get(Field::Quick), a.get(Field::Quick));
    }
    let index =
        |record: &livepatch_art::record::Record| record.get(Field::DexMethodIndex).unwrap_or_default();
    assert_eq!([index(&b) - index(&a), index(&c) - index(&b)], [1, 1]);
    // Bodies of one unit follow each other: 16 bytes of `code_item` and two of code, aligned to four.
    let code = |record: &livepatch_art::record::Record| record.get(Field::CodeItem).unwrap_or_default();
    assert_eq!([code(&b) - code(&a), code(&c) - code(&b)], [20, 20]);
    // In the vtable: `Object`'s eleven methods of the boot classes that are virtual, then the class's own.
    let hello = runtime.engine.record(&runtime.method("Base", "hello", "()I", false));
    let other = runtime.engine.record(&runtime.method("Base", "other", "()I", false));
    let overriding = runtime.engine.record(&runtime.method("App", "hello", "()I", false));
    let place = |record: &livepatch_art::record::Record| record.get(Field::MethodIndex).unwrap_or_default();
    assert_eq!(place(&other), place(&hello) + 1);
    assert_eq!(place(&overriding), place(&hello));
}

/// Reflection looks at the class in the record. If that is the patch's, it calls static methods, and refuses those of
/// objects, because an `App` is no `App_CF`. (So does the runtime's own check of calls by native code, where that is on.)
fn called_by_reflection(runtime: &mut Runtime) {
    let env = runtime.env;
    let object = runtime.new_object("App");
    let class = runtime.class("App");
    let invoke = |name: &str, is_static: bool, on| {
        let id = env.method(class, name, "()I", is_static).expect("a method");
        let method = env.reflected(class, id, is_static).expect("a method");
        let signature = "(Ljava/lang/Object;[Ljava/lang/Object;)Ljava/lang/Object;";
        let invoke = env.method(env.class_of(method), "invoke", signature, false).expect("a method");
        let arguments = [on, std::ptr::null_mut()].map(|l| jvalue { l });
        let number = env.call_object(Receiver::Object(method), invoke, &arguments)?;
        let value = env.field(env.class_of(number), "value", "I", false).expect("a field");
        Ok::<i32, Thrown>(env.int_field(number, value))
    };
    assert_eq!(invoke("virt", false, object), Ok(1));
    let changes =
        [runtime.change("App", "virt", "()I", false), runtime.change("App", "catcher", "()I", true)];
    let patch = runtime.engine.apply(env, &changes).expect("a patch");
    assert_eq!(invoke("catcher", true, std::ptr::null_mut()), Ok(2));
    match runtime.engine.way() {
        Way::Entry => assert_eq!(invoke("virt", false, object), Ok(2)),
        _ => {
            let thrown = invoke("virt", false, object).expect_err("an exception");
            assert_eq!(thrown.class, "java.lang.IllegalArgumentException");
        }
    }
    runtime.engine.roll_back(env, patch.number).expect("the way back");
    assert_eq!(invoke("virt", false, object), Ok(1));
}

/// As Kotlin's functions outside of classes are, often. Where records are copied, there is nothing to take the class from.
fn every_method_of_a_class(runtime: &mut Runtime) {
    let change = runtime.change_to("Alone", "only", ("Lazy_CF", "only"), "()I", true);
    let applied = runtime.engine.apply(runtime.env, &[change]);
    match (runtime.engine.way(), applied) {
        (Way::Entry, Ok(patch)) => {
            assert_eq!(runtime.int("Alone", "only", &[]), Ok(2));
            runtime.engine.roll_back(runtime.env, patch.number).expect("the way back");
        }
        (Way::Fields, Err(EngineError::NoAnchor(name))) => assert_eq!(name, "Alone.only()I"),
        other => panic!("{other:?}"),
    }
    assert_eq!(runtime.int("Alone", "only", &[]), Ok(1));
}
