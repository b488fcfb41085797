// Everything in one process, as hello.c has it: whatever fails throws, and nothing has to be dropped.
#include <iostream>
#include <sharehold.hpp>
#include <thread>

int main() try {
    sharehold::Options options;
    options.capacity = 16 << 20;
    const auto manager = sharehold::Manager::start(options);

    auto array = manager.array({1.0, 2.0, 3.0});
    array.write(std::chrono::seconds(1))[0] = 10;
    const std::string ticket = array.ticket();
    { auto gone = std::move(array); } // the ticket keeps it
    const auto same = sharehold::redeem<sharehold::Array<double>>(ticket);
    const auto elements = same.seal(); // immutable for ever: no lock
    std::cout << elements.size() << " elements, the first is " << elements[0] << '\n';

    const auto price = manager.value(20.5);
    std::thread([&] { price.update([](double &price) { price *= 2; }); }).join();
    std::cout << "the price is " << price.get() << '\n';

    auto list = manager.create("List");
    manager.publish("list", list);
    const auto found = manager.lookup("list");
    found.call("push", "seven");
    found.call("push", price);
    std::cout << "the list has " << list.call("len").integer() << " elements\n";
    std::cout << "the value is held " << price.count() << " times\n";
    manager.unpublish("list");

    try {
        sharehold::Array<float> wrong(same.clone());
    } catch (const sharehold::Error &error) {
        std::cout << (error.status() == SH_TYPE_MISMATCH ? "the array is not one of f32\n" : error.what());
    }
    std::cout << manager.stats().find("objects")->integer() << " objects\n";
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
