/* A class of C: the program starts itself again as the broker, which serves it. */
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

static sh_status make(void *context, const sh_datum *arguments, size_t count, void **state, sh_reply *reply) {
    (void)context;
    if (count != 1 || arguments[0].tag != SH_INT) return sh_reply_fail(reply, "TypeError", "it takes a number");
    int64_t *number = malloc(sizeof *number);
    if (!number) return sh_reply_fail(reply, "MemoryError", "there is no memory");
    *number = arguments[0].of.integer;
    *state = number;
    return SH_OK;
}

static sh_status add(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    int64_t *number = state;
    (void)context;
    if (count != 1 || arguments[0].tag != SH_INT) return sh_reply_fail(reply, "TypeError", "it takes a number");
    if (arguments[0].of.integer > 100) return sh_reply_fail(reply, "RangeError", "too much");
    *number += arguments[0].of.integer;
    sh_datum answer = sh_int(*number);
    return sh_reply_return(reply, &answer);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--serve") == 0) {
        sh_class *counter;
        CHECK(sh_class_new("Counter", "start: int", make, free, NULL, &counter));
        CHECK(sh_class_method(counter, "add", "n: int", add, NULL, 1));
        const sh_class *classes[] = {counter};
        CHECK(sh_serve_parent(classes, 1));
        CHECK(sh_class_drop(counter));
        return 0;
    }
    const char *command[] = {argv[0], "--serve", NULL};
    sh_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.capacity = 16 << 20;
    options.command = command;
    sh_manager *manager;
    CHECK(sh_manager_start(&options, &manager));

    sh_object *counter;
    sh_datum number = sh_int(40);
    CHECK(sh_manager_create(manager, "Counter", &number, 1, &counter));
    const sh_datum *result;
    number = sh_int(2);
    CHECK(sh_object_call(counter, "add", &number, 1, -1, &result));
    printf("the counter is at %d\n", (int)result->of.integer);
    CHECK(sh_datum_free(result));
    number = sh_int(1000);
    if (sh_object_call(counter, "add", &number, 1, -1, &result) != SH_METHOD_FAILED) return 1;
    printf("%.28s\n", sh_last_error());
    CHECK(sh_object_drop(counter));

    const sh_datum *stats, *objects;
    CHECK(sh_manager_stats(manager, &stats));
    CHECK(sh_datum_get(stats, "objects", &objects));
    printf("%d counters are left\n", (int)objects->of.integer);
    CHECK(sh_datum_free(stats));
    CHECK(sh_manager_drop(manager));
    return 0;
}
