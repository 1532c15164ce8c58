/* Curator's recipes against one server: prints a transcript that has to be the same on every server.
 *
 * Usage: CuratorSession host:port. Where it prints "RESTART" the server is to be killed and started again, and a line
 * to be written to standard input. The server has to allow extended types and to look for empty containers often.
 */
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.Stat;

public final class CuratorSession {
    private static final long WAIT_S = 30;
    private static String address;
    private static CuratorFramework one;
    private static CuratorFramework two;

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] value) {
        return value == null ? "null" : new String(value, StandardCharsets.UTF_8);
    }

    private static CuratorFramework client() throws InterruptedException {
        CuratorFramework made = CuratorFrameworkFactory.newClient(address, 10000, 10000, new RetryNTimes(60, 250));
        made.start();
        if (!made.blockUntilConnected((int) WAIT_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException("not connected");
        }
        return made;
    }

    private static void until(String what, Callable<Boolean> happened) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
        while (!happened.call()) {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("not in time: " + what);
            }
            Thread.sleep(10);
        }
        System.out.println(what);
    }

    private static void attempt(String what, Callable<Object> work) throws Exception {
        try {
            System.out.println(what + ": " + work.call());
        } catch (KeeperException error) {
            System.out.println(what + ": " + error.code());
        }
    }

    private static String show(Stat stat) {
        return "version=" + stat.getVersion() + " cversion=" + stat.getCversion() + " length=" + stat.getDataLength()
            + " children=" + stat.getNumChildren() + " ephemeral=" + (stat.getEphemeralOwner() != 0);
    }

    private static void nodes() throws Exception {
        attempt("create", () -> one.create().creatingParentsIfNeeded().forPath("/a/b/c", bytes("x")));
        attempt("create again", () -> one.create().forPath("/a/b/c"));
        attempt("create or set", () -> one.create().orSetData().forPath("/a/b/c", bytes("y")));
        attempt("parents as containers", () -> one.create().creatingParentContainersIfNeeded().forPath("/k/l/m"));
        attempt("sequential", () -> one.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/a/s-"));
        attempt("ephemeral", () -> one.create().withMode(CreateMode.EPHEMERAL).forPath("/a/e"));
        attempt("below it", () -> one.create().forPath("/a/e/child"));
        String made = one.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/a/p-");
        System.out.println("protected: " + made.replaceAll("_c_[-0-9a-f]{36}-", "_c_ID-"));
        Stat stored = new Stat();
        attempt("with stat", () -> one.create().storingStatIn(stored).forPath("/a/stat", bytes("xyz")));
        System.out.println(show(stored));
        attempt("set", () -> show(one.setData().withVersion(0).forPath("/a/stat", bytes("1"))));
        attempt("set too old", () -> show(one.setData().withVersion(0).forPath("/a/stat", bytes("2"))));
        attempt("idempotent set", () -> show(one.setData().idempotent().withVersion(0).forPath("/a/stat", bytes("1"))));
        attempt("get", () -> text(one.getData().storingStatIn(stored).forPath("/a/stat")));
        System.out.println(show(stored));
        List<String> names = new ArrayList<>(one.getChildren().forPath("/a"));
        Collections.sort(names);
        System.out.println(names.size() + " " + names.subList(names.size() - 4, names.size()));
        attempt("delete with children", () -> one.delete().forPath("/a/b"));
        attempt("delete them too", () -> one.delete().deletingChildrenIfNeeded().forPath("/a/b"));
        attempt("quiet delete", () -> one.delete().quietly().forPath("/a/b"));
        attempt("guaranteed delete", () -> one.delete().guaranteed().forPath("/a/stat"));
        attempt("sync", () -> one.sync().forPath("/a"));
    }

    private static void transactions() throws Exception {
        List<CuratorTransactionResult> results = one.transaction().forOperations(
            one.transactionOp().create().forPath("/t", bytes("0")),
            one.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/t/s-", bytes("1")),
            one.transactionOp().create().withMode(CreateMode.CONTAINER).forPath("/t/c"),
            one.transactionOp().setData().withVersion(0).forPath("/t", bytes("2")),
            one.transactionOp().check().withVersion(1).forPath("/t"),
            one.transactionOp().delete().forPath("/t/c"));
        for (CuratorTransactionResult result : results) {
            Stat stat = result.getResultStat();
            System.out.println(result.getType() + " " + result.getForPath() + " " + result.getResultPath() + " "
                + (stat == null ? null : show(stat)));
        }
        try {
            one.transaction().forOperations(
                one.transactionOp().create().forPath("/t/undone"),
                one.transactionOp().check().withVersion(7).forPath("/t"),
                one.transactionOp().delete().forPath("/t/s-0000000000"));
            System.out.println("a transaction with a wrong version went through");
        } catch (KeeperException error) {
            StringBuilder codes = new StringBuilder();
            for (org.apache.zookeeper.OpResult result : error.getResults()) {
                codes.append(' ').append(((org.apache.zookeeper.OpResult.ErrorResult) result).getErr());
            }
            System.out.println("transaction: " + error.code() + codes);
        }
        System.out.println(one.getChildren().forPath("/t"));
    }

    private static void locks() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        int[] count = {0};
        ExecutorService pool = Executors.newFixedThreadPool(6);
        List<Future<Void>> running = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            InterProcessMutex mutex = new InterProcessMutex(i % 2 == 0 ? one : two, "/lock");
            running.add(pool.submit(() -> {
                for (int turn = 0; turn < 10; turn++) {
                    if (!mutex.acquire(WAIT_S, TimeUnit.SECONDS)) {
                        throw new IllegalStateException("no lock");
                    }
                    if (inside.incrementAndGet() != 1) {
                        throw new IllegalStateException("two inside");
                    }
                    count[0]++;
                    inside.decrementAndGet();
                    mutex.release();
                }
                return null;
            }));
        }
        for (Future<Void> run : running) {
            run.get(2 * WAIT_S, TimeUnit.SECONDS);
        }
        pool.shutdown();
        System.out.println("counted under the mutex: " + count[0]);

        InterProcessMutex reentrant = new InterProcessMutex(one, "/reentrant");
        reentrant.acquire();
        reentrant.acquire();
        InterProcessMutex other = new InterProcessMutex(two, "/reentrant");
        System.out.println("while held: " + other.acquire(200, TimeUnit.MILLISECONDS));
        reentrant.release();
        System.out.println("half released: " + other.acquire(200, TimeUnit.MILLISECONDS));
        reentrant.release();
        System.out.println("released: " + other.acquire(WAIT_S, TimeUnit.SECONDS));
        other.release();

        InterProcessReadWriteLock first = new InterProcessReadWriteLock(one, "/rw");
        InterProcessReadWriteLock second = new InterProcessReadWriteLock(two, "/rw");
        System.out.println("read: " + first.readLock().acquire(WAIT_S, TimeUnit.SECONDS));
        System.out.println("read too: " + second.readLock().acquire(WAIT_S, TimeUnit.SECONDS));
        second.readLock().release();
        System.out.println("write meanwhile: " + second.writeLock().acquire(200, TimeUnit.MILLISECONDS));
        first.readLock().release();
        System.out.println("write: " + second.writeLock().acquire(WAIT_S, TimeUnit.SECONDS));
        second.writeLock().release();

        InterProcessSemaphoreV2 leases = new InterProcessSemaphoreV2(one, "/semaphore", 2);
        Lease lease = leases.acquire(WAIT_S, TimeUnit.SECONDS);
        System.out.println("second lease: "
            + (new InterProcessSemaphoreV2(two, "/semaphore", 2).acquire(WAIT_S, TimeUnit.SECONDS) != null));
        System.out.println("third lease: " + (leases.acquire(200, TimeUnit.MILLISECONDS) != null));
        leases.returnLease(lease);
        System.out.println("third lease, one returned: " + (leases.acquire(WAIT_S, TimeUnit.SECONDS) != null));
    }

    private static void leaders() throws Exception {
        CuratorFramework third = client();
        LeaderLatch a = new LeaderLatch(one, "/latch", "a");
        LeaderLatch b = new LeaderLatch(two, "/latch", "b");
        LeaderLatch c = new LeaderLatch(third, "/latch", "c");
        a.start();
        until("a leads", a::hasLeadership);
        c.start();
        until("c takes part", () -> a.getParticipants().size() == 2);
        b.start();
        until("all take part", () -> a.getParticipants().size() == 3);
        System.out.println("leader as b sees it: " + b.getLeader().getId());
        a.close();
        until("c leads", c::hasLeadership);
        third.close();
        until("b leads", b::hasLeadership);
        System.out.println("leader: " + b.getLeader().getId() + " of " + b.getParticipants().size());
        b.close();
    }

    private static void caches() throws Exception {
        List<String> seen = new CopyOnWriteArrayList<>();
        one.create().creatingParentsIfNeeded().forPath("/cache/old", bytes("0"));
        CuratorCache cache = CuratorCache.build(one, "/cache");
        CountDownLatch filled = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder().forInitialized(filled::countDown).build());
        cache.listenable().addListener((type, before, after) ->
            seen.add(type + " " + (after == null ? before : after).getPath()));
        cache.start();
        System.out.println("cache filled: " + filled.await(WAIT_S, TimeUnit.SECONDS));
        /* On another connection: Apache 3.8 knows one kind of watch for each path and connection, the last asked for. */
        TreeCache tree = TreeCache.newBuilder(two, "/cache").setCacheData(true).build();
        tree.start();
        NodeCache node = new NodeCache(two, "/cache/old");
        node.start(true);
        two.create().forPath("/cache/new", bytes("1"));
        two.create().forPath("/cache/new/deep", bytes("2"));
        until("cache has the new", () -> cache.get("/cache/new/deep").isPresent());
        two.setData().forPath("/cache/old", bytes("3"));
        until("cache has the change", () -> "3".equals(text(cache.get("/cache/old").get().getData())));
        until("node cache too", () -> "3".equals(text(node.getCurrentData().getData())));
        until("tree cache too", () -> tree.getCurrentData("/cache/new/deep") != null
            && "3".equals(text(tree.getCurrentData("/cache/old").getData())));
        two.delete().deletingChildrenIfNeeded().forPath("/cache/new");
        until("cache without the deleted", () -> !cache.get("/cache/new").isPresent());
        until("tree cache too", () -> tree.getCurrentData("/cache/new") == null);
        two.delete().forPath("/cache/old");
        until("node cache empty", () -> node.getCurrentData() == null);
        until("all is seen", () -> seen.contains("NODE_DELETED /cache/old"));
        List<String> sorted = new ArrayList<>(seen);
        Collections.sort(sorted);
        System.out.println(sorted);
        System.out.println("size " + cache.size());
        cache.close();
        tree.close();
        node.close();
    }

    private static void others() throws Exception {
        DistributedAtomicLong number = new DistributedAtomicLong(one, "/number", new RetryNTimes(10, 10));
        for (int i = 0; i < 10; i++) {
            number.increment();
        }
        AtomicValue<Long> added = new DistributedAtomicLong(two, "/number", new RetryOneTime(10)).add(5L);
        System.out.println("number: " + added.succeeded() + " " + added.preValue() + " " + added.postValue());
        SharedCount count = new SharedCount(one, "/shared", 7);
        SharedCount mirror = new SharedCount(two, "/shared", 0);
        count.start();
        mirror.start();
        count.setCount(8);
        until("count is shared", () -> mirror.getCount() == 8);
        SimpleDistributedQueue queue = new SimpleDistributedQueue(one, "/queue");
        for (String item : new String[] {"x", "y", "z"}) {
            queue.offer(bytes(item));
        }
        SimpleDistributedQueue far = new SimpleDistributedQueue(two, "/queue");
        System.out.println("queue: " + text(far.take()) + text(queue.take()) + text(far.poll()) + text(far.poll()));
        ExecutorService pool = Executors.newFixedThreadPool(2);
        List<Future<Boolean>> entered = new ArrayList<>();
        for (CuratorFramework client : new CuratorFramework[] {one, two}) {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, "/double", 2);
            entered.add(pool.submit(() -> barrier.enter(WAIT_S, TimeUnit.SECONDS)
                && barrier.leave(WAIT_S, TimeUnit.SECONDS)));
        }
        System.out.println("double barrier: " + entered.get(0).get() + " " + entered.get(1).get());
        pool.shutdown();
    }

    private static void rights() throws Exception {
        CuratorFramework ann = CuratorFrameworkFactory.builder().connectString(address)
            .sessionTimeoutMs(10000).retryPolicy(new RetryOneTime(100))
            .authorization("digest", bytes("ann:secret")).build();
        ann.start();
        ann.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/hers", bytes("x"));
        System.out.println(ann.getACL().forPath("/hers"));
        attempt("a stranger reads", () -> text(one.getData().forPath("/hers")));
        attempt("a stranger writes", () -> one.setData().forPath("/hers", bytes("y")));
        attempt("ann reads", () -> text(ann.getData().forPath("/hers")));
        attempt("rights of another version", () ->
            show(ann.setACL().withVersion(7).withACL(ZooDefs.Ids.OPEN_ACL_UNSAFE).forPath("/hers")));
        ann.setACL().withVersion(0).withACL(ZooDefs.Ids.READ_ACL_UNSAFE).forPath("/hers");
        attempt("a stranger reads", () -> text(one.getData().forPath("/hers")));
        attempt("ann has no more", () ->
            show(ann.setACL().withACL(ZooDefs.Ids.OPEN_ACL_UNSAFE).forPath("/hers")));
        attempt("no creator", () -> one.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/nobodys"));
        ann.close();
    }

    private static void reaping() throws Exception {
        one.create().withMode(CreateMode.CONTAINER).forPath("/container");
        one.create().forPath("/container/child");
        one.create().withTtl(300).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/ttl", bytes("x"));
        one.create().withTtl(600000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/long", bytes("x"));
        attempt("sequential with TTL", () ->
            one.create().withTtl(600000).withMode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL).forPath("/a/long-"));
        until("the short-lived is gone", () -> one.checkExists().forPath("/ttl") == null);
        System.out.println("the others: " + (one.checkExists().forPath("/long") != null) + " "
            + (one.checkExists().forPath("/container") != null));
        one.delete().forPath("/container/child");
        until("the emptied container is gone", () -> one.checkExists().forPath("/container") == null);
    }

    private static void restart() throws Exception {
        List<ConnectionState> states = new CopyOnWriteArrayList<>();
        one.getConnectionStateListenable().addListener((client, state) -> states.add(state));
        PersistentNode node = new PersistentNode(one, CreateMode.EPHEMERAL, false, "/persistent", bytes("p"));
        node.start();
        System.out.println("node: " + node.waitForInitialCreate(WAIT_S, TimeUnit.SECONDS));
        PersistentTtlNode kept = new PersistentTtlNode(one, "/kept", 2000, bytes("k"));
        kept.start();
        System.out.println("kept: " + kept.waitForInitialCreate(WAIT_S, TimeUnit.SECONDS));
        CuratorCache cache = CuratorCache.build(one, "/number");
        cache.start();
        until("cached", () -> cache.get("/number").isPresent());
        InterProcessMutex mutex = new InterProcessMutex(one, "/held");
        mutex.acquire();
        long session = one.getZookeeperClient().getZooKeeper().getSessionId();
        System.out.println("RESTART");
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII)).readLine();
        until("connected again", () -> states.contains(ConnectionState.RECONNECTED));
        System.out.println("the same session: " + (session == one.getZookeeperClient().getZooKeeper().getSessionId()));
        System.out.println("suspended: " + states.contains(ConnectionState.SUSPENDED)
            + ", lost: " + states.contains(ConnectionState.LOST));
        InterProcessMutex other = new InterProcessMutex(two, "/held");
        System.out.println("held still: " + !other.acquire(500, TimeUnit.MILLISECONDS));
        mutex.release();
        System.out.println("released: " + other.acquire(WAIT_S, TimeUnit.SECONDS));
        other.release();
        new DistributedAtomicLong(two, "/number", new RetryNTimes(10, 10)).increment();
        until("the cache follows", () -> cache.get("/number").get().getStat().getVersion() == 11);
        System.out.println(text(two.getData().forPath("/persistent")) + text(two.getData().forPath("/kept")));
        cache.close();
        node.close();
        kept.close();
        until("the node went with its owner", () -> two.checkExists().forPath("/persistent") == null);
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        one = client();
        two = client();
        nodes();
        transactions();
        locks();
        leaders();
        caches();
        others();
        rights();
        reaping();
        restart();
        one.close();
        two.close();
        System.out.println("done");
        System.exit(0);
    }
}
