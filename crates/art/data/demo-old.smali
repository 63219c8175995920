# A program, as it runs.
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
# It takes the fee twice.
.method public withdraw(I)I
    .registers 4
    invoke-direct {p0, p1}, LAccount;->fee(I)I
    move-result v0
    add-int/2addr v0, v0
    iget v1, p0, LAccount;->balance:I
    sub-int/2addr v1, p1
    sub-int/2addr v1, v0
    iput v1, p0, LAccount;->balance:I
    return v1
.end method
.method private fee(I)I
    .registers 3
    const/4 v0, 1
    return v0
.end method
.method public balance()I
    .registers 2
    iget v0, p0, LAccount;->balance:I
    return v0
.end method
.method public static count()I
    .registers 1
    const/4 v0, -1
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
    const/4 v0, -1
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
    const/4 v0, 2
    return v0
    :table
    .packed-switch 1
        :one
        :two
    .end packed-switch
.end method
