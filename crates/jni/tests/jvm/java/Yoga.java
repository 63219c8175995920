import com.facebook.yoga.YogaEdge;
import com.facebook.yoga.YogaFlexDirection;
import com.facebook.yoga.YogaMeasureOutput;
import com.facebook.yoga.YogaNode;
import com.facebook.yoga.YogaNodeFactory;

/** A layout by React Native's own classes, which libyoga registers natives of, and which it calls back. */
public final class Yoga {
    public static void main(String[] arguments) {
        YogaNode root = YogaNodeFactory.create();
        root.setFlexDirection(YogaFlexDirection.ROW);
        root.setWidth(300);
        root.setHeight(100);
        root.setPadding(YogaEdge.ALL, 10);
        YogaNode measured = YogaNodeFactory.create();
        // Java is called from within the layout.
        measured.setMeasureFunction(
                (node, width, widthMode, height, heightMode) -> YogaMeasureOutput.make(40, 20));
        YogaNode rest = YogaNodeFactory.create();
        rest.setFlexGrow(1);
        root.addChildAt(measured, 0);
        root.addChildAt(rest, 1);
        root.calculateLayout(Float.NaN, Float.NaN);
        same(10, measured.getLayoutX());
        same(40, measured.getLayoutWidth());
        same(50, rest.getLayoutX());
        same(300 - 2 * 10 - 40, rest.getLayoutWidth());
        same(80, rest.getLayoutHeight());
    }

    private static void same(float expected, float is) {
        if (expected != is) {
            throw new AssertionError("expected " + expected + ", is " + is);
        }
    }
}
