/* One side of what C and Rust share; tests/beside.rs is the other. */
#include "check.h"

typedef struct {
    double price;
    uint64_t size;
} quote;

static sh_type *quotes(const sh_type *f64) {
    sh_type *u64, *of;
    OK(sh_type_number("u64", &u64));
    const sh_field fields[] = {{"price", offsetof(quote, price), f64}, {"size", offsetof(quote, size), u64}};
    OK(sh_type_struct("Quote", sizeof(quote), fields, 2, &of));
    OK(sh_type_drop(u64));
    return of;
}

static void dearer(void *value, void *context) {
    ((quote *)value)->price += *(const double *)context;
}

static int64_t added(const sh_object *object, int64_t number) {
    sh_datum argument = sh_int(number);
    const sh_datum *result;
    OK(sh_object_call(object, "add", &argument, 1, 600000, &result));
    HOLDS(result->tag == SH_INT);
    int64_t sum = result->of.integer;
    OK(sh_datum_free(result));
    return sum;
}

/* A guest of a broker of Rust: changes what is there, makes something of its own, and looks what has become of it. */
static int guest(const char *broker, const char *ticket) {
    sh_manager *manager;
    sh_type *f64, *of_quote;
    sh_object *array, *value, *counter, *frozen, *channel, *received, *own_array, *own_value, *own_counter;
    sh_lock *lock;
    const void *place;
    void *writable;
    size_t count;
    double one = 1;
    OK(sh_manager_connect(broker, NULL, &manager));
    OK(sh_type_number("f64", &f64));
    of_quote = quotes(f64);

    /* What Rust has made. */
    OK(sh_redeem(ticket, &array));
    OK(sh_array_write(array, f64, -1, &writable, &count, &lock));
    for (size_t at = 0; at < count; at++) ((double *)writable)[at] *= 2;
    OK(sh_unlock(lock));
    OK(sh_manager_lookup(manager, "quote", -1, &value));
    OK(sh_value_update(value, of_quote, -1, dearer, &one));
    OK(sh_manager_lookup(manager, "counter", -1, &counter));
    HOLDS(added(counter, 2) == 42);
    sh_datum much = sh_int(1000);
    const sh_datum *result;
    REFUSED(sh_object_call(counter, "add", &much, 1, -1, &result), SH_METHOD_FAILED);
    HOLDS(strstr(sh_last_error(), "too much"));
    OK(sh_manager_lookup(manager, "frozen", -1, &frozen));
    OK(sh_object_sealed(frozen, f64, &place, &count));
    HOLDS(count == 3 && ((const double *)place)[2] == 5);

    /* What comes through a channel, and what goes. */
    sh_sender *sender;
    sh_receiver *receiver;
    OK(sh_manager_lookup(manager, "channel", -1, &channel));
    OK(sh_channel_receiver(channel, &receiver));
    OK(sh_receiver_receive(receiver, -1, &received));
    OK(sh_receiver_drop(receiver));
    OK(sh_array_read(received, f64, -1, &place, &count, &lock));
    HOLDS(count == 1 && *(const double *)place == 7);
    OK(sh_unlock(lock));
    OK(sh_object_drop(received));

    /* What is made here. */
    const double numbers[] = {1, 2, 3};
    quote first = {20.5, 7};
    sh_datum start = sh_int(10);
    char *text;
    OK(sh_array_new(manager, f64, numbers, 3, &own_array));
    OK(sh_value_new(manager, of_quote, &first, &own_value));
    OK(sh_manager_publish(manager, "own quote", own_value, 0));
    OK(sh_manager_create(manager, "Counter", &start, 1, &own_counter));
    OK(sh_channel_sender(channel, &sender));
    OK(sh_sender_send(sender, own_counter, -1));
    OK(sh_object_ticket(own_array, 1, -1, &text));
    puts(text);
    fflush(stdout);
    OK(sh_free(text));

    /* Until Rust has changed it. */
    HOLDS(getchar() == '\n');
    OK(sh_sender_drop(sender));
    OK(sh_array_read(own_array, f64, -1, &place, &count, &lock));
    HOLDS(((const double *)place)[0] == -1);
    OK(sh_unlock(lock));
    OK(sh_value_get(own_value, of_quote, &first));
    HOLDS(first.price == 21 && first.size == 8);
    HOLDS(added(own_counter, 0) == 15);

    sh_object *const all[] = {array, value, counter, frozen, channel, own_array, own_value, own_counter};
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) OK(sh_object_drop(all[at]));
    OK(sh_type_drop(of_quote));
    OK(sh_type_drop(f64));
    OK(sh_manager_drop(manager));
    return 0;
}

static sh_status make(void *context, const sh_datum *arguments, size_t count, void **state, sh_reply *reply) {
    (void)context;
    if (count != 1 || arguments[0].tag != SH_INT) return sh_reply_fail(reply, "TypeError", "it takes a number");
    int64_t *total = malloc(sizeof *total);
    if (!total) return SH_OS;
    *total = arguments[0].of.integer;
    *state = total;
    return SH_OK;
}

static sh_status add(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    int64_t *total = state;
    (void)context;
    if (count != 1 || arguments[0].tag != SH_INT) return sh_reply_fail(reply, "TypeError", "it takes a number");
    if (arguments[0].of.integer > 100) return sh_reply_fail(reply, "RangeError", "too much");
    *total += arguments[0].of.integer;
    sh_datum answer = sh_int(*total);
    return sh_reply_return(reply, &answer);
}

/* A host for clients of Rust. */
static int host(const char *name) {
    sh_class *class;
    OK(sh_class_new("Tally", "start: int", make, free, NULL, &class));
    OK(sh_class_method(class, "add", "n: int", add, NULL, 1));
    sh_options options = options_of(name);
    const sh_class *const classes[] = {class};
    OK(sh_serve(&options, classes, 1));
    OK(sh_class_drop(class));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "guest") == 0) return guest(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "host") == 0) return host(argv[2]);
    return 2;
}
