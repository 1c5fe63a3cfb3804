package io.github.guestmemfd.lab;

import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/**
 * The command line of the library. Without a command it replays the bundled recordings.
 *
 * <p>Exit status: 0 all well, 1 something differs, 2 wrong arguments or unreadable input.
 */
@Command(
    name = "guest-memfd-lab",
    description = {
      "A model of the folio lifecycle of Linux's guest_memfd.",
      "Without a command: replays the bundled recordings of a real kernel."
    },
    mixinStandardHelpOptions = true,
    version = "guest-memfd-lab 0.1.0",
    subcommands = {ReplayCommand.class, HelpCommand.class})
public final class Main implements Callable<Integer> {

  @Spec private CommandSpec spec;

  private Main() {}

  /**
   * Runs a command and exits with its status.
   *
   * @param args the command and its arguments
   */
  public static void main(String[] args) {
    System.exit(commandLine().execute(args));
  }

  static CommandLine commandLine() {
    return new CommandLine(new Main());
  }

  @Override
  public Integer call() {
    return Recordings.replay(spec.commandLine().getOut());
  }
}
