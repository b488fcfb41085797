/* Every kind of misuse that can be seen is an error with a text, and writes no result. */
#include <sharehold.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int step;

static void refused(sh_status status, sh_status wanted) {
    step++;
    if (status != wanted || !*sh_last_error()) {
        fprintf(stderr, "step %d: %u instead of %u: %s\n", step, (unsigned)status, (unsigned)wanted, sh_last_error());
        exit(1);
    }
}

static void ok(sh_status status) {
    step++;
    if (status != SH_OK) {
        fprintf(stderr, "step %d: %u: %s\n", step, (unsigned)status, sh_last_error());
        exit(1);
    }
}

int main(void) {
    sh_manager *manager, *untouched = NULL;
    sh_type *f64, *u64;
    sh_object *array, *value, *nothing = NULL;
    sh_lock *lock;
    const void *place;
    const sh_datum *result = NULL;
    size_t count = 77;
    double number = 1;
    char *wild = malloc(64);
    sh_options options;

    memset(&options, 0, sizeof options);
    refused(sh_manager_start(&options, &untouched), SH_INVALID_ARGUMENT);
    refused(sh_manager_start(NULL, NULL), SH_INVALID_ARGUMENT);
    refused(sh_manager_connect(NULL, NULL, &untouched), SH_INVALID_ARGUMENT);
    refused(sh_manager_connect("\xff", NULL, &untouched), SH_INVALID_ARGUMENT);
    refused(sh_manager_connect("no-such-broker", NULL, &untouched), SH_BROKER_NOT_FOUND);
    refused(sh_type_number("double", &f64), SH_INVALID_ARGUMENT);
    if (untouched) return 2;
    ok(sh_manager_start(NULL, &manager));
    ok(sh_type_number("f64", &f64));
    ok(sh_type_number("u64", &u64));
    ok(sh_array_new(manager, f64, NULL, 4, &array));
    ok(sh_value_new(manager, f64, &number, &value));

    refused(sh_array_new(NULL, f64, NULL, 4, &nothing), SH_INVALID_ARGUMENT);
    refused(sh_array_new(manager, NULL, NULL, 4, &nothing), SH_INVALID_ARGUMENT);
    refused(sh_array_new(manager, f64, NULL, (size_t)-1, &nothing), SH_INVALID_ARGUMENT);
    refused(sh_array_new(manager, f64, NULL, 4, NULL), SH_INVALID_ARGUMENT);
    refused(sh_array_new((sh_manager *)(void *)(wild + 1), f64, NULL, 4, &nothing), SH_INVALID_ARGUMENT);
    refused(sh_object_clone(array, (sh_object **)(void *)(wild + 3)), SH_INVALID_ARGUMENT);
    refused(sh_array_read(array, u64, 0, &place, &count, &lock), SH_TYPE_MISMATCH);
    refused(sh_array_read(value, f64, 0, &place, &count, &lock), SH_TYPE_MISMATCH);
    refused(sh_value_get(array, f64, &number), SH_TYPE_MISMATCH);
    refused(sh_value_get(value, f64, NULL), SH_INVALID_ARGUMENT);
    refused(sh_value_update(value, f64, 0, NULL, NULL), SH_INVALID_ARGUMENT);
    refused(sh_object_sealed(array, f64, &place, &count), SH_NOT_SEALED);
    refused(sh_redeem("no ticket", &nothing), SH_TICKET_MALFORMED);
    refused(sh_manager_lookup(manager, "nothing", 0, &nothing), SH_NAME_NOT_FOUND);
    refused(sh_manager_lookup(manager, "nothing", 1, &nothing), SH_TIMEOUT);
    refused(sh_object_ticket(array, 0, -1, (char **)&nothing), SH_INVALID_ARGUMENT);
    refused(sh_object_call(array, "scale", NULL, 0, -1, &result), SH_INVALID_ARGUMENT);
    sh_datum wrong = sh_nil();
    wrong.tag = 99;
    refused(sh_object_call(array, "scale", &wrong, 1, -1, &result), SH_INVALID_ARGUMENT);
    refused(sh_manager_create(manager, "NoClass", NULL, 0, &nothing), SH_CLASS_NOT_FOUND);
    refused(sh_manager_current(&untouched), SH_REFUSED);
    if (nothing || result || untouched || count != 77) return 2;

    ok(sh_object_drop(NULL));
    ok(sh_unlock(NULL));
    ok(sh_datum_free(NULL));
    ok(sh_object_drop(array));
    ok(sh_object_drop(value));
    ok(sh_type_drop(f64));
    ok(sh_type_drop(u64));
    ok(sh_manager_drop(manager));
    free(wild);
    puts("refused");
    return 0;
}
