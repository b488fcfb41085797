// Boost.Interprocess: named objects in a managed segment, and its counted pointers.
//
// boost PART SEGMENT [OBJECTS]
//
// It says `ready`, then reads how often it is to do its part, line by line, says `begin`, and the nanoseconds when it has done that. `join-...` is the part of a second
// process on the segment of the first one.
//
// The index of names is the hash table, which its documentation names as the fastest look-up, with its buckets reserved beforehand.
#include <boost/interprocess/indexes/iunordered_set_index.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/smart_ptr/shared_ptr.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>
#include <boost/version.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

namespace ipc = boost::interprocess;

using Segment = ipc::basic_managed_shared_memory<char, ipc::rbtree_best_fit<ipc::mutex_family>, ipc::iunordered_set_index>;

struct Object {
    unsigned char bytes[64];
};

using Pointer = ipc::managed_shared_ptr<Object, Segment>::type;

static const Object sample = [] {
    Object object;
    std::memset(object.bytes, 7, sizeof object.bytes);
    return object;
}();

// The compiler may know nothing about what is behind this.
template <class T> static void look(T &it) { asm volatile("" : : "r"(&it) : "memory"); }

static void check(bool holds, const char *what) {
    if (!holds) {
        std::cerr << "boost: " << what << '\n';
        std::exit(1);
    }
}

static std::string name(std::size_t n) {
    char name[32];
    std::snprintf(name, sizeof name, "object-%06zu", n);
    return name;
}

// Numbers without a pattern, as in dice.rs.
struct Dice {
    std::uint64_t state = 1;
    std::size_t below(std::size_t limit) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (state >> 33) % limit;
    }
};

static void fill(Segment &segment, std::size_t objects) {
    segment.reserve_named_objects(objects);
    for (std::size_t n = 0; n < objects; ++n) {
        auto *object = segment.construct<Object>(ipc::anonymous_instance)(sample);
        segment.construct<Pointer>(name(n).c_str())(ipc::make_managed_shared_ptr(object, segment));
    }
}

static void clone_and_drop(Pointer *held) {
    look(*held);
    Pointer copy(*held);
    look(copy);
}

static void create_and_destroy(Segment &segment, const char *name) {
    auto *made = segment.construct<Object>(name)(sample);
    look(*made);
    auto found = segment.find<Object>(name);
    check(found.first && found.first->bytes[63] == 7, "the object is not there");
    segment.destroy<Object>(name);
}

template <class Work> static void follow(Work work) {
    std::cout << "ready" << std::endl;
    std::uint64_t times;
    while (std::cin >> times) {
        std::cout << "begin" << std::endl;
        auto started = std::chrono::steady_clock::now();
        for (std::uint64_t i = 0; i < times; ++i) work();
        auto took = std::chrono::steady_clock::now() - started;
        std::cout << std::chrono::duration_cast<std::chrono::nanoseconds>(took).count() << std::endl;
    }
}

int main(int count, char **arguments) {
    if (count < 3) {
        std::cout << BOOST_LIB_VERSION << std::endl;
        return 0;
    }
    const std::string part = arguments[1], place = arguments[2];
    const std::size_t objects = count > 3 ? std::strtoull(arguments[3], nullptr, 10) : 1;
    if (part.rfind("join-", 0) == 0) {
        Segment segment(ipc::open_only, place.c_str());
        if (part == "join-clone") {
            auto *held = segment.find<Pointer>("held").first;
            check(held, "nothing is held");
            follow([held] { clone_and_drop(held); });
        } else {
            follow([&] { create_and_destroy(segment, "other"); });
        }
        return 0;
    }
    struct Remove {
        const char *place;
        ~Remove() { ipc::shared_memory_object::remove(place); }
    } remove{place.c_str()};
    Segment segment(ipc::create_only, place.c_str(), (16u << 20) + objects * 512);
    if (part == "clone") {
        auto *object = segment.construct<Object>(ipc::anonymous_instance)(sample);
        auto *held = segment.construct<Pointer>("held")(ipc::make_managed_shared_ptr(object, segment));
        follow([held] { clone_and_drop(held); });
    } else if (part == "create") {
        follow([&] { create_and_destroy(segment, "one"); });
    } else if (part == "get") {
        fill(segment, objects);
        std::vector<std::string> names;
        for (std::size_t n = 0; n < objects; ++n) names.push_back(name(n));
        Dice dice;
        follow([&] {
            auto found = segment.find<Pointer>(names[dice.below(objects)].c_str());
            check(found.first, "the object is not there");
            Pointer copy(*found.first);
            check(copy->bytes[0] == 7, "another object");
        });
    } else if (part == "memory") {
        const auto before = segment.get_free_memory();
        fill(segment, objects);
        std::cout << double(before - segment.get_free_memory()) / double(objects) << std::endl;
    }
}
