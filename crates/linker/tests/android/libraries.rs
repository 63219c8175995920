//! What each library is made to do.

use crate::Case;
use crate::call::{ABI, REACT_NATIVE, function, load};
use livepatch_linker::{Flags, Linker, bionic};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    Case { name: "libyoga", package: Some(REACT_NATIVE), run: yoga },
    Case { name: "libc++_shared", package: Some(REACT_NATIVE), run: libcxx },
    Case { name: "libfbjni", package: Some(REACT_NATIVE), run: fbjni },
    Case { name: "libreactnativejni", package: Some(REACT_NATIVE), run: reactnative },
    Case { name: "libv8android", package: Some("v8-android-9.93.0"), run: v8 },
    Case { name: "libNativeScript", package: Some("nativescript-android-9.1.1"), run: nativescript },
    Case { name: "libnode", package: Some("nodejs-mobile-react-native-18.20.4"), run: node },
    Case { name: "libjsc", package: Some("jsc-android-294992.0.0"), run: jsc },
    Case { name: "libhermes", package: Some("hermes-engine-0.11.0"), run: hermes },
    Case { name: "_http_parser", package: Some(HTTP_PARSER), run: http_parser },
];

const HTTP_PARSER: &str = match cfg!(target_arch = "aarch64") {
    true => "aiohttp-3.14.5-android_24_arm64_v8a",
    false => "aiohttp-3.14.5-android_24_x86_64",
};

type Pointer = *mut c_void;

/// A row of 300 × 100 with two children that share it 1 : 2.
fn yoga(fixtures: &Path) -> String {
    let yoga = load(fixtures, REACT_NATIVE, "libyoga.so");
    let new = function!(&yoga, "YGNodeNew", fn() -> Pointer);
    let direction = function!(&yoga, "YGNodeStyleSetFlexDirection", fn(Pointer, c_int));
    let width = function!(&yoga, "YGNodeStyleSetWidth", fn(Pointer, f32));
    let height = function!(&yoga, "YGNodeStyleSetHeight", fn(Pointer, f32));
    let grow = function!(&yoga, "YGNodeStyleSetFlexGrow", fn(Pointer, f32));
    let insert = function!(&yoga, "YGNodeInsertChild", fn(Pointer, Pointer, u32));
    let calculate = function!(&yoga, "YGNodeCalculateLayout", fn(Pointer, f32, f32, c_int));
    let left_of = function!(&yoga, "YGNodeLayoutGetLeft", fn(Pointer) -> f32);
    let width_of = function!(&yoga, "YGNodeLayoutGetWidth", fn(Pointer) -> f32);
    // SAFETY: nodes that were just made, used as the library's header says.
    let layout = unsafe {
        let (root, a, b) = (new(), new(), new());
        // YGFlexDirectionRow
        direction(root, 2);
        width(root, 300.0);
        height(root, 100.0);
        grow(a, 1.0);
        grow(b, 2.0);
        insert(root, a, 0);
        insert(root, b, 1);
        // YGDirectionLTR
        calculate(root, f32::NAN, f32::NAN, 1);
        [left_of(a), width_of(a), left_of(b), width_of(b)]
    };
    assert_eq!(layout, [0.0, 100.0, 100.0, 200.0]);
    yoga.leak();
    format!("left and width of two children: {layout:?}")
}

/// What C++ returns in memory: so is everything of this size, on each machine in its own way.
#[repr(C)]
struct InMemory([usize; 3]);

/// `std::to_string`, and the demangler.
fn libcxx(fixtures: &Path) -> String {
    let library = load(fixtures, REACT_NATIVE, "libc++_shared.so");
    let to_string = function!(&library, "_ZNSt6__ndk19to_stringEi", fn(c_int) -> InMemory);
    let demangle = function!(
        &library,
        "__cxa_demangle",
        fn(*const c_char, *mut c_char, *mut usize, *mut c_int) -> *mut c_char
    );
    let mut status = 1;
    // SAFETY: a `std::string` has three words; a text, and room for a number.
    let (string, demangled) = unsafe {
        let string = to_string(-4711);
        let name = c"_ZN3foo3barEv".as_ptr();
        (string, demangle(name, std::ptr::null_mut(), std::ptr::null_mut(), &raw mut status))
    };
    // A short string: its length doubled, then its bytes.
    assert_eq!(string.0[0].to_le_bytes()[..6], *b"\x0a-4711");
    // SAFETY: a text that the demangler has allocated.
    let demangled = unsafe { CStr::from_ptr(demangled) }.to_string_lossy().into_owned();
    assert_eq!((status, demangled.as_str()), (0, "foo::bar()"));
    library.leak();
    format!("std::to_string(-4711) = -4711, demangled: {demangled}")
}

fn fbjni(fixtures: &Path) -> String {
    let library = load(fixtures, REACT_NATIVE, "libfbjni.so");
    library.symbol("JNI_OnLoad").expect("its JNI_OnLoad");
    library.leak();
    "loads; its JNI_OnLoad is run by the tests of the Java side".to_owned()
}

fn reactnative(fixtures: &Path) -> String {
    let library = load(fixtures, REACT_NATIVE, "libreactnativejni.so");
    library.symbol("JNI_OnLoad").expect("its JNI_OnLoad");
    library.leak();
    "loads with all that it needs".to_owned()
}

#[repr(C)]
struct Callback(usize, usize);

/// The steps of V8's `samples/hello-world.cc`, by the names that its functions have in the library.
fn v8(fixtures: &Path) -> String {
    let v8 = load(fixtures, "v8-android-9.93.0", "libv8android.so");
    let version = function!(&v8, "_ZN2v82V810GetVersionEv", fn() -> *const c_char);
    let new_platform = function!(
        &v8,
        "_ZN2v88platform18NewDefaultPlatformEiNS0_15IdleTaskSupportENS0_21InProcessStackDumpingENSt6__ndk110unique_ptrINS_17TracingControllerENS3_14default_deleteIS5_EEEE",
        fn(c_int, c_int, c_int, *mut Pointer) -> InMemory
    );
    let set_platform = function!(&v8, "_ZN2v82V818InitializePlatformEPNS_8PlatformE", fn(Pointer));
    let initialize = function!(&v8, "_ZN2v82V810InitializeEi", fn(c_int) -> bool);
    let new_allocator =
        function!(&v8, "_ZN2v811ArrayBuffer9Allocator19NewDefaultAllocatorEv", fn() -> Pointer);
    let parameters = function!(&v8, "_ZN2v87Isolate12CreateParamsC1Ev", fn(Pointer));
    let new_isolate = function!(&v8, "_ZN2v87Isolate3NewERKNS0_12CreateParamsE", fn(Pointer) -> Pointer);
    let enter_isolate = function!(&v8, "_ZN2v87Isolate5EnterEv", fn(Pointer));
    let scope = function!(&v8, "_ZN2v811HandleScopeC1EPNS_7IsolateE", fn(Pointer, Pointer));
    let new_context = function!(
        &v8,
        "_ZN2v87Context3NewEPNS_7IsolateEPNS_22ExtensionConfigurationENS_10MaybeLocalINS_14ObjectTemplateEEENS5_INS_5ValueEEENS_33DeserializeInternalFieldsCallbackEPNS_14MicrotaskQueueE",
        fn(Pointer, Pointer, Pointer, Pointer, Callback, Pointer) -> Pointer
    );
    let enter = function!(&v8, "_ZN2v87Context5EnterEv", fn(Pointer));
    let new_string = function!(
        &v8,
        "_ZN2v86String11NewFromUtf8EPNS_7IsolateEPKcNS_13NewStringTypeEi",
        fn(Pointer, *const c_char, c_int, c_int) -> Pointer
    );
    let compile = function!(
        &v8,
        "_ZN2v86Script7CompileENS_5LocalINS_7ContextEEENS1_INS_6StringEEEPNS_12ScriptOriginE",
        fn(Pointer, Pointer, Pointer) -> Pointer
    );
    let run = function!(&v8, "_ZN2v86Script3RunENS_5LocalINS_7ContextEEE", fn(Pointer, Pointer) -> Pointer);
    let utf8 = function!(
        &v8,
        "_ZN2v86String9Utf8ValueC1EPNS_7IsolateENS_5LocalINS_5ValueEEE",
        fn(*mut [usize; 2], Pointer, Pointer)
    );
    let none: Pointer = std::ptr::null_mut();
    let script = c"let f = n => n < 2 ? n : f(n - 1) + f(n - 2); `${[1, 2, 3].map(n => n * 7)} ${f(20)}`";
    // SAFETY: the functions are called in the order, and with the objects, that the library's headers describe;
    // `CreateParams` is smaller than the room that it is given here, and its allocator is its twelfth word.
    let (version, answer) = unsafe {
        let mut tracing = none;
        // A `unique_ptr`, which has one word.
        set_platform(new_platform(0, 0, 0, &raw mut tracing).0[0] as Pointer);
        // This build compresses pointers (1) and has small integers of 31 bits (2).
        assert!(initialize(3));
        let mut room = [0usize; 64];
        parameters(room.as_mut_ptr().cast());
        room[11] = new_allocator() as usize;
        let isolate = new_isolate(room.as_mut_ptr().cast());
        enter_isolate(isolate);
        let mut scope_room = [0usize; 8];
        scope(scope_room.as_mut_ptr().cast(), isolate);
        let context = new_context(isolate, none, none, none, Callback(0, 0), none);
        enter(context);
        let source = new_string(isolate, script.as_ptr(), 0, -1);
        let compiled = compile(context, source, none);
        assert!(!compiled.is_null(), "the script does not compile");
        let result = run(compiled, context);
        assert!(!result.is_null(), "the script has thrown");
        let mut text = [0; 2];
        utf8(&raw mut text, isolate, result);
        let text = CStr::from_ptr(text[0] as *const c_char).to_string_lossy().into_owned();
        (CStr::from_ptr(version()).to_string_lossy().into_owned(), text)
    };
    // 20 is the 6765th Fibonacci number's index.
    assert_eq!(answer, "7,14,21 6765");
    v8.leak();
    format!("version {version}; a script: {answer}")
}

fn nativescript(fixtures: &Path) -> String {
    // SAFETY: a text; the library's initialisers are zlib's, which has none.
    if unsafe { libc::dlopen(c"libz.so.1".as_ptr(), libc::RTLD_NOW) }.is_null() {
        println!("skipped: it needs zlib, which is not here for this machine");
        return "skipped".to_owned();
    }
    let library = load(fixtures, "nativescript-android-9.1.1", "libNativeScript.so");
    library.symbol("JNI_OnLoad").expect("its JNI_OnLoad");
    library.leak();
    "loads; JNI_OnLoad is not called, it wants the app's classes".to_owned()
}

fn node(fixtures: &Path) -> String {
    let node = load(fixtures, "nodejs-mobile-react-native-18.20.4", "libnode.so");
    let start = function!(&node, "_ZN4node5StartEiPPc", fn(c_int, *mut *mut c_char) -> c_int);
    // Node takes its arguments to lie behind each other, as those of a process do.
    let script = b"node\0-e\0process.exitCode = process.version === 'v18.20.4' && [1, 2, 3].map(n => n * 14).join() === '14,28,42' ? 42 : 1\0";
    let mut line = script.to_vec();
    let at = |line: &mut Vec<u8>, offset: usize| line[offset..].as_mut_ptr().cast::<c_char>();
    let mut arguments = [at(&mut line, 0), at(&mut line, 5), at(&mut line, 8), std::ptr::null_mut()];
    // SAFETY: the arguments of a process: three texts, and a null.
    let status = unsafe { start(3, arguments.as_mut_ptr()) };
    assert_eq!(status, 42);
    node.leak();
    "node::Start ran a script of version 18.20.4, which set the exit status: 42".to_owned()
}

/// `JSEvaluateScript` of JavaScriptCore's C API.
fn jsc(fixtures: &Path) -> String {
    let jsc = load(fixtures, "jsc-android-294992.0.0", "libjsc.so");
    let context = function!(&jsc, "JSGlobalContextCreate", fn(Pointer) -> Pointer);
    let string = function!(&jsc, "JSStringCreateWithUTF8CString", fn(*const c_char) -> Pointer);
    let evaluate = function!(
        &jsc,
        "JSEvaluateScript",
        fn(Pointer, Pointer, Pointer, Pointer, c_int, *mut Pointer) -> Pointer
    );
    let number = function!(&jsc, "JSValueToNumber", fn(Pointer, Pointer, *mut Pointer) -> f64);
    let none: Pointer = std::ptr::null_mut();
    // SAFETY: objects that were just made, used as the library's headers say.
    let answer = unsafe {
        let context = context(none);
        let script = string(c"let f = n => n < 2 ? n : f(n - 1) + f(n - 2); f(20)".as_ptr());
        let mut exception = none;
        let value = evaluate(context, script, none, none, 1, &raw mut exception);
        assert!(!value.is_null() && exception.is_null(), "the script has thrown");
        number(context, value, &raw mut exception)
    };
    assert!((answer - 6765.0).abs() < f64::EPSILON, "{answer}");
    jsc.leak();
    format!("JSEvaluateScript: {answer}")
}

/// A script, by a few lines of C++ (`hermes.cc`): Hermes has no interface that could be called without its headers.
fn hermes(fixtures: &Path) -> String {
    const PACKAGE: &str = "hermes-engine-0.11.0";
    load(fixtures, PACKAGE, "libhermes.so").leak();
    let folder = tempfile::tempdir().expect("a folder");
    let package = fixtures.join(PACKAGE);
    let (object, driver) = (folder.path().join("hermes.o"), folder.path().join("libdriver.so"));
    // The libraries' C++ standard library has another namespace than the machine's, and is the same otherwise.
    let mut compile = Command::new("clang++");
    compile.arg(format!("--target={}-linux-gnu", std::env::consts::ARCH));
    // Otherwise atomic operations are functions of a library of the compiler's.
    compile.args(cfg!(target_arch = "aarch64").then_some("-mno-outline-atomics"));
    compile.args(["-std=c++17", "-stdlib=libc++", "-D_LIBCPP_ABI_NAMESPACE=__ndk1", "-fPIC", "-O1", "-c"]);
    compile.arg("-I").arg(package.join("include")).arg("-o").arg(&object);
    compile.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/android/hermes.cc"));
    let compiled = compile.output().is_ok_and(|output| output.status.success());
    if !compiled {
        println!("skipped: clang++ with libc++'s headers is needed to run a script");
        return "loads".to_owned();
    }
    let libraries = [PACKAGE, REACT_NATIVE].map(|package| fixtures.join(package).join("jni").join(ABI));
    let mut lld = Command::new("ld.lld");
    lld.args(["-shared", "-soname", "libdriver.so", "-o"]).arg(&driver).arg(&object);
    lld.args([libraries[0].join("libhermes.so"), libraries[1].join("libjsi.so")]);
    let linked = lld.arg(libraries[0].join("libc++_shared.so")).output().expect("ld.lld");
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    let builder = libraries.iter().fold(Linker::builder(), |builder, folder| builder.search_path(folder));
    let driver = match bionic::add_to(builder).build().dlopen(driver, Flags::NOW) {
        Ok(driver) => driver,
        Err(error) => panic!("{error}"),
    };
    let evaluate = function!(&driver, "evaluate", fn() -> c_int);
    // SAFETY: a function of `hermes.cc`.
    let answer = unsafe { evaluate() };
    assert_eq!(answer, 6765);
    driver.leak();
    format!("a script: {answer}")
}

/// Python is not there: its functions are traps.
fn http_parser(fixtures: &Path) -> String {
    use livepatch_linker::{Precedence, SymbolProvider, Trap};
    struct Python(Trap);
    impl SymbolProvider for Python {
        fn name(&self) -> &'static str {
            "no Python"
        }
        fn stands_for(&self, library: &str) -> bool {
            library == "libpython3.13.so"
        }
        fn find(
            &self,
            symbol: &str,
            version: Option<&str>,
        ) -> Option<livepatch_object::address::RuntimeAddress> {
            self.0.find(symbol, version)
        }
    }
    let python = std::sync::Arc::new(Python(Trap::new()));
    let builder = bionic::add_to(Linker::builder()).provider(Precedence::AsLibrary, python);
    let file = format!("_http_parser.cpython-313-{}-linux-android.so", std::env::consts::ARCH);
    let file = fixtures.join(HTTP_PARSER).join(file);
    let library = match builder.build().dlopen(file, Flags::NOW) {
        Ok(library) => library,
        Err(error) => panic!("{error}"),
    };
    library.symbol("PyInit__http_parser").expect("its entry");
    library.leak();
    "loads; Python itself is not there to call it".to_owned()
}
