//! The Java Native Interface, as far as it is needed (specification, chapter 4).

use jni_sys::{JNIEnv, JNINativeMethod, JavaVM, jclass, jint, jobjectArray, jsize, jstring};
use std::ffi::{CString, c_void};

type OnLoad = unsafe extern "system" fn(*mut JavaVM, *mut c_void) -> jint;

/// A thread's environment, for the length of one native method.
pub(crate) struct Environment {
    env: *mut JNIEnv,
}

/// A function of the environment's table.
macro_rules! call {
    ($self:ident . $version:ident . $name:ident ( $($argument:expr),* )) => {
        // SAFETY: the environment is this thread's (see `Environment::new`), its table has the functions of all
        // versions from 1.2 on, and arguments are as that function's description says.
        unsafe { ((**$self.env).$version.$name)($self.env $(, $argument)*) }
    };
}

impl Environment {
    /// # Safety
    /// What the virtual machine has given a native method that has not returned yet.
    pub(crate) unsafe fn new(env: *mut JNIEnv) -> Self {
        Self { env }
    }

    /// A string's text; of null, an empty one.
    pub(crate) fn text(&self, string: jstring) -> String {
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

    /// An array of strings; null if there is no memory for it, with an exception pending.
    pub(crate) fn texts(&self, texts: &[String]) -> jobjectArray {
        let class = call!(self.v1_2.FindClass(c"java/lang/String".as_ptr()));
        let length = jsize::try_from(texts.len()).unwrap_or(0);
        let array = call!(self.v1_2.NewObjectArray(length, class, std::ptr::null_mut()));
        for (index, text) in (0..length).zip(texts) {
            let text = CString::new(text.as_str()).unwrap_or_default();
            let string = call!(self.v1_2.NewStringUTF(text.as_ptr()));
            if array.is_null() || string.is_null() {
                return std::ptr::null_mut();
            }
            call!(self.v1_2.SetObjectArrayElement(array, index, string));
            call!(self.v1_2.DeleteLocalRef(string));
        }
        array
    }

    /// Throws an `UnsatisfiedLinkError` once the native method returns.
    pub(crate) fn throw_unsatisfied(&self, message: &str) {
        let class = call!(self.v1_2.FindClass(c"java/lang/UnsatisfiedLinkError".as_ptr()));
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        if !class.is_null() {
            call!(self.v1_2.ThrowNew(class, message.as_ptr()));
        }
    }

    /// Has a class's native method call a function; an exception is pending if the class has no such method.
    pub(crate) fn register(&self, class: jclass, name: &str, signature: &str, function: *mut c_void) {
        let (Ok(name), Ok(signature)) = (CString::new(name), CString::new(signature)) else { return };
        let method = JNINativeMethod {
            name: name.as_ptr().cast_mut(),
            signature: signature.as_ptr().cast_mut(),
            fnPtr: function,
        };
        call!(self.v1_2.RegisterNatives(class, &raw const method, 1));
    }

    /// Calls a library's `JNI_OnLoad`.
    pub(crate) fn on_load(&self, function: *mut c_void) -> jint {
        let mut machine: *mut JavaVM = std::ptr::null_mut();
        if call!(self.v1_2.GetJavaVM(&raw mut machine)) != 0 {
            return jni_sys::JNI_ERR;
        }
        // SAFETY: the library's function of this name, which has this type in every library for Java.
        unsafe {
            let function: OnLoad = std::mem::transmute(function);
            function(machine, std::ptr::null_mut())
        }
    }
}
