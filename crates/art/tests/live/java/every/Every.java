/** What compilers make of Java, in methods all of which are replaced by themselves: what they return stays the same. */
public class Every {
    interface Shape {
        int corners();

        default int twice() {
            return 2 * corners() + offset();
        }

        static int of(Shape shape) {
            return shape == null ? -1 : shape.twice();
        }

        default int offset() {
            return 1;
        }
    }

    static abstract class Base {
        protected int kept = 3;
        protected static int shared = 4;
        private int own = 5;

        abstract int made();

        protected int over(int a) {
            return own + a + made();
        }

        private int hidden() {
            return own * 2;
        }

        int throughHidden() {
            return hidden() + kept;
        }
    }

    static class Node<T extends Node<T>> implements Shape {
        private final int value;
        private T next;

        Node(int value, T next) {
            this.value = value;
            this.next = next;
        }

        T next() {
            return next;
        }

        public int corners() {
            return value;
        }

        @Override
        public int offset() {
            return Shape.super.offset() + 10;
        }
    }

    static final class Leaf extends Node<Leaf> {
        Leaf(int value, Leaf next) {
            super(value, next);
        }

        // And a bridge that returns a `Node`.
        @Override
        Leaf next() {
            return super.next();
        }
    }

    static class Body extends Base {
        private static long total;
        private int state;
        private final int[] table = {3, 1, 4, 1, 5, 9, 2, 6};

        int made() {
            return 7;
        }

        // The same name as the superclass's private one.
        private int hidden() {
            return 100;
        }

        @Override
        protected int over(int a) {
            return super.over(a) + kept + shared + hidden();
        }

        private int wide(long a, double b, int c, float d, long... rest) {
            long sum = a + (long) b + c + (long) d;
            for (long one : rest) {
                sum += one;
            }
            return (int) sum;
        }

        private static int power(int base, int exponent) {
            return exponent == 0 ? 1 : base * power(base, exponent - 1);
        }

        private static synchronized int counted(int by) {
            total += by;
            return (int) total;
        }

        private synchronized int locked(Object monitor) {
            synchronized (monitor) {
                return state++;
            }
        }

        private int switched(int which) {
            switch (which) {
                case 0:
                    return 10;
                case 1:
                case 2:
                    return 20;
                case 1000:
                    return 30;
                case -70000:
                    return 40;
                default:
                    switch (which % 5) {
                        case 0:
                            return 50;
                        case 1:
                            return 60;
                        case 3:
                            return 70;
                        default:
                            return 80;
                    }
            }
        }

        private int guarded(int divisor, int index) {
            int seen = 0;
            try {
                seen = 100 / divisor;
                seen += table[index];
            } catch (ArithmeticException error) {
                seen = -1;
            } catch (RuntimeException error) {
                seen = -2;
            } finally {
                state += 2;
            }
            return seen;
        }

        private class Inner {
            private int secret = 11;

            private int reach() {
                state += secret;
                return state + hidden() + Body.this.guarded(3, 2) + Body.super.over(1);
            }
        }

        private int inner() {
            Inner inner = new Inner();
            inner.secret += 2;
            return inner.reach() + inner.secret;
        }

        private static Shape shape(final int corners) {
            return new Shape() {
                private int calls;

                public int corners() {
                    calls++;
                    return corners + calls + (int) total;
                }
            };
        }

        private Object overwritten(Object first) {
            Object now = this;
            for (int i = 0; i < 3; i++) {
                now = i == 1 ? first : now;
            }
            return now instanceof Body ? now : null;
        }

        private static int sort(int[] all) {
            int moves = 0;
            for (int i = 1; i < all.length; i++) {
                for (int j = i; j > 0 && all[j - 1] > all[j]; j--, moves++) {
                    int other = all[j];
                    all[j] = all[j - 1];
                    all[j - 1] = other;
                }
            }
            return moves;
        }

        int all() {
            int sum = over(6);
            sum = sum * 31 + throughHidden();
            sum = sum * 31 + wide(1L << 33 | 5, 2.5, 3, 4.5f, 6, 7, 8);
            sum = sum * 31 + power(3, 5) + counted(2);
            sum = sum * 31 + locked(table) + locked(this);
            for (int which : new int[] {0, 1, 2, 3, 5, 11, 13, 1000, -70000}) {
                sum = sum * 31 + switched(which);
            }
            sum = sum * 31 + guarded(4, 1) + guarded(0, 1) + guarded(1, 99);
            sum = sum * 31 + inner();
            sum = sum * 31 + Shape.of(shape(4)) + Shape.of(null);
            Leaf leaf = new Leaf(8, new Leaf(9, null));
            Node<Leaf> node = leaf;
            sum = sum * 31 + Shape.of(node.next()) + leaf.twice() + (leaf.next().next() == null ? 1 : 2);
            sum = sum * 31 + (overwritten(this) == this ? 5 : 6) + (overwritten(null) == null ? 5 : 6);
            sum = sum * 31 + sort(new int[] {2, 7, 1, 8}) + sort(table) + table[3];
            return sum;
        }
    }

    static int run() {
        Body.total = 0;
        Body every = new Body();
        return every.all() * 31 + every.all();
    }
}
