//! Class loaders, put together as Android's Java code would: the boot classes here have no bodies for it.

use crate::jni::{Environment, Receiver, Thrown};
use jni_sys::{jclass, jobject, jvalue};
use std::path::Path;

/// `openDexFileNative` in 10, 11 and 14.
const OPEN: &str = "(Ljava/lang/String;Ljava/lang/String;ILjava/lang/ClassLoader;[Ldalvik/system/DexPathList$Element;)Ljava/lang/Object;";
const DEFINE: &str =
    "(Ljava/lang/String;Ljava/lang/ClassLoader;Ljava/lang/Object;Ldalvik/system/DexFile;)Ljava/lang/Class;";

/// A `PathClassLoader`.
#[derive(Clone, Copy, Debug)]
pub struct Loader {
    environment: Environment,
    object: jobject,
}

/// An opened dex file: its `DexFile`, and what the runtime knows it by.
#[derive(Clone, Copy, Debug)]
struct Opened {
    file: jobject,
    cookie: jobject,
}

impl Loader {
    pub(super) fn new(env: Environment, dex: &Path, parent: Option<&Self>) -> Result<Self, Thrown> {
        let opened = open(env, dex)?;
        let element_class = env.find_class("dalvik/system/DexPathList$Element")?;
        let element = env.allocate(element_class)?;
        let path_list = env.allocate(env.find_class("dalvik/system/DexPathList")?)?;
        let object = env.allocate(env.find_class("dalvik/system/PathClassLoader")?)?;
        let parent = match parent {
            Some(parent) => parent.object,
            None => env.allocate(env.find_class("java/lang/BootClassLoader")?)?,
        };
        let set = |class: &str, name: &str, kind: &str, of: jobject, value: jobject| {
            let class = env.find_class(class)?;
            env.set_object_field(of, env.field(class, name, kind, false)?, value);
            Ok::<(), Thrown>(())
        };
        set("dalvik/system/DexPathList$Element", "dexFile", "Ldalvik/system/DexFile;", element, opened.file)?;
        let elements = env.array(1, element_class, element)?;
        let list = "[Ldalvik/system/DexPathList$Element;";
        set("dalvik/system/DexPathList", "dexElements", list, path_list, elements)?;
        set(
            "dalvik/system/BaseDexClassLoader",
            "pathList",
            "Ldalvik/system/DexPathList;",
            object,
            path_list,
        )?;
        set("java/lang/ClassLoader", "parent", "Ljava/lang/ClassLoader;", object, parent)?;
        Ok(Self { environment: env, object: env.global(object)? })
    }

    /// A class by its name with dots, initialised or not.
    pub fn class(&self, name: &str, initialise: bool) -> Result<jclass, Thrown> {
        let env = self.environment;
        let class = env.find_class("java/lang/Class")?;
        let signature = "(Ljava/lang/String;ZLjava/lang/ClassLoader;)Ljava/lang/Class;";
        let find = env.method(class, "classForName", signature, true)?;
        let arguments =
            [jvalue { l: env.string(name)? }, jvalue { z: initialise }, jvalue { l: self.object }];
        env.call_object(Receiver::Class(class), find, &arguments)
    }

    /// Defines classes of a patch in this loader, in this order: they see what its own classes see. What a class
    /// extends must come before it.
    pub fn define(&self, dex: &Path, names: &[String]) -> Result<Vec<jclass>, Thrown> {
        let env = self.environment;
        let opened = open(env, dex)?;
        let class = env.find_class("dalvik/system/DexFile")?;
        let define = env.method(class, "defineClassNative", DEFINE, true)?;
        let one = |name: &String| {
            let name = env.string(name)?;
            let arguments = [name, self.object, opened.cookie, opened.file].map(|l| jvalue { l });
            let defined = env.call_object(Receiver::Class(class), define, &arguments)?;
            let missing = || Thrown { class: "NoClassDefFoundError".to_owned(), message: env.text(name) };
            if defined.is_null() { Err(missing()) } else { Ok(defined) }
        };
        names.iter().map(one).collect()
    }

    /// The Java object.
    pub fn object(&self) -> jobject {
        self.object
    }
}

fn open(env: Environment, dex: &Path) -> Result<Opened, Thrown> {
    let class = env.find_class("dalvik/system/DexFile")?;
    let open = env.method(class, "openDexFileNative", OPEN, true)?;
    let path = env.string(&dex.display().to_string())?;
    let null = jvalue { l: std::ptr::null_mut() };
    let arguments = [jvalue { l: path }, null, jvalue { i: 0 }, null, null];
    let cookie = env.call_object(Receiver::Class(class), open, &arguments)?;
    let file = env.allocate(class)?;
    env.set_object_field(file, env.field(class, "mCookie", "Ljava/lang/Object;", false)?, cookie);
    env.set_object_field(file, env.field(class, "mFileName", "Ljava/lang/String;", false)?, path);
    Ok(Opened { file, cookie })
}
