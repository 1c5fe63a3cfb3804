/**
 * Support for tests of code that uses the library: {@link io.github.guestmemfd.testing.RacePoints}
 * makes a race happen, the same way every time.
 *
 * <p>An example with JUnit Jupiter, whose {@code @AutoClose} makes the test fail if something went
 * wrong at a race point; with any other framework, call {@code close} after each test:
 *
 * <pre>{@code
 * @AutoClose final RacePoints races = new RacePoints();
 *
 * @Test
 * void aFaultUnderWayKeepsItsPageAccessible() throws Exception {
 *   try (HostMemory host = HostMemory.builder(1 << 20).raceHook(races).build();
 *       GuestMemfd memfd =
 *           GuestMemfd.builder(host)
 *               .size(8192)
 *               .flags(MMAP, INIT_SHARED)
 *               .retryPolicy(RetryPolicy.failAtOnce())
 *               .build();
 *       HostMapping window = memfd.mmap(0, 8192, READ, WRITE)) {
 *     CompletableFuture<Void> fault;
 *     try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL)) {
 *       fault = CompletableFuture.runAsync(() -> window.putLong(0, 7));
 *       gate.awaitReached();
 *       assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4096));
 *     }
 *     fault.join();
 *
 *     races.at(RacePoint.BEFORE_COMMIT, () -> assertTrue(memfd.isAccessible(0)));
 *     memfd.makeInaccessible(0, 4096);
 *   }
 * }
 * }</pre>
 *
 * <p>{@link io.github.guestmemfd.testing.ConversionProtocolContract}, {@link
 * io.github.guestmemfd.testing.GuestMemfdOpsContract} and {@link
 * io.github.guestmemfd.testing.ConversionPolicyContract} are the rules of the library, as tests for
 * your own protocol, client or policy. They need JUnit Jupiter, as does {@link
 * io.github.guestmemfd.testing.GuestMemfdExtension}, which fails a test that leaves something
 * behind. {@link io.github.guestmemfd.testing.ReferenceVersusConversion}, {@link
 * io.github.guestmemfd.testing.GuestVersusConversion} and {@link
 * io.github.guestmemfd.testing.PunchVersusGrab} are states for jcstress.
 *
 * <p>A null argument is a {@link NullPointerException}, unless the parameter is marked as nullable.
 */
@NullMarked
package io.github.guestmemfd.testing;

import org.jspecify.annotations.NullMarked;
