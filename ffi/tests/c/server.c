/* A server of one's own, with a secret and a class, whose methods make objects, fail, and sleep. */
#include "check.h"
#include <pthread.h>

static const char key[] = "0123456789abcdef0123456789abcdef";

typedef struct {
    int64_t total;
} till;

static int made, dropped;

static sh_status make(void *context, const sh_datum *arguments, size_t count, void **state, sh_reply *reply) {
    (void)arguments;
    if (count) return sh_reply_fail(reply, "TypeError", "it takes nothing");
    till *it = malloc(sizeof *it);
    if (!it) return SH_OS;
    it->total = *(const int64_t *)context;
    made++;
    *state = it;
    return SH_OK;
}

static void drop(void *state) {
    dropped++;
    free(state);
}

/* Adds, so many times as its context says. */
static sh_status add(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    till *it = state;
    if (count != 1 || arguments[0].tag != SH_INT) return sh_reply_fail(reply, "TypeError", "it takes a number");
    it->total += arguments[0].of.integer * *(const int64_t *)context;
    sh_datum answer = sh_int(it->total);
    return sh_reply_return(reply, &answer);
}

/* An array that the method makes, with what it has. */
static sh_status receipt(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    sh_manager *manager;
    sh_type *i64;
    sh_object *array;
    sh_status status;
    (void)context, (void)arguments, (void)count;
    if ((status = sh_manager_current(&manager)) != SH_OK) return status;
    if ((status = sh_type_number("i64", &i64)) == SH_OK) {
        if ((status = sh_array_new(manager, i64, &((till *)state)->total, 1, &array)) == SH_OK) {
            sh_datum answer = sh_of_object(array);
            status = sh_reply_return(reply, &answer);
            sh_object_drop(array);
        }
        sh_type_drop(i64);
    }
    sh_manager_drop(manager);
    return status;
}

/* What a function of the library says is what the caller hears. */
static sh_status search(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    sh_object *nothing;
    (void)state, (void)context, (void)arguments, (void)count, (void)reply;
    return sh_redeem("no ticket", &nothing);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static int is_awake;

/* Until somebody wakes it: longer than its caller waits. */
static sh_status sleep_on(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    (void)state, (void)context, (void)arguments, (void)count, (void)reply;
    pthread_mutex_lock(&lock);
    while (!is_awake) pthread_cond_wait(&woken, &lock);
    pthread_mutex_unlock(&lock);
    return SH_OK;
}

static sh_status wake(void *state, void *context, const sh_datum *arguments, size_t count, sh_reply *reply) {
    (void)state, (void)context, (void)arguments, (void)count, (void)reply;
    pthread_mutex_lock(&lock);
    is_awake = 1;
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&lock);
    return SH_OK;
}

static int serve(const char *name) {
    int64_t start = 40, factor = 2;
    sh_class *class, *wrong;
    REFUSED(sh_class_new("", "", make, drop, &start, &wrong), SH_INVALID_ARGUMENT);
    REFUSED(sh_class_new("Till", "", NULL, drop, &start, &wrong), SH_INVALID_ARGUMENT);
    OK(sh_class_new("Till", "", make, drop, &start, &class));
    REFUSED(sh_class_method(class, "add", "", NULL, NULL, 0), SH_INVALID_ARGUMENT);
    OK(sh_class_method(class, "add", "n: int", add, &factor, 1));
    OK(sh_class_method(class, "receipt", "", receipt, NULL, 0));
    OK(sh_class_method(class, "search", "", search, NULL, 0));
    OK(sh_class_method(class, "sleep", "", sleep_on, NULL, 0));
    OK(sh_class_method(class, "wake", "", wake, NULL, 0));
    sh_options options = options_of(name);
    options.authkey.data = key;
    options.authkey.len = sizeof key - 1;
    const sh_class *const classes[] = {class};
    OK(sh_serve(&options, classes, 1));
    OK(sh_class_drop(class));
    HOLDS(made == 1 && dropped == 1);
    return 5;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    char name[64];
    snprintf(name, sizeof name, "till-%d", (int)getpid());
    pid_t server = run_again(argv[0], "serve", name);
    sh_manager *manager, *reader;
    sh_options options = options_of(NULL);
    options.connect_ms = 600000;
    options.authkey.data = key;
    options.authkey.len = sizeof key - 1;
    OK(sh_manager_connect(name, &options, &manager));
    /* A session of another kind, which has yet to prove that it may. */
    options.read_only = 1;
    options.authkey.data = "fedcba9876543210fedcba9876543210";
    REFUSED(sh_manager_connect(name, &options, &reader), SH_WRONG_AUTHKEY);
    options.authkey.data = key;
    OK(sh_manager_connect(name, &options, &reader));

    sh_object *till, *array, *nothing = NULL;
    const sh_datum *result = NULL;
    OK(sh_manager_create(manager, "Till", NULL, 0, &till));
    sh_datum number = sh_int(1);
    REFUSED(sh_manager_create(manager, "Till", &number, 1, &nothing), SH_METHOD_FAILED);
    OK(sh_object_call(till, "add", &number, 1, 600000, &result));
    HOLDS(result->tag == SH_INT && result->of.integer == 42);
    OK(sh_datum_free(result));
    OK(sh_object_call(till, "receipt", NULL, 0, -1, &result));
    HOLDS(result->tag == SH_OBJECT);
    OK(sh_object_clone(result->of.object, &array));
    OK(sh_datum_free(result));
    sh_type *i64;
    const void *place;
    size_t count;
    sh_lock *lock;
    OK(sh_type_number("i64", &i64));
    OK(sh_array_read(array, i64, -1, &place, &count, &lock));
    HOLDS(count == 1 && *(const int64_t *)place == 42);
    OK(sh_unlock(lock));
    REFUSED(sh_object_call(till, "search", NULL, 0, -1, &result), SH_METHOD_FAILED);
    HOLDS(strstr(sh_last_error(), "ticket"));
    REFUSED(sh_object_call(till, "sleep", NULL, 0, 20, &result), SH_TIMEOUT);
    OK(sh_object_call(till, "wake", NULL, 0, -1, &result));
    HOLDS(result->tag == SH_NIL);
    OK(sh_datum_free(result));
    REFUSED(sh_object_call(till, "run", NULL, 0, -1, &result), SH_METHOD_NOT_FOUND);

    /* The same call in bytes. */
    sh_datum list = sh_nil(), first = sh_int(4);
    list.tag = SH_LIST;
    list.of.items.data = &first;
    list.of.items.len = 1;
    sh_bytes packed, answer;
    OK(sh_datum_to_msgpack(&list, &packed));
    OK(sh_object_call_msgpack(till, "add", packed, -1, &answer));
    OK(sh_datum_from_msgpack(answer, &result));
    HOLDS(result->tag == SH_INT && result->of.integer == 50);
    OK(sh_datum_free(result));
    OK(sh_free((void *)packed.data));
    OK(sh_free((void *)answer.data));
    packed.data = "\xc1";
    packed.len = 1;
    REFUSED(sh_datum_from_msgpack(packed, &result), SH_TYPE_MISMATCH);

    /* Who only reads makes nothing. */
    OK(sh_manager_publish(manager, "array", array, 0));
    REFUSED(sh_array_new(reader, i64, NULL, 1, &nothing), SH_READ_ONLY);
    HOLDS(nothing == NULL);

    /* The server ends when it is told to; what it was asked for is not there any more. */
    OK(sh_object_drop(array));
    OK(sh_object_drop(till));
    OK(sh_manager_unpublish(manager, "array"));
    OK(sh_manager_shutdown(manager));
    HOLDS(ended_with(server) == 5);
    REFUSED(sh_manager_create(manager, "Till", NULL, 0, &till), SH_BROKER_GONE);
    OK(sh_type_drop(i64));
    OK(sh_manager_drop(reader));
    OK(sh_manager_drop(manager));
    puts("server");
    return 0;
}
