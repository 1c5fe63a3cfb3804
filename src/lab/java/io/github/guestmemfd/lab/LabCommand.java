package io.github.guestmemfd.lab;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Runs workloads over protocols and policies, and compares them. */
@Command(
    name = "lab",
    description =
        "Runs every protocol under load, looks for content that the host should not reach, and"
            + " shows what protocols and policies do and cost. This is what is done without a"
            + " command, too.",
    footer =
        "%nExit status: 0 no sound protocol leaked and nothing was lost, 1 one did, or a run failed,"
            + " 2 wrong arguments.",
    sortOptions = false,
    mixinStandardHelpOptions = true)
final class LabCommand implements Callable<Integer> {
  @Mixin private LabOptions options;

  @Override
  public Integer call() {
    return options.run();
  }
}
