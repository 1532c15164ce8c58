/* zkload: a ZooKeeper wire load generator that costs little CPU.  One thread, epoll, no dependencies.
 *
 *   zkload -h 127.0.0.1:2181,127.0.0.1:2182 -o mixed -r 9:1 -c 32 -w 32 -d 5 -u 1 -n 1000 -s 100
 *
 *   -h LIST   host:port (IPv4), sessions are spread over them round robin
 *   -o OP     get exists set create cd(create+delete) mixed(get:set as -r)
 *             fill   create the n nodes (needed once before get/exists/set/mixed)
 *             sweep  set each of the n nodes once
 *             idle   hold the sessions for -d seconds, pinging as a client does
 *             watch  every session watches one node, one write fires them all, -k rounds
 *             watches every session sets a data watch on each of the n nodes, then holds them for -d seconds
 *             echo   no ZooKeeper: 4-byte-framed messages of -s bytes to an echo server
 *   -c N      sessions            -w N   requests in flight on each
 *   -d SEC    measured time       -u SEC warm-up before it, not counted
 *   -n N      path spread         -s N   value size      -p PATH  prefix (default /zkload)
 *   -r R:W    mixed ratio         -t MS  session timeout (default 30000)
 *   -f FLAGS  create flags        -C N   connects under way at once (default 64)
 *   -k N      rounds of watch     -x     leave without closeSession
 *   -b BYTE   fill byte of values: v (default) or r for incompressible noise
 *   -P LIST   processes of servers: their CPU seconds during the measured time are told as server_cpu_s
 * Output: one JSON object.  Exit status 1 when a session could not be opened or was lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GET, EXISTS, SET, CREATE, CD, MIXED, FILL, SWEEP, WATCHES, IDLE, WATCH, ECHO };
static const char *opname[] = {"get", "exists", "set", "create", "cd", "mixed", "fill", "sweep", "watches", "idle", "watch", "echo", 0};
enum { S_NONE, S_CONN, S_HELLO, S_READY, S_DEAD };
enum { K_READ, K_WRITE, K_OTHER };

typedef struct {
    int fd, state, host;
    int inflight;
    int32_t xid, rxid;        /* last sent; last answered: replies must come in order */
    uint64_t rng;
    uint8_t *r; size_t rl, rc;
    uint8_t *w; size_t wl, wo, wc;
    uint64_t *ts; uint8_t *kd; uint32_t head, tail, cap;
    long seq;                 /* create / cd */
    uint64_t last_send;
    int want_out, closed_ok, fired;
} Sess;

static struct sockaddr_in hosts[64];
static int nhosts, op = GET, C = 1, W = 1, conc = 64, rounds = 3, nograce, flags, rr = 9, rw = 1;
static double dur = 5, warm = 0; static int server_pids[64], npids;
static long N = 1000; static int vsize = 100, timeout_ms = 30000;
static const char *prefix = "/zkload"; static int plen;
static uint8_t *value;
static Sess *S; static int ep;
static int ready, dead, connfail, next_conn, connecting;
static int sending, measuring, busy_sync;
static uint64_t n_ops, n_reads, n_writes, n_err, n_pings, n_events, bytes_in, bytes_out;
static long fill_next, fill_done;
static uint64_t ev_first, ev_last; static int ev_count;
static int32_t last_err; static int64_t last_zxid; static uint64_t last_lat;
static char path[512];

/* log-linear histogram of microseconds: 64 linear steps an octave */
#define HB (64 * 40)
static uint64_t hist[3][HB], hmax[3], hsum[3], hcnt[3];
static int hidx(uint64_t us) {
    if (us < 64) return (int)us;
    int e = 63 - __builtin_clzll(us) - 6;
    int i = 64 + e * 64 + (int)((us >> e) - 64);
    return i < HB ? i : HB - 1;
}
static double hval(int i) {
    if (i < 64) return i;
    int e = (i - 64) / 64, m = (i - 64) % 64 + 64;
    return (double)((uint64_t)m << e) + (double)((1ull << e) - 1) / 2;
}
static double pct(int k, double q) {
    uint64_t want = (uint64_t)(q * hcnt[k]), c = 0;
    for (int i = 0; i < HB; i++) { c += hist[k][i]; if (c > want) return hval(i); }
    return (double)hmax[k];
}
static void rec(int k, uint64_t ns) {
    uint64_t us = ns / 1000;
    hist[k][hidx(us)]++; hcnt[k]++; hsum[k] += us; if (us > hmax[k]) hmax[k] = us;
}
static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void p32(uint8_t *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }
static uint32_t g32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return ntohl(v); }
static uint64_t rnd(Sess *s) { s->rng ^= s->rng << 13; s->rng ^= s->rng >> 7; s->rng ^= s->rng << 17; return s->rng; }

static uint8_t *room(Sess *s, size_t n) {
    if (s->wo && s->wo == s->wl) s->wo = s->wl = 0;
    if (s->wl + n > s->wc) {
        if (s->wo) { memmove(s->w, s->w + s->wo, s->wl - s->wo); s->wl -= s->wo; s->wo = 0; }
        if (s->wl + n > s->wc) { s->wc = (s->wl + n) * 2; s->w = realloc(s->w, s->wc); }
    }
    return s->w + s->wl;
}
static void die(Sess *s) {
    if (s->state == S_DEAD) return;
    if (s->state == S_CONN || s->state == S_HELLO) { connecting--; connfail++; }
    if (s->state == S_READY) ready--;
    if (!s->closed_ok) dead++;
    s->state = S_DEAD; close(s->fd); s->fd = -1;
}
static void flush_s(Sess *s) {
    while (s->wo < s->wl) {
        ssize_t k = send(s->fd, s->w + s->wo, s->wl - s->wo, MSG_NOSIGNAL);
        if (k < 0) { if (errno == EAGAIN) break; if (errno == EINTR) continue; die(s); return; }
        s->wo += k; bytes_out += k;
    }
    int out = s->wo < s->wl;
    if (out != s->want_out) {
        struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = s};
        epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &e); s->want_out = out;
    }
}
static int node_path(char *b, long i) {
    /* hand-made "%s/d%05ld/n%08ld": printf would cost more than the rest of a request */
    memcpy(b, prefix, plen); char *p = b + plen; *p++ = '/'; *p++ = 'd';
    long d = i / 1000; for (int k = 4; k >= 0; k--) { p[k] = '0' + d % 10; d /= 10; } p += 5;
    *p++ = '/'; *p++ = 'n';
    d = i; for (int k = 7; k >= 0; k--) { p[k] = '0' + d % 10; d /= 10; } p += 8;
    return p - b;
}
static void push(Sess *s, int kind, uint64_t t) {
    s->ts[s->tail % s->cap] = t; s->kd[s->tail % s->cap] = kind; s->tail++; s->inflight++; s->last_send = t;
}
static uint8_t *head(Sess *s, int32_t type, int len, size_t body) {
    uint8_t *p = room(s, 12 + 4 + len + body);
    p32(p + 4, ++s->xid); p32(p + 8, type); p32(p + 12, len); memcpy(p + 16, path, len);
    return p;
}
static void fin(Sess *s, uint8_t *p, uint8_t *end) { p32(p, end - p - 4); s->wl += end - p; }
static void q_get(Sess *s, int type, int len, int watch, uint64_t t) {
    uint8_t *p = head(s, type, len, 1), *e = p + 16 + len; *e++ = watch; fin(s, p, e); push(s, K_READ, t);
}
static void q_set(Sess *s, int len, uint64_t t) {
    uint8_t *p = head(s, 5, len, 8 + vsize), *e = p + 16 + len;
    p32(e, vsize); memcpy(e + 4, value, vsize); e += 4 + vsize; p32(e, -1); e += 4; fin(s, p, e); push(s, K_WRITE, t);
}
static void q_create(Sess *s, int len, int size, int fl, uint64_t t) {
    uint8_t *p = head(s, 1, len, 64 + size), *e = p + 16 + len;
    p32(e, size); memcpy(e + 4, value, size); e += 4 + size;
    p32(e, 1); p32(e + 4, 31); p32(e + 8, 5); memcpy(e + 12, "world", 5); e += 17;
    p32(e, 6); memcpy(e + 4, "anyone", 6); e += 10; p32(e, fl); e += 4; fin(s, p, e); push(s, K_WRITE, t);
}
static void q_delete(Sess *s, int len, uint64_t t) {
    uint8_t *p = head(s, 2, len, 4), *e = p + 16 + len; p32(e, -1); e += 4; fin(s, p, e); push(s, K_WRITE, t);
}
static void q_ping(Sess *s, uint64_t t) {
    uint8_t *p = room(s, 12); p32(p, 8); p32(p + 4, -2); p32(p + 8, 11); s->wl += 12; s->last_send = t; n_pings++;
}
static void q_close(Sess *s) {
    uint8_t *p = room(s, 12); p32(p, 8); p32(p + 4, ++s->xid); p32(p + 8, -11); s->wl += 12; s->closed_ok = 1;
}
static int uniq_path(Sess *s, long seq) { return sprintf(path, "%s/c/s%d-%d-%010ld", prefix, (int)getpid(), (int)(s - S), seq); }

static int issue(Sess *s, uint64_t t) {      /* one more request; 0: nothing to send */
    switch (op) {
    case GET: q_get(s, 4, node_path(path, rnd(s) % N), 0, t); break;
    case EXISTS: q_get(s, 3, node_path(path, rnd(s) % N), 0, t); break;
    case SET: q_set(s, node_path(path, rnd(s) % N), t); break;
    case MIXED:
        if ((int)(rnd(s) % (rr + rw)) < rr) q_get(s, 4, node_path(path, rnd(s) % N), 0, t);
        else q_set(s, node_path(path, rnd(s) % N), t);
        break;
    case CREATE: q_create(s, uniq_path(s, s->seq++), vsize, flags, t); break;
    case CD: if (s->seq & 1) q_delete(s, uniq_path(s, s->seq >> 1), t);
             else q_create(s, uniq_path(s, s->seq >> 1), vsize, flags, t);
             s->seq++; break;
    case WATCHES: if (s->seq >= N) return 0;
        q_get(s, 4, node_path(path, s->seq++), 1, t); break;
    case FILL: if (fill_next >= N) return 0;
        q_create(s, node_path(path, fill_next++), vsize, flags, t); break;
    case SWEEP: if (fill_next >= N) return 0;
        q_set(s, node_path(path, fill_next++), t); break;
    case ECHO: { uint8_t *p = room(s, 4 + vsize); p32(p, vsize); memcpy(p + 4, value, vsize); s->wl += 4 + vsize; push(s, K_READ, t); break; }
    default: return 0;
    }
    return 1;
}
static void top_up(Sess *s, uint64_t t) {
    if (s->state != S_READY) return;
    while (sending && s->inflight < W && issue(s, t)) ;
    flush_s(s);
}
static void reply(Sess *s, const uint8_t *f, uint32_t len, uint64_t t) {
    if (op != ECHO) {
        if (len < 16) { die(s); return; }
        int32_t xid = g32(f);
        if (xid == -2) return;
        if (xid == -1) { n_events++; if (!ev_count++) ev_first = t; ev_last = t; s->fired++; return; }
        if (s->closed_ok && s->head == s->tail) { die(s); return; }
        if (xid != ++s->rxid) { fprintf(stderr, "reply %d where %d was due\n", xid, s->rxid); die(s); return; }
        last_err = g32(f + 12); last_zxid = ((int64_t)g32(f + 4) << 32) | g32(f + 8);
    }
    if (s->head == s->tail) { fprintf(stderr, "unexpected reply\n"); die(s); return; }
    uint64_t t0 = s->ts[s->head % s->cap]; int k = s->kd[s->head % s->cap]; s->head++; s->inflight--;
    last_lat = t - t0;
    if (busy_sync) { busy_sync = 0; return; }
    if (op != ECHO && last_err) { if (!(op == FILL && last_err == -110)) n_err++; }
    if (op == FILL || op == SWEEP || op == WATCHES) fill_done++;
    if (measuring) { n_ops++; if (k == K_READ) n_reads++; else n_writes++; rec(k, last_lat); rec(K_OTHER, last_lat); }
}
static void on_hello(Sess *s, const uint8_t *f, uint32_t len) {
    (void)f;
    if (len < 16 || g32(f + 4) == 0) { fprintf(stderr, "session refused\n"); die(s); return; }
    s->state = S_READY; ready++; connecting--;
}
static void connected(Sess *s, uint64_t t) {
    int err = 0; socklen_t l = sizeof err; getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &l);
    if (err) { fprintf(stderr, "connect: %s\n", strerror(err)); die(s); return; }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s}; epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &e); s->want_out = 0;
    if (op == ECHO) { s->state = S_READY; ready++; connecting--; return; }
    uint8_t *p = room(s, 49); memset(p, 0, 49);
    p32(p, 45); p32(p + 16, timeout_ms); p32(p + 28, 16); s->wl += 49;
    s->state = S_HELLO; s->last_send = t; flush_s(s);
}
static void on_read(Sess *s, uint64_t t) {
    if (s->rc - s->rl < 16384) { s->rc = s->rc ? s->rc * 2 : 32768; if (s->rc > 65536 && s->rl < 32768) s->rc = 65536 > s->rl + 16384 ? 65536 : s->rl + 32768; s->r = realloc(s->r, s->rc); }
    ssize_t k = recv(s->fd, s->r + s->rl, s->rc - s->rl, 0);
    if (k < 0) { if (errno == EAGAIN || errno == EINTR) return; die(s); return; }
    if (k == 0) { die(s); return; }
    s->rl += k; bytes_in += k;
    size_t o = 0;
    while (s->rl - o >= 4 && s->state != S_DEAD) {
        uint32_t len = g32(s->r + o);
        if (len > (64u << 20)) { die(s); return; }
        if (s->rl - o < 4 + (size_t)len) {
            if (4 + (size_t)len > s->rc - o) { memmove(s->r, s->r + o, s->rl - o); s->rl -= o; o = 0; s->rc = 8 + len + 16384; s->r = realloc(s->r, s->rc); }
            break;
        }
        if (s->state == S_HELLO) on_hello(s, s->r + o + 4, len); else reply(s, s->r + o + 4, len, t);
        o += 4 + len;
    }
    if (s->state == S_DEAD) return;
    if (o) { memmove(s->r, s->r + o, s->rl - o); s->rl -= o; }
    if (s->rl == 0 && op >= IDLE && op <= WATCH && s->rc) { free(s->r); s->r = 0; s->rc = 0; }   /* thousands of idle sessions */
    if (sending) top_up(s, t);
}
static void start_conn(Sess *s, int i) {
    s->host = i % nhosts; s->rng = 0x9E3779B97F4A7C15ull * (i + 1) ^ now(); s->state = S_CONN; connecting++;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (s->fd < 0) { perror("socket"); exit(2); }
    int one = 1; setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = s}; epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &e); s->want_out = 1;
    if (connect(s->fd, (void *)&hosts[s->host], sizeof hosts[0]) < 0 && errno != EINPROGRESS) { perror("connect"); die(s); }
}
static void poll_once(int ms) {
    static struct epoll_event ev[512];
    int n = epoll_wait(ep, ev, 512, ms);
    uint64_t t = now();
    for (int i = 0; i < n; i++) {
        Sess *s = ev[i].data.ptr;
        if (s->state == S_DEAD) continue;
        if (s->state == S_CONN) { connected(s, t); continue; }
        if (ev[i].events & EPOLLOUT) flush_s(s);
        if (s->state != S_DEAD && (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) { if (n > 1) t = now(); on_read(s, t); }
    }
}
static void pings(uint64_t t) {
    static int at; int k = C / 10 + 1;
    for (; k-- > 0; at = (at + 1) % C) {
        Sess *s = &S[at];
        if (s->state == S_READY && (int64_t)(t - s->last_send) > (int64_t)timeout_ms * 1000000ll / 3) { q_ping(s, t); flush_s(s); }
    }
}
static int spin(uint64_t until, int (*done)(void)) {
    uint64_t lastp = now();
    for (;;) {
        uint64_t t = now();
        if (done && done()) return 1;
        if (t >= until) return 0;
        uint64_t left = (until - t) / 1000000 + 1;
        poll_once(left > 50 ? 50 : (int)left);
        if (op != ECHO && t - lastp > 50000000ull) { lastp = t; pings(t); }
    }
}
static int d_conn(void) {
    while (connecting < conc && next_conn < C) { start_conn(&S[next_conn], next_conn); next_conn++; }
    return next_conn == C && connecting == 0;
}
static int d_drain(void) { for (int i = 0; i < C; i++) if (S[i].state == S_READY && S[i].inflight) return 0; return 1; }
static int d_fill(void) { return fill_done >= (op == WATCHES ? N * C : N) || ready == 0; }
static int d_sync(void) { return !busy_sync || S[0].state != S_READY; }
static int d_closed(void) { return ready == 0; }
static int d_events(void) { return ev_count >= ready; }
static int32_t mk(const char *p, int size) {           /* create a path over session 0, wait */
    strcpy(path, p); busy_sync = 1; q_create(&S[0], strlen(p), size, 0, now()); flush_s(&S[0]);
    if (!spin(now() + 20000000000ull, d_sync)) { fprintf(stderr, "create %s timed out\n", p); exit(1); }
    return last_err;
}
static double cpu_s(void) { struct rusage r; getrusage(RUSAGE_SELF, &r); return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6; }
static double server_s(void) {                         /* user and system seconds of the servers; 10 ms grain */
    unsigned long sum = 0;
    for (int i = 0; i < npids; i++) {
        char b[1024]; unsigned long u = 0, y = 0; sprintf(b, "/proc/%d/stat", server_pids[i]);
        FILE *f = fopen(b, "r");
        if (!f) continue;
        size_t k = fread(b, 1, sizeof b - 1, f); fclose(f); b[k] = 0;
        char *p = strrchr(b, ')');
        if (p) sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &y);
        sum += u + y;
    }
    return (double)sum / sysconf(_SC_CLK_TCK);
}
static void lat_json(const char *name, int k) {
    printf(",\"%s\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p95\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%llu}", name, (unsigned long long)hcnt[k],
           hcnt[k] ? (double)hsum[k] / hcnt[k] : 0, pct(k, .5), pct(k, .95), pct(k, .99), pct(k, .999), (unsigned long long)hmax[k]);
}
int main(int ac, char **av) {
    int o; const char *hl = 0; char bb = 'v';
    while ((o = getopt(ac, av, "h:o:c:w:d:u:n:s:p:r:t:f:C:k:xb:P:")) != -1) switch (o) {
        case 'h': hl = optarg; break;
        case 'o': for (op = 0; opname[op] && strcmp(opname[op], optarg); op++) ; if (!opname[op]) { fprintf(stderr, "op?\n"); return 2; } break;
        case 'c': C = atoi(optarg); break; case 'w': W = atoi(optarg); break;
        case 'd': dur = atof(optarg); break; case 'u': warm = atof(optarg); break;
        case 'n': N = atol(optarg); break; case 's': vsize = atoi(optarg); break;
        case 'p': prefix = optarg; break; case 'r': if (sscanf(optarg, "%d:%d", &rr, &rw) != 2) return 2; break;
        case 't': timeout_ms = atoi(optarg); break; case 'f': flags = atoi(optarg); break;
        case 'C': conc = atoi(optarg); break; case 'k': rounds = atoi(optarg); break;
        case 'x': nograce = 1; break; case 'b': bb = optarg[0]; break; case 'P': for (char *q = strtok(optarg, ","); q && npids < 64; q = strtok(0, ",")) server_pids[npids++] = atoi(q); break;
        default: fprintf(stderr, "see the head of zkload.c\n"); return 2;
    }
    if (!hl || C < 1 || W < 1 || N < 1 || strlen(prefix) > 256) { fprintf(stderr, "usage: see the head of zkload.c\n"); return 2; }
    plen = strlen(prefix);
    char *dup = strdup(hl);
    for (char *h = strtok(dup, ","); h && nhosts < 64; h = strtok(0, ",")) {
        char *c = strrchr(h, ':'); if (!c) return 2; *c = 0;
        hosts[nhosts].sin_family = AF_INET; hosts[nhosts].sin_port = htons(atoi(c + 1));
        if (inet_pton(AF_INET, h, &hosts[nhosts].sin_addr) != 1) { fprintf(stderr, "not an IPv4 address: %s\n", h); return 2; }
        nhosts++;
    }
    value = malloc(vsize + 1); memset(value, 'v', vsize);
    if (bb == 'r') for (int i = 0; i < vsize; i++) value[i] = rand();
    S = calloc(C, sizeof *S); ep = epoll_create1(0);
    for (int i = 0; i < C; i++) { S[i].cap = W + 4; S[i].ts = malloc(8 * (W + 4)); S[i].kd = malloc(W + 4); S[i].fd = -1; }

    uint64_t t0 = now();
    spin(t0 + 120000000000ull, d_conn);
    double connect_s = (now() - t0) / 1e9; int opened = ready;
    printf("{\"op\":\"%s\",\"sessions\":%d,\"opened\":%d,\"window\":%d,\"value\":%d,\"nodes\":%ld,\"connect_s\":%.4f", opname[op], C, opened, W, vsize, N, connect_s);
    if (!opened || S[0].state != S_READY) { printf(",\"failed\":\"no session\"}\n"); return 1; }
    char b[600];
    if (op != ECHO && op != IDLE) mk(prefix, 0);
    if (op == CREATE || op == CD) { sprintf(b, "%s/c", prefix); mk(b, 0); }
    if (op == FILL) for (long d = 0; d * 1000 < N; d++) { sprintf(b, "%s/d%05ld", prefix, d); mk(b, 0); }
    for (int k = 0; k < 3; k++) { memset(hist[k], 0, sizeof hist[k]); hmax[k] = hsum[k] = hcnt[k] = 0; }
    n_err = 0;
    double c0 = cpu_s(), v0 = server_s(), v1 = v0; uint64_t ts = now(), te = ts;
    if (op == IDLE) {
        fflush(stdout); measuring = 1; spin(ts + (uint64_t)(dur * 1e9), 0); te = now();
    } else if (op == WATCH) {
        sprintf(b, "%s/w", prefix); mk(b, vsize);
        int ok = 1; printf(",\"rounds\":[");
        for (int k = 0; k < rounds && ok; k++) {
            strcpy(path, b); uint64_t a0 = now();
            for (int i = 0; i < C; i++) if (S[i].state == S_READY) { S[i].fired = 0; q_get(&S[i], 4, strlen(b), 1, now()); flush_s(&S[i]); if (i % 64 == 63) poll_once(0); }
            ok = spin(now() + 60000000000ull, d_drain); uint64_t a1 = now();
            ev_count = 0; strcpy(path, b); busy_sync = 1; double p0 = server_s(); uint64_t f0 = now(); q_set(&S[0], strlen(b), f0); flush_s(&S[0]);
            ok &= spin(now() + 60000000000ull, d_events); spin(now() + 5000000000ull, d_sync);
            int wrong = 0; for (int i = 0; i < C; i++) if (S[i].state == S_READY && S[i].fired != 1) wrong++;
            printf("%s{\"set_watches_s\":%.4f,\"write_reply_s\":%.4f,\"first_event_s\":%.4f,\"all_events_s\":%.4f,\"events\":%d,\"wrong\":%d,\"server_cpu_s\":%.2f}", k ? "," : "",
                   (a1 - a0) / 1e9, last_lat / 1e9, (ev_first - f0) / 1e9, (ev_last - f0) / 1e9, ev_count, wrong, server_s() - p0);
        }
        printf("]"); te = now();
    } else {
        sending = 1; uint64_t t = now();
        if (op == FILL || op == SWEEP || op == WATCHES) measuring = 1;
        for (int i = 0; i < C; i++) top_up(&S[i], t);
        if (op == FILL || op == SWEEP || op == WATCHES) spin(t + 3600000000000ull, d_fill);
        else {
            if (warm > 0) spin(t + (uint64_t)(warm * 1e9), 0);
            c0 = cpu_s(); v0 = server_s(); ts = now(); measuring = 1;
            spin(ts + (uint64_t)(dur * 1e9), 0);
        }
        te = now(); v1 = server_s(); measuring = 0; sending = 0;
        spin(te + 10000000000ull, d_drain);
        if (op == WATCHES) { fflush(stdout); spin(now() + (uint64_t)(dur * 1e9), 0); }
    }
    if (op == IDLE || op == WATCH) v1 = server_s();
    double c1 = cpu_s(), el = (te - ts) / 1e9; int lost = dead;
    if (!nograce && op != ECHO) { for (int i = 0; i < C; i++) if (S[i].state == S_READY) { q_close(&S[i]); flush_s(&S[i]); if (i % 256 == 255) poll_once(0); } spin(now() + 20000000000ull, d_closed); }
    printf(",\"duration\":%.4f,\"ops\":%llu,\"ops_s\":%.1f,\"reads\":%llu,\"writes\":%llu,\"errors\":%llu,\"lost_sessions\":%d,\"pings\":%llu,\"events\":%llu,\"mb_in\":%.2f,\"mb_out\":%.2f",
           el, (unsigned long long)n_ops, n_ops / el, (unsigned long long)n_reads, (unsigned long long)n_writes, (unsigned long long)n_err, lost, (unsigned long long)n_pings, (unsigned long long)n_events, bytes_in / 1e6, bytes_out / 1e6);
    if (hcnt[K_OTHER]) { lat_json("lat_us", K_OTHER); if (hcnt[K_READ] && hcnt[K_WRITE]) { lat_json("read_us", K_READ); lat_json("write_us", K_WRITE); } }
    printf(",\"client_cpu_s\":%.4f,\"server_cpu_s\":%.2f}\n", c1 - c0, v1 - v0);
    return lost || opened < C ? 1 : 0;
}
