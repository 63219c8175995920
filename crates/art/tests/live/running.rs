//! Methods that run while they are replaced, collections, and classes that were not used yet.

use crate::Case;
use crate::runtime::Runtime;
use jni_sys::{JNIEnv, JavaVM, jclass, jmethodID, jvalue};
use livepatch_art::engine::EngineError;
use livepatch_art::jni::{Environment, Receiver, Thrown};
use livepatch_art::layout::Field;
use livepatch_art::record::Way;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const ALL: &[Case] = &[
    ("after_collections", after_collections),
    ("on_the_stack", on_the_stack),
    ("under_three_threads", under_three_threads),
    ("busy_native_thread", busy_native_thread),
    ("not_dumpable", not_dumpable),
    ("called_often", called_often),
    ("class_not_used_yet", class_not_used_yet),
    ("hundreds_of_patches", hundreds_of_patches),
    ("refreshed", refreshed),
    ("called_by_a_new_thread", called_by_a_new_thread),
    ("threads_are_held_by_what_the_file_says", |runtime| assert!(runtime.engine.finds_suspension_in_file())),
];

/// Fixed, and fixed still after a collection that moves classes; taken back after another one.
fn after_collections(runtime: &mut Runtime) {
    let object = runtime.new_object("App");
    let changes = [
        runtime.change("App", "div", "(II)I", true),
        runtime.change("App", "virt", "()I", false),
        runtime.change("App", "priv", "()I", false),
    ];
    let all = |runtime: &Runtime| {
        let static_one = runtime.int("App", "callDiv", &[7, 0]).unwrap_or(-1);
        let [virt, private] = ["callVirt", "callPriv"].map(|name| runtime.int_of(object, name).unwrap_or(-1));
        [static_one, virt, private]
    };
    let patch = runtime.engine.apply(runtime.env, &changes).expect("a patch");
    assert_eq!(all(runtime), [1234, 2, 2]);
    runtime.collect();
    assert_eq!(all(runtime), [1234, 2, 2]);
    runtime.engine.roll_back(runtime.env, patch.number).expect("the way back");
    assert_eq!(all(runtime), [-1, 1, 1]);
    runtime.collect();
    assert_eq!(all(runtime), [-1, 1, 1]);
}

/// What another thread needs. Both are global or for good.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    machine: *mut JavaVM,
    class: jclass,
    method: jmethodID,
}

// SAFETY: the virtual machine, global references and ids are for all threads.
unsafe impl Send for Shared {}

impl Shared {
    pub(crate) fn new(runtime: &Runtime, class: &str, name: &str, signature: &str) -> Self {
        let class = runtime.env.global(runtime.class(class)).expect("a reference");
        let method = runtime.env.method(class, name, signature, true).expect("a method");
        Self { machine: runtime.env.machine().expect("a machine"), class, method }
    }

    /// Does something in this thread, attached.
    pub(crate) fn attached<T>(self, something: impl FnOnce(Environment, Self) -> T) -> T {
        let mut env: *mut JNIEnv = std::ptr::null_mut();
        // SAFETY: the machine's own table; the thread is attached until the end of this function.
        let environment = unsafe {
            let attach = (**self.machine).v1_4.AttachCurrentThread;
            assert_eq!(attach(self.machine, (&raw mut env).cast(), std::ptr::null_mut()), 0);
            Environment::new(env)
        };
        let result = something(environment, self);
        // SAFETY: as above.
        unsafe { ((**self.machine).v1_4.DetachCurrentThread)(self.machine) };
        result
    }

    /// Calls it without arguments: what it returned, or what was thrown.
    pub(crate) fn try_int(self, env: Environment) -> Result<i32, Thrown> {
        env.call_int(Receiver::Class(self.class), self.method, &[])
    }

    fn int(self, env: Environment, arguments: &[jvalue]) -> i32 {
        env.call_int(Receiver::Class(self.class), self.method, arguments).expect("a call")
    }
}

/// A body that runs refers to fields through its record. Where that stays what it was, the body goes on, and the next call
/// is one of the fix; where it would not, the method is not replaced before it returns.
fn on_the_stack(runtime: &mut Runtime) {
    runtime.engine.set_patience(Duration::from_millis(50));
    let shared = Shared::new(runtime, "App", "onStack", "()I");
    let thread = std::thread::spawn(move || shared.attached(|env, shared| shared.int(env, &[])));
    while runtime.int("App", "running", &[]) != Ok(1) {
        std::thread::yield_now();
    }
    let change = runtime.change("App", "onStack", "()I", true);
    let applied = runtime.engine.apply(runtime.env, std::slice::from_ref(&change));
    match runtime.engine.way() {
        Way::Entry => {
            applied.expect("a patch");
            assert_eq!(runtime.int("App", "onStack", &[]), Ok(2));
        }
        _ => {
            // On a machine that is busy, the thread may not have got to where it waits, each time it is looked at.
            let is_refused = match &applied {
                Err(EngineError::Running(name)) => name == "App.onStack()I",
                other => matches!(other, Err(EngineError::Busy)),
            };
            assert!(is_refused, "{applied:?}");
            assert!(runtime.engine.list().is_empty());
            runtime.engine.set_patience(Duration::from_secs(20));
        }
    }
    // Another method is replaced meanwhile, while that thread waits.
    let other = runtime.apply(runtime.change("App", "div", "(II)I", true));
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
    runtime.engine.roll_back(runtime.env, other).expect("the way back");
    let class = runtime.class("App");
    let release = runtime.env.method(class, "release", "()V", true).expect("a method");
    runtime.env.call(Receiver::Class(class), release, 'V', &[]).expect("a call");
    assert_eq!(thread.join().expect("a thread"), 1);
    if runtime.engine.way() != Way::Entry {
        runtime.apply(change);
    }
    assert_eq!(runtime.int("App", "onStack", &[]), Ok(2));
}

/// Three threads call what is replaced and taken back 500 times; whatever they see is one of both bodies.
fn under_three_threads(runtime: &mut Runtime) {
    assert!(runtime.engine.suspends());
    static STOP: AtomicBool = AtomicBool::new(false);
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let shared = Shared::new(runtime, "App", "loop", "(I)I");
    // The sum of n / 2, and what it is if some of those are 77.
    let worker = move || {
        shared.attached(|env, shared| {
            while !STOP.load(Ordering::Relaxed) {
                let sum = shared.int(env, &[jvalue { i: 20 }]);
                assert!(sum >= 100, "{sum}");
                CALLS.fetch_add(1, Ordering::Relaxed);
                // Who does nothing else than call it is seldom out of it.
                std::thread::sleep(Duration::from_micros(100));
            }
        });
    };
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(worker)).collect();
    let change = runtime.change_to("App", "div", ("App_CF2", "div"), "(II)I", true);
    for round in 0..500 {
        let patch = runtime.engine.apply(runtime.env, std::slice::from_ref(&change));
        let patch = patch.expect("a patch");
        if round % 50 == 0 {
            let array = runtime.env.byte_array(1 << 20).expect("an array");
            runtime.env.delete_local(array);
            std::thread::yield_now();
        }
        runtime.engine.roll_back(runtime.env, patch.number).expect("the way back");
    }
    while CALLS.load(Ordering::Relaxed) < 100 {
        std::thread::yield_now();
    }
    STOP.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    assert_eq!(runtime.int("App", "loop", &[20]), Ok(100));
}

/// Of a thread that is on a processor in native code, nobody can tell which methods it has called that from. It matters
/// where records are copied.
fn busy_native_thread(runtime: &mut Runtime) {
    static STOP: AtomicBool = AtomicBool::new(false);
    runtime.engine.set_patience(Duration::from_millis(50));
    let shared = Shared::new(runtime, "App", "loop", "(I)I");
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        shared.attached(|_, _| {
            sender.send(()).expect("who waits for it");
            while !STOP.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    });
    receiver.recv().expect("a thread");
    let change = runtime.change("App", "div", "(II)I", true);
    let applied = runtime.engine.apply(runtime.env, std::slice::from_ref(&change));
    match runtime.engine.way() {
        Way::Entry => {
            runtime.engine.roll_back(runtime.env, applied.expect("a patch").number).expect("the way back")
        }
        _ => assert!(matches!(applied, Err(EngineError::Busy)), "{applied:?}"),
    }
    STOP.store(true, Ordering::Relaxed);
    thread.join().expect("a thread");
    runtime.apply(change);
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
}

/// As programs are on Android that cannot be debugged: the kernel keeps from them what it says about them. A user with
/// fewer rights than root has to be asked for that.
fn not_dumpable(runtime: &mut Runtime) {
    const NOBODY: libc::uid_t = 65534;
    const NO: libc::c_ulong = 0;
    // SAFETY: neither has to do with memory.
    let is_dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE, NO, NO, NO, NO) };
    let change = runtime.change("App", "div", "(II)I", true);
    // SAFETY: as above.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        }
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, NO, NO, NO, NO), 0);
    }
    let refused = std::fs::File::open("/proc/self/mem").expect_err("no leave to read");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let patch = runtime.apply(change);
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert_eq!(is_dumpable(), 0);
}

/// The runtime has ideas of its own about a static method's entry until all threads see that its class is initialised.
fn called_often(runtime: &mut Runtime) {
    // That one of its other methods is replaced already makes no difference.
    runtime.apply(runtime.change("App", "virt", "()I", false));
    let patch = runtime.apply(runtime.change("App", "div", "(II)I", true));
    for _ in 0..300 {
        assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
    }
    runtime.engine.roll_back(runtime.env, patch).expect("the way back");
    assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
}

/// The target's class and the fix's are initialised before anything is replaced: their initialisers run once.
fn class_not_used_yet(runtime: &mut Runtime) {
    runtime.apply(runtime.change("Lazy", "get", "()I", true));
    // 7 by the class's own initialiser, and one more by the fix.
    assert_eq!(runtime.int("Lazy", "callGet", &[]), Ok(8));
    assert_eq!(runtime.int("UseLazy", "use", &[]), Ok(8));
}

/// Patches of one method: each can be taken back, in any order, and nothing adds up.
fn hundreds_of_patches(runtime: &mut Runtime) {
    let a = runtime.change("App", "div", "(II)I", true);
    let b = runtime.change_to("App", "div", ("App_CF2", "div"), "(II)I", true);
    let before = runtime.engine.record(&a.target);
    let numbers: Vec<u32> =
        (0..400).map(|nth| runtime.apply(if nth % 2 == 0 { a.clone() } else { b.clone() })).collect();
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(77));
    // The even ones first: a body stays the newest one that is left.
    for number in numbers.iter().step_by(2).chain(numbers.iter().skip(1).step_by(2)) {
        assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(77));
        runtime.engine.roll_back(runtime.env, *number).expect("the way back");
    }
    assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
    // The runtime counts calls, and notes what it may take for granted (0x4000_0000 in 10 and 11).
    let after = runtime.engine.record(&a.target);
    let different: Vec<_> = before.compare(&after, false).map(|(field, _, _)| field).collect();
    assert!(
        different.iter().all(|field| matches!(field, Field::Hotness | Field::AccessFlags)),
        "{different:?}"
    );
    assert_eq!(before.flags() & !0x4000_0000, after.flags() & !0x4000_0000);
}

/// The runtime gives a method its own entry again, as it does when a compilation ends: callers are led back.
fn refreshed(runtime: &mut Runtime) {
    let change = runtime.change("App", "div", "(II)I", true);
    let before = runtime.engine.record(&change.target);
    runtime.apply(change.clone());
    assert_eq!(runtime.engine.refresh(), 0);
    if runtime.engine.way() != Way::Entry {
        return;
    }
    let length = runtime.engine.layout().size();
    let entry = length - size_of::<usize>();
    let to = change.target.record().as_usize() + entry;
    let bytes: [u8; size_of::<usize>()] = before.bytes()[entry..].try_into().expect("an entry");
    // SAFETY: the last pointer of a record; no other thread runs Java code.
    unsafe { std::ptr::with_exposed_provenance_mut::<usize>(to).write(usize::from_ne_bytes(bytes)) };
    assert!(runtime.int("App", "callDiv", &[7, 0]).is_err());
    assert_eq!(runtime.engine.refresh(), 1);
    assert_eq!(runtime.int("App", "callDiv", &[7, 0]), Ok(1234));
}

/// AndFix #134, #254: a thread that is started after the patch calls a method of a class that was not used before, and
/// hangs, because the patch's class was never initialised.
fn called_by_a_new_thread(runtime: &mut Runtime) {
    runtime.apply(runtime.change("Lazy", "get", "()I", true));
    let shared = Shared::new(runtime, "UseLazy", "use", "()I");
    let thread = std::thread::spawn(move || shared.attached(|env, shared| shared.try_int(env)));
    assert_eq!(thread.join().expect("a thread"), Ok(8));
}
