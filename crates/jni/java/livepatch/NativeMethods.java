package livepatch;

import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.TreeSet;

/**
 * Binds native methods to functions by their names (JNI specification, "Resolving Native Method Names"). Android does
 * this at a method's first call, a virtual machine only with libraries that it has loaded itself: so all are bound
 * when the library is loaded, of those classes that its class loader can find then.
 */
final class NativeMethods {
    private NativeMethods() {}

    static void bind(long handle, ClassLoader loader) {
        Set<String> symbols = new HashSet<>(Arrays.asList(Loader.natives(handle)));
        Set<String> classes = new TreeSet<>();
        for (String symbol : symbols) {
            String name = className(symbol);
            if (name != null) {
                classes.add(name);
            }
        }
        for (String name : classes) {
            Class<?> of;
            try {
                of = Class.forName(name, false, loader);
            } catch (ClassNotFoundException | LinkageError absent) {
                // The library has functions for an app that this is not.
                continue;
            }
            bindClass(of, handle, symbols);
        }
    }

    private static void bindClass(Class<?> of, long handle, Set<String> symbols) {
        for (Method method : of.getDeclaredMethods()) {
            if (!Modifier.isNative(method.getModifiers())) {
                continue;
            }
            String signature =
                    MethodType.methodType(method.getReturnType(), method.getParameterTypes())
                            .toMethodDescriptorString();
            String simple = "Java_" + mangled(of.getName()) + "_" + mangled(method.getName());
            String arguments = signature.substring(1, signature.indexOf(')'));
            String full = simple + "__" + mangled(arguments.replace('/', '.'));
            for (String symbol : new String[] {simple, full}) {
                if (symbols.contains(symbol)) {
                    Loader.register(of, method.getName(), signature, handle, symbol);
                    break;
                }
            }
        }
    }

    /** A class's or method's name, or argument types, as part of a function's name. */
    static String mangled(String text) {
        StringBuilder mangled = new StringBuilder();
        for (char c : text.toCharArray()) {
            if (c == '.') {
                mangled.append('_');
            } else if (c == '_') {
                mangled.append("_1");
            } else if (c == ';') {
                mangled.append("_2");
            } else if (c == '[') {
                mangled.append("_3");
            } else if (c < 128 && Character.isLetterOrDigit(c)) {
                mangled.append(c);
            } else {
                mangled.append(String.format("_0%04x", (int) c));
            }
        }
        return mangled.toString();
    }

    /** The class of a function's name: all but the last part, before two underscores. Null if it has no class. */
    static String className(String symbol) {
        StringBuilder name = new StringBuilder();
        int lastDot = -1;
        int at = "Java_".length();
        while (at < symbol.length()) {
            char c = symbol.charAt(at);
            char next = at + 1 < symbol.length() ? symbol.charAt(at + 1) : '\0';
            if (c != '_') {
                name.append(c);
            } else if (next == '_') {
                break;
            } else if (next == '0' && at + 6 <= symbol.length()) {
                try {
                    name.append((char) Integer.parseInt(symbol.substring(at + 2, at + 6), 16));
                } catch (NumberFormatException notOne) {
                    return null;
                }
                at += 5;
            } else if (next >= '1' && next <= '3') {
                name.append("_;[".charAt(next - '1'));
                at += 1;
            } else {
                lastDot = name.length();
                name.append('.');
            }
            at += 1;
        }
        return lastDot < 0 ? null : name.substring(0, lastDot);
    }
}
