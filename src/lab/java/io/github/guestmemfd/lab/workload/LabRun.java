package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Metrics;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.lab.report.Condition;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.report.Survival;
import io.github.guestmemfd.policy.ConversionHandler;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Runs a workload over a protocol and a policy, with its actors, and measures it. */
final class LabRun {
  /** How often the monitor retries a conversion that a vCPU needs. */
  private static final int RETRIES = 2;

  private static final long END_SECONDS = 30;

  /** The same where hardware, or what it holds, may well keep an actor for ever. */
  private static final long END_SECONDS_OF_PLATFORMS = 3;

  private final RunConfig config;
  private final HostMemory host;
  private final AtomicReference<Throwable> failure = new AtomicReference<>();
  private final Platform platform;
  private final Platform.@Nullable Hardware hardware;

  /** How the private memory of a platform's guest is reached; null for a guest without. */
  private @Nullable PrivateMemory privately;

  private LabRun(
      RunConfig config, HostMemory host, Platform platform, Platform.@Nullable Hardware hardware) {
    this.config = config;
    this.host = host;
    this.platform = platform;
    this.hardware = hardware;
  }

  /** {@link RunConfig#measure}. */
  static Measurement run(RunConfig config, HostMemory host, BooleanSupplier stopped)
      throws InterruptedException {
    return new LabRun(config, host, Platform.NONE, null).measure(stopped);
  }

  /** A run of a guest of a platform, and what has become of it. */
  static Survival run(
      RunConfig config,
      Platform platform,
      Condition condition,
      HostMemory host,
      BooleanSupplier stopped)
      throws InterruptedException {
    Platform.Hardware hardware = platform.make(condition);
    LabRun run = new LabRun(config, host, platform, hardware);
    Measurement measurement = null;
    if (!Walk.isStuck(platform, config.protocol(), config.monitor().memory())) {
      try {
        measurement = run.measure(stopped);
      } catch (StuckException e) {
        // it is told as such
      }
    }
    long kept = hardware == null ? 0 : hardware.putLeaked();
    boolean aborts = platform == Platform.PKVM; // see Survival.aborts
    long seen = measurement == null ? 0 : measurement.leaks();
    return new Survival(
        platform.id(),
        condition,
        config.monitor(),
        config.protocol().id(),
        config.protocol().isSound(),
        config.policy(),
        config.workload().id(),
        config.vcpus(),
        measurement == null,
        hardware == null ? "" : hardware.guest().death().orElse(""),
        aborts ? 0 : seen,
        aborts ? seen : 0,
        measurement == null ? 0 : measurement.corruptions(),
        hardware == null || measurement == null ? 0 : hardware.owned().getAsLong(),
        measurement == null ? 0 : measurement.framesLeaked() - kept,
        run.privately == null ? 0 : run.privately.refused(),
        measurement == null ? 0 : measurement.guestOps());
  }

  /** An actor has not ended. */
  private static final class StuckException extends IllegalStateException {
    private static final long serialVersionUID = 1L;

    StuckException(String message) {
      super(message);
    }
  }

  private Measurement measure(BooleanSupplier stopped) throws InterruptedException {
    long usedBefore = host.used();
    Metrics before = host.metrics();
    boolean two = config.monitor().hasTwoMemories();
    GuestMemfdOps client = hardware == null ? GuestMemfdOps.NONE : hardware.guest();
    Machine m =
        Machine.create(
            host, config.protocol(), config.monitor().memory(), config.size(), platform, client);
    privately = hardware == null ? null : new PrivateMemory(m, hardware.guest());
    SplittableRandom values = new SplittableRandom(config.seed());
    Workload.Plan plan = config.workload().plan(m.pages(), config.vcpus(), config.seed());
    Attempts attempts = new Attempts(m.ledger());
    long pinnable = config.monitor().pinnable();
    Passthrough passthrough =
        pinnable == 0 ? null : new Passthrough(m, pinnable, new SplittableRandom(config.seed()));
    List<GuestActor> guests = guests(m, plan.vcpus(), attempts, passthrough, values);
    List<HostActor> hosts = new ArrayList<>();
    for (Supplier<Request> requests : plan.hosts()) {
      hosts.add(new HostActor(m, requests, values.split()));
    }
    Device device = new Device(m, values.split());

    List<Thread> threads = new ArrayList<>();
    guests.forEach(g -> threads.add(thread("vcpu-" + threads.size(), g, m)));
    hosts.forEach(h -> threads.add(thread("host-" + threads.size(), h, m)));
    threads.add(thread("device", device, m));
    if (passthrough != null) {
      threads.add(thread("passthrough", passthrough, m));
    }
    Checker checker = new Checker(m);
    threads.add(thread("checker", checker, m));
    PageSampler sampler = new PageSampler(m, config.seconds());
    long start = System.nanoTime();
    threads.forEach(Thread::start);
    try {
      sampler.sampleUntilEnd(stopped);
    } finally {
      m.stop().set();
      guests.forEach(g -> g.vcpu().requestExit());
      end(threads);
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    Throwable failed = failure.get();
    if (failed != null) {
      throw new IllegalStateException("an actor failed in " + config + ": " + failed, failed);
    }
    checker.lookAtAll();
    if (passthrough != null) {
      passthrough.check();
      passthrough.close();
    }
    Metrics metrics = host.metrics().minus(before);
    m.close();
    return new Measurement(
        config.protocol().id(),
        config.protocol().isSound(),
        config.policy(),
        config.monitor(),
        config.workload().id(),
        config.vcpus(),
        0,
        seconds,
        config.seed(),
        config.size(),
        two ? attempts.madePrivate() : metrics.conversionsToInaccessible(),
        two ? attempts.madeShared() : metrics.conversionsToAccessible(),
        attempts.refusedWithHolder(),
        attempts.refusedWithoutHolder(),
        attempts.refusedShared(),
        two ? 0 : attempts.firstLooks(), // nothing looks at a count
        attempts.firstLookMismatches(),
        m.secrets().leaks(),
        m.secrets().firstLeak(),
        m.secrets().corruptions(),
        metrics.retries(),
        m.vm().metrics().faults(),
        metrics.faults(),
        metrics.sigbus(),
        guests.stream().mapToLong(GuestActor::done).sum(),
        hosts.stream().mapToLong(HostActor::done).sum()
            + device.done()
            + (passthrough == null ? 0 : passthrough.done()),
        attempts.latency(),
        attempts.gaveUp(),
        sampler.doubled(),
        (host.used() - usedBefore) / HostMemory.PAGE_SIZE,
        sampler.map());
  }

  /** The vCPUs, and the monitor that handles their exits; it has made its first conversions. */
  private List<GuestActor> guests(
      Machine m,
      List<Supplier<Request>> plans,
      Attempts attempts,
      @Nullable Passthrough passthrough,
      SplittableRandom values) {
    ConversionPolicy policy =
        ConversionPolicy.byId(config.policy())
            .orElseThrow(() -> new IllegalArgumentException("no policy " + config.policy()));
    ConversionHandler.Builder builder =
        ConversionHandler.builder(m.vm(), policy)
            .onShared(config.monitor().discard().onShared())
            .onPrivate(config.monitor().discard().onPrivate())
            .observer(attempts)
            .retries(RETRIES)
            .idleStrategy((round, nanos) -> LockSupport.parkNanos(nanos));
    if (passthrough != null) {
      builder.listener(passthrough);
      // It could not pin all of the memory: QEMU's guests begin with all of it private, too.
      m.vm().setMemoryAttributes(0, config.size(), MemoryAttribute.PRIVATE);
    }
    ConversionHandler monitor = builder.build();
    monitor.start(new GpaRange(0, config.size()));
    List<GuestActor> guests = new ArrayList<>();
    int each = m.pages() / plans.size();
    for (Supplier<Request> requests : plans) {
      guests.add(
          new GuestActor(
              m,
              m.vm().createVcpu(),
              monitor,
              attempts,
              config.monitor(),
              privately,
              requests,
              values.split(),
              each * guests.size(),
              each));
    }
    return guests;
  }

  private Thread thread(String name, Runnable actor, Machine m) {
    Thread thread =
        new Thread(
            () -> {
              try {
                actor.run();
              } catch (Throwable t) { // any failure makes the run worthless
                failure.compareAndSet(null, t);
                m.stop().set();
              }
            },
            name);
    thread.setDaemon(true);
    return thread;
  }

  /** Waits for the actors; one that does not end is a defect of the library. */
  private void end(List<Thread> threads) throws InterruptedException {
    long limit = hardware == null ? END_SECONDS : END_SECONDS_OF_PLATFORMS;
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(limit);
    for (Thread thread : threads) {
      long left = deadline - System.nanoTime();
      TimeUnit.NANOSECONDS.timedJoin(thread, Math.max(1, left));
      if (thread.isAlive()) {
        StuckException stuck = new StuckException(thread.getName() + " does not end in " + config);
        stuck.setStackTrace(thread.getStackTrace());
        threads.forEach(Thread::interrupt); // they are daemons, and use nothing that others do
        throw stuck;
      }
    }
  }
}
