//! The Java Native Interface, as far as it is needed (specification, chapter 4).
//!
//! Everything unsafe about talking to a virtual machine is here. Functions that can throw return what was thrown.

#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "classes, objects and ids are handles of the environment: `Environment::new` says what its callers promise"
)]

use jni_sys::{JNIEnv, JavaVM, jclass, jfieldID, jint, jmethodID, jobject, jobjectArray, jstring, jvalue};
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::Arc;

/// What was thrown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thrown {
    /// The name of its class, if that could be found out.
    pub class: String,
    /// Its message.
    pub message: String,
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for Thrown {}

/// A thread's environment. It cannot be sent to another one.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    env: *mut JNIEnv,
}

/// A function of the environment's table.
macro_rules! call {
    ($self:ident . $version:ident . $name:ident ( $($argument:expr),* )) => {
        // SAFETY: the environment is this thread's (see `Environment::new`), its table has the functions of all
        // versions from 1.6 on, and arguments are as that function's description says.
        unsafe { ((**$self.env).$version.$name)($self.env $(, $argument)*) }
    };
}

/// A class that is kept: a reference for all threads, which goes with the last of its copies.
#[derive(Clone, Debug)]
pub struct KeptClass(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    class: jclass,
    machine: *mut JavaVM,
}

// SAFETY: global references and the virtual machine can be used by all threads (JNI, "Global and Local References",
// "The Invocation API").
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut env: *mut c_void = std::ptr::null_mut();
        // SAFETY: the machine's own table; Android's machine is never destroyed.
        let code =
            unsafe { ((**self.machine).v1_2.GetEnv)(self.machine, &raw mut env, jni_sys::JNI_VERSION_1_6) };
        // A thread that the machine does not know cannot give it back: then it stays.
        if code == jni_sys::JNI_OK {
            // SAFETY: this thread's environment, as the machine says, and a global reference that nobody has any more.
            let env = unsafe { Environment::new(env.cast()) };
            call!(env.v1_2.DeleteGlobalRef(self.class));
        }
    }
}

impl KeptClass {
    /// The class.
    pub fn class(&self) -> jclass {
        self.0.class
    }
}

/// How many local references a frame is made for. It may have more.
const LOCALS: jint = 16;

/// What a method is called on.
#[derive(Clone, Copy, Debug)]
pub enum Receiver {
    /// A class, for static methods.
    Class(jclass),
    /// An object; which body runs is decided by its class.
    Object(jobject),
    /// An object; the method's own body runs.
    Exactly(jobject, jclass),
}

impl Environment {
    /// # Safety
    /// What the virtual machine has given this thread, which stays attached while it is used. Classes, objects and
    /// ids that functions are called with come from this environment and are of the kind that they ask for.
    pub unsafe fn new(env: *mut JNIEnv) -> Self {
        Self { env }
    }

    /// As the virtual machine has given it.
    pub fn raw(&self) -> *mut JNIEnv {
        self.env
    }

    /// The virtual machine.
    pub fn machine(&self) -> Result<*mut JavaVM, Thrown> {
        let mut machine = std::ptr::null_mut();
        match call!(self.v1_2.GetJavaVM(&raw mut machine)) {
            0 => Ok(machine),
            _ => Err(Thrown { class: "GetJavaVM".to_owned(), message: "no virtual machine".to_owned() }),
        }
    }

    /// A boot class, or one of the loader of the native method that is running.
    pub fn find_class(&self, name: &str) -> Result<jclass, Thrown> {
        let name = c_string(name)?;
        self.checked(call!(self.v1_2.FindClass(name.as_ptr())))
    }

    /// The class of an object.
    pub fn class_of(&self, object: jobject) -> jclass {
        call!(self.v1_2.GetObjectClass(object))
    }

    /// The class that a class extends; null for `Object` and interfaces.
    pub fn superclass(&self, class: jclass) -> jclass {
        call!(self.v1_2.GetSuperclass(class))
    }

    /// Whether objects of a class are objects of another one.
    pub fn is_subclass(&self, class: jclass, of: jclass) -> bool {
        call!(self.v1_2.IsAssignableFrom(class, of))
    }

    /// A method of a class, which is initialised if it is not yet.
    pub fn method(
        &self,
        class: jclass,
        name: &str,
        signature: &str,
        is_static: bool,
    ) -> Result<jmethodID, Thrown> {
        let (name, signature) = (c_string(name)?, c_string(signature)?);
        let id = match is_static {
            true => call!(self.v1_2.GetStaticMethodID(class, name.as_ptr(), signature.as_ptr())),
            false => call!(self.v1_2.GetMethodID(class, name.as_ptr(), signature.as_ptr())),
        };
        self.check()?;
        Ok(id)
    }

    /// A field of a class, which is initialised if it is not yet.
    pub fn field(&self, class: jclass, name: &str, kind: &str, is_static: bool) -> Result<jfieldID, Thrown> {
        let (name, kind) = (c_string(name)?, c_string(kind)?);
        let id = match is_static {
            true => call!(self.v1_2.GetStaticFieldID(class, name.as_ptr(), kind.as_ptr())),
            false => call!(self.v1_2.GetFieldID(class, name.as_ptr(), kind.as_ptr())),
        };
        self.check()?;
        Ok(id)
    }

    /// Calls a method that returns what the letter says, as in signatures (`L` and `[`: an object).
    pub fn call(
        &self,
        on: Receiver,
        method: jmethodID,
        returns: char,
        arguments: &[jvalue],
    ) -> Result<jvalue, Thrown> {
        let with = arguments.as_ptr();
        macro_rules! of_kind {
            ($field:ident, $static:ident, $virtual:ident, $exact:ident) => {
                match on {
                    Receiver::Class(class) => {
                        jvalue { $field: call!(self.v1_2.$static(class, method, with)) }
                    }
                    Receiver::Object(object) => {
                        jvalue { $field: call!(self.v1_2.$virtual(object, method, with)) }
                    }
                    Receiver::Exactly(object, class) => {
                        jvalue { $field: call!(self.v1_2.$exact(object, class, method, with)) }
                    }
                }
            };
        }
        let value = match returns {
            'Z' => of_kind!(z, CallStaticBooleanMethodA, CallBooleanMethodA, CallNonvirtualBooleanMethodA),
            'B' => of_kind!(b, CallStaticByteMethodA, CallByteMethodA, CallNonvirtualByteMethodA),
            'C' => of_kind!(c, CallStaticCharMethodA, CallCharMethodA, CallNonvirtualCharMethodA),
            'S' => of_kind!(s, CallStaticShortMethodA, CallShortMethodA, CallNonvirtualShortMethodA),
            'I' => of_kind!(i, CallStaticIntMethodA, CallIntMethodA, CallNonvirtualIntMethodA),
            'J' => of_kind!(j, CallStaticLongMethodA, CallLongMethodA, CallNonvirtualLongMethodA),
            'F' => of_kind!(f, CallStaticFloatMethodA, CallFloatMethodA, CallNonvirtualFloatMethodA),
            'D' => of_kind!(d, CallStaticDoubleMethodA, CallDoubleMethodA, CallNonvirtualDoubleMethodA),
            'V' => {
                match on {
                    Receiver::Class(class) => call!(self.v1_2.CallStaticVoidMethodA(class, method, with)),
                    Receiver::Object(object) => call!(self.v1_2.CallVoidMethodA(object, method, with)),
                    Receiver::Exactly(object, class) => {
                        call!(self.v1_2.CallNonvirtualVoidMethodA(object, class, method, with));
                    }
                }
                jvalue { j: 0 }
            }
            _ => of_kind!(l, CallStaticObjectMethodA, CallObjectMethodA, CallNonvirtualObjectMethodA),
        };
        self.check()?;
        Ok(value)
    }

    /// Calls a method that returns an `int`.
    pub fn call_int(&self, on: Receiver, method: jmethodID, arguments: &[jvalue]) -> Result<i32, Thrown> {
        let value = self.call(on, method, 'I', arguments)?;
        // SAFETY: an `int` was returned, and this is where that is.
        Ok(unsafe { value.i })
    }

    /// Calls a method that returns a `long`.
    pub fn call_long(&self, on: Receiver, method: jmethodID, arguments: &[jvalue]) -> Result<i64, Thrown> {
        let value = self.call(on, method, 'J', arguments)?;
        // SAFETY: a `long` was returned, and this is where that is.
        Ok(unsafe { value.j })
    }

    /// Calls a method that returns a `boolean`.
    pub fn call_boolean(
        &self,
        on: Receiver,
        method: jmethodID,
        arguments: &[jvalue],
    ) -> Result<bool, Thrown> {
        let value = self.call(on, method, 'Z', arguments)?;
        // SAFETY: a `boolean` was returned, and this is where that is.
        Ok(unsafe { value.z })
    }

    /// Calls a method that returns an object.
    pub fn call_object(
        &self,
        on: Receiver,
        method: jmethodID,
        arguments: &[jvalue],
    ) -> Result<jobject, Thrown> {
        let value = self.call(on, method, 'L', arguments)?;
        // SAFETY: an object was returned, and this is where that is.
        Ok(unsafe { value.l })
    }

    /// A new object, made by a constructor.
    pub fn new_object(
        &self,
        class: jclass,
        constructor: jmethodID,
        arguments: &[jvalue],
    ) -> Result<jobject, Thrown> {
        self.checked(call!(self.v1_2.NewObjectA(class, constructor, arguments.as_ptr())))
    }

    /// A new object, without a constructor.
    pub fn allocate(&self, class: jclass) -> Result<jobject, Thrown> {
        self.checked(call!(self.v1_2.AllocObject(class)))
    }

    /// The reflected form of a method.
    pub fn reflected(&self, class: jclass, method: jmethodID, is_static: bool) -> Result<jobject, Thrown> {
        self.checked(call!(self.v1_2.ToReflectedMethod(class, method, is_static)))
    }

    /// The reflected form of a field.
    pub fn reflected_field(
        &self,
        class: jclass,
        field: jfieldID,
        is_static: bool,
    ) -> Result<jobject, Thrown> {
        self.checked(call!(self.v1_2.ToReflectedField(class, field, is_static)))
    }

    /// The method of a reflected form.
    pub fn from_reflected(&self, method: jobject) -> jmethodID {
        call!(self.v1_2.FromReflectedMethod(method))
    }

    /// A field of an object that holds an object.
    pub fn object_field(&self, object: jobject, field: jfieldID) -> jobject {
        call!(self.v1_2.GetObjectField(object, field))
    }

    /// Sets a field of an object that holds an object.
    pub fn set_object_field(&self, object: jobject, field: jfieldID, value: jobject) {
        call!(self.v1_2.SetObjectField(object, field, value));
    }

    /// A field of an object that holds a `long`.
    pub fn long_field(&self, object: jobject, field: jfieldID) -> i64 {
        call!(self.v1_2.GetLongField(object, field))
    }

    /// A field of an object that holds an `int`.
    pub fn int_field(&self, object: jobject, field: jfieldID) -> i32 {
        call!(self.v1_2.GetIntField(object, field))
    }

    /// A static field that holds an `int`.
    pub fn static_int_field(&self, class: jclass, field: jfieldID) -> i32 {
        call!(self.v1_2.GetStaticIntField(class, field))
    }

    /// A new string.
    pub fn string(&self, text: &str) -> Result<jstring, Thrown> {
        let text = c_string(text)?;
        self.checked(call!(self.v1_2.NewStringUTF(text.as_ptr())))
    }

    /// A string's text; of null, an empty one.
    pub fn text(&self, string: jstring) -> String {
        if string.is_null() {
            return String::new();
        }
        let bytes = call!(self.v1_2.GetStringUTFChars(string, std::ptr::null_mut()));
        if bytes.is_null() {
            return String::new();
        }
        // SAFETY: a text ended by a NUL, until it is given back.
        let text = unsafe { std::ffi::CStr::from_ptr(bytes) }.to_string_lossy().into_owned();
        call!(self.v1_2.ReleaseStringUTFChars(string, bytes));
        text
    }

    /// A new array of objects, all of them the same one.
    pub fn array(&self, length: jint, class: jclass, element: jobject) -> Result<jobjectArray, Thrown> {
        self.checked(call!(self.v1_2.NewObjectArray(length, class, element)))
    }

    /// The objects of an array.
    pub fn elements(&self, array: jobjectArray) -> Result<Vec<jobject>, Thrown> {
        let element = |nth| self.checked(call!(self.v1_2.GetObjectArrayElement(array, nth)));
        (0..call!(self.v1_2.GetArrayLength(array))).map(element).collect()
    }

    /// What is made of each object of an array, one reference at a time: runtimes up to 7 have room for 512 of them.
    pub fn of_elements<T>(
        &self,
        array: jobjectArray,
        make: impl Fn(jobject) -> Result<T, Thrown>,
    ) -> Result<Vec<T>, Thrown> {
        let one = |nth| {
            let element = self.checked(call!(self.v1_2.GetObjectArrayElement(array, nth)))?;
            let made = make(element);
            self.delete_local(element);
            made
        };
        (0..call!(self.v1_2.GetArrayLength(array))).map(one).collect()
    }

    /// Does something, and gives all local references back that it has made.
    pub fn framed<T>(&self, something: impl FnOnce() -> T) -> Result<T, Thrown> {
        if call!(self.v1_2.PushLocalFrame(LOCALS)) != 0 {
            self.check()?;
            let message = "no room for local references".to_owned();
            return Err(Thrown { class: "PushLocalFrame".to_owned(), message });
        }
        let made = something();
        call!(self.v1_2.PopLocalFrame(std::ptr::null_mut()));
        Ok(made)
    }

    /// A new array of strings.
    pub fn texts(&self, texts: &[String]) -> Result<jobjectArray, Thrown> {
        let class = self.find_class("java/lang/String")?;
        let length = jint::try_from(texts.len()).unwrap_or(0);
        let array = self.array(length, class, std::ptr::null_mut())?;
        for (nth, text) in (0..length).zip(texts) {
            let string = self.string(text)?;
            self.set_element(array, nth, string)?;
            self.delete_local(string);
        }
        Ok(array)
    }

    /// Sets an element of an array of objects.
    pub fn set_element(&self, array: jobjectArray, nth: jint, element: jobject) -> Result<(), Thrown> {
        call!(self.v1_2.SetObjectArrayElement(array, nth, element));
        self.check()
    }

    /// The bytes of an array.
    pub fn bytes(&self, array: jni_sys::jbyteArray) -> Result<Vec<u8>, Thrown> {
        let length = call!(self.v1_2.GetArrayLength(array));
        let mut bytes = vec![0_u8; usize::try_from(length).unwrap_or(0)];
        call!(self.v1_2.GetByteArrayRegion(array, 0, length, bytes.as_mut_ptr().cast()));
        self.check()?;
        Ok(bytes)
    }

    /// Sets the bytes of an array, from its first one on.
    pub fn set_bytes(&self, array: jni_sys::jbyteArray, bytes: &[u8]) -> Result<(), Thrown> {
        let length = jint::try_from(bytes.len()).unwrap_or(0);
        call!(self.v1_2.SetByteArrayRegion(array, 0, length, bytes.as_ptr().cast()));
        self.check()
    }

    /// A new array of bytes, all zero.
    pub fn byte_array(&self, length: jint) -> Result<jobject, Thrown> {
        self.checked(call!(self.v1_2.NewByteArray(length)))
    }

    /// Whether an object is of a class.
    pub fn is_instance(&self, object: jobject, class: jclass) -> bool {
        call!(self.v1_2.IsInstanceOf(object, class))
    }

    /// Whether two references are to the same object.
    pub fn is_same(&self, one: jobject, other: jobject) -> bool {
        call!(self.v1_2.IsSameObject(one, other))
    }

    /// A reference that stays when the native method returns, for all threads.
    pub fn global(&self, object: jobject) -> Result<jobject, Thrown> {
        self.checked(call!(self.v1_2.NewGlobalRef(object)))
    }

    /// A class, kept as long as this or a copy of it is.
    pub fn keep(&self, class: jclass) -> Result<KeptClass, Thrown> {
        let machine = self.machine()?;
        Ok(KeptClass(Arc::new(Kept { class: self.global(class)?, machine })))
    }

    /// Gives a local reference back before the native method returns.
    pub fn delete_local(&self, object: jobject) {
        call!(self.v1_2.DeleteLocalRef(object));
    }

    /// Has a native method of a class call a function.
    ///
    /// # Safety
    /// The function has the parameters that the signature says, after an environment and a class or an object.
    pub unsafe fn register(
        &self,
        class: jclass,
        name: &str,
        signature: &str,
        function: *mut std::ffi::c_void,
    ) -> Result<(), Thrown> {
        let (name, signature) = (c_string(name)?, c_string(signature)?);
        let method = jni_sys::JNINativeMethod {
            name: name.as_ptr().cast_mut(),
            signature: signature.as_ptr().cast_mut(),
            fnPtr: function,
        };
        call!(self.v1_2.RegisterNatives(class, &raw const method, 1));
        self.check()
    }

    /// Throws an exception once the native method returns.
    pub fn throw(&self, class: &str, message: &str) {
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        if let Ok(class) = self.find_class(class) {
            call!(self.v1_2.ThrowNew(class, message.as_ptr()));
        }
    }

    fn checked(&self, object: jobject) -> Result<jobject, Thrown> {
        self.check()?;
        Ok(object)
    }

    /// What was thrown, taken.
    fn check(&self) -> Result<(), Thrown> {
        let thrown = call!(self.v1_2.ExceptionOccurred());
        if thrown.is_null() {
            return Ok(());
        }
        call!(self.v1_2.ExceptionClear());
        let described = Thrown { class: self.class_name(thrown), message: self.message(thrown) };
        // Whatever went wrong while it was described is not of interest.
        call!(self.v1_2.ExceptionClear());
        Err(described)
    }

    fn class_name(&self, object: jobject) -> String {
        let class = self.class_of(object);
        let meta = self.class_of(class);
        let name = ["getName", "getNameNative"].iter().find_map(|getter| {
            let id = self.quiet_method(meta, getter)?;
            let name = call!(self.v1_2.CallObjectMethodA(class, id, std::ptr::null()));
            (!name.is_null()).then(|| self.text(name))
        });
        name.unwrap_or_else(|| "an exception".to_owned())
    }

    fn message(&self, thrown: jobject) -> String {
        let class = self.class_of(thrown);
        // The boot classes that tests run with have no getMessage.
        let getter = self.quiet_method(class, "getMessage").or_else(|| self.quiet_method(class, "toString"));
        let message = getter.map(|id| call!(self.v1_2.CallObjectMethodA(thrown, id, std::ptr::null())));
        message.map(|message| self.text(message)).unwrap_or_default()
    }

    /// A method that takes nothing and returns a string, if there is one.
    fn quiet_method(&self, class: jclass, name: &str) -> Option<jmethodID> {
        let name = CString::new(name).ok()?;
        let id = call!(self.v1_2.GetMethodID(class, name.as_ptr(), c"()Ljava/lang/String;".as_ptr()));
        call!(self.v1_2.ExceptionClear());
        (!id.is_null()).then_some(id)
    }
}

fn c_string(text: &str) -> Result<CString, Thrown> {
    let bad = |_| Thrown { class: "a name".to_owned(), message: "has a NUL in it".to_owned() };
    CString::new(text).map_err(bad)
}
