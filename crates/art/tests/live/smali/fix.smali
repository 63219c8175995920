# What replaces it. What is fixed returns 2, unless something else is said.
.class public LFixHelper;
.super Ljava/lang/Object;
.method public static twice(I)I
    .registers 2
    add-int v0, p0, p0
    return v0
.end method

.class public LApp_CF;
.super LBase;
.field public static own:I
.field public extraField:I
.field public padding1:J
.field public padding2:J
.field public padding3:J
.method static constructor <clinit>()V
    .registers 1
    const/16 v0, 21
    sput v0, LApp_CF;->own:I
    return-void
.end method
.method public constructor <init>()V
    .registers 2
    invoke-direct {p0}, LBase;-><init>()V
    return-void
.end method
.method public static div(II)I
    .registers 3
    if-nez p1, :divide
    const/16 v0, 1234
    return v0
    :divide
    div-int v0, p0, p1
    return v0
.end method
.method public virt()I
    .registers 2
    check-cast p0, LApp;
    iget v0, p0, LApp;->value:I
    add-int/lit8 v0, v0, -3
    return v0
.end method
.method private priv()I
    .registers 2
    const/4 v0, 2
    return v0
.end method
.method public final fin()I
    .registers 2
    const/4 v0, 2
    return v0
.end method
.method public declared-synchronized sync()I
    .registers 3
    monitor-enter p0
    :from
    const/4 v0, 2
    :to
    monitor-exit p0
    return v0
    :handler
    move-exception v1
    monitor-exit p0
    throw v1
    .catchall {:from .. :to} :handler
.end method
.method public static nat()I
    .registers 1
    const/4 v0, 2
    return v0
.end method
# 1 + 2 + 3 + 4 + 5 + 6 + 7.0 + 8.0 + (0 because null) + 3 elements
.method public static all(ZBSCIJFDLjava/lang/Object;[I)J
    .registers 18
    move-wide/from16 v0, p5
    add-int v2, p0, p1
    add-int v2, v2, p2
    add-int v2, v2, p3
    add-int v2, v2, p4
    int-to-long v2, v2
    add-long/2addr v0, v2
    move/from16 v2, p7
    float-to-int v2, v2
    int-to-long v2, v2
    add-long/2addr v0, v2
    move-wide/from16 v2, p8
    double-to-long v2, v2
    add-long/2addr v0, v2
    move-object/from16 v2, p11
    array-length v2, v2
    int-to-long v2, v2
    add-long/2addr v0, v2
    return-wide v0
.end method
.method public static varargs sum([I)I
    .registers 5
    const/4 v0, 0
    const/4 v1, 0
    :again
    array-length v2, p0
    if-ge v1, v2, :end
    aget v3, p0, v1
    add-int/2addr v0, v3
    add-int/lit8 v1, v1, 1
    goto :again
    :end
    return v0
.end method
.method public static thrower(I)I
    .registers 3
    const/4 v0, 0
    div-int v0, p0, v0
    return v0
.end method
.method public static catcher()I
    .registers 2
    const/4 v0, 0
    const/4 v1, 1
    :from
    div-int v0, v1, v0
    :to
    return v0
    :caught
    move-exception v0
    const/4 v0, 2
    return v0
    .catch Ljava/lang/ArithmeticException; {:from .. :to} :caught
.end method
# The recursion goes through the method that is replaced.
.method public static fact(I)I
    .registers 3
    const/4 v0, 1
    if-le p0, v0, :end
    add-int/lit8 v1, p0, -1
    invoke-static {v1}, LApp;->fact(I)I
    move-result v1
    mul-int v0, p0, v1
    :end
    return v0
.end method
.method public superHello()I
    .registers 2
    check-cast p0, LApp;
    invoke-super {p0}, LBase;->hello()I
    move-result v0
    return v0
.end method
.method public static onStack()I
    .registers 1
    const/4 v0, 2
    return v0
.end method
# Private in another class.
.method public readSecret()I
    .registers 2
    check-cast p0, LApp;
    iget v0, p0, LApp;->secret:I
    return v0
.end method
.method public callHidden()I
    .registers 2
    check-cast p0, LApp;
    invoke-direct {p0}, LApp;->priv()I
    move-result v0
    return v0
.end method
# A field that objects of the live class do not have.
.method public extra()I
    .registers 2
    const/16 v0, 99
    iput v0, p0, LApp_CF;->extraField:I
    iget v0, p0, LApp_CF;->extraField:I
    return v0
.end method
# A method that the live class's vtable does not have.
.method public zzNew()I
    .registers 2
    const/4 v0, 2
    return v0
.end method
.method public added()I
    .registers 2
    invoke-virtual {p0}, LApp_CF;->zzNew()I
    move-result v0
    return v0
.end method
# 21 twice: a static field with an initialiser, a helper of its own, and one of another class.
.method public withHelpers()I
    .registers 2
    invoke-static {}, LApp_CF;->helper()I
    move-result v0
    invoke-static {v0}, LFixHelper;->twice(I)I
    move-result v0
    return v0
.end method
.method private static helper()I
    .registers 1
    sget v0, LApp_CF;->own:I
    return v0
.end method
# In the place of `hello` in the vtable, and of nothing else.
.method public hello()I
    .registers 2
    const/16 v0, 30
    return v0
.end method

.class public LPaused_CF;
.super Ljava/lang/Object;
.method public static paused()I
    .registers 1
    const/4 v0, 2
    return v0
.end method

.class public LBase_CF;
.super Ljava/lang/Object;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public hello()I
    .registers 2
    const/16 v0, 12
    return v0
.end method

.class public LSquare_CF;
.super Ljava/lang/Object;
.implements LShape;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public area()I
    .registers 2
    const/4 v0, 2
    return v0
.end method
.method public corners()I
    .registers 2
    const/4 v0, 2
    return v0
.end method

.class public LLazy_CF;
.super Ljava/lang/Object;
.method public static get()I
    .registers 1
    sget v0, LLazy;->value:I
    add-int/lit8 v0, v0, 1
    return v0
.end method
.method public static only()I
    .registers 1
    const/4 v0, 2
    return v0
.end method

# Further fixes of the same methods, and some that do not fit.
.class public LApp_CF2;
.super LBase;
.method public static abs(I)I
    .registers 2
    const/16 v0, 99
    return v0
.end method
.method public static div(II)I
    .registers 3
    const/16 v0, 77
    return v0
.end method
.method public priv()I
    .registers 2
    const/4 v0, 2
    return v0
.end method
.method public virt()J
    .registers 3
    const-wide v0, 0x1234567812345678L
    return-wide v0
.end method
.method public static native running()I
.end method
.method public thrower(I)I
    .registers 3
    iget v0, p0, LBase;->value:I
    return v0
.end method
# Before its method in the vtable are more than in the live class.
.method public aaa()I
    .registers 2
    const/16 v0, 81
    return v0
.end method
.method public bbb()I
    .registers 2
    const/16 v0, 82
    return v0
.end method

.class public LMany_CF;
.super LBase;
.method public aaa()I
    .registers 2
    const/16 v0, 81
    return v0
.end method
.method public virt()I
    .registers 2
    const/4 v0, 2
    return v0
.end method
