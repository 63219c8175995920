# What is replaced returns 1. Its callers are in classes whose calls are checked as they run, or that are loaded later.
.class public Lp/Base;
.super Ljava/lang/Object;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method protected hook()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method protected helper()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method protected static shared()I
    .registers 1
    const/4 v0, 1
    return v0
.end method
.method inPackage()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public open()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public callHook()I
    .registers 2
    invoke-virtual {p0}, Lp/Base;->hook()I
    move-result v0
    return v0
.end method
.method public callInPackage()I
    .registers 2
    invoke-virtual {p0}, Lp/Base;->inPackage()I
    move-result v0
    return v0
.end method

# In another package, and loaded later.
.class public Lq/Sub;
.super Lp/Base;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Lp/Base;-><init>()V
    return-void
.end method
.method protected hook()I
    .registers 2
    const/4 v0, 7
    return v0
.end method
# No overriding: another package.
.method inPackage()I
    .registers 2
    const/4 v0, 7
    return v0
.end method
.method public callHelper()I
    .registers 2
    invoke-virtual {p0}, Lq/Sub;->helper()I
    move-result v0
    return v0
.end method
.method public callShared()I
    .registers 2
    invoke-static {}, Lp/Base;->shared()I
    move-result v0
    return v0
.end method
.method public callSuper()I
    .registers 2
    invoke-super {p0}, Lp/Base;->helper()I
    move-result v0
    return v0
.end method

.class public Lq/Over;
.super Lp/Base;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Lp/Base;-><init>()V
    return-void
.end method
.method protected hook()I
    .registers 2
    const/4 v0, 7
    return v0
.end method

# In the same package, and loaded later.
.class public Lp/Later;
.super Ljava/lang/Object;
.method public static callOpen(Lp/Base;)I
    .registers 2
    invoke-virtual {p0}, Lp/Base;->open()I
    move-result v0
    return v0
.end method
.method public static callInPackage(Lp/Base;)I
    .registers 2
    invoke-virtual {p0}, Lp/Base;->inPackage()I
    move-result v0
    return v0
.end method

.class public Lp/Unused;
.super Ljava/lang/Object;
.method public static callOpen(Lp/Base;)I
    .registers 2
    invoke-virtual {p0}, Lp/Base;->open()I
    move-result v0
    return v0
.end method

.class public Lp/Near;
.super Lp/Base;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Lp/Base;-><init>()V
    return-void
.end method
.method inPackage()I
    .registers 2
    const/4 v0, 7
    return v0
.end method

# It mentions a class that there is not: its calls are checked as they run.
.class public Lp/Soft;
.super Ljava/lang/Object;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public static mentions()V
    .registers 1
    new-instance v0, Lnot/There;
    return-void
.end method
.method private secret()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method private static secretShared()I
    .registers 1
    const/4 v0, 1
    return v0
.end method
.method public callSecret()I
    .registers 2
    invoke-direct {p0}, Lp/Soft;->secret()I
    move-result v0
    return v0
.end method
.method public callSecretLate()I
    .registers 2
    invoke-direct {p0}, Lp/Soft;->secret()I
    move-result v0
    return v0
.end method
.method public static callSecretShared()I
    .registers 1
    invoke-static {}, Lp/Soft;->secretShared()I
    move-result v0
    return v0
.end method
.method public open()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method public callOpen()I
    .registers 2
    invoke-virtual {p0}, Lp/Soft;->open()I
    move-result v0
    return v0
.end method
