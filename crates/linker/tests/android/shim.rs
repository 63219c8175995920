//! What the libraries need of bionic, asked by code that is compiled here for Android.

use crate::Case;

pub(crate) const CASES: &[Case] = &[];
