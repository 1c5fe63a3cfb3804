package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.spi.LockOrder;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.Extension;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolutionException;
import org.junit.jupiter.api.extension.ParameterResolver;
import org.junit.jupiter.api.extension.TestInstanceFactoryContext;
import org.junit.jupiter.api.extension.TestInstancePreConstructCallback;
import org.junit.jupiter.api.extension.TestTemplateInvocationContext;
import org.junit.jupiter.api.extension.TestTemplateInvocationContextProvider;
import org.junit.platform.commons.support.AnnotationSupport;

/**
 * An extension for JUnit Jupiter that gives each test its own host, and fails a test that leaves
 * something behind, with the line that took it.
 *
 * <pre>{@code
 * @ExtendWith(GuestMemfdExtension.class)
 * class PinTest {
 *   @Test
 *   void aPinIsInTheWay(GuestMemfd memfd) {
 *     try (HostMapping window = memfd.mmap(0, 4096, READ, WRITE);
 *         HostReference pin = window.pin(0, 4096)) {
 *       assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4096));
 *     }
 *   }
 * }
 * }</pre>
 *
 * <p><b>Parameters</b> of test methods, of {@code @BeforeEach} and {@code @AfterEach} methods and,
 * if there is an instance for each test, of constructors:
 *
 * <ul>
 *   <li>{@link HostMemory}: 1 MiB, which {@linkplain HostMemory.Builder#trackHolders tracks} its
 *       holders;
 *   <li>{@link GuestMemfd}: a file of 64 KiB in it, accessible at first; not to be closed by the
 *       test, though it may;
 *   <li>{@link RacePoints}: the race points of that host, which are {@linkplain RacePoints#check
 *       checked} after the test;
 *   <li>{@link GuestMemfd.Builder}: how that file was described, for more like it, which the test
 *       closes;
 *   <li>{@link ConversionProtocol}: that of the file. See {@link ConversionProtocols}.
 * </ul>
 *
 * All parameters of one test belong together. {@link #withHost} and {@link #withFile}, of an
 * extension that is registered by {@code @RegisterExtension}, change them.
 *
 * <p><b>After each test</b>, and after its {@code @AfterEach} methods, the extension checks the
 * race points and the library's own invariants ({@link HostMemory#violations}). If the invariants
 * hold, it closes the file, and then the host, in which nothing may be open, mapped, referenced or
 * pending any more. If they do not hold, it reports what is held ({@link HostMemory#dump}). A
 * failure is an {@link AssertionError}; each holder that is left is suppressed in it, as an error
 * whose stack trace leads to the line that took it. If the test itself has failed, JUnit reports
 * this in addition.
 */
public final class GuestMemfdExtension
    implements ParameterResolver, AfterEachCallback, TestTemplateInvocationContextProvider {
  private static final ExtensionContext.Namespace NAMESPACE =
      ExtensionContext.Namespace.create(GuestMemfdExtension.class);

  private static final long HOST_SIZE = 1 << 20;
  private static final long FILE_SIZE = 64 << 10;

  private final Supplier<HostMemory.Builder> hosts;
  private final UnaryOperator<GuestMemfd.Builder> files;

  /** Creates an extension with a host of 1 MiB and files of 64 KiB. */
  public GuestMemfdExtension() {
    this(() -> HostMemory.builder(HOST_SIZE), UnaryOperator.identity());
  }

  private GuestMemfdExtension(
      Supplier<HostMemory.Builder> hosts, UnaryOperator<GuestMemfd.Builder> files) {
    this.hosts = hosts;
    this.files = files;
  }

  /**
   * Returns an extension like this one, with other hosts.
   *
   * @param host describes the host of a test; its race hook is set by the extension, and its
   *     holders are tracked
   * @return the extension
   */
  public GuestMemfdExtension withHost(Supplier<HostMemory.Builder> host) {
    return new GuestMemfdExtension(Objects.requireNonNull(host, "host"), files);
  }

  /**
   * Returns an extension like this one, with other files.
   *
   * @param file adds to the description of a file: size, flags, callbacks, retry policy. Its
   *     protocol is set already where {@link ConversionProtocols} says so
   * @return the extension
   */
  public GuestMemfdExtension withFile(UnaryOperator<GuestMemfd.Builder> file) {
    return new GuestMemfdExtension(hosts, Objects.requireNonNull(file, "file"));
  }

  // ---- what a test gets ----

  /** Supplies the parameters of one test. Each is made on first use. */
  private final class World {
    final RacePoints races = new RacePoints();
    final HostMemory host = hosts.get().raceHook(races).trackHolders().build();
    final ConversionProtocol protocol;
    private @Nullable GuestMemfd memfd;

    World(ConversionProtocol protocol) {
      this.protocol = protocol;
    }

    GuestMemfd.Builder describe() {
      return files.apply(
          GuestMemfd.builder(host)
              .size(FILE_SIZE)
              .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
              .protocol(protocol));
    }

    GuestMemfd memfd() {
      if (memfd == null) {
        memfd = describe().build();
      }
      return memfd;
    }

    /** Returns all failures after a test. */
    List<Throwable> end() {
      List<Throwable> wrong = new ArrayList<>();
      try {
        races.check();
      } catch (AssertionError e) {
        wrong.add(e);
      }
      List<String> violations = host.violations();
      AssertionError order = LockOrder.takeReport();
      if (order != null) {
        wrong.add(order); // it may have been thrown where nothing looks at it
      }
      LockOrder.forget(); // what the test leaves is named, and no concern of the next
      violations.forEach(violation -> wrong.add(new AssertionError(violation)));
      if (!violations.isEmpty()) { // a close could wait forever, for an access that never ends
        wrong.add(new AssertionError(host.dump()));
        return wrong;
      }
      try {
        if (memfd != null) {
          memfd.close();
        }
      } catch (RuntimeException | Error e) {
        wrong.add(e); // from a callback of the test, when the file ends
      }
      try {
        host.close();
      } catch (GuestMemfdException e) {
        wrong.add(left(e));
      }
      return wrong;
    }

    private AssertionError left(GuestMemfdException busy) {
      List<TrackedHolder> holders = host.holders();
      AssertionError error =
          new AssertionError(
              "the test has left something behind:\n"
                  + (holders.isEmpty() ? busy.getMessage() : host.dump()));
      error.setStackTrace(new StackTraceElement[0]);
      for (TrackedHolder holder : holders) {
        AssertionError one = new AssertionError(holder.toString());
        one.setStackTrace(holder.stack().toArray(new StackTraceElement[0]));
        error.addSuppressed(one);
      }
      return error;
    }
  }

  private static final Map<Class<?>, Function<World, Object>> PARAMETERS =
      Map.of(
          HostMemory.class, world -> world.host,
          GuestMemfd.class, World::memfd,
          GuestMemfd.Builder.class, World::describe,
          RacePoints.class, world -> world.races,
          ConversionProtocol.class, world -> world.protocol);

  /** Has the constructor of a test class see the store of the test that it is made for. */
  @Override
  public ExtensionContextScope getTestInstantiationExtensionContextScope(
      ExtensionContext rootContext) {
    return ExtensionContextScope.TEST_METHOD;
  }

  @Override
  public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
    return PARAMETERS.containsKey(parameter.getParameter().getType());
  }

  @Override
  public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
    if (context.getTestMethod().isEmpty()) {
      throw new ParameterResolutionException(
          parameter.getDeclaringExecutable()
              + ": expected to belong to one test, after which "
              + parameter.getParameter().getType().getSimpleName()
              + " is checked; actual a method or constructor for all tests of the class");
    }
    World world =
        context
            .getStore(NAMESPACE)
            .getOrComputeIfAbsent(World.class, key -> new World(protocol(context)), World.class);
    return Objects.requireNonNull(PARAMETERS.get(parameter.getParameter().getType())).apply(world);
  }

  @Override
  public void afterEach(ExtensionContext context) {
    World world = context.getStore(NAMESPACE).remove(World.class, World.class);
    if (world == null) {
      return; // the test wanted nothing
    }
    List<Throwable> wrong = world.end();
    if (wrong.size() == 1 && wrong.get(0) instanceof AssertionError only) {
      throw only;
    }
    if (!wrong.isEmpty()) {
      AssertionError all =
          new AssertionError(
              String.join("\n", wrong.stream().map(e -> String.valueOf(e.getMessage())).toList()));
      wrong.forEach(all::addSuppressed);
      throw all;
    }
  }

  // ---- every protocol ----

  private static ConversionProtocol protocol(ExtensionContext context) {
    return context
        .getStore(NAMESPACE)
        .getOrDefault(
            ConversionProtocol.class, ConversionProtocol.class, ConversionProtocol.atomicPair());
  }

  @Override
  public boolean supportsTestTemplate(ExtensionContext context) {
    return AnnotationSupport.isAnnotated(context.getTestMethod(), ConversionProtocols.class);
  }

  @Override
  public Stream<TestTemplateInvocationContext> provideTestTemplateInvocationContexts(
      ExtensionContext context) {
    Method method = context.getRequiredTestMethod();
    ConversionProtocols wanted =
        AnnotationSupport.findAnnotation(method, ConversionProtocols.class).orElseThrow();
    Stream<ConversionProtocol> protocols =
        wanted.value().length == 0
            ? ConversionProtocol.all().stream().filter(p -> wanted.unsound() || p.isSound())
            : Arrays.stream(wanted.value()).map(GuestMemfdExtension::byId);
    return protocols.map(Invocation::new);
  }

  private static ConversionProtocol byId(String id) {
    return ConversionProtocol.byId(id)
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "@ConversionProtocols: expected ids out of "
                        + ConversionProtocol.all().stream().map(ConversionProtocol::id).toList()
                        + ", actual "
                        + id));
  }

  /** One run of a test method. */
  private record Invocation(ConversionProtocol protocol) implements TestTemplateInvocationContext {
    @Override
    public String getDisplayName(int number) {
      return protocol.id();
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
      return List.of(new SetProtocol(protocol));
    }
  }

  /** Records which protocol the test is for, before any parameter is made. */
  private record SetProtocol(ConversionProtocol protocol)
      implements TestInstancePreConstructCallback, BeforeEachCallback {
    @Override
    public ExtensionContextScope getTestInstantiationExtensionContextScope(
        ExtensionContext rootContext) {
      return ExtensionContextScope.TEST_METHOD;
    }

    @Override
    public void preConstructTestInstance(
        TestInstanceFactoryContext factory, ExtensionContext context) {
      beforeEach(context);
    }

    @Override
    public void beforeEach(ExtensionContext context) {
      context.getStore(NAMESPACE).put(ConversionProtocol.class, protocol);
    }
  }
}
