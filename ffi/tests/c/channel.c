/* A queue: what is sent arrives in order, whoever waits is woken, and all ends in order. */
#include "check.h"
#include <pthread.h>

enum { COUNT = 200 };

static sh_object *channel;
static sh_manager *manager;
static sh_type *u64;

static void *sends(void *unused) {
    sh_sender *sender;
    (void)unused;
    OK(sh_channel_sender(channel, &sender));
    for (uint64_t number = 0; number < COUNT; number++) {
        sh_object *value;
        OK(sh_value_new(manager, u64, &number, &value));
        OK(sh_sender_send(sender, value, -1));
        OK(sh_object_drop(value));
    }
    OK(sh_sender_drop(sender));
    return NULL;
}

int main(void) {
    sh_options options = options_of(NULL);
    OK(sh_manager_start(&options, &manager));
    OK(sh_type_number("u64", &u64));
    OK(sh_channel_new(manager, 4, 0, &channel));
    uint32_t kind;
    OK(sh_object_kind(channel, &kind));
    HOLDS(kind == SH_KIND_CHANNEL);
    sh_receiver *receiver;
    OK(sh_channel_receiver(channel, &receiver));
    sh_object *received = NULL;
    REFUSED(sh_receiver_receive(receiver, 1, &received), SH_TIMEOUT);
    HOLDS(received == NULL);

    pthread_t thread;
    HOLDS(pthread_create(&thread, NULL, sends, NULL) == 0);
    for (uint64_t wanted = 0; wanted < COUNT; wanted++) {
        uint64_t number;
        OK(sh_receiver_receive(receiver, -1, &received));
        OK(sh_value_get(received, u64, &number));
        HOLDS(number == wanted);
        OK(sh_object_drop(received));
    }
    HOLDS(pthread_join(thread, NULL) == 0);
    /* There was a sender, and there is none any more. */
    REFUSED(sh_receiver_receive(receiver, -1, &received), SH_DISCONNECTED);

    /* What is in it belongs to it. */
    sh_sender *sender;
    uint64_t references;
    size_t len;
    OK(sh_channel_sender(channel, &sender));
    sh_object *value;
    uint64_t number = 7;
    OK(sh_value_new(manager, u64, &number, &value));
    for (int at = 0; at < 4; at++) OK(sh_sender_send(sender, value, 0));
    REFUSED(sh_sender_send(sender, value, 1), SH_TIMEOUT);
    REFUSED(sh_sender_send(sender, channel, 0), SH_INVALID_ARGUMENT);
    OK(sh_object_count(value, &references));
    HOLDS(references == 1);
    OK(sh_object_len(channel, &len));
    HOLDS(len == 4);
    OK(sh_channel_close(channel));
    REFUSED(sh_sender_send(sender, value, -1), SH_DISCONNECTED);
    OK(sh_object_drop(value));
    OK(sh_receiver_receive(receiver, -1, &value));
    OK(sh_value_get(value, u64, &number));
    HOLDS(number == 7);
    OK(sh_object_drop(value));
    OK(sh_sender_drop(sender));
    OK(sh_receiver_drop(receiver));
    OK(sh_object_drop(channel));

    /* For one sender and one receiver. */
    sh_sender *second;
    OK(sh_channel_new(manager, 1, 1, &channel));
    OK(sh_channel_sender(channel, &sender));
    REFUSED(sh_channel_sender(channel, &second), SH_REFUSED);
    OK(sh_sender_drop(sender));
    OK(sh_object_drop(channel));
    sh_object *list;
    OK(sh_manager_create(manager, "List", NULL, 0, &list));
    REFUSED(sh_channel_receiver(list, &receiver), SH_TYPE_MISMATCH);
    OK(sh_object_drop(list));

    const sh_datum *stats, *objects;
    OK(sh_manager_stats(manager, &stats));
    OK(sh_datum_get(stats, "objects", &objects));
    HOLDS(objects->of.integer == 0);
    OK(sh_datum_free(stats));
    OK(sh_type_drop(u64));
    OK(sh_manager_drop(manager));
    puts("channel");
    return 0;
}
