package io.github.guestmemfd.lab.report;

import com.fasterxml.jackson.core.JsonGenerator;
import io.github.guestmemfd.lab.report.PageMap.State;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Base64;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/** A page map made small for the page: two bits a cell, and no more cells than can be seen. */
final class Pictures {

  static final int MAX_ROWS = 96;
  static final int MAX_COLUMNS = 160;

  private Pictures() {}

  static void write(PageMap map, JsonGenerator json) throws IOException {
    List<PageMap.Column> columns = map.columns();
    int rows = columns.stream().mapToInt(c -> c.rows().size()).max().orElse(0);
    int perRow = ceilDiv(rows, MAX_ROWS);
    int perColumn = ceilDiv(columns.size(), MAX_COLUMNS);
    int height = ceilDiv(rows, perRow);
    int width = ceilDiv(columns.size(), perColumn);
    byte[] cells = new byte[ceilDiv(height * width, 4)];
    json.writeObjectFieldStart("map");
    json.writeNumberField("rows", height);
    json.writeNumberField("bytesPerRow", map.bytesPerRow() * perRow);
    json.writeArrayFieldStart("millis");
    for (int x = 0; x < width; x++) {
      PageMap.Column column = columns.get(x * perColumn);
      json.writeNumber(BigDecimal.valueOf(column.millis()).setScale(1, RoundingMode.HALF_UP));
      for (int y = 0; y < height; y++) {
        int from = Math.min(y * perRow, column.rows().size());
        int to = Math.min(from + perRow, column.rows().size());
        int cell = x * height + y;
        int state = code(together(column.rows().subList(from, to)));
        cells[cell / 4] |= (byte) (state << (cell % 4 * 2));
      }
    }
    json.writeEndArray();
    json.writeStringField("cells", Base64.getEncoder().encodeToString(cells));
    json.writeEndObject();
  }

  /** What rows are that are shown as one: busy if any is, else what most are. */
  private static State together(List<State> rows) {
    if (rows.contains(State.BUSY)) {
      return State.BUSY;
    }
    Map<State, Integer> counts = new EnumMap<>(State.class);
    rows.forEach(s -> counts.merge(s, 1, Integer::sum));
    return counts.entrySet().stream()
        .max(Map.Entry.comparingByValue())
        .map(Map.Entry::getKey)
        .orElse(State.HOLE);
  }

  private static int code(State state) {
    return switch (state) {
      case HOLE -> 0;
      case ACCESSIBLE -> 1;
      case INACCESSIBLE -> 2;
      case BUSY -> 3;
    };
  }

  private static int ceilDiv(int n, int by) {
    return by == 0 ? 0 : (n + by - 1) / by;
  }
}
