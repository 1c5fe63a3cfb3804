package io.github.guestmemfd.lab;

import java.io.PrintWriter;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * The command line of the library. Without a command it does what {@code lab} does.
 *
 * <p>Exit status: 0 all well, 1 something differs or leaks, 2 wrong arguments or unreadable input.
 */
@Command(
    name = "guest-memfd-lab",
    description = {
      "A model of the folio lifecycle of Linux's guest_memfd.",
      "Without a command: lab, which compares protocols and policies under load."
    },
    mixinStandardHelpOptions = true,
    version = "guest-memfd-lab 0.1.0",
    sortOptions = false,
    subcommands = {
      LabCommand.class,
      ReplayCommand.class,
      RecordKernelCommand.class,
      HelpCommand.class
    })
public final class Main implements Callable<Integer> {

  @Mixin private LabOptions options;

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
    return new CommandLine(new Main()).setParameterExceptionHandler(Main::complain);
  }

  private static int complain(ParameterException e, String[] args) {
    CommandLine commandLine = e.getCommandLine();
    PrintWriter err = commandLine.getErr();
    err.println(e.getMessage());
    UnmatchedArgumentException.printSuggestions(e, err);
    String name = commandLine.getCommandSpec().qualifiedName();
    err.println("Try '" + name + " --help' for more information.");
    err.flush();
    return commandLine.getCommandSpec().exitCodeOnInvalidInput();
  }

  @Override
  public Integer call() {
    return options.run();
  }
}
