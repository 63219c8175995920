/** A program that a real compiler compiles. */
public class Shop {
    interface Discount {
        int of(int price);
    }

    private int stock = 10;
    private static int sold;
    private final int[] prices = {3, 5, 8};

    /** Sells one too many. */
    public int sell(int count) {
        stock -= count + 1;
        sold += count;
        return stock;
    }

    public int cheapest() {
        return total(1, 2, 3);
    }

    private static int total(int... all) {
        int sum = 0;
        for (int one : all) {
            sum += one;
        }
        return sum;
    }

    public int price(int kind) {
        switch (kind) {
            case 0:
                return prices[0];
            case 7:
                return prices[1];
            default:
                return -1;
        }
    }

    public int checked(int kind) {
        try {
            return prices[kind];
        } catch (ArrayIndexOutOfBoundsException error) {
            return -1;
        }
    }

    public static int sold() {
        return 0;
    }
}
