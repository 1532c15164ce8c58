/* A session through Apache's C client: prints a transcript that has to be the same on every server.
 *
 * Usage: native_session host:port. Where it prints "RESTART" the server is to be killed and started again, and a line
 * to be written to this program's standard input. Times, session ids and transaction ids are not printed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

#define WAIT_S 30
#define EVENTS_MAX 256

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char events[EVENTS_MAX][256];
static int event_count, printed_count, connections, completions;

static void watcher(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    (void)handle;
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT) {
        if (state == ZOO_CONNECTED_STATE)
            connections++;
    } else if (event_count < EVENTS_MAX) {
        snprintf(events[event_count++], sizeof events[0], "event %s type=%d path=%s",
                 context ? (const char *)context : "-", type, path);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Wait until *value is at least `wanted`; ends the program if it does not become so. */
static void wait_for(const char *what, const int *value, int wanted)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&lock);
    while (*value < wanted)
        if (pthread_cond_timedwait(&changed, &lock, &until)) {
            printf("not in time: %s, %d of %d\n", what, *value, wanted);
            exit(3);
        }
    pthread_mutex_unlock(&lock);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* One packet may call several watchers; the library keeps no order among them, so they are sorted. */
static void expect_events(int count)
{
    wait_for("events", &event_count, printed_count + count);
    pthread_mutex_lock(&lock);
    qsort(events[printed_count], (size_t)(event_count - printed_count), sizeof events[0], by_text);
    for (; printed_count < event_count; printed_count++)
        puts(events[printed_count]);
    pthread_mutex_unlock(&lock);
}

static void say(const char *what, int code)
{
    printf("%s: %s\n", what, zerror(code));
}

static void show_stat(const struct Stat *stat)
{
    printf("  version=%d cversion=%d aversion=%d length=%d children=%d ephemeral=%d\n", stat->version, stat->cversion,
           stat->aversion, stat->dataLength, stat->numChildren, stat->ephemeralOwner != 0);
}

static void create(zhandle_t *handle, const char *path, const char *value, const struct ACL_vector *acl, int mode)
{
    char made[256] = "";
    struct Stat stat = {0};
    int code = zoo_create2(handle, path, value, value ? (int)strlen(value) : -1, acl, mode, made, sizeof made, &stat);
    printf("create %s mode=%d: %s %s\n", path, mode, zerror(code), code == ZOK ? made : "");
    if (code == ZOK)
        show_stat(&stat);
}

static void get(zhandle_t *handle, const char *path, char *context)
{
    char value[4096];
    int length = sizeof value;
    struct Stat stat = {0};
    int code = zoo_wget(handle, path, context ? watcher : NULL, context, value, &length, &stat);
    printf("get %s: %s %.*s\n", path, zerror(code), code == ZOK && length > 0 ? length : 0, value);
    if (code == ZOK)
        show_stat(&stat);
}

static void exists(zhandle_t *handle, const char *path, char *context)
{
    struct Stat stat = {0};
    int code = zoo_wexists(handle, path, context ? watcher : NULL, context, &stat);
    printf("exists %s: %s\n", path, zerror(code));
    if (code == ZOK)
        show_stat(&stat);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void children(zhandle_t *handle, const char *path, char *context)
{
    struct String_vector names = {0, NULL};
    struct Stat stat = {0};
    int code = zoo_wget_children2(handle, path, context ? watcher : NULL, context, &names, &stat);
    printf("children %s: %s", path, zerror(code));
    if (code == ZOK) {
        if (names.count)
            qsort(names.data, (size_t)names.count, sizeof *names.data, by_name);
        for (int i = 0; i < names.count; i++)
            printf(" %s", names.data[i]);
        printf("\n");
        show_stat(&stat);
        deallocate_String_vector(&names);
    } else {
        printf("\n");
    }
}

static void set(zhandle_t *handle, const char *path, const char *value, int version)
{
    struct Stat stat = {0};
    int code = zoo_set2(handle, path, value, (int)strlen(value), version, &stat);
    printf("set %s version=%d: %s\n", path, version, zerror(code));
    if (code == ZOK)
        show_stat(&stat);
}

static void multi(zhandle_t *handle, const char *what, int count, zoo_op_t *ops)
{
    zoo_op_result_t results[8] = {0};
    int code = zoo_multi(handle, count, ops, results);
    printf("multi %s: %s\n", what, zerror(code));
    for (int i = 0; i < count; i++)
        printf("  %d %s %s\n", i, zerror(results[i].err), code == ZOK && results[i].value ? results[i].value : "");
}

static void transactions(zhandle_t *handle)
{
    char made[4][256];
    struct Stat stat;
    zoo_op_t ops[4];

    memset(made, 0, sizeof made);
    zoo_create_op_init(&ops[0], "/c/multi", "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, made[0], sizeof made[0]);
    zoo_create_op_init(&ops[1], "/c/multi/s-", "y", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, made[1], sizeof made[1]);
    zoo_set_op_init(&ops[2], "/c/multi", "z", 1, 0, &stat);
    zoo_check_op_init(&ops[3], "/c/multi", 1);
    multi(handle, "that holds", 4, ops);
    get(handle, "/c/multi", NULL);
    children(handle, "/c/multi", NULL);

    zoo_create_op_init(&ops[0], "/c/multi/undone", "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, made[0], sizeof made[0]);
    zoo_check_op_init(&ops[1], "/c/multi", 7);
    zoo_delete_op_init(&ops[2], "/c/multi/s-0000000000", -1);
    zoo_set_op_init(&ops[3], "/c/multi", "w", 1, -1, &stat);
    multi(handle, "that fails", 4, ops);
    children(handle, "/c/multi", NULL);

    zoo_delete_op_init(&ops[0], "/c/multi/s-0000000000", 0);
    zoo_delete_op_init(&ops[1], "/c/multi", -1);
    multi(handle, "of deletions", 2, ops);
    exists(handle, "/c/multi", NULL);
}

static void void_done(int code, const void *data)
{
    pthread_mutex_lock(&lock);
    completions++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (code != ZOK)
        say((const char *)data, code);
}

static void string_done(int code, const char *value, const void *data)
{
    (void)value;
    void_done(code, data);
}

static void rights(zhandle_t *handle, const char *address)
{
    char acl_digest[] = "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=";
    struct Id ann = {"digest", acl_digest};
    struct ACL entries[] = {{ZOO_PERM_ALL, ann}, {ZOO_PERM_READ, ZOO_ANYONE_ID_UNSAFE}};
    struct ACL_vector acl = {2, entries}, found = {0, NULL};
    struct Stat stat = {0};

    create(handle, "/c/hers", "secret", &acl, 0);
    get(handle, "/c/hers", NULL);
    set(handle, "/c/hers", "stolen", -1);
    create(handle, "/c/hers/child", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    create(handle, "/c/auth", "x", &ZOO_CREATOR_ALL_ACL, 0);
    say("set_acl without rights", zoo_set_acl(handle, "/c/hers", -1, &ZOO_OPEN_ACL_UNSAFE));
    say("add_auth", zoo_add_auth(handle, "digest", "ann:secret", 10, void_done, "add_auth"));
    wait_for("authentication", &completions, 1);
    set(handle, "/c/hers", "changed", -1);
    create(handle, "/c/hers/child", "x", &ZOO_READ_ACL_UNSAFE, 0);
    create(handle, "/c/auth", "x", &ZOO_CREATOR_ALL_ACL, 0);
    say("get_acl", zoo_get_acl(handle, "/c/auth", &found, &stat));
    for (int i = 0; i < found.count; i++)
        printf("  %s %s %d\n", found.data[i].id.scheme, found.data[i].id.id, found.data[i].perms);
    show_stat(&stat);
    deallocate_ACL_vector(&found);
    say("set_acl of an old version", zoo_set_acl(handle, "/c/auth", 5, &ZOO_OPEN_ACL_UNSAFE));
    say("set_acl", zoo_set_acl(handle, "/c/auth", 0, &ZOO_OPEN_ACL_UNSAFE));

    int before = connections;
    zhandle_t *other = zookeeper_init(address, watcher, 10000, NULL, NULL, 0);
    wait_for("a second connection", &connections, before + 1);
    get(other, "/c/hers", NULL);
    set(other, "/c/hers", "stolen", -1);
    set(other, "/c/auth", "open", -1);
    create(other, "/c/other-eph", "x", &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL);
    exists(handle, "/c/other-eph", "of-the-other");
    say("close the second", zookeeper_close(other));
    expect_events(1);
}

static void watches(zhandle_t *handle)
{
    create(handle, "/c/w", "0", &ZOO_OPEN_ACL_UNSAFE, 0);
    get(handle, "/c/w", "data");
    exists(handle, "/c/w", "exist");
    children(handle, "/c/w", "child");
    set(handle, "/c/w", "1", 0);
    expect_events(2);
    create(handle, "/c/w/a", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    expect_events(1);
    exists(handle, "/c/w/b", "exist-of-none");
    create(handle, "/c/w/b", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    expect_events(1);
    get(handle, "/c/w/b", "data");
    children(handle, "/c/w/b", "child");
    say("delete", zoo_delete(handle, "/c/w/b", -1));
    expect_events(2);
    say("delete again", zoo_delete(handle, "/c/w/b", -1));
    get(handle, "/c/w", "removed");
    say("remove a watch", zoo_remove_watches(handle, "/c/w", ZWATCHTYPE_DATA, watcher, "removed", 0));
    say("remove it again", zoo_remove_watches(handle, "/c/w", ZWATCHTYPE_DATA, watcher, "removed", 0));
    set(handle, "/c/w", "2", -1);
    say("remove all", zoo_remove_all_watches(handle, "/c/none", ZWATCHTYPE_ANY, 0));
}

static void nodes(zhandle_t *handle)
{
    char value[16], big[3000];
    int length = sizeof value;
    struct Stat stat;

    create(handle, "/c", NULL, &ZOO_OPEN_ACL_UNSAFE, 0);
    create(handle, "/c", "again", &ZOO_OPEN_ACL_UNSAFE, 0);
    create(handle, "/c/none/child", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    create(handle, "/c/", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    create(handle, "/c//x", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    create(handle, "/c/eph", "x", &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL);
    create(handle, "/c/eph/child", "x", &ZOO_OPEN_ACL_UNSAFE, 0);
    for (int i = 0; i < 3; i++)
        create(handle, "/c/seq-", "x", &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE);
    create(handle, "/c/seq-", "x", &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE);
    create(handle, "/c/container", "x", &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER);
    say("create_ttl", zoo_create_ttl(handle, "/c/ttl", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 3600000,
                                     NULL, 0));
    create(handle, "/c/bad", "x", &(struct ACL_vector){0, NULL}, 0);
    create(handle, "/c/unknown-mode", "x", &ZOO_OPEN_ACL_UNSAFE, 99);
    get(handle, "/c", NULL);
    get(handle, "/c/none", NULL);
    set(handle, "/c", "one", 0);
    set(handle, "/c", "two", 0);
    set(handle, "/c/none", "x", -1);
    say("delete with children", zoo_delete(handle, "/c", -1));
    say("delete of another version", zoo_delete(handle, "/c/container", 3));
    say("delete the root", zoo_delete(handle, "/", -1));
    children(handle, "/c", NULL);
    children(handle, "/c/none", NULL);
    children(handle, "/zookeeper", NULL);
    memset(big, 'b', sizeof big);
    big[sizeof big - 1] = 0;
    set(handle, "/c/container", big, -1);
    say("get into a short buffer", zoo_get(handle, "/c/container", 0, value, &length, &stat));
    printf("  %d of %d bytes\n", length, stat.dataLength);
    say("getconfig", zoo_getconfig(handle, 0, value, &length, &stat));
    length = sizeof value;
    say("reconfig", zoo_reconfig(handle, "server.9=127.0.0.1:1:2", NULL, NULL, -1, value, &length, &stat));
}

static void in_flight(zhandle_t *handle)
{
    completions = 0;
    create(handle, "/c/many", "", &ZOO_OPEN_ACL_UNSAFE, 0);
    for (int i = 0; i < 1000; i++)
        zoo_acreate(handle, "/c/many/n-", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, string_done, "acreate");
    wait_for("creations", &completions, 1000);
    zoo_async(handle, "/c/many", string_done, "sync");
    wait_for("sync", &completions, 1001);
    exists(handle, "/c/many", NULL);
    exists(handle, "/c/many/n-0000000999", NULL);
}

int main(int count, char **arguments)
{
    char line[16];

    if (count != 2)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_debug_level(0);
    zhandle_t *handle = zookeeper_init(arguments[1], watcher, 10000, NULL, NULL, 0);
    wait_for("the first connection", &connections, 1);
    printf("timeout %d\n", zoo_recv_timeout(handle));
    nodes(handle);
    watches(handle);
    transactions(handle);
    rights(handle, arguments[1]);
    in_flight(handle);

    int64_t session = zoo_client_id(handle)->client_id;
    int before = connections;
    get(handle, "/c/w", "over-the-restart");
    children(handle, "/c/w", "unfired");
    puts("RESTART");
    if (!fgets(line, sizeof line, stdin))
        return 4;
    wait_for("the connection after it", &connections, before + 1);
    printf("the same session: %d\n", zoo_client_id(handle)->client_id == session);
    exists(handle, "/c/eph", NULL);
    exists(handle, "/c/many", NULL);
    set(handle, "/c/hers", "still ann", -1);
    set(handle, "/c/w", "3", -1);
    expect_events(1);
    create(handle, "/c/seq-", "x", &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE);
    say("close", zookeeper_close(handle));

    before = connections;
    handle = zookeeper_init(arguments[1], watcher, 10000, NULL, NULL, 0);
    wait_for("another connection", &connections, before + 1);
    exists(handle, "/c/eph", NULL);
    children(handle, "/c", NULL);
    say("close", zookeeper_close(handle));
    return 0;
}
