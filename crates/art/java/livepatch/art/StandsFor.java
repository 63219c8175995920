package livepatch.art;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Which method a method of a patch stands for: a private one, or one that is new. */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface StandsFor {
    /** The name of the class, with dots. */
    String clazz();

    /** The name of its method. */
    String method();

    /** What that takes and returns. */
    String signature();

    /** Whether it is the class's. */
    boolean isStatic();
}
