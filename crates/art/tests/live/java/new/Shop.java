/** The same program, as it is to be. */
public class Shop {
    interface Discount {
        int of(int price);
    }

    private int stock = 10;
    private static int sold;
    private final int[] prices = {3, 5, 8};

    public int sell(int count) {
        stock -= count;
        sold += count;
        return stock;
    }

    /** Through a class that is new, which uses private fields by an accessor that is new as well. */
    public int cheapest() {
        Discount half = new Discount() {
            @Override
            public int of(int price) {
                return price * stock / 20;
            }
        };
        return half.of(total(prices));
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
            case 8:
                return prices[2];
            default:
                return -2;
        }
    }

    public int checked(int kind) {
        try {
            return prices[kind];
        } catch (ArrayIndexOutOfBoundsException error) {
            return recover(kind);
        }
    }

    private int recover(int kind) {
        return kind < 0 ? prices[0] : prices[prices.length - 1];
    }

    public static int sold() {
        return sold;
    }
}
