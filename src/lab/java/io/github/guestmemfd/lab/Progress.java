package io.github.guestmemfd.lab;

import io.github.guestmemfd.lab.workload.Run;
import java.io.PrintWriter;
import picocli.CommandLine.Help.Ansi;

/**
 * A line on a terminal that shows how far the lab is. Without a terminal, one line on the error
 * stream says at the start what is to come.
 */
final class Progress implements Rounds.Listener {
  private static final int WIDTH = 78;

  private final PrintWriter out;
  private final PrintWriter err;
  private final int all;
  private final boolean isTerminal = Ansi.AUTO.enabled();
  private int begun;

  /**
   * Shows nothing yet.
   *
   * @param runs how many runs there are in a round
   * @param rounds how many rounds there are
   */
  Progress(PrintWriter out, PrintWriter err, int runs, int rounds) {
    this.out = out;
    this.err = err;
    this.all = runs * rounds;
  }

  /** Prints what is to come. */
  void begin(String text) {
    if (!isTerminal) {
      err.println(text);
      err.flush();
    }
  }

  @Override
  public void warmingUp(int round) {
    write("warming up, round " + (round + 1));
  }

  @Override
  public void measuring(int round, Run run) {
    write("[" + begun++ + "/" + all + "] round " + (round + 1) + ": " + run.name());
  }

  void clear() {
    write("");
    if (isTerminal) {
      out.print('\r');
      out.flush();
    }
  }

  private void write(String text) {
    if (isTerminal) {
      String line = text.length() > WIDTH ? text.substring(0, WIDTH) : text;
      out.print("\r" + line + " ".repeat(WIDTH - line.length()));
      out.flush();
    }
  }
}
