package baseline;

import java.nio.ByteBuffer;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import org.apache.spark.api.java.function.FlatMapGroupsWithStateFunction;
import org.apache.spark.api.java.function.MapFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoder;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.streaming.GroupState;
import org.apache.spark.sql.streaming.GroupStateTimeout;
import org.apache.spark.sql.streaming.OutputMode;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/**
 * The base of each window, and the net change of every counter over it, by the definitions of shared/velocity/measure.go.
 * What the function aggregate computes besides, the metrics, is left out. The state is one packed byte array.
 */
public final class RepoVelocities {
  static final String[] WINDOWS = {"1h", "24h", "7d", "30d"};
  static final long[] LENGTH = {3_600_000L, 86_400_000L, 7 * 86_400_000L, 30 * 86_400_000L};
  static final long[] SLACK = {900_000L, 3_600_000L, 3_600_000L, 3_600_000L};
  static final long UNOBSERVED = Long.MIN_VALUE;
  static final int KEEP = 40; // points; the function keeps up to 110

  /** counters are the names of their columns, separated by commas. */
  public static Dataset<Row> apply(Dataset<Row> in, String counters) {
    final String[] names = counters.split(",");
    final int point = 1 + names.length; // when, and the counters
    StructType s = in.schema();
    final int id = s.fieldIndex("repo_id"), at = s.fieldIndex("observed_at"), width = s.size();
    final int[] counter = new int[names.length];
    for (int c = 0; c < counter.length; c++) {
      counter[c] = s.fieldIndex(names[c]);
    }
    StructType o = s;
    for (String w : WINDOWS) {
      o = o.add("base_at_" + w, DataTypes.TimestampType, true);
      for (String c : names) {
        o = o.add(c + "_delta_" + w, DataTypes.LongType, true);
      }
    }
    final int all = o.size();
    Encoder<Row> enc = Encoders.row(o);
    return in.groupByKey((MapFunction<Row, Long>) r -> r.getLong(id), Encoders.LONG())
        .flatMapGroupsWithState(new FlatMapGroupsWithStateFunction<Long, Row, byte[], Row>() {
          @Override
          public Iterator<Row> call(Long key, Iterator<Row> values, GroupState<byte[]> state) {
            List<Row> rows = new ArrayList<>();
            values.forEachRemaining(rows::add);
            rows.sort(Comparator.comparing((Row r) -> ((Timestamp) r.get(at))));
            byte[] old = state.exists() ? state.get() : new byte[0];
            int n = old.length / (8 * point);
            long[] h = new long[(n + rows.size()) * point];
            ByteBuffer.wrap(old).asLongBuffer().get(h, 0, n * point);
            List<Row> out = new ArrayList<>(rows.size());
            for (Row r : rows) {
              h[n * point] = ((Timestamp) r.get(at)).getTime();
              for (int c = 0; c < counter.length; c++) {
                h[n * point + 1 + c] = r.isNullAt(counter[c]) ? UNOBSERVED : r.getLong(counter[c]);
              }
              Object[] x = new Object[all];
              for (int i = 0; i < width; i++) {
                x[i] = r.get(i);
              }
              for (int w = 0; w < WINDOWS.length; w++) {
                fill(x, width + w * point, h, n, point, LENGTH[w], SLACK[w]);
              }
              n++;
              out.add(RowFactory.create(x));
            }
            int from = Math.max(0, n - KEEP);
            byte[] now = new byte[(n - from) * 8 * point];
            ByteBuffer.wrap(now).asLongBuffer().put(h, from * point, (n - from) * point);
            state.update(now);
            return out.iterator();
          }
        }, OutputMode.Append(), Encoders.BINARY(), enc, GroupStateTimeout.NoTimeout());
  }

  /** Writes a window's fields: its base is the latest point b before point n with t - 2w <= b <= t - w + slack. */
  static void fill(Object[] x, int to, long[] h, int n, int point, long length, long slack) {
    long t = h[n * point];
    int b = n - 1;
    while (b >= 0 && h[b * point] > t - length + slack) {
      b--;
    }
    if (b < 0 || h[b * point] < t - 2 * length) {
      return;
    }
    x[to] = new Timestamp(h[b * point]);
    for (int c = 1; c < point; c++) {
      long now = h[n * point + c], then = h[b * point + c];
      if (now != UNOBSERVED && then != UNOBSERVED) {
        x[to + c] = now - then;
      }
    }
  }
}
