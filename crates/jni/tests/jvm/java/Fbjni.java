import com.facebook.jni.HybridData;
import com.facebook.jni.NativeRunnable;
import com.facebook.jni.ThreadScopeSupport;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import livepatch.Loader;

/** libfbjni with the classes that its JNI_OnLoad looks for: it registers natives of them. */
public final class Fbjni {
    /** They are found by name; the compiler has to know of them. */
    static final Class<?>[] LOOKED_FOR = {
        HybridData.class, NativeRunnable.class, ThreadScopeSupport.class
    };

    public static void main(String[] arguments) throws Exception {
        Method delete = HybridData.Destructor.class.getDeclaredMethod("deleteNative", long.class);
        delete.setAccessible(true);
        try {
            delete.invoke(null, 0L);
            throw new AssertionError("it is bound before it is loaded");
        } catch (InvocationTargetException error) {
            if (!(error.getCause() instanceof UnsatisfiedLinkError)) {
                throw error;
            }
        }
        Loader.loadLibrary("fbjni");
        // Of no object: nothing is deleted.
        delete.invoke(null, 0L);
    }
}
