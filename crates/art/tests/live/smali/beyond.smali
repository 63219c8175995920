# A program, of which a later version is what methods of loaded classes cannot be.
.class public Lapp/Base;
.super Ljava/lang/Object;
.field public first:I
.method public constructor <init>()V
    .registers 2
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    const/16 v0, 11
    iput v0, p0, Lapp/Base;->first:I
    return-void
.end method

# The superclass of the later version: its field is where `first` is.
.class public Lapp/Other;
.super Ljava/lang/Object;
.field public other:I
.method public constructor <init>()V
    .registers 2
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    const/16 v0, 22
    iput v0, p0, Lapp/Other;->other:I
    return-void
.end method
.method public get()I
    .registers 2
    iget v0, p0, Lapp/Other;->other:I
    return v0
.end method

.class public abstract interface Lapp/Shape;
.super Ljava/lang/Object;
.method public corners()I
    .registers 2
    const/4 v0, 4
    return v0
.end method
.class public Lapp/Square;
.super Ljava/lang/Object;
.implements Lapp/Shape;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public corners()I
    .registers 2
    const/4 v0, 3
    return v0
.end method
.method public f()I
    .registers 2
    const/4 v0, 1
    return v0
.end method

.class public Lapp/Box;
.super Lapp/Base;
.field public final kept:I
.field public static text:I
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Lapp/Base;-><init>()V
    return-void
.end method
.method private constructor <init>(I)V
    .registers 2
    invoke-direct {p0}, Lapp/Base;-><init>()V
    return-void
.end method
.method public f()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
.method private secret()I
    .registers 2
    const/4 v0, 1
    return v0
.end method

# In another package.
.class Lhidden/Inner;
.super Ljava/lang/Object;
.method static get()I
    .registers 1
    const/4 v0, 1
    return v0
.end method
.class public Lhidden/User;
.super Ljava/lang/Object;
.field inPackage:I
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public f()I
    .registers 2
    const/4 v0, 1
    return v0
.end method
