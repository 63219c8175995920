package livepatch.art;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** What a method of a patch replaces. */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface MethodReplace {
    /** The name of the class, with dots. */
    String clazz();

    /** The name of its method, which takes and returns the same. */
    String method();
}
