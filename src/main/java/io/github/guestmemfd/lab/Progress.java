package io.github.guestmemfd.lab;

import java.io.PrintWriter;
import picocli.CommandLine.Help.Ansi;

/** A line on a terminal that says how far the lab is; where there is no terminal, nothing. */
final class Progress {
  private static final int WIDTH = 78;

  private final PrintWriter out;
  private final int all;
  private final boolean isTerminal = Ansi.AUTO.enabled();

  Progress(PrintWriter out, int all) {
    this.out = out;
    this.all = all;
  }

  void show(int done, String what) {
    write("[" + done + "/" + all + "] " + what);
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
