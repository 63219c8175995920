// Evaluates a script as an app does, through Hermes's own headers (package hermes-engine).
#include <hermes/hermes.h>
#include <jsi/jsi.h>

extern "C" int evaluate(void) {
    auto runtime = facebook::hermes::makeHermesRuntime();
    auto script = std::make_shared<facebook::jsi::StringBuffer>(
        "let f = n => n < 2 ? n : f(n - 1) + f(n - 2); f(20)");
    return static_cast<int>(runtime->evaluateJavaScript(script, "script.js").getNumber());
}
