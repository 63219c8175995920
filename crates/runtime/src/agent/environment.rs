//! The invitation in the environment, taken out so that child processes do not see it.

use super::loader;
use livepatch_proto::Token;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

const SOCKET: &CStr = c"LIVEPATCH_SOCKET";
const TOKEN: &CStr = c"LIVEPATCH_TOKEN";
const PRELOAD: &CStr = c"LD_PRELOAD";

/// Whom to dial, and how to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    /// Path of the server's socket.
    pub(crate) socket: PathBuf,
    /// The session's secret.
    pub(crate) token: Token,
}

/// Takes the invitation out of the environment, and the agent out of what children preload.
///
/// To be called before the program runs: nobody else reads or writes the environment then.
pub(crate) fn take_invitation() -> Option<Invitation> {
    let socket = take(SOCKET);
    let token = take(TOKEN);
    let invitation = Invitation { socket: socket?.into(), token: Token::from_hex(token?.to_str()?)? };
    restore_preload();
    Some(invitation)
}

fn restore_preload() {
    let Some((preload, own)) = get(PRELOAD).zip(loader::own_path()) else { return };
    let rest = without(&preload, |entry| is_same_file(entry, OsStr::from_bytes(own.as_bytes())));
    match CString::new(rest) {
        Ok(rest) if !rest.is_empty() => {
            // SAFETY: both strings are NUL-terminated; `take_invitation` says when this may be called.
            unsafe { libc::setenv(PRELOAD.as_ptr(), rest.as_ptr(), 1) };
        }
        _ => unset(PRELOAD),
    }
}

fn is_same_file(a: &OsStr, b: &OsStr) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &OsStr| Path::new(path).metadata().map(|file| (file.dev(), file.ino())).ok();
    a == b || identity(a).is_some_and(|file| Some(file) == identity(b))
}

/// What is left of a list that colons or spaces separate (ld.so(8)) without the entries that `is_own`
/// picks; as it was where nothing is picked.
fn without(list: &OsStr, is_own: impl Fn(&OsStr) -> bool) -> Vec<u8> {
    let entries = || {
        list.as_bytes()
            .split(|byte| matches!(byte, b':' | b' '))
            .filter(|entry| !entry.is_empty())
            .map(OsStr::from_bytes)
    };
    if !entries().any(&is_own) {
        return list.as_bytes().to_vec();
    }
    let kept: Vec<&[u8]> = entries().filter(|entry| !is_own(entry)).map(OsStr::as_bytes).collect();
    kept.join(&b':')
}

fn get(name: &CStr) -> Option<OsString> {
    // SAFETY: the name is NUL-terminated; nobody changes the environment meanwhile, so the value stays.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| OsString::from_vec(CStr::from_ptr(value).to_bytes().to_vec()))
    }
}

fn take(name: &CStr) -> Option<OsString> {
    let value = get(name)?;
    unset(name);
    Some(value)
}

fn unset(name: &CStr) {
    // SAFETY: the name is NUL-terminated; `take_invitation` says when this may be called.
    unsafe { libc::unsetenv(name.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_preloads_stay() {
        let rest = |list: &str| {
            let kept = without(OsStr::new(list), |entry| entry == "/a/agent.so");
            String::from_utf8(kept).expect("the parts were text")
        };
        assert_eq!(rest("/a/agent.so"), "");
        assert_eq!(rest("/a/agent.so:/b/x.so /c/y.so"), "/b/x.so:/c/y.so");
        assert_eq!(rest("/b/x.so:/a/agent.so"), "/b/x.so");
        assert_eq!(rest("/b/x.so  /c/y.so"), "/b/x.so  /c/y.so");
        assert_eq!(rest(""), "");
    }
}
