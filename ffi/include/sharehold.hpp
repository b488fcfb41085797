/*
 * sharehold for C++17: what sharehold.h has, with owners that drop what they own. What fails throws `sharehold::Error`, which has the status and the text.
 *
 * Everything that owns can be moved and not copied; another reference to an object is made by `clone()`. What was moved away is NULL, and every use of it an error. Threads: as in sharehold.h, so managers, objects
 * and types may be used by any threads at once, a lock by the thread that took it, an end of a channel by one thread at a time.
 */
#ifndef SHAREHOLD_HPP
#define SHAREHOLD_HPP

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "sharehold.h"

namespace sharehold {

/// How a function failed.
class Error : public std::runtime_error {
public:
    Error(sh_status status, const std::string &text) : std::runtime_error(text), status_(status) {}
    /// SH_TIMEOUT and so on.
    sh_status status() const noexcept { return status_; }

private:
    sh_status status_;
};

/// How long something may wait; without limit if it is empty.
using Timeout = std::optional<std::chrono::milliseconds>;
/// Waits as long as it takes.
inline constexpr std::nullopt_t for_ever = std::nullopt;

namespace detail {

inline void check(sh_status status) {
    if (status != SH_OK) throw Error(status, sh_last_error());
}

inline std::int64_t millis(const Timeout &timeout) { return timeout ? std::int64_t{timeout->count()} : -1; }

/// Owns what a function has given, and has it dropped.
template <class T, sh_status (*Drop)(T *)> struct Dropped {
    void operator()(T *it) const noexcept { Drop(it); }
};
template <class T, sh_status (*Drop)(T *)> using Owned = std::unique_ptr<T, Dropped<T, Drop>>;

/// Calls a function whose last argument is where its result goes.
template <class T, class F, class... A> T get(F function, A... arguments) {
    T result{};
    check(function(arguments..., &result));
    return result;
}

template <class F, class... A> std::string text(F function, A... arguments) {
    Owned<void, sh_free> text(get<char *>(function, arguments...));
    return static_cast<const char *>(text.get());
}

} // namespace detail

/// Elements in a row that belong to somebody else.
template <class T> class Span {
public:
    Span() = default;
    Span(T *data, std::size_t size) : data_(data), size_(size) {}
    T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    T *begin() const noexcept { return data_; }
    T *end() const noexcept { return data_ + size_; }
    T &operator[](std::size_t at) const { return data_[at]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A type of values and elements, the same in all languages.
class Type {
public:
    /// "u8" to "u128", "i8" to "i128", "usize", "isize", "f32", "f64".
    static Type number(const char *name) { return Type(detail::get<sh_type *>(sh_type_number, name)); }
    /// `count` elements one behind the other, as one.
    static Type array(const Type &element, std::size_t count) {
        return Type(detail::get<sh_type *>(sh_type_array, element.get(), count));
    }
    /// A struct of so many bytes. The types of the fields may be gone afterwards.
    static Type structure(const char *name, std::size_t size, const std::vector<sh_field> &fields) {
        return Type(detail::get<sh_type *>(sh_type_struct, name, size, fields.data(), fields.size()));
    }
    explicit Type(sh_type *owned) noexcept : type_(owned) {}
    std::string name() const { return detail::text(sh_type_name, get()); }
    std::size_t size() const { return detail::get<std::size_t>(sh_type_size, get()); }
    /// Tells it from other types.
    std::uint64_t tag() const { return detail::get<std::uint64_t>(sh_type_tag, get()); }
    const sh_type *get() const noexcept { return type_.get(); }

private:
    detail::Owned<sh_type, sh_type_drop> type_;
};

/// What a type of this program is called by others: to be specialised for structs, as
///
///     template <> struct sharehold::Shareable<Quote> {
///         static Type type() { return sharehold::structure("Quote", "bid", &Quote::bid, "ask", &Quote::ask); }
///     };
template <class T, class = void> struct Shareable;

/// The type of `T`; made when it is first asked for, and there until the program ends.
template <class T> const Type &type_of() {
    static_assert(std::is_trivially_copyable_v<T>, "what is shared is bytes: it has no constructors of copies, and nothing to destroy");
    static const Type type = Shareable<T>::type();
    return type;
}

template <class T> struct Shareable<T, std::enable_if_t<std::is_arithmetic_v<T> && !std::is_same_v<T, bool>>> {
    static Type type() {
        static_assert(sizeof(T) <= 8, "others have no such number");
        const char *kind = std::is_floating_point_v<T> ? "f" : std::is_signed_v<T> ? "i" : "u";
        return Type::number((kind + std::to_string(8 * sizeof(T))).c_str());
    }
};

template <class T, std::size_t N> struct Shareable<std::array<T, N>> {
    static Type type() { return Type::array(type_of<T>(), N); }
};

template <class T, std::size_t N> struct Shareable<T[N]> {
    static Type type() { return Type::array(type_of<T>(), N); }
};

namespace detail {

template <class S> void add_fields(std::vector<sh_field> &, const S &) {}

template <class S, class F, class... Rest>
void add_fields(std::vector<sh_field> &fields, const S &one, const char *name, F S::*field, Rest... rest) {
    const auto *start = reinterpret_cast<const char *>(&one);
    const auto *place = reinterpret_cast<const char *>(&(one.*field));
    fields.push_back({name, static_cast<std::size_t>(place - start), type_of<F>().get()});
    add_fields(fields, one, rest...);
}

} // namespace detail

/// The type of a struct: its name, and name and member of each field, in order. In Rust it is a `#[derive(Shareable)]` struct of the same name and fields.
template <class S, class F, class... Rest> Type structure(const char *name, const char *first, F S::*field, Rest... rest) {
    const S one{};
    std::vector<sh_field> fields;
    detail::add_fields(fields, one, first, field, rest...);
    return Type::structure(name, sizeof(S), fields);
}

class Datum;

/// A counted reference to an object of any kind.
class Object {
public:
    /// Takes a reference over.
    explicit Object(sh_object *owned) noexcept : object_(owned) {}
    /// Another reference to the same object.
    Object clone() const { return Object(detail::get<sh_object *>(sh_object_clone, get())); }
    /// SH_KIND_VALUE and so on.
    std::uint32_t kind() const { return detail::get<std::uint32_t>(sh_object_kind, get()); }
    std::string id() const { return detail::text(sh_object_id, get()); }
    /// Of plain data.
    Type type() const { return Type(detail::get<sh_type *>(sh_object_type, get())); }
    std::string type_name() const { return detail::text(sh_object_type_name, get()); }
    /// Elements, or objects in a channel.
    std::size_t size() const { return detail::get<std::size_t>(sh_object_len, get()); }
    /// References in all processes.
    std::uint64_t count() const { return detail::get<std::uint64_t>(sh_object_count, get()); }
    /// A text that another process redeems, `uses` times, until the time is over.
    std::string ticket(std::uint32_t uses = 1, Timeout timeout = for_ever) const {
        return detail::text(sh_object_ticket, get(), uses, detail::millis(timeout));
    }
    bool is_sealed() const { return detail::get<std::uint32_t>(sh_object_is_sealed, get()) != 0; }
    void clear_poison() const { detail::check(sh_object_clear_poison(get())); }
    /// Calls a method of an object of a class.
    template <class... A> Datum call(const char *method, const A &...arguments) const;
    /// As `call`, but waits at most so long.
    template <class... A> Datum call_for(Timeout timeout, const char *method, const A &...arguments) const;
    const sh_object *get() const noexcept { return object_.get(); }
    /// Gives the reference to the caller, who drops it.
    sh_object *release() noexcept { return object_.release(); }

private:
    detail::Owned<sh_object, sh_object_drop> object_;
};

namespace detail {

/// Refuses what is of another type or kind.
template <class T> void expect(const Object &object, std::uint32_t kind, const char *what) {
    if (get<std::uint32_t>(sh_object_expect, object.get(), type_of<T>().get()) != kind) {
        throw Error(SH_TYPE_MISMATCH, "object " + object.id() + " is no " + what);
    }
}

template <class T> Span<const T> sealed(const Object &object) {
    const void *elements;
    std::size_t count;
    check(sh_object_sealed(object.get(), type_of<T>().get(), &elements, &count));
    return Span<const T>(static_cast<const T *>(elements), count);
}

} // namespace detail

/// A lock on an array, and its elements. Given back where it ends, in the thread that took it, and before the object is dropped.
template <class T> class Lock : public Span<T> {
public:
    Lock(T *data, std::size_t size, sh_lock *owned) : Span<T>(data, size), lock_(owned) {}

private:
    detail::Owned<sh_lock, sh_unlock> lock_;
};

/// Elements that are read and written in place.
template <class T> class Array : public Object {
public:
    /// Refuses an object that is no array of `T`.
    explicit Array(Object object) : Object(std::move(object)) { detail::expect<T>(*this, SH_KIND_ARRAY, "array"); }
    Array clone() const { return Array(Object::clone()); }
    /// Waits until nobody writes.
    Lock<const T> read(Timeout timeout = for_ever) const { return lock<const void *, const T>(sh_array_read, timeout); }
    /// Waits until nobody reads or writes.
    Lock<T> write(Timeout timeout = for_ever) const { return lock<void *, T>(sh_array_write, timeout); }
    /// Makes it immutable for ever, and gives its elements, which are there as long as this is.
    Span<const T> seal() const {
        detail::check(sh_object_seal(get()));
        return sealed();
    }
    /// The elements of what was sealed, as long as this is there.
    Span<const T> sealed() const { return detail::sealed<T>(*this); }
    bool is_poisoned() const { return detail::get<std::uint32_t>(sh_array_is_poisoned, get()) != 0; }

private:
    template <class P, class E, class F> Lock<E> lock(F function, Timeout timeout) const {
        P elements;
        std::size_t count;
        sh_lock *lock;
        detail::check(function(get(), type_of<T>().get(), detail::millis(timeout), &elements, &count, &lock));
        return Lock<E>(static_cast<E *>(elements), count, lock);
    }
};

/// Elements that the kernel keeps from being changed, there as long as this is.
template <class T> class Frozen : public Object {
public:
    explicit Frozen(Object object) : Object(std::move(object)) { detail::expect<T>(*this, SH_KIND_FROZEN, "frozen array"); }
    Frozen clone() const { return Frozen(Object::clone()); }
    Span<const T> elements() const { return detail::sealed<T>(*this); }
};

/// One value, changed as a whole.
template <class T> class Value : public Object {
public:
    explicit Value(Object object) : Object(std::move(object)) { detail::expect<T>(*this, SH_KIND_VALUE, "value"); }
    Value clone() const { return Value(Object::clone()); }
    /// Never torn, and never waits.
    T get() const {
        T value{};
        detail::check(sh_value_get(Object::get(), type_of<T>().get(), &value));
        return value;
    }
    void set(const T &value) const { detail::check(sh_value_set(Object::get(), type_of<T>().get(), &value)); }
    /// Calls `change(T &)` while nobody else changes the value. If it throws, the value stays as it was.
    template <class F> void update(F change, Timeout timeout = for_ever) const {
        struct Work {
            F *change;
            std::exception_ptr failure;
        } work{&change, nullptr};
        auto run = [](void *place, void *context) {
            auto &work = *static_cast<Work *>(context);
            try {
                T value = *static_cast<const T *>(place);
                (*work.change)(value);
                *static_cast<T *>(place) = value;
            } catch (...) {
                work.failure = std::current_exception();
            }
        };
        detail::check(sh_value_update(Object::get(), type_of<T>().get(), detail::millis(timeout), run, &work));
        if (work.failure) std::rethrow_exception(work.failure);
    }
    void seal() const { detail::check(sh_object_seal(Object::get())); }
};

/// A value of no declared type: an argument or a result. Owns all that is in it; copies of it share the reference to an object.
class Datum {
public:
    using List = std::vector<Datum>;
    using Map = std::vector<std::pair<Datum, Datum>>;
    using Bytes = std::vector<std::uint8_t>;

    Datum() = default;
    Datum(bool value) : value_(value) {}
    template <class N, std::enable_if_t<std::is_integral_v<N> && !std::is_same_v<N, bool>, int> = 0> Datum(N value) {
        if constexpr (std::is_signed_v<N>) {
            value_ = std::int64_t{value};
        } else {
            value_ = std::uint64_t{value};
        }
    }
    Datum(double value) : value_(value) {}
    Datum(const char *text) : value_(std::string(text)) {}
    Datum(std::string_view text) : value_(std::string(text)) {}
    Datum(std::string text) : value_(std::move(text)) {}
    Datum(Bytes bytes) : value_(std::move(bytes)) {}
    Datum(List list) : value_(std::move(list)) {}
    Datum(Map map) : value_(std::move(map)) {}
    /// One more reference to the object.
    Datum(const Object &object) : value_(std::make_shared<const Object>(object.clone())) {}
    Datum(Object &&object) : value_(std::make_shared<const Object>(std::move(object))) {}
    /// A copy of a value of the C library.
    explicit Datum(const sh_datum &datum) { read(datum); }

    bool is_nil() const noexcept { return std::holds_alternative<std::monostate>(value_); }
    bool boolean() const { return of<bool>("boolean"); }
    std::int64_t integer() const {
        const auto *natural = std::get_if<std::uint64_t>(&value_);
        if (natural && *natural <= INT64_MAX) return static_cast<std::int64_t>(*natural);
        return of<std::int64_t>("integer");
    }
    std::uint64_t natural() const {
        const auto *integer = std::get_if<std::int64_t>(&value_);
        if (integer && *integer >= 0) return static_cast<std::uint64_t>(*integer);
        return of<std::uint64_t>("natural number");
    }
    double real() const { return of<double>("real number"); }
    const std::string &text() const { return of<std::string>("text"); }
    const Bytes &bytes() const { return of<Bytes>("bytes"); }
    const List &list() const { return of<List>("list"); }
    const Map &map() const { return of<Map>("map"); }
    /// An object; whoever keeps it clones it.
    const Object &object() const { return *of<std::shared_ptr<const Object>>("object"); }
    /// What a map has under a text; NULL if nothing.
    const Datum *find(std::string_view key) const {
        for (const auto &[name, value] : map()) {
            const auto *text = std::get_if<std::string>(&name.value_);
            if (text && *text == key) return &value;
        }
        return nullptr;
    }

    /// Calls `work(const sh_datum &)` with this value as the C library takes it.
    template <class F> void lend(F work) const {
        std::vector<std::unique_ptr<sh_datum[]>> kept;
        work(lent(kept));
    }

private:
    template <class T> const T &of(const char *what) const {
        if (const T *value = std::get_if<T>(&value_)) return *value;
        throw Error(SH_TYPE_MISMATCH, std::string("the value is no ") + what);
    }

    void read(const sh_datum &datum) {
        switch (datum.tag) {
        case SH_BOOL: value_ = datum.of.integer != 0; break;
        case SH_INT: value_ = datum.of.integer; break;
        case SH_UINT: value_ = datum.of.natural; break;
        case SH_FLOAT: value_ = datum.of.real; break;
        case SH_TEXT: value_ = std::string(static_cast<const char *>(datum.of.bytes.data), datum.of.bytes.len); break;
        case SH_BYTES: {
            const auto *data = static_cast<const std::uint8_t *>(datum.of.bytes.data);
            value_ = Bytes(data, data + datum.of.bytes.len);
            break;
        }
        case SH_LIST: {
            List list;
            for (std::size_t at = 0; at < datum.of.items.len; ++at) list.push_back(Datum(datum.of.items.data[at]));
            value_ = std::move(list);
            break;
        }
        case SH_MAP: {
            Map map;
            for (std::size_t at = 0; at + 1 < datum.of.items.len; at += 2) {
                map.emplace_back(Datum(datum.of.items.data[at]), Datum(datum.of.items.data[at + 1]));
            }
            value_ = std::move(map);
            break;
        }
        case SH_OBJECT: {
            auto *clone = detail::get<sh_object *>(sh_object_clone, datum.of.object);
            value_ = std::make_shared<const Object>(Object(clone));
            break;
        }
        default: break;
        }
    }

    sh_datum lent(std::vector<std::unique_ptr<sh_datum[]>> &kept) const {
        sh_datum datum{};
        const auto bytes = [](const auto &of) { return sh_bytes{of.data(), of.size()}; };
        const auto items = [&kept](std::size_t len) {
            return kept.emplace_back(std::make_unique<sh_datum[]>(len)).get();
        };
        switch (value_.index()) {
        case 1: datum = sh_bool(std::get<bool>(value_)); break;
        case 2: datum = sh_int(std::get<std::int64_t>(value_)); break;
        case 3:
            datum.tag = SH_UINT;
            datum.of.natural = std::get<std::uint64_t>(value_);
            break;
        case 4: datum = sh_float(std::get<double>(value_)); break;
        case 5:
            datum.tag = SH_TEXT;
            datum.of.bytes = bytes(std::get<std::string>(value_));
            break;
        case 6:
            datum.tag = SH_BYTES;
            datum.of.bytes = bytes(std::get<Bytes>(value_));
            break;
        case 7: {
            const auto &list = std::get<List>(value_);
            sh_datum *place = items(list.size());
            for (std::size_t at = 0; at < list.size(); ++at) place[at] = list[at].lent(kept);
            datum.tag = SH_LIST;
            datum.of.items = {place, list.size()};
            break;
        }
        case 8: {
            const auto &map = std::get<Map>(value_);
            sh_datum *place = items(2 * map.size());
            for (std::size_t at = 0; at < map.size(); ++at) {
                place[2 * at] = map[at].first.lent(kept);
                place[2 * at + 1] = map[at].second.lent(kept);
            }
            datum.tag = SH_MAP;
            datum.of.items = {place, 2 * map.size()};
            break;
        }
        case 9: datum = sh_of_object(object().get()); break;
        default: datum = sh_nil(); break;
        }
        return datum;
    }

    std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Bytes, List, Map, std::shared_ptr<const Object>> value_;
};

namespace detail {

/// Takes a result of the C library over.
inline Datum taken(const sh_datum *given) {
    struct Free {
        void operator()(const sh_datum *datum) const noexcept { sh_datum_free(datum); }
    };
    const std::unique_ptr<const sh_datum, Free> owned(given);
    return Datum(*owned);
}

/// Calls `work(arguments, count)` with arguments as the C library takes them.
template <class F, class... A> void with_arguments(F work, const A &...arguments) {
    const Datum all(Datum::List{Datum(arguments)...});
    all.lend([&](const sh_datum &list) { check(work(list.of.items.data, list.of.items.len)); });
}

} // namespace detail

template <class... A> Datum Object::call(const char *method, const A &...arguments) const {
    return call_for(for_ever, method, arguments...);
}

template <class... A> Datum Object::call_for(Timeout timeout, const char *method, const A &...arguments) const {
    const sh_datum *result = nullptr;
    const auto work = [&](const sh_datum *list, std::size_t count) {
        return sh_object_call(get(), method, list, count, detail::millis(timeout), &result);
    };
    detail::with_arguments(work, arguments...);
    return detail::taken(result);
}

/// Takes one use of a ticket, and connects to its broker if this process has not: `redeem<Array<double>>(ticket)`.
template <class T = Object> T redeem(const std::string &ticket) {
    return T(Object(detail::get<sh_object *>(sh_redeem, ticket.c_str())));
}

/// An end of a channel that sends.
class Sender {
public:
    explicit Sender(sh_sender *owned) noexcept : sender_(owned) {}
    /// Sends one more reference to the object; waits for room.
    void send(const Object &object, Timeout timeout = for_ever) const {
        detail::check(sh_sender_send(sender_.get(), object.get(), detail::millis(timeout)));
    }

private:
    detail::Owned<sh_sender, sh_sender_drop> sender_;
};

/// An end of a channel that receives.
class Receiver {
public:
    explicit Receiver(sh_receiver *owned) noexcept : receiver_(owned) {}
    /// The oldest object, as `receive<Array<double>>()`; waits for one.
    template <class T = Object> T receive(Timeout timeout = for_ever) const {
        return T(Object(detail::get<sh_object *>(sh_receiver_receive, receiver_.get(), detail::millis(timeout))));
    }

private:
    detail::Owned<sh_receiver, sh_receiver_drop> receiver_;
};

/// A queue of objects of any kind.
class Channel : public Object {
public:
    explicit Channel(Object object) : Object(std::move(object)) {}
    Channel clone() const { return Channel(Object::clone()); }
    Sender sender() const { return Sender(detail::get<sh_sender *>(sh_channel_sender, get())); }
    Receiver receiver() const { return Receiver(detail::get<sh_receiver *>(sh_channel_receiver, get())); }
    /// Nothing is sent any more; what is in it is received.
    void close() const { detail::check(sh_channel_close(get())); }
};

/// How to start, serve or connect. What is zero or empty is as usual; `sh_options` says what each is.
struct Options {
    std::string name;
    std::uint64_t capacity = 0;
    std::uint32_t objects = 0;
    std::uint32_t sessions = 0;
    std::string authkey;
    std::chrono::milliseconds wait_for_room{0};
    std::chrono::milliseconds connect_within{0};
    bool read_only = false;
    bool debuggable = false;
    /// A program and its arguments, which calls `serve_parent`.
    std::vector<std::string> command;

    /// Calls `work(const sh_options *)`.
    template <class F> void lend(F work) const {
        std::vector<const char *> words;
        for (const auto &word : command) words.push_back(word.c_str());
        words.push_back(nullptr);
        sh_options options{};
        options.size = sizeof options;
        options.name = name.empty() ? nullptr : name.c_str();
        options.capacity = capacity;
        options.objects = objects;
        options.sessions = sessions;
        options.authkey = {authkey.data(), authkey.size()};
        options.room_ms = static_cast<std::uint64_t>(wait_for_room.count());
        options.connect_ms = static_cast<std::uint64_t>(connect_within.count());
        options.read_only = read_only;
        options.debuggable = debuggable;
        options.command = command.empty() ? nullptr : words.data();
        detail::check(work(&options));
    }
};

/// A handle on a broker.
class Manager {
public:
    explicit Manager(sh_manager *owned) noexcept : manager_(owned) {}
    /// Starts a broker as a child process.
    static Manager start(const Options &options = {}) {
        sh_manager *manager = nullptr;
        options.lend([&](const sh_options *options) { return sh_manager_start(options, &manager); });
        return Manager(manager);
    }
    /// Joins the broker of this name.
    static Manager connect(const std::string &name, const Options &options = {}) {
        sh_manager *manager = nullptr;
        options.lend([&](const sh_options *options) { return sh_manager_connect(name.c_str(), options, &manager); });
        return Manager(manager);
    }
    /// That of the broker that runs this method.
    static Manager current() { return Manager(detail::get<sh_manager *>(sh_manager_current)); }
    /// That of the broker of an object.
    static Manager of(const Object &object) { return Manager(detail::get<sh_manager *>(sh_manager_of, object.get())); }

    std::string name() const { return detail::text(sh_manager_name, get()); }
    void shutdown() const { detail::check(sh_manager_shutdown(get())); }

    template <class T> Array<T> array(const T *elements, std::size_t count) const {
        return Array<T>(made(sh_array_new, type_of<T>().get(), static_cast<const void *>(elements), count));
    }
    template <class T> Array<T> array(const std::vector<T> &elements) const { return array(elements.data(), elements.size()); }
    template <class T> Array<T> array(std::initializer_list<T> elements) const { return array(elements.begin(), elements.size()); }
    template <class T> Array<T> zeroed(std::size_t count) const { return array(static_cast<const T *>(nullptr), count); }
    template <class T> Value<T> value(const T &value) const {
        return Value<T>(made(sh_value_new, type_of<T>().get(), static_cast<const void *>(&value)));
    }
    template <class T> Frozen<T> freeze(const std::vector<T> &elements) const {
        return Frozen<T>(made(sh_frozen_new, type_of<T>().get(), static_cast<const void *>(elements.data()), elements.size()));
    }
    /// Bytes that nobody can change: an array that is sealed.
    Array<std::uint8_t> bytes(const void *data, std::size_t size) const { return Array<std::uint8_t>(made(sh_bytes_new, data, size)); }
    /// A queue with room for so many objects; `single`: for one sender and one receiver at a time.
    Channel channel(std::size_t capacity, bool single = false) const {
        return Channel(made(sh_channel_new, capacity, std::uint32_t{single}));
    }
    /// An object of a class.
    template <class... A> Object create(const char *name, const A &...arguments) const {
        sh_object *object = nullptr;
        const auto work = [&](const sh_datum *list, std::size_t count) {
            return sh_manager_create(get(), name, list, count, &object);
        };
        detail::with_arguments(work, arguments...);
        return Object(object);
    }

    /// Holds the object under a name.
    void publish(const char *name, const Object &object, bool replace = false) const {
        detail::check(sh_manager_publish(get(), name, object.get(), replace));
    }
    /// The object of this name, as `lookup<Array<double>>("prices")`; waits for it so long.
    template <class T = Object> T lookup(const char *name, Timeout timeout = std::chrono::milliseconds(0)) const {
        return T(Object(detail::get<sh_object *>(sh_manager_lookup, get(), name, detail::millis(timeout))));
    }
    void unpublish(const char *name) const { detail::check(sh_manager_unpublish(get(), name)); }

    /// How full the broker is.
    Datum stats() const { return detail::taken(detail::get<const sh_datum *>(sh_manager_stats, get())); }
    /// Every object, and who holds it.
    Datum debug_info() const { return detail::taken(detail::get<const sh_datum *>(sh_manager_debug_info, get())); }

    const sh_manager *get() const noexcept { return manager_.get(); }

private:
    template <class F, class... A> Object made(F function, A... arguments) const {
        return Object(detail::get<sh_object *>(function, get(), arguments...));
    }

    detail::Owned<sh_manager, sh_manager_drop> manager_;
};

/// What a method throws to say of what kind its error is. Any other exception has the name of its type.
class MethodError : public std::runtime_error {
public:
    MethodError(std::string type_name, const std::string &text) : std::runtime_error(text), type_name_(std::move(type_name)) {}
    const std::string &type_name() const noexcept { return type_name_; }

private:
    std::string type_name_;
};

namespace detail {

/// Runs a function of C++ for one of C: no exception goes on.
template <class F> sh_status answer(sh_reply *reply, F work) noexcept {
    try {
        return work();
    } catch (const MethodError &error) {
        return sh_reply_fail(reply, error.type_name().c_str(), error.what());
    } catch (const Error &error) {
        return sh_reply_fail(reply, "sharehold::Error", error.what());
    } catch (const std::exception &error) {
        return sh_reply_fail(reply, typeid(error).name(), error.what());
    } catch (...) {
        return sh_reply_fail(reply, "", "something was thrown that is no std::exception");
    }
}

inline Datum::List list_of(const sh_datum *arguments, std::size_t count) {
    Datum::List list;
    for (std::size_t at = 0; at < count; ++at) list.emplace_back(arguments[at]);
    return list;
}

} // namespace detail

/// A class that is served, of objects with the state `S`. It must be there as long as it is served.
template <class S> class Class {
public:
    using Arguments = Datum::List;

    /// `make(arguments)` gives an `S`. `signature` is for errors and lists, as "factor: f64".
    Class(const char *name, const char *signature, std::function<S(const Arguments &)> make) : make_(std::make_unique<Make>(std::move(make))) {
        const auto run = [](void *context, const sh_datum *arguments, std::size_t count, void **state, sh_reply *reply) noexcept {
            return detail::answer(reply, [&] {
                *state = new S((*static_cast<const Make *>(context))(detail::list_of(arguments, count)));
                return sh_status{SH_OK};
            });
        };
        const auto drop = [](void *state) noexcept { delete static_cast<S *>(state); };
        class_.reset(detail::get<sh_class *>(sh_class_new, name, signature, sh_make{run}, sh_drop{drop}, static_cast<void *>(make_.get())));
    }

    /// A method that does not change its object: calls run at the same time.
    Class &method(const char *name, const char *signature, std::function<Datum(const S &, const Arguments &)> call) {
        return add(name, signature, std::move(call), 0);
    }
    /// A method that is alone with its object.
    Class &method_mut(const char *name, const char *signature, std::function<Datum(S &, const Arguments &)> call) {
        return add(name, signature, std::move(call), 1);
    }

    const sh_class *get() const noexcept { return class_.get(); }

private:
    using Make = std::function<S(const Arguments &)>;
    using Call = std::function<Datum(S &, const Arguments &)>;

    Class &add(const char *name, const char *signature, Call call, std::uint32_t changes) {
        const auto run = [](void *state, void *context, const sh_datum *arguments, std::size_t count, sh_reply *reply) noexcept {
            return detail::answer(reply, [&] {
                const Datum result = (*static_cast<const Call *>(context))(*static_cast<S *>(state), detail::list_of(arguments, count));
                sh_status status = SH_OK;
                result.lend([&](const sh_datum &datum) { status = sh_reply_return(reply, &datum); });
                return status;
            });
        };
        calls_.push_back(std::make_unique<Call>(std::move(call)));
        detail::check(sh_class_method(class_.get(), name, signature, run, calls_.back().get(), changes));
        return *this;
    }

    std::unique_ptr<Make> make_;
    std::vector<std::unique_ptr<Call>> calls_;
    detail::Owned<sh_class, sh_class_drop> class_;
};

/// Runs a broker with these classes, until SIGTERM, SIGINT or SIGHUP comes or a client ends it. Called early in `main`.
template <class... S> void serve(const Options &options, const Class<S> &...classes) {
    const std::vector<const sh_class *> all{classes.get()...};
    options.lend([&](const sh_options *options) { return sh_serve(options, all.data(), all.size()); });
}

/// Serves these classes to the process that has run this one by `Options::command`. Called early in `main`.
template <class... S> void serve_parent(const Class<S> &...classes) {
    const std::vector<const sh_class *> all{classes.get()...};
    detail::check(sh_serve_parent(all.data(), all.size()));
}

} // namespace sharehold

#endif
