// A class with lambdas for methods: the program starts itself again as the broker, which serves it.
#include <iostream>
#include <sharehold.hpp>

using sharehold::Datum;

struct Counter {
    std::int64_t at;
};

static void serve() {
    const std::int64_t most = 100;
    sharehold::Class<Counter> counter("Counter", "start: int", [](const auto &arguments) { return Counter{arguments.at(0).integer()}; });
    counter.method_mut("add", "n: int", [most](Counter &counter, const auto &arguments) -> Datum {
        if (arguments.at(0).integer() > most) throw sharehold::MethodError("RangeError", "too much");
        return counter.at += arguments.at(0).integer();
    });
    counter.method("get", "", [](const Counter &counter, const auto &) -> Datum { return counter.at; });
    sharehold::serve_parent(counter);
}

int main(int argc, char **argv) try {
    if (argc > 1 && std::string_view(argv[1]) == "--serve") {
        serve();
        return 0;
    }
    sharehold::Options options;
    options.capacity = 16 << 20;
    options.command = {argv[0], "--serve"};
    const auto manager = sharehold::Manager::start(options);
    const auto counter = manager.create("Counter", 40);
    counter.call("add", 2);
    std::cout << "the counter is at " << counter.call("get").integer() << '\n';
    try {
        counter.call("add", 1000);
    } catch (const sharehold::Error &error) {
        std::cout << std::string_view(error.what()).substr(0, 28) << '\n';
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
