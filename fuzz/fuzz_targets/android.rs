//! A shared object, an APK or an AAR from anywhere: would Android load it?
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use livepatch_object::android::archive::{self, Kind};
use livepatch_object::android::library::Question;
use livepatch_object::android::{ApiLevel, PageSizes, Siblings, check};

fuzz_target!(|data: &[u8]| {
    let file = Bytes::copy_from_slice(data);
    for kind in [Kind::Apk, Kind::Aar] {
        for entry in archive::libraries(data, kind).unwrap_or_default().into_iter().take(8) {
            let _ = archive::check(&entry, ApiLevel::LAST, PageSizes::OfLevel);
            // What says that it is large is unpacked by those who want to.
            if entry.place.size < 1 << 20 {
                let _ = archive::contents(&file, &entry.place);
            }
        }
    }
    let siblings = Siblings::of([("libx.so".to_owned(), file.clone())]);
    for level in [ApiLevel::FIRST, ApiLevel::LAST] {
        let (pages, siblings) = (PageSizes::With16Kib, &siblings);
        let question = Question { level, pages, machine: None, siblings, complete: false };
        let _ = check("libx.so", file.clone(), &question).verdict();
    }
});
