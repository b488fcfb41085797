/* Types, arrays, values and frozen arrays: what they are, what they have, and what happens to their writers. */
#include "check.h"
#include <pthread.h>

typedef struct {
    double price;
    uint32_t size[2];
} quote;

static sh_object *array;
static sh_type *f64;

/* Another thread: it waits in vain for what the first one writes. */
static void *waits(void *unused) {
    const void *place;
    void *writable;
    size_t count;
    sh_lock *lock;
    (void)unused;
    REFUSED(sh_array_read(array, f64, 10, &place, &count, &lock), SH_TIMEOUT);
    REFUSED(sh_array_write(array, f64, 0, &writable, &count, &lock), SH_TIMEOUT);
    return NULL;
}

static void throws_away(void *value, void *context) {
    (void)value;
    ++*(int *)context;
}

/* Dies while it writes. */
static int die(const char *broker) {
    sh_manager *manager;
    void *place;
    size_t count;
    sh_lock *lock;
    OK(sh_manager_connect(broker, NULL, &manager));
    OK(sh_type_number("f64", &f64));
    OK(sh_manager_lookup(manager, "array", -1, &array));
    OK(sh_array_write(array, f64, -1, &place, &count, &lock));
    _exit(3);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "die") == 0) return die(argv[2]);
    sh_manager *manager, *same;
    sh_type *u32, *pair, *of_quote, *of_value;
    sh_object *value, *bytes, *frozen, *list, *clone;
    sh_lock *lock, *second;
    const void *place;
    void *writable;
    size_t count, size;
    uint64_t tag, other, references;
    uint32_t kind, is;
    char *text, *name;
    sh_options options = options_of(NULL);
    options.debuggable = 1;
    options.objects = 1000;
    options.sessions = 8;
    OK(sh_manager_start(&options, &manager));

    /* Types. */
    OK(sh_type_number("f64", &f64));
    OK(sh_type_number("u32", &u32));
    OK(sh_type_array(u32, 2, &pair));
    REFUSED(sh_type_array(u32, (size_t)-1, &of_value), SH_INVALID_ARGUMENT);
    const sh_field fields[] = {{"price", offsetof(quote, price), f64}, {"size", offsetof(quote, size), pair}};
    OK(sh_type_struct("Quote", sizeof(quote), fields, 2, &of_quote));
    REFUSED(sh_type_struct("Quote", sizeof(quote) + 8, fields, 2, &of_value), SH_INVALID_ARGUMENT);
    OK(sh_type_size(of_quote, &size));
    HOLDS(size == sizeof(quote));
    OK(sh_type_name(pair, &text));
    HOLDS(strcmp(text, "[u32; 2]") == 0);
    OK(sh_free(text));

    /* A value of a struct. */
    quote first = {20.5, {7, 8}}, again;
    OK(sh_value_new(manager, of_quote, &first, &value));
    OK(sh_object_type(value, &of_value));
    OK(sh_type_tag(of_value, &tag));
    OK(sh_type_tag(of_quote, &other));
    HOLDS(tag == other);
    OK(sh_type_tag(f64, &other));
    HOLDS(tag != other);
    OK(sh_object_expect(value, of_quote, &kind));
    HOLDS(kind == SH_KIND_VALUE);
    kind = 77;
    REFUSED(sh_object_expect(value, f64, &kind), SH_TYPE_MISMATCH);
    HOLDS(kind == 77);
    OK(sh_object_type_name(value, &text));
    HOLDS(strcmp(text, "Quote") == 0);
    OK(sh_free(text));
    first.size[1] = 9;
    OK(sh_value_set(value, of_quote, &first));
    OK(sh_value_get(value, of_quote, &again));
    HOLDS(memcmp(&first, &again, sizeof first) == 0);
    OK(sh_object_is_sealed(value, &is));
    HOLDS(!is);
    REFUSED(sh_object_sealed(value, of_quote, &place, &count), SH_NOT_SEALED);
    OK(sh_object_seal(value));
    OK(sh_object_is_sealed(value, &is));
    HOLDS(is);
    int calls = 0;
    REFUSED(sh_value_set(value, of_quote, &first), SH_SEALED);
    REFUSED(sh_value_update(value, of_quote, -1, throws_away, &calls), SH_SEALED);
    HOLDS(calls == 0);
    OK(sh_object_sealed(value, of_quote, &place, &count));
    HOLDS(count == 1 && memcmp(place, &first, sizeof first) == 0);
    OK(sh_object_len(value, &count));
    HOLDS(count == 1);

    /* An array: two may read at once, nobody while another writes. */
    OK(sh_array_new(manager, f64, NULL, 4, &array));
    OK(sh_object_kind(array, &kind));
    HOLDS(kind == SH_KIND_ARRAY);
    OK(sh_object_len(array, &count));
    HOLDS(count == 4);
    OK(sh_array_read(array, f64, -1, &place, &count, &lock));
    OK(sh_array_read(array, f64, 0, &place, &count, &second));
    HOLDS(count == 4 && ((const double *)place)[3] == 0);
    OK(sh_unlock(second));
    OK(sh_unlock(lock));
    OK(sh_array_write(array, f64, -1, &writable, &count, &lock));
    ((double *)writable)[3] = 1.5;
    pthread_t thread;
    HOLDS(pthread_create(&thread, NULL, waits, NULL) == 0);
    HOLDS(pthread_join(thread, NULL) == 0);
    OK(sh_unlock(lock));

    /* A writer that dies leaves a mark. */
    OK(sh_manager_publish(manager, "array", array, 0));
    REFUSED(sh_manager_publish(manager, "array", value, 0), SH_NAME_TAKEN);
    OK(sh_manager_name(manager, &name));
    OK(sh_array_is_poisoned(array, &is));
    HOLDS(!is);
    HOLDS(ended_with(run_again(argv[0], "die", name)) == 3);
    REFUSED(sh_array_read(array, f64, -1, &place, &count, &lock), SH_POISONED);
    OK(sh_array_is_poisoned(array, &is));
    HOLDS(is);
    OK(sh_object_clear_poison(array));
    OK(sh_array_is_poisoned(array, &is));
    HOLDS(!is);
    OK(sh_array_read(array, f64, -1, &place, &count, &lock));
    HOLDS(((const double *)place)[3] == 1.5);
    OK(sh_unlock(lock));
    OK(sh_manager_publish(manager, "array", value, 1));
    OK(sh_manager_unpublish(manager, "array"));
    REFUSED(sh_manager_unpublish(manager, "array"), SH_NAME_NOT_FOUND);

    /* Bytes, and what the kernel guards. */
    OK(sh_bytes_new(manager, "seven", 5, &bytes));
    sh_type *u8;
    OK(sh_type_number("u8", &u8));
    OK(sh_object_sealed(bytes, u8, &place, &count));
    HOLDS(count == 5 && memcmp(place, "seven", 5) == 0);
    REFUSED(sh_array_write(bytes, u8, -1, &writable, &count, &lock), SH_SEALED);
    const double primes[] = {2, 3, 5};
    OK(sh_frozen_new(manager, f64, primes, 3, &frozen));
    OK(sh_object_expect(frozen, f64, &kind));
    HOLDS(kind == SH_KIND_FROZEN);
    OK(sh_object_is_sealed(frozen, &is));
    HOLDS(is);
    OK(sh_object_len(frozen, &count));
    HOLDS(count == 3);
    OK(sh_object_sealed(frozen, f64, &place, &count));
    HOLDS(count == 3 && memcmp(place, primes, sizeof primes) == 0);
    REFUSED(sh_array_read(frozen, f64, -1, &place, &count, &lock), SH_TYPE_MISMATCH);
    sh_object *none;
    OK(sh_bytes_new(manager, NULL, 0, &none));
    OK(sh_object_sealed(none, u8, &place, &count));
    HOLDS(count == 0);
    OK(sh_object_drop(none));

    /* References, tickets and what is known of them. */
    OK(sh_object_clone(frozen, &clone));
    OK(sh_object_count(frozen, &references));
    HOLDS(references == 2);
    OK(sh_object_drop(clone));
    OK(sh_object_ticket(frozen, 2, 600000, &text));
    OK(sh_redeem(text, &clone));
    OK(sh_object_drop(clone));
    OK(sh_redeem(text, &clone));
    OK(sh_object_drop(clone));
    REFUSED(sh_redeem(text, &clone), SH_TICKET_SPENT);
    OK(sh_free(text));
    OK(sh_manager_of(frozen, &same));
    OK(sh_manager_name(same, &text));
    HOLDS(strcmp(text, name) == 0);
    OK(sh_free(text));
    OK(sh_manager_create(same, "List", NULL, 0, &list));
    OK(sh_object_kind(list, &kind));
    HOLDS(kind == SH_KIND_HOSTED);
    OK(sh_object_is_sealed(list, &is));
    HOLDS(!is);
    REFUSED(sh_object_len(list, &count), SH_TYPE_MISMATCH);
    REFUSED(sh_object_seal(list), SH_TYPE_MISMATCH);
    OK(sh_object_clear_poison(list));
    OK(sh_object_id(list, &text));
    const sh_datum *info, *id;
    OK(sh_manager_debug_info(manager, &info));
    size_t found = 0;
    for (size_t at = 0; at < info->of.items.len; at++) {
        OK(sh_datum_get(&info->of.items.data[at], "id", &id));
        found += strcmp((const char *)id->of.bytes.data, text) == 0;
    }
    HOLDS(info->of.items.len == 5 && found == 1);
    OK(sh_datum_free(info));
    OK(sh_free(text));

    OK(sh_free(name));
    OK(sh_object_drop(list));
    OK(sh_object_drop(frozen));
    OK(sh_object_drop(bytes));
    OK(sh_object_drop(value));
    OK(sh_object_drop(array));
    OK(sh_type_drop(u8));
    OK(sh_type_drop(of_value));
    OK(sh_type_drop(of_quote));
    OK(sh_type_drop(pair));
    OK(sh_type_drop(u32));
    OK(sh_type_drop(f64));
    OK(sh_manager_drop(same));
    OK(sh_manager_drop(manager));
    puts("objects");
    return 0;
}
