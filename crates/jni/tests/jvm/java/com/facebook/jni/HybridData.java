package com.facebook.jni;

/** What libfbjni registers natives of: of its own classes, only so much. */
public class HybridData {
    private final Destructor mDestructor = new Destructor();

    /** Frees a C++ object. */
    public static class Destructor {
        private volatile long mNativePointer;

        static native void deleteNative(long pointer);
    }
}
