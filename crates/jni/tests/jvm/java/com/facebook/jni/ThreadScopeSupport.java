package com.facebook.jni;

/** Runs a C++ function in a thread of Java's. */
public class ThreadScopeSupport {
    private static void runStdFunction(long pointer) {
        runStdFunctionImpl(pointer);
    }

    private static native void runStdFunctionImpl(long pointer);
}
