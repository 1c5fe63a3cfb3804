package io.github.guestmemfd.verification;

import io.github.guestmemfd.lab.report.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The JSON report of a soak, as figures of its table: sums over all runs of a protocol. */
final class SoakReport {
  private static final List<String> COUNTS =
      List.of(
          "conversions_to_inaccessible",
          "refused_with_unsafe_holder",
          "refused_without_unsafe_holder",
          "leaks",
          "corruptions",
          "frames_leaked");

  private SoakReport() {}

  /** Returns the figures by protocol; none without a file. */
  static Map<String, List<String>> read(Path file) throws IOException {
    Map<String, long[]> sums = new LinkedHashMap<>();
    if (Files.exists(file)) {
      Map<String, Object> report = Json.object(Json.parse(Files.readString(file)));
      for (Object element : Json.array(report.get("runs"))) {
        Map<String, Object> run = Json.object(element);
        long[] sum =
            sums.computeIfAbsent("`" + run.get("protocol") + "`", id -> new long[COUNTS.size()]);
        Arrays.setAll(sum, i -> sum[i] + (Long) run.get(COUNTS.get(i)));
      }
    }
    Map<String, List<String>> figures = new LinkedHashMap<>();
    sums.forEach(
        (id, sum) -> figures.put(id, Arrays.stream(sum).mapToObj(Long::toString).toList()));
    return figures;
  }
}
