# The program that is patched. What has a bug returns 1, or throws.
.class public LBase;
.super Ljava/lang/Object;
.field public value:I
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public hello()I
    .registers 2
    const/16 v0, 10
    return v0
.end method
.method public other()I
    .registers 2
    const/16 v0, 11
    return v0
.end method

.class public LApp;
.super LBase;
.field private secret:I
.field public static count:I
.field public static volatile stop:I
.method public constructor <init>()V
    .registers 2
    invoke-direct {p0}, LBase;-><init>()V
    const/4 v0, 5
    iput v0, p0, LApp;->value:I
    iput v0, p0, LApp;->secret:I
    return-void
.end method
.method public static div(II)I
    .registers 3
    div-int v0, p0, p1
    return v0
.end method
.method public static callAbs(I)I
    .registers 2
    invoke-static {p0}, Ljava/lang/Math;->abs(I)I
    move-result v0
    return v0
.end method
.method public static callDiv(II)I
    .registers 3
    invoke-static {p0, p1}, LApp;->div(II)I
    move-result v0
    return v0
.end method
.method public static loop(I)I
    .registers 4
    const/4 v0, 0
    :again
    if-lez p0, :end
    const/4 v2, 2
    invoke-static {p0, v2}, LApp;->div(II)I
    move-result v1
    add-int/2addr v0, v1
    add-int/lit8 p0, p0, -1
    goto :again
    :end
    return v0
.end method
.method public virt()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public callVirt()I
    .registers 2
    invoke-virtual {p0}, LApp;->virt()I
    move-result v0
    return v0
.end method
.method private priv()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public callPriv()I
    .registers 2
    invoke-direct {p0}, LApp;->priv()I
    move-result v0
    return v0
.end method
.method public final fin()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public callFin()I
    .registers 2
    invoke-virtual {p0}, LApp;->fin()I
    move-result v0
    return v0
.end method
.method public declared-synchronized sync()I
    .registers 3
    monitor-enter p0
    :from
    const/4 v0, 1
    :to
    monitor-exit p0
    return v0
    :handler
    move-exception v1
    monitor-exit p0
    throw v1
    .catchall {:from .. :to} :handler
.end method
.method public callSync()I
    .registers 2
    invoke-virtual {p0}, LApp;->sync()I
    move-result v0
    return v0
.end method
.method public static native nat()I
.end method
.method public static all(ZBSCIJFDLjava/lang/Object;[I)J
    .registers 14
    const-wide/16 v0, 1
    return-wide v0
.end method
.method public static callAll()J
    .registers 16
    const/4 v0, 1
    const/4 v1, 2
    const/4 v2, 3
    const/4 v3, 4
    const/4 v4, 5
    const-wide/16 v5, 6
    const/high16 v7, 0x40e00000
    const-wide/high16 v8, 0x4020000000000000L
    const/4 v10, 0
    const/4 v11, 3
    new-array v11, v11, [I
    invoke-static/range {v0 .. v11}, LApp;->all(ZBSCIJFDLjava/lang/Object;[I)J
    move-result-wide v12
    return-wide v12
.end method
.method public static varargs sum([I)I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public static callSum()I
    .registers 3
    const/4 v0, 3
    new-array v0, v0, [I
    fill-array-data v0, :numbers
    invoke-static {v0}, LApp;->sum([I)I
    move-result v1
    return v1
    :numbers
    .array-data 4
        10
        20
        30
    .end array-data
.end method
.method public static thrower(I)I
    .registers 2
    return p0
.end method
.method public static guarded(I)I
    .registers 2
    :from
    invoke-static {p0}, LApp;->thrower(I)I
    move-result v0
    :to
    return v0
    :caught
    move-exception v0
    const/4 v0, -1
    return v0
    .catch Ljava/lang/ArithmeticException; {:from .. :to} :caught
.end method
.method public static catcher()I
    .registers 2
    const/4 v0, 0
    const/4 v1, 1
    div-int v0, v1, v0
    return v0
.end method
.method public static fact(I)I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public superHello()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public hello()I
    .registers 2
    const/16 v0, 20
    return v0
.end method
.method public static onStack()I
    .registers 2
    const/4 v0, 1
    sput v0, LApp;->count:I
    :wait
    sget v1, LApp;->stop:I
    if-eqz v1, :wait
    return v0
.end method
.method public static running()I
    .registers 1
    sget v0, LApp;->count:I
    return v0
.end method
.method public static release()V
    .registers 1
    const/4 v0, 1
    sput v0, LApp;->stop:I
    return-void
.end method
.method public readSecret()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public callHidden()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public extra()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public added()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public getValue()I
    .registers 2
    iget v0, p0, LApp;->value:I
    return v0
.end method
.method public getSecret()I
    .registers 2
    iget v0, p0, LApp;->secret:I
    return v0
.end method
.method public static native pause()V
.end method
.method public static paused()I
    .registers 1
    invoke-static {}, LApp;->pause()V
    sget v0, LApp;->count:I
    return v0
.end method
.method public withHelpers()I
    .registers 2
    const/4 v0, 1
    return v0
.end method

.class public abstract interface LShape;
.super Ljava/lang/Object;
.method public abstract area()I
.end method
.method public corners()I
    .registers 2
    const/4 v0, 1
    return v0
.end method

.class public LSquare;
.super Ljava/lang/Object;
.implements LShape;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public area()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public static callArea(LShape;)I
    .registers 2
    invoke-interface {p0}, LShape;->area()I
    move-result v0
    return v0
.end method
.method public static callCorners(LShape;)I
    .registers 2
    invoke-interface {p0}, LShape;->corners()I
    move-result v0
    return v0
.end method

.class public LLazy;
.super Ljava/lang/Object;
.field public static value:I
.method static constructor <clinit>()V
    .registers 1
    const/4 v0, 7
    sput v0, LLazy;->value:I
    return-void
.end method
.method public static get()I
    .registers 1
    sget v0, LLazy;->value:I
    return v0
.end method
.method public static callGet()I
    .registers 1
    invoke-static {}, LLazy;->get()I
    move-result v0
    return v0
.end method

.class public LUseLazy;
.super Ljava/lang/Object;
.method public static use()I
    .registers 1
    invoke-static {}, LLazy;->get()I
    move-result v0
    return v0
.end method

# Every method is to be replaced: there is nothing left to take the class from.
.class public LAlone;
.super Ljava/lang/Object;
.method public static only()I
    .registers 1
    const/4 v0, 1
    return v0
.end method
