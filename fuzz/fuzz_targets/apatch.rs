//! A patch from anywhere: read, shown, verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_art::patch::{About, Created, Key, Strictness, Unverified, write};
use livepatch_art::{dex, program};
use livepatch_fuzz::{damaged, everything};
use std::sync::OnceLock;

const KEY: &str = include_str!("../../crates/art/data/demo-key.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../crates/art/data/demo-certificate.pem");

fuzz_target!(|data: &[u8]| {
    static ORIGINAL: OnceLock<(Key, Vec<u8>)> = OnceLock::new();
    let (key, original) = ORIGINAL.get_or_init(|| {
        let key = Key::read(KEY, CERTIFICATE).expect("a key");
        let text = String::new;
        let (created, classes) = (Created::from_seconds(0), vec!["Everything".to_owned()]);
        let about = About { name: text(), created, from: text(), to: text(), by: text(), classes };
        let bytes = dex::write(&everything()).expect("it can be written");
        let patch = write(&about, &[bytes], &key).expect("it can be written");
        (key, patch)
    });
    for bytes in [data.to_vec(), damaged(original, data)] {
        let bytes = bytes.into();
        let _ = program::read(&bytes);
        let Ok(patch) = Unverified::read(&bytes) else { continue };
        let _ = (patch.contents().count(), patch.classes(), patch.signer(Strictness::AsAndFix));
        if let Ok(verified) = patch.verify(key.certificate(), Strictness::Strict) {
            assert_eq!(verified.about().classes, ["Everything"]);
        }
    }
});
