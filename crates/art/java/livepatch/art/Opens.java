package livepatch.art;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Which private fields of the program the methods of a patch use. */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.TYPE)
public @interface Opens {
    /** Fields: {@code Lpackage/Class;->name:I}. */
    String[] fields();
}
