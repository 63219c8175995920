# The same program, as it is to be.
.class public LAccount;
.super Ljava/lang/Object;
.field private balance:I
.field private static opened:I
.method public constructor <init>()V
    .registers 2
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    const/16 v0, 100
    iput v0, p0, LAccount;->balance:I
    sget v0, LAccount;->opened:I
    add-int/lit8 v0, v0, 1
    sput v0, LAccount;->opened:I
    return-void
.end method

.method public withdraw(I)I
    .registers 4
    invoke-direct {p0, p1}, LAccount;->fee(I)I
    move-result v0
    iget v1, p0, LAccount;->balance:I
    sub-int/2addr v1, p1
    sub-int/2addr v1, v0
    iput v1, p0, LAccount;->balance:I
    return v1
.end method
# Called by what is fixed, changed itself, and it calls a method and a class that are new.
.method private fee(I)I
    .registers 3
    invoke-direct {p0}, LAccount;->isRich()Z
    move-result v0
    if-eqz v0, :poor
    invoke-static {p1}, LFees;->of(I)I
    move-result v0
    return v0
    :poor
    const/4 v0, 0
    return v0
.end method
.method private isRich()Z
    .registers 3
    iget v0, p0, LAccount;->balance:I
    const/16 v1, 50
    if-ge v0, v1, :rich
    const/4 v0, 0
    return v0
    :rich
    const/4 v0, 1
    return v0
.end method
.method private static all()I
    .registers 1
    sget v0, LAccount;->opened:I
    return v0
.end method
.method public balance()I
    .registers 2
    iget v0, p0, LAccount;->balance:I
    return v0
.end method
.method public static count()I
    .registers 1
    invoke-static {}, LAccount;->all()I
    move-result v0
    return v0
.end method
.method public static primes()I
    .registers 3
    const/4 v0, 3
    new-array v0, v0, [I
    fill-array-data v0, :numbers
    array-length v1, v0
    return v1
    :numbers
    .array-data 4
        2
        3
        5
    .end array-data
.end method
.method public risky(I)I
    .registers 3
    :from
    div-int v0, p1, p1
    :to
    return v0
    :caught
    move-exception v0
    const/4 v0, -2
    return v0
    .catch Ljava/lang/ArithmeticException; {:from .. :to} :caught
.end method
.method public kind(I)I
    .registers 3
    packed-switch p1, :table
    const/4 v0, 0
    return v0
    :one
    const/4 v0, 1
    return v0
    :two
    const/4 v0, 3
    return v0
    :table
    .packed-switch 1
        :one
        :two
    .end packed-switch
.end method

.class public LFees;
.super Ljava/lang/Object;
.method public static of(I)I
    .registers 2
    div-int/lit8 v0, p0, 0xa
    return v0
.end method
