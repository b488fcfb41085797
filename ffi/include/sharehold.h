/*
 * sharehold: shared-memory objects with counted references in any process. Made of ffi/src by `UPDATE_HEADER=1 cargo test -p sharehold-ffi header`.
 *
 * Every function returns a status: SH_OK, or why it failed, which sh_last_error() says in words. The receiver comes first, results come last and are written only on success.
 * NULL and misaligned pointers are SH_INVALID_ARGUMENT where they are not allowed. A pointer to something else than the type says is undefined, as is one that was dropped.
 * What a function gives belongs to the caller, who drops it by the function that is named there. Texts are UTF-8.
 */

#ifndef SHAREHOLD_H
#define SHAREHOLD_H

#include <stddef.h>
#include <stdint.h>

/*
 Nothing.
 */
#define SH_NIL 0

/*
 `of.integer` is 0 or 1.
 */
#define SH_BOOL 1

/*
 `of.integer`.
 */
#define SH_INT 2

/*
 `of.natural`: what is too large for SH_INT.
 */
#define SH_UINT 3

/*
 `of.real`.
 */
#define SH_FLOAT 4

/*
 `of.bytes` is UTF-8. What the library gives has a zero behind it.
 */
#define SH_TEXT 5

/*
 `of.bytes`.
 */
#define SH_BYTES 6

/*
 `of.items`.
 */
#define SH_LIST 7

/*
 `of.items`: a key, its value, the next key, and so on.
 */
#define SH_MAP 8

/*
 `of.object`.
 */
#define SH_OBJECT 9

/*
 Plain data of one type, changed as a whole.
 */
#define SH_KIND_VALUE 1

/*
 Plain data, changed in place.
 */
#define SH_KIND_ARRAY 2

/*
 An archive of Rust.
 */
#define SH_KIND_ARCHIVE 3

/*
 An object of a class, whose methods are called.
 */
#define SH_KIND_HOSTED 4

/*
 Plain data that the kernel keeps from being changed.
 */
#define SH_KIND_FROZEN 5

/*
 A queue of objects.
 */
#define SH_KIND_CHANNEL 6

/*
 A class: what can be made and called. One thread at a time.
 */
typedef struct sh_class sh_class;

/*
 A lock on an array, of one thread: the one that took it gives it back.
 */
typedef struct sh_lock sh_lock;

/*
 A process's handle on a broker. Any threads may use it at once; whoever drops it lets nobody else use it meanwhile.
 */
typedef struct sh_manager sh_manager;

/*
 A counted reference to an object in shared memory, or in a broker. Any threads may use it at once; whoever drops it lets nobody else use it meanwhile.
 */
typedef struct sh_object sh_object;

/*
 An end of a channel that receives. One thread at a time; threads that receive at the same time have one each.
 */
typedef struct sh_receiver sh_receiver;

/*
 What a method answers. Valid while the method runs, in its thread.
 */
typedef struct sh_reply sh_reply;

/*
 An end of a channel that sends. One thread at a time; threads that send at the same time have one each.
 */
typedef struct sh_sender sh_sender;

/*
 A type of values or of an array's elements. It never changes: any threads may use it at once.
 */
typedef struct sh_type sh_type;

/*
 How a function went: SH_OK, or why it failed. The numbers are never reused.
 */
typedef uint32_t sh_status;

/*
 Bytes somewhere.
 */
typedef struct sh_bytes {
  /*
   Where; may be NULL for none.
   */
  const void *data;
  /*
   How many.
   */
  size_t len;
} sh_bytes;

/*
 Values one behind the other.
 */
typedef struct sh_items {
  /*
   Where; may be NULL for none.
   */
  const struct sh_datum *data;
  /*
   How many.
   */
  size_t len;
} sh_items;

/*
 What a value is, by its tag.
 */
typedef union sh_datum_of {
  /*
   SH_BOOL, SH_INT.
   */
  int64_t integer;
  /*
   SH_UINT.
   */
  uint64_t natural;
  /*
   SH_FLOAT.
   */
  double real;
  /*
   SH_TEXT, SH_BYTES.
   */
  struct sh_bytes bytes;
  /*
   SH_LIST, SH_MAP.
   */
  struct sh_items items;
  /*
   SH_OBJECT.
   */
  const struct sh_object *object;
} sh_datum_of;

/*
 A value of no declared type: an argument or a result. What it points to stays its owner's: functions copy what they take, and what they give is the library's, until sh_datum_free.
 */
typedef struct sh_datum {
  /*
   SH_NIL and so on.
   */
  uint32_t tag;
  /*
   What belongs to the tag.
   */
  union sh_datum_of of;
} sh_datum;

/*
 Makes the state of a new object out of arguments. Any thread; called at the same time for several objects. What it returns, SH_OK or why not, is the answer; sh_reply_fail says more.
 */
typedef sh_status (*sh_make)(void *context, const struct sh_datum *arguments, size_t count, void **state, struct sh_reply *reply);

/*
 Frees the state of an object, when nothing refers to it any more. Any thread.
 */
typedef void (*sh_drop)(void *state);

/*
 A method of an object, in any thread; `context` is what it was registered with. SH_OK: the answer is what was given to sh_reply_return, else nil.
 */
typedef sh_status (*sh_method)(void *state, void *context, const struct sh_datum *arguments, size_t count, struct sh_reply *reply);

/*
 How to start, serve or connect. All that is zero is as usual; NULL instead of it, too.
 */
typedef struct sh_options {
  /*
   `sizeof(sh_options)`.
   */
  size_t size;
  /*
   The name of the broker that is started or served; of one that is started it may be NULL: then it has a name that nobody else has.
   */
  const char *name;
  /*
   Bytes of objects that there is room for.
   */
  uint64_t capacity;
  /*
   Most objects.
   */
  uint32_t objects;
  /*
   Most processes, the broker included.
   */
  uint32_t sessions;
  /*
   The secret that the broker and its clients share.
   */
  struct sh_bytes authkey;
  /*
   How long creating objects waits for room.
   */
  uint64_t room_ms;
  /*
   How long connecting waits for the broker to serve.
   */
  uint64_t connect_ms;
  /*
   Not 0: the region is mapped for reading.
   */
  uint32_t read_only;
  /*
   Not 0: a broker's process can be traced by others of its user.
   */
  uint32_t debuggable;
  /*
   What is run as the broker that is started, which calls sh_serve_parent: a program and its arguments, then NULL. NULL: this program is run again, and never comes to `main`.
   */
  const char *const *command;
} sh_options;

/*
 A field of a struct.
 */
typedef struct sh_field {
  /*
   Its name.
   */
  const char *name;
  /*
   Its offset in bytes.
   */
  size_t offset;
  /*
   Its type.
   */
  const struct sh_type *of;
} sh_field;

/*
 Changes a value in place; `context` is what was given with the function.
 */
typedef void (*sh_change)(void *value, void *context);

/*
 It went well.
 */
#define SH_OK 0

/*
 A system call failed; the source says which way.
 */
#define SH_OS 1

/*
 No broker of this name runs.
 */
#define SH_BROKER_NOT_FOUND 2

/*
 The broker ended or closed the connection.
 */
#define SH_BROKER_GONE 3

/*
 A broker of this name runs already.
 */
#define SH_BROKER_EXISTS 4

/*
 The two processes were built with different layouts of the region.
 */
#define SH_LAYOUT_MISMATCH 5

/*
 The object has another type than the one asked for.
 */
#define SH_TYPE_MISMATCH 6

/*
 The object is gone, or the id never named one.
 */
#define SH_GONE 7

/*
 The text or bytes are not a ticket.
 */
#define SH_TICKET_MALFORMED 8

/*
 The ticket was not made by this broker's processes.
 */
#define SH_TICKET_FORGED 9

/*
 All uses of the ticket are taken.
 */
#define SH_TICKET_SPENT 10

/*
 The ticket's deadline has passed.
 */
#define SH_TICKET_EXPIRED 11

/*
 The ticket belongs to another broker.
 */
#define SH_TICKET_FOREIGN 12

/*
 The name holds an object already.
 */
#define SH_NAME_TAKEN 13

/*
 No object is published under this name.
 */
#define SH_NAME_NOT_FOUND 14

/*
 The time allowed ran out.
 */
#define SH_TIMEOUT 15

/*
 The region has no free piece of this size, or the system no memory.
 */
#define SH_REGION_FULL 16

/*
 A table of the region (sessions, objects, tickets, names, types) is full.
 */
#define SH_TABLE_FULL 17

/*
 The object is sealed: it can't be changed any more.
 */
#define SH_SEALED 18

/*
 The object is not sealed: it can't be read without a guard.
 */
#define SH_NOT_SEALED 19

/*
 A process died while it changed the object.
 */
#define SH_POISONED 20

/*
 An argument is out of range.
 */
#define SH_INVALID_ARGUMENT 21

/*
 The other side sent something that is not of the protocol.
 */
#define SH_PROTOCOL 22

/*
 The broker refused the peer or the request.
 */
#define SH_REFUSED 23

/*
 Something in the region can't be what was written there.
 */
#define SH_DAMAGED 24

/*
 The bytes are not a valid archive of this type.
 */
#define SH_ARCHIVE_INVALID 25

/*
 The proxy was inherited through `fork`; it does nothing in this process.
 */
#define SH_FORKED 26

/*
 The broker has no class of this name.
 */
#define SH_CLASS_NOT_FOUND 27

/*
 The class has no method of this name.
 */
#define SH_METHOD_NOT_FOUND 28

/*
 A method returned an error.
 */
#define SH_METHOD_FAILED 29

/*
 A method panicked.
 */
#define SH_METHOD_PANICKED 30

/*
 The call was cancelled by its caller.
 */
#define SH_CANCELLED 31

/*
 A value can't be written as an argument or a result.
 */
#define SH_UNSERIALIZABLE 32

/*
 Two calls wait for each other's objects; this one gave way.
 */
#define SH_DEADLOCK 33

/*
 The hosted object was in the memory of a broker that has died, and nobody can bring it back.
 */
#define SH_LOST 34

/*
 The manager only reads: it has the region mapped for reading, and changes nothing.
 */
#define SH_READ_ONLY 35

/*
 The broker's authkey is another one than the client's, or one of them has none.
 */
#define SH_WRONG_AUTHKEY 36

/*
 Too many wrong authkeys came from this user; the message says when the next one is looked at.
 */
#define SH_TOO_MANY_TRIES 37

/*
 All senders of a channel are gone, or all receivers, or it was closed.
 */
#define SH_DISCONNECTED 38

/*
 The channel is full.
 */
#define SH_CHANNEL_FULL 39

/*
 A mistake in this library; what was begun may be half done.
 */
#define SH_INTERNAL 1000

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Shares a copy of `count` elements; of zeros if `elements` is NULL. Any thread. The object is to be dropped by sh_object_drop.
 */
sh_status sh_array_new(const struct sh_manager *manager, const struct sh_type *of, const void *elements, size_t count, struct sh_object **object);

/*
 Shares a copy of bytes that nobody can change: an array of "u8" that is sealed. Any thread. The object is to be dropped by sh_object_drop; sh_object_sealed gives the bytes.
 */
sh_status sh_bytes_new(const struct sh_manager *manager,
                       const void *data,
                       size_t len,
                       struct sh_object **object);

/*
 Waits until nobody writes the array, which is of this type, at most `timeout_ms`, without limit if it is negative, and keeps writers out until the lock is given to sh_unlock: `elements` and `count` are what is
 there, in place. This thread must not write the array meanwhile, not even through another object.
 */
sh_status sh_array_read(const struct sh_object *object,
                        const struct sh_type *of,
                        int64_t timeout_ms,
                        const void **elements,
                        size_t *count,
                        struct sh_lock **lock);

/*
 As sh_array_read, to write: also waits for readers, and keeps them out. If the process dies before sh_unlock, others get SH_POISONED. The lock is this thread's.
 */
sh_status sh_array_write(const struct sh_object *object,
                         const struct sh_type *of,
                         int64_t timeout_ms,
                         void **elements,
                         size_t *count,
                         struct sh_lock **lock);

/*
 Gives a lock back, in the thread that took it. The elements must not be used any more. NULL is nothing.
 */
sh_status sh_unlock(struct sh_lock *lock);

/*
 Whether a writer of the array has died while it wrote. Any thread.
 */
sh_status sh_array_is_poisoned(const struct sh_object *object, uint32_t *is_poisoned);

/*
 Shares a copy of `count` elements that the kernel keeps from being changed, by whatever process. It costs a descriptor in each process that reads it. Any thread. The object is to be dropped by sh_object_drop;
 sh_object_sealed gives the elements.
 */
sh_status sh_frozen_new(const struct sh_manager *manager,
                        const struct sh_type *of,
                        const void *elements,
                        size_t count,
                        struct sh_object **object);

/*
 What the last function that failed in this thread has to say, as text in UTF-8. Empty if none has failed. Valid until the next one fails in this thread; not to be freed.
 */
const char *sh_last_error(void);

/*
 Frees texts and bytes that this library has allocated. NULL is nothing to free. Any thread.
 */
sh_status sh_free(void *memory);

/*
 Makes a queue of objects of any kind, with room for `capacity` of them, rounded up to a power of two; with `single` not 0 for one sender and one receiver at a time. In Rust it is a `Channel<Object>`. It is an
 object like any other: it is published, and has tickets. Any thread. To be dropped by sh_object_drop.
 */
sh_status sh_channel_new(const struct sh_manager *manager,
                         size_t capacity,
                         uint32_t single,
                         struct sh_object **object);

/*
 Opens a channel to send. Any thread. To be dropped by sh_sender_drop.
 */
sh_status sh_channel_sender(const struct sh_object *channel, struct sh_sender **sender);

/*
 Opens a channel to receive. Any thread. To be dropped by sh_receiver_drop.
 */
sh_status sh_channel_receiver(const struct sh_object *channel, struct sh_receiver **receiver);

/*
 Closes a channel for good: nothing is sent any more, and what is in it is received until it is empty. All who wait are woken. Any thread.
 */
sh_status sh_channel_close(const struct sh_object *channel);

/*
 Sends an object: one more reference to it, which belongs to the channel until somebody has received it; the caller keeps its own. Waits for room at most `timeout_ms`, without limit if it is negative. One thread at
 a time. SH_DISCONNECTED if there were receivers and all are gone, or the channel was closed.
 */
sh_status sh_sender_send(const struct sh_sender *sender,
                         const struct sh_object *object,
                         int64_t timeout_ms);

/*
 The oldest object in the channel. Waits for one at most `timeout_ms`, without limit if it is negative. One thread at a time. SH_DISCONNECTED if the channel is empty, and was closed or had senders and has none. The
 object is to be dropped by sh_object_drop.
 */
sh_status sh_receiver_receive(const struct sh_receiver *receiver,
                              int64_t timeout_ms,
                              struct sh_object **object);

/*
 Gives an end up, which no other thread uses meanwhile. NULL is nothing.
 */
sh_status sh_sender_drop(struct sh_sender *sender);

/*
 Gives an end up, which no other thread uses meanwhile. NULL is nothing.
 */
sh_status sh_receiver_drop(struct sh_receiver *receiver);

/*
 A class whose objects `make` makes and `drop`, if it is not NULL, frees. `context` is given to `make`, and must live as long as the class is served. `signature` is for errors and lists, as "factor: f64". Any thread. To be
 dropped by sh_class_drop, which a broker that serves it does not mind.
 */
sh_status sh_class_new(const char *name,
                       const char *signature,
                       sh_make make,
                       sh_drop drop,
                       void *context,
                       struct sh_class **class_);

/*
 Adds a method. Those with `changes` 0 run together on one object, others alone. `context` is given to it, and must live as long as the class is served. `signature` is as in sh_class_new. One thread at a time.
 */
sh_status sh_class_method(struct sh_class *class_,
                          const char *name,
                          const char *signature,
                          sh_method method,
                          void *context,
                          uint32_t changes);

/*
 Drops a class, which no other thread uses meanwhile. NULL is nothing.
 */
sh_status sh_class_drop(struct sh_class *class_);

/*
 Runs a broker with these classes in this process, until SIGTERM, SIGINT or SIGHUP comes or a client ends it. Call it early in `main`: the signals are blocked in this thread and those it starts.
 */
sh_status sh_serve(const struct sh_options *options,
                   const struct sh_class *const *classes,
                   size_t count);

/*
 Serves these classes to the process that has run this one by `sh_options.command`, until that ends. The standard input ties the two: nobody else may read from it. Call it in the thread of `main`.
 */
sh_status sh_serve_parent(const struct sh_class *const *classes,
                          size_t count);

/*
 Sets what a method answers. What is in it is copied. In the thread that runs the method.
 */
sh_status sh_reply_return(struct sh_reply *reply, const struct sh_datum *result);

/*
 Makes the call fail: the caller gets SH_METHOD_FAILED with this text. `type_name` says what kind of error it is. In the thread that runs the method.
 */
sh_status sh_reply_fail(struct sh_reply *reply, const char *type_name, const char *message);

/*
 Frees a value that the library has given, with all in it. NULL is nothing. Any thread.
 */
sh_status sh_datum_free(const struct sh_datum *datum);

/*
 The value of a text key in a map, which belongs to the map; NULL if there is no such key. Any thread.
 */
sh_status sh_datum_get(const struct sh_datum *map, const char *key, const struct sh_datum **value);

/*
 A value as bytes of MessagePack. No objects can be in it. `bytes.data` is to be freed by sh_free. Any thread.
 */
sh_status sh_datum_to_msgpack(const struct sh_datum *datum, struct sh_bytes *bytes);

/*
 The value in bytes of MessagePack. To be freed by sh_datum_free. Any thread.
 */
sh_status sh_datum_from_msgpack(struct sh_bytes bytes, const struct sh_datum **datum);

/*
 Starts a broker as a child process and connects to it. It ends with this process's last manager and object. Any thread. To be dropped by sh_manager_drop.
 */
sh_status sh_manager_start(const struct sh_options *options, struct sh_manager **manager);

/*
 Joins the broker of this name. Any thread. To be dropped by sh_manager_drop.
 */
sh_status sh_manager_connect(const char *name, const struct sh_options *options, struct sh_manager **manager);

/*
 The manager of the broker that runs this method: in a thread that runs one. To be dropped by sh_manager_drop, in the method.
 */
sh_status sh_manager_current(struct sh_manager **manager);

/*
 The manager of the broker that an object belongs to, for those who have got the object by its ticket. Any thread. To be dropped by sh_manager_drop.
 */
sh_status sh_manager_of(const struct sh_object *object, struct sh_manager **manager);

/*
 Gives a manager up, which no other thread uses meanwhile. Objects that were made by it stay. NULL is nothing.
 */
sh_status sh_manager_drop(struct sh_manager *manager);

/*
 The broker's name. Any thread. To be freed by sh_free.
 */
sh_status sh_manager_name(const struct sh_manager *manager, char **name);

/*
 Ends the broker in order. Any thread.
 */
sh_status sh_manager_shutdown(const struct sh_manager *manager);

/*
 Makes an object of a class in the broker. Any thread. To be dropped by sh_object_drop.
 */
sh_status sh_manager_create(const struct sh_manager *manager, const char *class_, const struct sh_datum *arguments, size_t count, struct sh_object **object);

/*
 Publishes an object under a name, which holds it until it is removed; with `replace` not 0 takes the name over if another object has it. Any thread.
 */
sh_status sh_manager_publish(const struct sh_manager *manager, const char *name, const struct sh_object *object, uint32_t replace);

/*
 The object that is published under a name; waits for it at most `timeout_ms`, without limit if it is negative, not at all if it is 0. Any thread. To be dropped by sh_object_drop.
 */
sh_status sh_manager_lookup(const struct sh_manager *manager,
                            const char *name,
                            int64_t timeout_ms,
                            struct sh_object **object);

/*
 Removes a name; its object dies if nothing else holds it. Any thread.
 */
sh_status sh_manager_unpublish(const struct sh_manager *manager, const char *name);

/*
 Every live object and who holds it: a list of maps with `id`, `kind`, `type_name`, `bytes`, `sealed`, `pins` and `holders`. To be freed by sh_datum_free. Any thread.
 */
sh_status sh_manager_debug_info(const struct sh_manager *manager,
                                const struct sh_datum **info);

/*
 How full the broker is: a map with `objects`, `sessions`, `heap_used`, `heap_capacity` and others. To be freed by sh_datum_free. Any thread.
 */
sh_status sh_manager_stats(const struct sh_manager *manager, const struct sh_datum **stats);

/*
 Another counted reference to the same object. Any thread. To be dropped by sh_object_drop.
 */
sh_status sh_object_clone(const struct sh_object *object, struct sh_object **clone);

/*
 Gives a reference up, which no other thread uses meanwhile; the object dies with the last one. NULL is nothing. Locks on it are given back before.
 */
sh_status sh_object_drop(struct sh_object *object);

/*
 What kind of object it is: SH_KIND_VALUE and so on. Any thread.
 */
sh_status sh_object_kind(const struct sh_object *object, uint32_t *kind);

/*
 The type of a value, or of an array's elements. Any thread. To be dropped by sh_type_drop.
 */
sh_status sh_object_type(const struct sh_object *object, struct sh_type **of);

/*
 Refuses an object that is not plain data of this type, with SH_TYPE_MISMATCH; tells which kind it is: SH_KIND_VALUE, SH_KIND_ARRAY or SH_KIND_FROZEN. Any thread.
 */
sh_status sh_object_expect(const struct sh_object *object,
                           const struct sh_type *of,
                           uint32_t *kind);

/*
 The name of its type, of its elements' type or of its class. Any thread. To be freed by sh_free.
 */
sh_status sh_object_type_name(const struct sh_object *object, char **name);

/*
 What names it in lists and errors, the same in every process: `id` in sh_manager_debug_info. Any thread. To be freed by sh_free.
 */
sh_status sh_object_id(const struct sh_object *object, char **id);

/*
 How many elements an array has, or how many objects are in a channel; of a value 1. Any thread.
 */
sh_status sh_object_len(const struct sh_object *object, size_t *len);

/*
 How many references to it there are in all processes, tickets and names not counted. Any thread.
 */
sh_status sh_object_count(const struct sh_object *object, uint64_t *count);

/*
 Makes a value or an array immutable for ever, in all processes. Waits for its readers and writers. Any thread.
 */
sh_status sh_object_seal(const struct sh_object *object);

/*
 Whether nobody can change it any more. Any thread.
 */
sh_status sh_object_is_sealed(const struct sh_object *object, uint32_t *is_sealed);

/*
 What is in a value or an array of this type that nobody can change, since it was sealed or frozen: `count` elements, of a value one. Without a lock, valid as long as `object` is held. Any thread.
 */
sh_status sh_object_sealed(const struct sh_object *object,
                           const struct sh_type *of,
                           const void **elements,
                           size_t *count);

/*
 Takes the mark of a writer of an array that has died away, or of a method that has panicked: the caller puts right what is there. Any thread.
 */
sh_status sh_object_clear_poison(const struct sh_object *object);

/*
 A text that stands for the object and keeps it alive until other processes have made objects of it, `uses` times, or the time is over; without limit if `timeout_ms` is negative. Any thread. To be freed by
 sh_free, which does not end the ticket.
 */
sh_status sh_object_ticket(const struct sh_object *object,
                           uint32_t uses,
                           int64_t timeout_ms,
                           char **ticket);

/*
 Takes one use of a ticket and gives the object; connects to its broker if this process has not. Any thread. The object is to be dropped by sh_object_drop.
 */
sh_status sh_redeem(const char *ticket, struct sh_object **object);

/*
 Calls a method of an object of a class. The result, which waits at most `timeout_ms`, without limit if it is negative, is to be freed by sh_datum_free. Any thread.
 */
sh_status sh_object_call(const struct sh_object *object,
                         const char *method,
                         const struct sh_datum *arguments,
                         size_t count,
                         int64_t timeout_ms,
                         const struct sh_datum **result);

/*
 As sh_object_call, with a list of arguments and a result in MessagePack. No objects can be in them. Any thread. `result.data` is to be freed by sh_free.
 */
sh_status sh_object_call_msgpack(const struct sh_object *object, const char *method, struct sh_bytes arguments, int64_t timeout_ms, struct sh_bytes *result);

/*
 The type of a number by its name in Rust: "u8" to "u128", "i8" to "i128", "usize", "isize", "f32", "f64". Any thread. To be dropped by sh_type_drop.
 */
sh_status sh_type_number(const char *name, struct sh_type **of);

/*
 The type of `count` elements, one behind the other, as one. Any thread. To be dropped by sh_type_drop.
 */
sh_status sh_type_array(const struct sh_type *element, size_t count, struct sh_type **of);

/*
 The type of a struct of `size` bytes, which is that of a struct in Rust with the same name and fields. The fields stand one behind the other, aligned, without
 gaps. Any thread. To be dropped by sh_type_drop; the types of the fields may be dropped before.
 */
sh_status sh_type_struct(const char *name, size_t size, const struct sh_field *fields, size_t count, struct sh_type **of);

/*
 Bytes of one value of the type. Any thread.
 */
sh_status sh_type_size(const struct sh_type *of, size_t *size);

/*
 Its name, as others see it in lists and errors. Any thread. To be freed by sh_free.
 */
sh_status sh_type_name(const struct sh_type *of, char **name);

/*
 The number that tells it from other types, in all languages: of its name, size and alignment, and of the name, place and type of every field. Any thread.
 */
sh_status sh_type_tag(const struct sh_type *of, uint64_t *tag);

/*
 Drops a type, which no other thread uses meanwhile. NULL is nothing.
 */
sh_status sh_type_drop(struct sh_type *of);

/*
 Shares a copy of a value. Any thread. The object is to be dropped by sh_object_drop.
 */
sh_status sh_value_new(const struct sh_manager *manager, const struct sh_type *of, const void *value, struct sh_object **object);

/*
 Copies the value out, which is of this type. Never torn, and never waits. Any thread.
 */
sh_status sh_value_get(const struct sh_object *object, const struct sh_type *of, void *value);

/*
 Replaces the value, which is of this type. Any thread.
 */
sh_status sh_value_set(const struct sh_object *object, const struct sh_type *of, const void *value);

/*
 Changes the value, which is of this type, while nobody else does: waits at most `timeout_ms` for others, without limit if it is negative. Any thread; `change` is called in this one, must return, and
 must not change this value by other functions. If the process dies in it, the value stays as it was.
 */
sh_status sh_value_update(const struct sh_object *object,
                          const struct sh_type *of,
                          int64_t timeout_ms,
                          sh_change change,
                          void *context);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHAREHOLD_H */

/* Values to give: arguments of calls, and answers of methods. What they point to is the caller's. */
static inline sh_datum sh_nil(void) { sh_datum d; d.tag = SH_NIL; d.of.integer = 0; return d; }
static inline sh_datum sh_bool(int value) { sh_datum d; d.tag = SH_BOOL; d.of.integer = value != 0; return d; }
static inline sh_datum sh_int(int64_t value) { sh_datum d; d.tag = SH_INT; d.of.integer = value; return d; }
static inline sh_datum sh_float(double value) { sh_datum d; d.tag = SH_FLOAT; d.of.real = value; return d; }
static inline sh_datum sh_text(const char *text) {
    sh_datum d;
    d.tag = SH_TEXT;
    d.of.bytes.data = text;
    d.of.bytes.len = 0;
    while (text[d.of.bytes.len]) d.of.bytes.len++;
    return d;
}
static inline sh_datum sh_of_object(const sh_object *object) { sh_datum d; d.tag = SH_OBJECT; d.of.object = object; return d; }
