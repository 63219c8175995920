//! From names to records.

use super::memory::RecordAddress;
use super::reason::EngineError;
use crate::flags::INTERFACE;
use crate::jni::{Environment, KeptClass, Receiver, Thrown};
use crate::preflight::Described;
use crate::record::Record;
use jni_sys::{jclass, jmethodID, jobject, jvalue};
use std::fmt;

/// A method's name within its class.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MethodName {
    /// Its name.
    pub name: String,
    /// What it takes and returns: `(I)V`.
    pub signature: String,
    /// Whether it is the class's.
    pub is_static: bool,
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.signature)
    }
}

/// A method whose record is known.
#[derive(Clone, Debug)]
pub struct Method {
    pub(super) class: KeptClass,
    pub(super) class_name: String,
    pub(super) name: MethodName,
    pub(super) record: RecordAddress,
    pub(super) in_interface: bool,
}

impl Method {
    /// Finds a method, in a class or what it extends. Its class is initialised first, as it would be by its first call.
    pub fn find(env: Environment, class: jclass, name: &MethodName) -> Result<Self, EngineError> {
        let thrown = |thrown| EngineError::Thrown { what: name.to_string(), thrown };
        let record = record(env, class, name)?;
        let kept = env.keep(class).map_err(thrown)?;
        let class_name = class_name(env, class).map_err(thrown)?;
        let in_interface = is_interface(env, class).map_err(thrown)?;
        Ok(Self { class: kept, class_name, name: name.clone(), record, in_interface })
    }

    /// Where its record is.
    pub fn record(&self) -> RecordAddress {
        self.record
    }

    pub(super) fn described(&self, record: &Record) -> Described {
        let (class, name) = (self.class_name.clone(), self.name.name.clone());
        Described { class, name, signature: self.name.signature.clone(), flags: record.flags() }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.class_name, self.name)
    }
}

/// The record of a method. Ids are opaque in some processes: the reflected method says where it is.
pub(super) fn record(
    env: Environment,
    class: jclass,
    name: &MethodName,
) -> Result<RecordAddress, EngineError> {
    let thrown = |thrown| EngineError::Thrown { what: name.to_string(), thrown };
    let id = env.method(class, &name.name, &name.signature, name.is_static).map_err(thrown)?;
    let address = address(env, class, id, name.is_static).map_err(thrown)?;
    let no_record = || EngineError::NoRecord(name.to_string());
    RecordAddress::new(address).filter(|_| agrees(id, address)).ok_or_else(no_record)
}

/// Whether what is found in a class is its superclass's: virtual machines look there as well, and for private methods, too.
pub(super) fn is_inherited(env: Environment, class: jclass, name: &MethodName, found: RecordAddress) -> bool {
    let parent = env.superclass(class);
    if parent.is_null() {
        return false;
    }
    let of_parent = record(env, parent, name);
    env.delete_local(parent);
    of_parent.is_ok_and(|record| record == found)
}

/// An id is the record's address, or an odd number that says nothing (11 and later).
fn agrees(id: jmethodID, address: usize) -> bool {
    let id = id.expose_provenance();
    id == address || !id.is_multiple_of(2)
}

fn address(env: Environment, class: jclass, id: jmethodID, is_static: bool) -> Result<usize, Thrown> {
    let reflected = env.reflected(class, id, is_static)?;
    let address = reflected_address(env, reflected);
    env.delete_local(reflected);
    address
}

/// `Executable.artMethod`; before 8.0 it is in `AbstractMethod`.
fn reflected_address(env: Environment, reflected: jobject) -> Result<usize, Thrown> {
    let holder = env.find_class("java/lang/reflect/Executable");
    let holder = holder.or_else(|_| env.find_class("java/lang/reflect/AbstractMethod"))?;
    let field = env.field(holder, "artMethod", "J", false)?;
    Ok(env.long_field(reflected, field).cast_unsigned() as usize)
}

/// The records of all methods and constructors that a class declares itself.
pub(super) fn declared(env: Environment, class: jclass) -> Result<Vec<RecordAddress>, EngineError> {
    let thrown = |thrown| EngineError::Thrown { what: "the methods of a class".to_owned(), thrown };
    let of_class = env.class_of(class);
    // What Android's `Class` offers to everyone, and what that calls.
    let getters = [
        [
            ("getDeclaredConstructors", "()[Ljava/lang/reflect/Constructor;"),
            ("getDeclaredConstructorsInternal", "(Z)[Ljava/lang/reflect/Constructor;"),
        ],
        [
            ("getDeclaredMethods", "()[Ljava/lang/reflect/Method;"),
            ("getDeclaredMethodsUnchecked", "(Z)[Ljava/lang/reflect/Method;"),
        ],
    ];
    let mut records = Vec::new();
    for getter in getters {
        let found =
            getter.iter().find_map(|(name, signature)| env.method(of_class, name, signature, false).ok());
        let Some(id) = found else { continue };
        let all = env.call_object(Receiver::Object(class), id, &[jvalue { z: false }]).map_err(thrown)?;
        let addresses = env.of_elements(all, |reflected| env.framed(|| reflected_address(env, reflected))?);
        records.extend(addresses.map_err(thrown)?.into_iter().filter_map(RecordAddress::new));
        env.delete_local(all);
    }
    Ok(records)
}

/// The loader that a class came from; null of a boot class.
pub(super) fn class_loader(env: Environment, class: jclass) -> Result<jobject, Thrown> {
    let (of_class, loader) = (env.class_of(class), "Ljava/lang/ClassLoader;");
    match env.method(of_class, "getClassLoader", &format!("(){loader}"), false) {
        Ok(getter) => env.call_object(Receiver::Object(class), getter, &[]),
        Err(_) => Ok(env.object_field(class, env.field(of_class, "classLoader", loader, false)?)),
    }
}

/// `Class`, and what finds a class by its name, whether it is to be initialised, and its loader.
pub(super) fn for_name(env: Environment) -> Result<(jclass, jmethodID), Thrown> {
    let class = env.find_class("java/lang/Class")?;
    let signature = "(Ljava/lang/String;ZLjava/lang/ClassLoader;)Ljava/lang/Class;";
    // Android has `forName`; the boot classes of tests have only what it calls.
    let find = env.method(class, "forName", signature, true);
    let find = find.or_else(|_| env.method(class, "classForName", signature, true))?;
    Ok((class, find))
}

fn class_name(env: Environment, class: jclass) -> Result<String, Thrown> {
    let of_class = env.class_of(class);
    let find = |name| env.method(of_class, name, "()Ljava/lang/String;", false);
    let getter = find("getName").or_else(|_| find("getNameNative"))?;
    Ok(env.text(env.call_object(Receiver::Object(class), getter, &[])?))
}

fn is_interface(env: Environment, class: jclass) -> Result<bool, Thrown> {
    let of_class = env.class_of(class);
    match env.method(of_class, "isInterface", "()Z", false) {
        Ok(getter) => env.call_boolean(Receiver::Object(class), getter, &[]),
        Err(_) => {
            let field = env.field(of_class, "accessFlags", "I", false)?;
            Ok(env.int_field(class, field) & INTERFACE.cast_signed() != 0)
        }
    }
}

/// The class and the name of every method that this thread is in.
pub(super) fn own_stack(env: Environment) -> Result<Vec<(String, String)>, Thrown> {
    let trace = "()[Ljava/lang/StackTraceElement;";
    let thread = env.find_class("java/lang/Thread")?;
    let all = match env.method(thread, "getStackTrace", trace, false) {
        Ok(get) => {
            let current = env.method(thread, "currentThread", "()Ljava/lang/Thread;", true)?;
            let current = env.call_object(Receiver::Class(thread), current, &[])?;
            env.call_object(Receiver::Object(current), get, &[])?
        }
        Err(_) => {
            // What Android's `Throwable` calls itself.
            let class = env.find_class("java/lang/Throwable")?;
            let fill = env.method(class, "nativeFillInStackTrace", "()Ljava/lang/Object;", true)?;
            let state = env.call_object(Receiver::Class(class), fill, &[])?;
            let signature = "(Ljava/lang/Object;)[Ljava/lang/StackTraceElement;";
            let get = env.method(class, "nativeGetStackTrace", signature, true)?;
            env.call_object(Receiver::Class(class), get, &[jvalue { l: state }])?
        }
    };
    let element = env.find_class("java/lang/StackTraceElement")?;
    let [class, name] =
        ["declaringClass", "methodName"].map(|field| env.field(element, field, "Ljava/lang/String;", false));
    let (class, name) = (class?, name?);
    let text = |frame, field| env.framed(|| env.text(env.object_field(frame, field)));
    env.of_elements(all, |frame| Ok((text(frame, class)?, text(frame, name)?)))
}
