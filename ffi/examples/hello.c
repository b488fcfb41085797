/* Everything in one process: values, arrays, tickets, names, calls, and what is known about it all. */
#include <sharehold.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        sh_status status_ = (call);                                                                                    \
        if (status_ != SH_OK) {                                                                                        \
            fprintf(stderr, "%s: %u: %s\n", #call, (unsigned)status_, sh_last_error());                                \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static void twice(void *value, void *context) {
    *(double *)value *= *(const double *)context;
}

int main(void) {
    sh_manager *manager;
    sh_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.capacity = 16 << 20;
    CHECK(sh_manager_start(&options, &manager));

    sh_type *f64;
    CHECK(sh_type_number("f64", &f64));
    double numbers[] = {1, 2, 3};
    sh_object *array;
    CHECK(sh_array_new(manager, f64, numbers, 3, &array));
    void *place;
    size_t count;
    sh_lock *lock;
    CHECK(sh_array_write(array, f64, 1000, &place, &count, &lock));
    ((double *)place)[0] = 10;
    CHECK(sh_unlock(lock));

    char *ticket;
    CHECK(sh_object_ticket(array, 1, -1, &ticket));
    CHECK(sh_object_drop(array));
    CHECK(sh_redeem(ticket, &array));
    sh_free(ticket);
    CHECK(sh_object_seal(array));
    const void *sealed;
    CHECK(sh_object_sealed(array, f64, &sealed, &count));
    printf("%zu elements, the first is %g\n", count, ((const double *)sealed)[0]);

    double price = 20.5, factor = 2;
    sh_object *value;
    CHECK(sh_value_new(manager, f64, &price, &value));
    CHECK(sh_value_update(value, f64, -1, twice, &factor));
    CHECK(sh_value_get(value, f64, &price));
    printf("the price is %g\n", price);

    sh_object *list, *same;
    CHECK(sh_manager_create(manager, "List", NULL, 0, &list));
    CHECK(sh_manager_publish(manager, "list", list, 0));
    CHECK(sh_manager_lookup(manager, "list", 0, &same));
    sh_datum arguments[] = {sh_text("seven")};
    const sh_datum *result;
    CHECK(sh_object_call(same, "push", arguments, 1, 5000, &result));
    CHECK(sh_datum_free(result));
    arguments[0] = sh_of_object(value);
    CHECK(sh_object_call(same, "push", arguments, 1, -1, &result));
    CHECK(sh_datum_free(result));
    sh_bytes none = {"\x90", 1}, length;
    CHECK(sh_object_call_msgpack(list, "len", none, -1, &length));
    printf("the list has %d elements\n", *(const unsigned char *)length.data);
    sh_free((void *)length.data);
    uint64_t references;
    CHECK(sh_object_count(value, &references));
    printf("the value is held %d times\n", (int)references);

    const sh_datum *stats, *objects, *info;
    CHECK(sh_manager_stats(manager, &stats));
    CHECK(sh_datum_get(stats, "objects", &objects));
    printf("%d objects\n", (int)objects->of.integer);
    CHECK(sh_datum_free(stats));
    CHECK(sh_manager_debug_info(manager, &info));
    printf("%zu are known\n", info->of.items.len);
    CHECK(sh_datum_free(info));

    CHECK(sh_manager_unpublish(manager, "list"));
    CHECK(sh_object_drop(same));
    CHECK(sh_object_drop(list));
    CHECK(sh_object_drop(value));
    CHECK(sh_object_drop(array));
    CHECK(sh_type_drop(f64));
    CHECK(sh_manager_drop(manager));
    return 0;
}
