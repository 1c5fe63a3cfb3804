package io.github.guestmemfd.lab.report;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.util.Map;
import java.util.TreeMap;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramIterationValue;

/**
 * A histogram made small for the page: few buckets, each wider than the one before by the same
 * ratio, so that the page can add those of several runs and draw percentiles of any selection.
 */
final class Latencies {

  /** A bucket is 4.4 % wide: half of that is the error of what the page draws. */
  static final int BUCKETS_PER_OCTAVE = 16;

  private Latencies() {}

  /** Writes pairs of numbers: how many buckets further on, and how many values are in that one. */
  static void write(Histogram histogram, JsonGenerator json) throws IOException {
    Map<Integer, Long> counts = new TreeMap<>();
    for (HistogramIterationValue v : histogram.recordedValues()) {
      counts.merge(bucket(v.getValueIteratedTo()), v.getCountAtValueIteratedTo(), Long::sum);
    }
    json.writeArrayFieldStart("latency");
    int last = 0;
    for (Map.Entry<Integer, Long> e : counts.entrySet()) {
      json.writeNumber(e.getKey() - last);
      json.writeNumber(e.getValue());
      last = e.getKey();
    }
    json.writeEndArray();
  }

  /** Bucket b has the values from 2^(b/16) on. */
  private static int bucket(long nanos) {
    return (int)
        Math.floor(BUCKETS_PER_OCTAVE * Math.log((double) Math.max(1, nanos)) / Math.log(2));
  }
}
