package io.github.guestmemfd.model;

import io.github.guestmemfd.model.Scripts.Script;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.EdgeCasesMode;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.lifecycle.AddLifecycleHook;
import net.jqwik.api.lifecycle.AroundPropertyHook;
import net.jqwik.api.lifecycle.PropagationMode;
import net.jqwik.api.lifecycle.PropertyExecutionResult;
import net.jqwik.api.lifecycle.PropertyExecutor;
import net.jqwik.api.lifecycle.PropertyLifecycleContext;

/**
 * One thread's calls of the library, any of them in any order, against {@link SequentialModel}:
 * each must end as the model says, and leave what the model says. {@code -Dmodel.tries=N} makes N
 * sequences for each property, others each time; {@code -Dmodel.seed=S} those of a seed.
 */
@AddLifecycleHook(SequentialModelTest.Tries.class)
class SequentialModelTest {

  /** Hypothesis: without a client, every call does what the model does. */
  @Property(edgeCases = EdgeCasesMode.NONE)
  void everyCallDoesWhatTheModelDoes(@ForAll("scripts") Script script) {
    run(new World(script.frames(), false, Refusals.NONE), script);
  }

  /**
   * Hypothesis: whichever callbacks refuse or throw, the call that made them fails and is undone,
   * and callbacks come in pairs, in order, and as often as they should.
   */
  @Property(edgeCases = EdgeCasesMode.NONE)
  void aCallThatIsRefusedChangesNothing(
      @ForAll("scripts") Script script, @ForAll("refusals") Refusals refusals) {
    run(new World(script.frames(), true, refusals), script);
  }

  private static final long SECONDS_TO_RUN = 20;

  /** Runs a script on a thread of its own: if a call never returns, the thread is left to it. */
  private static void run(World world, Script script) {
    FutureTask<?> task =
        new FutureTask<>(
            () -> {
              for (Call call : script.all()) {
                call.run(world);
              }
              world.end();
              return null;
            });
    Thread thread = new Thread(task, "script");
    thread.setDaemon(true);
    thread.start();
    try {
      task.get(SECONDS_TO_RUN, TimeUnit.SECONDS);
    } catch (ExecutionException e) {
      if (e.getCause() instanceof AssertionError failure) {
        throw failure;
      }
      throw new AssertionError(e.getCause());
    } catch (TimeoutException | InterruptedException e) {
      throw world.disagree("the last call", "it returns", "it does not");
    }
  }

  @Provide
  Arbitrary<Script> scripts() {
    return Scripts.scripts();
  }

  @Provide
  Arbitrary<Refusals> refusals() {
    return Scripts.refusals();
  }

  /** Takes the number of tries from the command line. */
  static final class Tries implements AroundPropertyHook {
    private static final int DEFAULT = 1000;

    @Override
    public PropagationMode propagateTo() {
      return PropagationMode.ALL_DESCENDANTS; // from the class to its properties
    }

    @Override
    public PropertyExecutionResult aroundProperty(
        PropertyLifecycleContext context, PropertyExecutor property) {
      context.attributes().setTries(Integer.getInteger("model.tries", DEFAULT));
      // In the build the same each time, so that what fails there is what has changed.
      String seed =
          System.getProperty("model.seed", System.getProperty("model.tries") == null ? "1" : "");
      if (!seed.isEmpty()) {
        context.attributes().setSeed(seed);
      }
      return property.execute();
    }
  }
}
