//! System properties: the few that libraries ask for, as an emulator for x86-64 has them.

use super::Symbols;
use std::ffi::{CStr, c_char, c_int, c_void};

/// `PROP_VALUE_MAX`.
const ROOM: usize = 92;

struct Property {
    name: &'static CStr,
    value: &'static CStr,
}

static ALL: [Property; 8] = [
    Property { name: c"ro.build.version.sdk", value: c"34" },
    Property { name: c"ro.build.version.release", value: c"14" },
    Property { name: c"ro.product.cpu.abi", value: c"x86_64" },
    Property { name: c"ro.product.cpu.abilist", value: c"x86_64" },
    Property { name: c"ro.product.manufacturer", value: c"livepatch" },
    Property { name: c"ro.product.model", value: c"livepatch" },
    Property { name: c"ro.debuggable", value: c"1" },
    Property { name: c"ro.arch", value: c"x86_64" },
];

/// # Safety
/// A text ended by a NUL.
unsafe fn find_property(name: *const c_char) -> Option<&'static Property> {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    ALL.iter().find(|property| property.name == name)
}

unsafe extern "C" fn find(name: *const c_char) -> *const c_void {
    // SAFETY: the caller's text.
    let found = unsafe { find_property(name) };
    found.map_or(std::ptr::null(), |property| std::ptr::from_ref(property).cast())
}

/// Writes a value and returns how long it is.
///
/// # Safety
/// Room for `PROP_VALUE_MAX` bytes.
unsafe fn give(value: &CStr, to: *mut c_char) -> c_int {
    let bytes = value.to_bytes_with_nul();
    debug_assert!(bytes.len() <= ROOM);
    // SAFETY: the caller's room; values here are shorter than it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len()) };
    bytes.len() as c_int - 1
}

unsafe extern "C" fn get(name: *const c_char, value: *mut c_char) -> c_int {
    // SAFETY: the caller's text, and room as the function's description asks for.
    unsafe { give(find_property(name).map_or(c"", |property| property.value), value) }
}

unsafe extern "C" fn read(property: *const c_void, name: *mut c_char, value: *mut c_char) -> c_int {
    // SAFETY: what `find` returned, and room as the function's description asks for.
    unsafe {
        let property = &*property.cast::<Property>();
        if !name.is_null() {
            give(property.name, name);
        }
        give(property.value, value)
    }
}

type Callback = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, u32);

unsafe extern "C" fn read_callback(property: *const c_void, callback: Callback, cookie: *mut c_void) {
    // SAFETY: what `find` returned, and the caller's function.
    unsafe {
        let property = &*property.cast::<Property>();
        callback(cookie, property.name.as_ptr(), property.value.as_ptr(), 0);
    }
}

type Each = unsafe extern "C" fn(*const c_void, *mut c_void);

unsafe extern "C" fn foreach(each: Each, cookie: *mut c_void) -> c_int {
    for property in &ALL {
        // SAFETY: the caller's function.
        unsafe { each(std::ptr::from_ref(property).cast(), cookie) };
    }
    0
}

/// Nobody may set any.
unsafe extern "C" fn set(_name: *const c_char, _value: *const c_char) -> c_int {
    -1
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("__system_property_find", find as *const ()),
        ("__system_property_get", get as *const ()),
        ("__system_property_read", read as *const ()),
        ("__system_property_read_callback", read_callback as *const ()),
        ("__system_property_foreach", foreach as *const ()),
        ("__system_property_set", set as *const ()),
    ]
}
