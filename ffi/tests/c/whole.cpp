// What the examples of C++ leave out: every function that sharehold.hpp calls is called here or there, and nothing is left or lost on the way.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sharehold.hpp>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using sharehold::Datum;

#define HOLDS(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                         \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

struct Quote {
    double price;
    std::array<std::uint32_t, 2> size;
};

template <> struct sharehold::Shareable<Quote> {
    static Type type() { return structure("Quote", "price", &Quote::price, "size", &Quote::size); }
};

// How it fails.
template <class F> static sh_status status_of(F work) {
    try {
        work();
    } catch (const sharehold::Error &error) {
        HOLDS(*error.what());
        return error.status();
    }
    return SH_OK;
}

static int made = 0;

struct Log {
    explicit Log(std::string start) : text(std::move(start)) { ++made; }
    Log(Log &&other) noexcept : text(std::move(other.text)) { ++made; }
    ~Log() { --made; }
    std::string text;
};

// Its methods return and throw all that there is.
static void serve(const char *name) {
    sharehold::Class<Log> log("Log", "start: text", [](const auto &arguments) { return Log(arguments.at(0).text()); });
    log.method("echo", "value", [](const Log &, const auto &arguments) { return arguments.at(0); });
    log.method("fail", "how: int", [](const Log &, const auto &arguments) -> Datum {
        switch (arguments.at(0).integer()) {
        case 0: return arguments.at(1);
        case 1: throw 7;
        default: return sharehold::redeem("no ticket");
        }
    });
    log.method("array", "", [](const Log &log, const auto &) -> Datum {
        return sharehold::Manager::current().bytes(log.text.data(), log.text.size());
    });
    log.method_mut("clear", "", [](Log &log, const auto &) -> Datum {
        log.text.clear();
        return {};
    });
    sharehold::Options options;
    options.name = name;
    options.capacity = 16 << 20;
    sharehold::serve(options, log);
    HOLDS(made == 0);
}

static void classes(const char *program) {
    const std::string name = "log-" + std::to_string(getpid());
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // it ends with this one, also when that fails
        execl(program, program, "serve", name.c_str(), static_cast<char *>(nullptr));
        _exit(127);
    }
    sharehold::Options options;
    options.connect_within = 600s;
    const auto manager = sharehold::Manager::connect(name, options);
    HOLDS(manager.name() == name);
    const auto log = manager.create("Log", "begun");
    const Datum::Map map{{"list", Datum::List{1, -2, 1.5, true, {}}}, {"bytes", Datum::Bytes{1, 2, 255}}, {"large", UINT64_MAX}};
    const auto echo = log.call("echo", map);
    const auto &list = echo.find("list")->list();
    HOLDS(list.at(0).natural() == 1 && list.at(1).integer() == -2 && list.at(2).real() == 1.5 && list.at(3).boolean() && list.at(4).is_nil());
    HOLDS(echo.find("bytes")->bytes() == (Datum::Bytes{1, 2, 255}) && echo.find("large")->natural() == UINT64_MAX);
    HOLDS(echo.find("nothing") == nullptr);
    HOLDS(status_of([&] { echo.text(); }) == SH_TYPE_MISMATCH);
    for (int how : {0, 1, 2}) HOLDS(status_of([&] { log.call("fail", how); }) == SH_METHOD_FAILED);
    HOLDS(status_of([&] { manager.create("Log"); }) == SH_METHOD_FAILED);
    const auto result = log.call_for(600s, "array");
    const sharehold::Array<std::uint8_t> bytes(result.object().clone());
    HOLDS(bytes.sealed().size() == 5 && bytes.sealed()[0] == 'b' && bytes.count() >= 2);
    HOLDS(log.call("clear").is_nil());
    HOLDS(log.call("echo", bytes).object().id() == bytes.id());
    manager.shutdown();
    int status;
    HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) try {
    if (argc == 3 && std::string_view(argv[1]) == "serve") {
        serve(argv[2]);
        return 0;
    }
    sharehold::Options options;
    options.capacity = 16 << 20;
    const auto manager = sharehold::Manager::start(options);

    // Types and values.
    const auto quote = manager.value(Quote{20.5, {7, 8}});
    HOLDS(quote.type().tag() == sharehold::type_of<Quote>().tag() && quote.type_name() == "Quote");
    HOLDS(sharehold::type_of<float[3]>().name() == "[f32; 3]" && sharehold::type_of<Quote>().size() == sizeof(Quote));
    HOLDS(sharehold::type_of<char>().name() == "i8" || sharehold::type_of<char>().name() == "u8");
    quote.update([](Quote &quote) { quote.size[1] = 9; });
    HOLDS(quote.get().size[1] == 9);
    bool is_caught = false;
    try {
        quote.update([](Quote &quote) { quote.price = 0; throw 7; });
    } catch (int) {
        is_caught = true;
    }
    HOLDS(is_caught && quote.get().price == 20.5);
    quote.set(Quote{1, {2, 3}});
    quote.seal();
    HOLDS(quote.is_sealed() && status_of([&] { quote.set(Quote{}); }) == SH_SEALED);
    HOLDS(status_of([&] { sharehold::Array<Quote> wrong(quote.clone()); }) == SH_TYPE_MISMATCH);
    HOLDS(status_of([&] { sharehold::Value<double> wrong(quote.clone()); }) == SH_TYPE_MISMATCH);

    // Arrays.
    const auto array = manager.zeroed<std::int32_t>(3);
    {
        auto lock = array.write();
        for (auto &element : lock) element = 4;
    }
    {
        auto first = array.read(), moved = std::move(first);
        HOLDS(moved.size() == 3 && moved[2] == 4 && !moved.empty());
    }
    const std::vector<double> many(100, 0.5);
    HOLDS(manager.array(many).size() == 100 && !array.is_poisoned() && array.kind() == SH_KIND_ARRAY);
    array.clear_poison();
    const auto frozen = manager.freeze(many);
    HOLDS(frozen.clone().elements()[99] == 0.5 && sharehold::Manager::of(frozen).name() == manager.name());

    // Owners: what was moved away is an error and no crash, what was released is the caller's.
    auto there = array.clone();
    const auto here = std::move(there);
    HOLDS(status_of([&] { there.count(); }) == SH_INVALID_ARGUMENT && here.count() == 2);
    const sharehold::Object back(array.clone().release());
    HOLDS(back.count() == 3);

    // Names and tickets.
    manager.publish("array", array);
    HOLDS(status_of([&] { manager.publish("array", quote); }) == SH_NAME_TAKEN);
    HOLDS(manager.lookup<sharehold::Array<std::int32_t>>("array", 600s).id() == array.id());
    manager.publish("array", quote, true);
    manager.unpublish("array");
    HOLDS(status_of([&] { manager.lookup("array"); }) == SH_NAME_NOT_FOUND);
    HOLDS(status_of([&] { manager.lookup("array", 1ms); }) == SH_TIMEOUT);
    const auto ticket = array.ticket(1, 600s);
    HOLDS(sharehold::redeem(ticket).id() == array.id() && status_of([&] { sharehold::redeem(ticket); }) == SH_TICKET_SPENT);

    // A channel.
    const auto channel = manager.channel(2);
    const auto receiver = channel.clone().receiver();
    {
        const auto sender = channel.sender();
        sender.send(array);
        sender.send(quote, 600s);
        HOLDS(status_of([&] { sender.send(quote, 0ms); }) == SH_TIMEOUT);
    }
    HOLDS(receiver.receive<sharehold::Array<std::int32_t>>().id() == array.id());
    channel.close();
    HOLDS(receiver.receive(600s).id() == quote.id() && status_of([&] { receiver.receive(); }) == SH_DISCONNECTED);

    HOLDS(manager.debug_info().list().size() == manager.stats().find("objects")->natural());
    classes(argv[0]);
    std::puts("whole");
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
