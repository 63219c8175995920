package com.facebook.soloader;

/** What React Native's classes load their libraries with in an app. */
public final class SoLoader {
    private SoLoader() {}

    public static boolean loadLibrary(String name) {
        livepatch.Loader.loadLibrary(name);
        return true;
    }
}
