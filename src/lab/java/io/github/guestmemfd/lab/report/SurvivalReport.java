package io.github.guestmemfd.lab.report;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What guests of platforms have survived, for a terminal, and as a page for a browser. */
public final class SurvivalReport {
  private SurvivalReport() {}

  // ---- text ----

  /**
   * Prints the tables in Markdown.
   *
   * @param survivals what was found
   * @param out where to; flushed, not closed
   */
  public static void print(Survivals survivals, PrintWriter out) {
    for (Survivals.Table table : survivals.tables()) {
      out.println(table.caption());
      out.println();
      print(table.heads(), survivals.platforms(), out);
      int columns = table.heads().size() + survivals.platforms().size();
      out.println("|" + "---|".repeat(columns));
      for (Survivals.Row row : table.rows()) {
        print(quoted(row.names()), row.cells(), out);
      }
      out.println();
    }
    if (!survivals.cutShort().isEmpty()) {
      out.println(survivals.cutShort());
    }
    out.flush();
  }

  /** The last name is one of the command line. */
  private static List<String> quoted(List<String> names) {
    int last = names.size() - 1;
    List<String> quoted = new ArrayList<>(names);
    quoted.set(last, "`" + names.get(last) + "`");
    return quoted;
  }

  private static void print(List<String> names, List<String> cells, PrintWriter out) {
    out.println("| " + String.join(" | ", names) + " | " + String.join(" | ", cells) + " |");
  }

  // ---- a page ----

  /**
   * Writes the tables as one page for a browser, which loads nothing from anywhere.
   *
   * @param survivals what was found
   * @param out where to; in UTF-8, which the page says it is; flushed, not closed
   * @throws IOException if {@code out} throws it
   */
  public static void write(Survivals survivals, Writer out) throws IOException {
    HtmlReport.write(
        "survival.html",
        Map.of(
            "style", HtmlReport.resource("report.css"),
            "facts", facts(survivals),
            "findings", findings(survivals),
            "tables", tables(survivals)),
        out);
  }

  private static String facts(Survivals survivals) {
    int runs = survivals.runs().size();
    double seconds = runs == 0 ? 0 : survivals.options().seconds() / runs;
    return HtmlReport.facts(
        runs + " of " + Numbers.seconds(seconds),
        Numbers.bytes(survivals.options().size()),
        survivals.options(),
        survivals.environment());
  }

  private static String findings(Survivals survivals) {
    StringBuilder html = new StringBuilder();
    html.append(
        survivals.isClean()
            ? "<p class=\"clean good\">Where a guest was lost, its hardware or an unsound protocol"
                + " was the reason.</p>\n"
            : "<p class=\"clean bad\">A sound protocol leaked or left a frame in use, or content or"
                + " a frame was lost on hardware that works.</p>\n");
    html.append("<ul>\n");
    survivals.runs().stream()
        .filter(Survival::isWrong)
        .forEach(s -> item(html, "<li class=\"bad\">", HtmlReport.escaped(s.toString())));
    if (!survivals.cutShort().isEmpty()) {
      item(html, "<li>", HtmlReport.escaped(survivals.cutShort()));
    }
    return html.append("</ul>\n").toString();
  }

  private static void item(StringBuilder html, String tag, String text) {
    html.append(tag).append(text).append("</li>\n");
  }

  private static String tables(Survivals survivals) {
    StringBuilder html = new StringBuilder();
    List<Survivals.Table> tables = survivals.tables();
    for (int i = 0; i < tables.size(); i++) {
      Survivals.Table table = tables.get(i);
      String id = "h-table-" + i;
      html.append("<section aria-labelledby=\"").append(id).append("\">\n<h2 id=\"").append(id);
      html.append("\">").append(HtmlReport.escaped(withoutColon(table.caption())));
      html.append("</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-labelledby=\"");
      html.append(id).append("\">\n<table class=\"matrix\">\n<thead><tr>");
      table.heads().forEach(h -> head(html, h));
      survivals.platforms().forEach(p -> head(html, p));
      html.append("</tr></thead>\n<tbody>\n");
      table.rows().forEach(row -> row(html, row));
      html.append("</tbody></table>\n</div>\n</section>\n");
    }
    return html.toString();
  }

  private static String withoutColon(String caption) {
    return caption.endsWith(":") ? caption.substring(0, caption.length() - 1) : caption;
  }

  private static void head(StringBuilder html, String text) {
    html.append("<th scope=\"col\">").append(HtmlReport.escaped(text)).append("</th>");
  }

  private static void row(StringBuilder html, Survivals.Row row) {
    html.append("<tr>");
    for (String name : row.names()) {
      html.append("<th scope=\"row\">").append(HtmlReport.escaped(name)).append("</th>");
    }
    for (String cell : row.cells()) {
      String look =
          switch (cell) {
            case Survivals.SURVIVED -> "zero";
            case Survivals.NONE -> "none";
            default -> "leak";
          };
      html.append("<td class=\"").append(look).append("\">");
      html.append(HtmlReport.escaped(cell)).append("</td>");
    }
    html.append("</tr>\n");
  }
}
