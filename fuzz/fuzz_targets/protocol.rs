//! A frame from a stranger, on either side; what can be read is written back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_proto::{FromProcess, ToProcess, Wire, frame};

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = frame::decode::<FromProcess>(data) {
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        assert_eq!(bytes, data);
    }
    if let Ok(message) = frame::decode::<ToProcess>(data) {
        let mut bytes = Vec::new();
        message.put(&mut bytes);
        assert_eq!(bytes, data);
    }
    let mut stream = data;
    let _ = frame::receive::<FromProcess>(&mut stream, frame::MAX_FIRST_PAYLOAD);
});
