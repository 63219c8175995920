# A window of a framework, and an application's: what AndFix's users patched.
.class public abstract Lbase/Window;
.super Ljava/lang/Object;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method protected onCreate()I
    .registers 2
    const/16 v0, 10
    return v0
.end method
.method public static start(Lbase/Window;)I
    .registers 2
    invoke-virtual {p0}, Lbase/Window;->onCreate()I
    move-result v0
    return v0
.end method

.class interface abstract Lapp/Listener;
.super Ljava/lang/Object;
.method public abstract onClick()I
.end method

.class Lapp/Screen$1;
.super Ljava/lang/Object;
.implements Lapp/Listener;
.field final synthetic this$0:Lapp/Screen;
.method constructor <init>(Lapp/Screen;)V
    .registers 2
    iput-object p1, p0, Lapp/Screen$1;->this$0:Lapp/Screen;
    invoke-direct {p0}, Ljava/lang/Object;-><init>()V
    return-void
.end method
.method public onClick()I
    .registers 3
    iget-object v0, p0, Lapp/Screen$1;->this$0:Lapp/Screen;
    invoke-static {v0}, Lapp/Screen;->access$000(Lapp/Screen;)I
    move-result v0
    const/16 v1, <CLICKED>
    add-int/2addr v0, v1
    return v0
.end method

.class public Lapp/Screen;
.super Lbase/Window;
.field private listener:Lapp/Listener;
.method public constructor <init>()V
    .registers 2
    invoke-direct {p0}, Lbase/Window;-><init>()V
    new-instance v0, Lapp/Screen$1;
    invoke-direct {v0, p0}, Lapp/Screen$1;-><init>(Lapp/Screen;)V
    iput-object v0, p0, Lapp/Screen;->listener:Lapp/Listener;
    return-void
.end method
.method static synthetic access$000(Lapp/Screen;)I
    .registers 2
    invoke-direct {p0}, Lapp/Screen;->show()I
    move-result v0
    return v0
.end method
.method protected onCreate()I
    .registers 4
    new-instance v0, Lapp/Screen$1;
    invoke-direct {v0, p0}, Lapp/Screen$1;-><init>(Lapp/Screen;)V
    iput-object v0, p0, Lapp/Screen;->listener:Lapp/Listener;
    invoke-interface {v0}, Lapp/Listener;->onClick()I
    invoke-super {p0}, Lbase/Window;->onCreate()I
    move-result v0
    const/16 v1, <CREATED>
    add-int/2addr v0, v1
    return v0
.end method
.method private show()I
    .registers 2
    const/16 v0, <SHOW>
    return v0
.end method
.method private test()I
    .registers 3
    const/16 v0, <TEST>
    invoke-direct {p0}, Lapp/Screen;->show()I
    move-result v1
    add-int/2addr v0, v1
    return v0
.end method
.method public callShow()I
    .registers 2
    invoke-direct {p0}, Lapp/Screen;->show()I
    move-result v0
    return v0
.end method
.method public callTest()I
    .registers 2
    invoke-direct {p0}, Lapp/Screen;->test()I
    move-result v0
    return v0
.end method
.method public clickedNow()I
    .registers 2
    iget-object v0, p0, Lapp/Screen;->listener:Lapp/Listener;
    invoke-interface {v0}, Lapp/Listener;->onClick()I
    move-result v0
    return v0
.end method
