package livepatch.art;

/**
 * Three methods that are neighbours in memory, by which the size of their records is measured, and with which it is tried
 * whether calls go through the entries in records: then {@link #c} throws what {@link #b} throws if {@link #a} is led
 * there. Nothing else.
 */
final class Probe {
    private static volatile int sink;

    /** Longer than what compilers put into the body of a caller. */
    static void a() {
        sink = sink * 31 + 1;
        sink = sink * 31 + 2;
        sink = sink * 31 + 3;
        sink = sink * 31 + 4;
        sink = sink * 31 + 5;
        sink = sink * 31 + 6;
        sink = sink * 31 + 7;
        sink = sink * 31 + 8;
        sink = sink * 31 + 9;
        sink = sink * 31 + 10;
        sink = sink * 31 + 11;
        sink = sink * 31 + 12;
    }

    static void b() {
        throw new IllegalStateException();
    }

    static void c() {
        a();
    }
}
