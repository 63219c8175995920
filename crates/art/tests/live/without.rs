//! What the preflight refuses: that it does, and what happens where nobody asks it.

use crate::Case;
use crate::running::Shared;
use crate::runtime::Runtime;
use crate::versions::{Program, version};
use jni_sys::{JNIEnv, jclass, jint};
use livepatch_art::engine::{Change, EngineError, Method, MethodName};
use livepatch_art::preflight::Refusal;
use livepatch_art::record::Way;
use livepatch_art::release::Release;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const CHECKED: &str = include_str!("smali/checked.smali");

pub(crate) const ALL: &[Case] = &[
    ("without::virtual_for_static", virtual_for_static),
    ("without::public_for_private", public_for_private),
    ("without::private_method_of_an_unverified_class", private_method_of_an_unverified_class),
    ("without::class_verified_after_a_copy", class_verified_after_a_copy),
    ("without::class_linked_after_a_copy", class_linked_after_a_copy),
    ("without::another_signature", another_signature),
    ("without::another_name", another_name),
    ("without::constructor", constructor),
    ("without::class_initialiser", class_initialiser),
    ("without::native_method", native_method),
    ("without::native_fix", native_fix),
    ("without::abstract_method", abstract_method),
    ("without::default_method", default_method),
    ("without::intrinsic", intrinsic),
    ("without::private_field_of_another_class", private_field),
    ("without::private_method_of_another_class", private_method),
    ("without::field_added", field_added),
    ("without::method_added", method_added),
    ("without::running_body", running_body),
    ("without::method_index_of_the_fix", method_index_of_the_fix),
    ("without::dies::class_of_before_a_collection", class_of_before_a_collection),
    ("without::dies::threads_that_are_not_held", threads_that_are_not_held),
];

/// Checks what the preflight says about a change, and applies it all the same.
fn refused(runtime: &mut Runtime, change: Change, because: Refusal, way: Way) {
    runtime.engine.set_way(way).expect("nothing is live");
    match runtime.engine.apply(runtime.env, std::slice::from_ref(&change)) {
        Err(EngineError::Refused { refusal, .. }) => assert_eq!(refusal, because),
        other => panic!("not refused because of {because:?}: {other:?}"),
    }
    runtime.engine.apply_unchecked(&[change]).expect("a patch");
}

fn two(runtime: &Runtime, target: (&str, &str, &str, bool), fix: (&str, &str, &str, bool)) -> Change {
    Change {
        target: runtime.method(target.0, target.1, target.2, target.3),
        fix: runtime.method(fix.0, fix.1, fix.2, fix.3),
    }
}

/// An argument too few is passed: there is no object. (Anything but null would be taken for one.)
fn virtual_for_static(runtime: &mut Runtime) {
    let change = two(runtime, ("App", "thrower", "(I)I", true), ("App_CF2", "thrower", "(I)I", false));
    refused(runtime, change, Refusal::Static, Way::Entry);
    let thrown = runtime.int("App", "guarded", &[0]).expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.NullPointerException");
}

/// AndFix #265, #307: a caller whose calls are checked as they run finds a method of another kind. By an entry, it does
/// not: the method is what it was.
fn public_for_private(runtime: &mut Runtime) {
    let program = Program::start(runtime, &version(CHECKED));
    replaced_secret(
        runtime,
        program,
        "public",
        Refusal::Direct,
        Way::Whole,
        "java.lang.IncompatibleClassChangeError",
    );
}

/// AndFix #146, #165, #232, #348: such a caller may not call a private method of another class.
fn private_method_of_an_unverified_class(runtime: &mut Runtime) {
    let program = Program::start(runtime, &version(CHECKED));
    replaced_secret(
        runtime,
        program,
        "private",
        Refusal::Checked,
        Way::Fields,
        "java.lang.IllegalAccessError",
    );
}

/// Replaces a private method in a class that could not be verified wholly: by an entry, and in another way.
fn replaced_secret(
    runtime: &mut Runtime,
    mut program: Program,
    access: &str,
    because: Refusal,
    way: Way,
    error: &str,
) {
    let soft = program.object("p.Soft");
    let fix = format!(
        ".class public final Lp/Soft_CF;\n.super Ljava/lang/Object;\n.method {access} secret()I\n    .registers 2\n    \
         const/4 v0, 2\n    return v0\n.end method\n"
    );
    let change = program.change(runtime, version(&fix).classes, ["p.Soft", "p.Soft_CF"], ["secret", "()I"]);
    let patch = runtime.engine.apply(runtime.env, std::slice::from_ref(&change)).expect("a patch").number;
    assert_eq!(program.int_of(soft, "callSecret"), Ok(2));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    refused(runtime, change, because, way);
    // Of a caller that has not found the method before.
    let thrown = program.int_of(soft, "callSecretLate").expect_err("an exception");
    assert_eq!(thrown.class, error);
}

/// What follows from copies and cannot be refused, because it happens later: a class that is verified after the patch is
/// rejected for good, because the object that it has is none of the patch's class.
fn class_verified_after_a_copy(runtime: &mut Runtime) {
    runtime.engine.set_way(Way::Fields).expect("nothing is live");
    let mut program = Program::start(runtime, &version(CHECKED));
    let base = program.object("p.Base");
    let fix = ".class public final Lp/Base_CF;\n.super Ljava/lang/Object;\n.method public open()I\n    .registers 2\n    \
               const/4 v0, 2\n    return v0\n.end method\n";
    program.replace(runtime, version(fix).classes, ["p.Base", "p.Base_CF"], ["open", "()I"]);
    let thrown = program.int_with("p.Unused", "callOpen", "(Lp/Base;)I", base).expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.VerifyError");
}

/// And AndFix #255: a class that is linked after the patch does not override what has gone to another package's class.
fn class_linked_after_a_copy(runtime: &mut Runtime) {
    runtime.engine.set_way(Way::Fields).expect("nothing is live");
    let mut program = Program::start(runtime, &version(CHECKED));
    let fix = ".class public final Lp/Base_CF;\n.super Ljava/lang/Object;\n.method protected hook()I\n    .registers 2\n    \
               const/4 v0, 2\n    return v0\n.end method\n";
    program.replace(runtime, version(fix).classes, ["p.Base", "p.Base_CF"], ["hook", "()I"]);
    // It has a `hook` of its own, which returns 7.
    assert_eq!(program.int_of(program.object("q.Over"), "callHook"), Ok(2));
}

/// Half of a `long` is taken for an `int`.
fn another_signature(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    let change = two(runtime, ("App", "virt", "()I", false), ("App_CF2", "virt", "()J", false));
    let (target, fix) = ("()I".to_owned(), "()J".to_owned());
    refused(runtime, change, Refusal::Signature { target, fix }, Way::Entry);
    assert_eq!(runtime.int_of(object, "callVirt"), Ok(0x1234_5678));
}

/// A copy cannot be found by the method's name any more. By an entry, it is found as ever.
fn another_name(runtime: &mut Runtime) {
    let change = two(runtime, ("App", "catcher", "()I", true), ("App_CF", "onStack", "()I", true));
    let patch = runtime.apply(change);
    assert_eq!(runtime.int("App", "catcher", &[]), Ok(2));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    let change = two(runtime, ("App", "catcher", "()I", true), ("App_CF", "onStack", "()I", true));
    refused(runtime, change, Refusal::Name("onStack".to_owned()), Way::Fields);
    let thrown = runtime.int("App", "catcher", &[]).expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.NoSuchMethodError");
}

/// Objects that are there are as the old constructor left them, new ones as the new one does.
fn constructor(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    let change = two(runtime, ("App", "<init>", "()V", false), ("App_CF", "<init>", "()V", false));
    refused(runtime, change, Refusal::Constructor, Way::Entry);
    assert_eq!(runtime.int_of(object, "getValue"), Ok(5));
    assert_eq!(runtime.int_of(runtime.new_object("App"), "getValue"), Ok(0));
}

/// It has run, and is not run again: the fix would have set another field, and did not.
fn class_initialiser(runtime: &mut Runtime) {
    let change = two(runtime, ("Lazy", "<clinit>", "()V", true), ("App_CF", "<clinit>", "()V", true));
    refused(runtime, change, Refusal::ClassInitialiser, Way::Entry);
    assert_eq!(runtime.int("Lazy", "callGet", &[]), Ok(7));
}

/// It works, until a function is bound to the method, as programs do when they start: that has no effect.
fn native_method(runtime: &mut Runtime) {
    let change = two(runtime, ("App", "nat", "()I", true), ("App_CF", "nat", "()I", true));
    refused(runtime, change, Refusal::Native, Way::Entry);
    assert_eq!(runtime.int("App", "nat", &[]), Ok(2));
    extern "system" fn three(_: *mut JNIEnv, _: jclass) -> jint {
        3
    }
    let function: extern "system" fn(*mut JNIEnv, jclass) -> jint = three;
    // SAFETY: the function is one of `()I`.
    unsafe { runtime.env.register(runtime.class("App"), "nat", "()I", function as *mut c_void) }
        .expect("bound");
    assert_eq!(runtime.int("App", "nat", &[]), Ok(2));
}

/// There is no body: the method's caller gets something that is not there.
fn native_fix(runtime: &mut Runtime) {
    let change = two(runtime, ("App", "running", "()I", true), ("App_CF2", "running", "()I", true));
    refused(runtime, change, Refusal::Native, Way::Entry);
    let thrown = runtime.int("App", "running", &[]).expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.UnsatisfiedLinkError");
}

/// Its place in the interface table is in the record: callers are led to another method.
fn abstract_method(runtime: &mut Runtime) {
    let square = runtime.new_object("Square");
    let change = two(runtime, ("Shape", "area", "()I", false), ("Square_CF", "area", "()I", false));
    refused(runtime, change, Refusal::Abstract, Way::Entry);
    assert_eq!(runtime.int_with("Square", "callArea", "(LShape;)I", square), Ok(1));
}

/// The class has a copy of it, which is what is called.
fn default_method(runtime: &mut Runtime) {
    let square = runtime.new_object("Square");
    let change = two(runtime, ("Shape", "corners", "()I", false), ("Square_CF", "corners", "()I", false));
    refused(runtime, change, Refusal::DefaultMethod, Way::Entry);
    assert_eq!(runtime.int_with("Square", "callCorners", "(LShape;)I", square), Ok(1));
    assert_eq!(runtime.int_of(square, "corners"), Ok(1));
}

/// Callers get what the runtime has for it, and not the body: in 11 on x86-64, and in 14, only those that are compiled,
/// which are none here; in 10, and in 11 on other processors, all of them.
fn intrinsic(runtime: &mut Runtime) {
    let env = runtime.env;
    let name = MethodName { name: "abs".to_owned(), signature: "(I)I".to_owned(), is_static: true };
    let target = env.find_class("java/lang/Math").expect("a class");
    let target = runtime.engine.method(env, target, &name).expect("a method");
    let fix = runtime.method("App_CF2", "abs", "(I)I", true);
    refused(runtime, Change { target, fix }, Refusal::Intrinsic, Way::Entry);
    let is_10 = runtime.engine.layout().release() == Release::of_version(10).expect("a version");
    let is_called = !is_10 && cfg!(target_arch = "x86_64");
    assert_eq!(runtime.int("App", "callAbs", &[-3]), Ok(if is_called { 99 } else { 3 }));
}

/// These four are found where a patch is made, and not by the engine: see `diff`.
fn private_field(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    runtime.apply(runtime.change("App", "readSecret", "()I", false));
    let thrown = runtime.int_of(object, "readSecret").expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.IllegalAccessError");
}

fn private_method(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    runtime.apply(runtime.change("App", "callHidden", "()I", false));
    let thrown = runtime.int_of(object, "callHidden").expect_err("an exception");
    assert_eq!(thrown.class, "java.lang.IllegalAccessError");
}

/// What is written to the field that is not there is written to another one, or behind the object.
fn field_added(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    assert_eq!([runtime.int_of(object, "getSecret"), runtime.int_of(object, "getValue")], [Ok(5), Ok(5)]);
    runtime.apply(runtime.change("App", "extra", "()I", false));
    assert_eq!(runtime.int_of(object, "extra"), Ok(99));
    assert_eq!(runtime.int_of(object, "getSecret"), Ok(99));
}

/// The vtable of the fix's class has a method where the live one's has another.
fn method_added(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    runtime.apply(runtime.change("App", "added", "()I", false));
    assert_ne!(runtime.int_of(object, "added"), Ok(2));
}

static PAUSED: AtomicU32 = AtomicU32::new(0);

/// Says that it is there, and waits for an answer.
extern "system" fn pause(_: *mut JNIEnv, _: jclass) {
    PAUSED.store(1, Ordering::Release);
    while PAUSED.load(Ordering::Acquire) != 2 {
        std::thread::yield_now();
    }
}

/// The body that runs reads a field, by its index in a table of the program's file: it looks into the patch's.
fn running_body(runtime: &mut Runtime) {
    let function: extern "system" fn(*mut JNIEnv, jclass) = pause;
    // SAFETY: the function is one of `()V`.
    unsafe { runtime.env.register(runtime.class("App"), "pause", "()V", function as *mut c_void) }
        .expect("bound");
    let shared = Shared::new(runtime, "App", "paused", "()I");
    let thread = std::thread::spawn(move || shared.attached(|env, shared| shared.try_int(env)));
    while PAUSED.load(Ordering::Acquire) != 1 {
        std::thread::yield_now();
    }
    let change = runtime.change_to("App", "paused", ("Paused_CF", "paused"), "()I", true);
    runtime.engine.set_way(Way::Fields).expect("nothing is live");
    runtime.engine.apply_unchecked(&[change]).expect("a patch");
    PAUSED.store(2, Ordering::Release);
    // The field has 0, and it is read as something else, or not at all.
    let seen = thread.join().expect("a thread");
    assert_ne!(seen, Ok(0), "{seen:?}");
}

/// Copies a record as bytes, its class and its place in the vtable included.
fn copy_bytes(from: &Method, to: &Method, length: usize) {
    let [from, to] = [from, to].map(|method| method.record().as_usize());
    // SAFETY: records of this length, at their own addresses; no other thread runs Java code.
    unsafe {
        let from = std::ptr::with_exposed_provenance::<u8>(from);
        from.copy_to(std::ptr::with_exposed_provenance_mut(to), length);
    }
}

/// Who calls the method through its record finds another one's place there.
fn method_index_of_the_fix(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    let change = runtime.change_to("App", "virt", ("Many_CF", "virt"), "()I", false);
    copy_bytes(&change.fix, &change.target, runtime.engine.layout().size());
    assert_ne!(runtime.int_of(object, "callVirt"), Ok(2));
}

/// A reference to a class that has been moved since: the process ends.
fn class_of_before_a_collection(runtime: &mut Runtime) {
    let change = runtime.change("App", "div", "(II)I", true);
    let size = runtime.engine.layout().size();
    let saved = runtime.engine.record(&change.target).bytes().to_vec();
    copy_bytes(&change.fix, &change.target, size);
    runtime.collect();
    let to = std::ptr::with_exposed_provenance_mut::<u8>(change.target.record().as_usize());
    // SAFETY: as in `copy_bytes`.
    unsafe { saved.as_ptr().copy_to(to, size) };
    runtime.collect();
    for _ in 0..10 {
        assert_eq!(runtime.int("App", "callDiv", &[8, 2]), Ok(4));
        runtime.collect();
    }
}

/// Three threads call a method while its record is copied, word by word, without holding them: they see a part of one
/// record and a part of another, and read another field than either body does, if they get that far.
fn threads_that_are_not_held(runtime: &mut Runtime) {
    let change = runtime.change_to("App", "running", ("Lazy_CF", "get"), "()I", true);
    let shared = Shared::new(runtime, "App", "running", "()I");
    for _ in 0..3 {
        std::thread::spawn(move || {
            shared.attached(|env, shared| {
                // The field has 0; the fix adds one to the 7 of another.
                while matches!(shared.try_int(env), Ok(0 | 8)) {}
                std::process::abort();
            });
        });
    }
    let [own, fix] =
        [&change.target, &change.fix].map(|method| runtime.engine.record(method).bytes().to_vec());
    let to = std::ptr::with_exposed_provenance_mut::<u32>(change.target.record().as_usize());
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        for record in [&fix, &own] {
            for (nth, word) in record.chunks_exact(4).enumerate() {
                let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
                // SAFETY: a word of a record, at its own address. Other threads read it: that is what this shows.
                unsafe { to.add(nth).write_volatile(word) };
                std::thread::yield_now();
            }
        }
    }
}
