package dalvik.system;

/** Android's, as far as it is compiled against. */
public final class DexFile {
    public static DexFile loadDex(String source, String output, int flags) throws java.io.IOException {
        throw new java.io.IOException("only on Android");
    }

    public Class<?> loadClass(String name, ClassLoader loader) {
        return null;
    }
}
