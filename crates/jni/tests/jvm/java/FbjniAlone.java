import livepatch.Loader;

/**
 * libfbjni without these classes: it throws a C++ exception for Java's and catches it again in its JNI_OnLoad, which
 * throws the Java exception then. That has failed for good.
 */
public final class FbjniAlone {
    public static void main(String[] arguments) {
        try {
            Loader.loadLibrary("fbjni");
            throw new AssertionError("nothing was thrown");
        } catch (NoClassDefFoundError error) {
            if (!error.getMessage().startsWith("com/facebook/jni/")) {
                throw error;
            }
        }
        try {
            Loader.loadLibrary("fbjni");
            throw new AssertionError("nothing was thrown");
        } catch (UnsatisfiedLinkError error) {
            if (!error.getMessage().startsWith("JNI_OnLoad failed on a previous attempt to load ")) {
                throw error;
            }
        }
    }
}
