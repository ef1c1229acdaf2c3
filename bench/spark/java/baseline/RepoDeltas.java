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

/** Deltas per repository with flatMapGroupsWithState; the state is one packed byte array. */
public final class RepoDeltas {
  static final int POINT = 32; // day, stars, forks, open issues: four longs
  static final int KEEP = 40;
  static final String[] OUT = {"stars_1d", "forks_1d", "open_issues_1d", "stars_7d", "forks_7d", "open_issues_7d",
      "stars_30d", "forks_30d", "open_issues_30d"};

  public static Dataset<Row> apply(Dataset<Row> in) {
    StructType s = in.schema();
    final int id = s.fieldIndex("repo_id"), st = s.fieldIndex("stars"), fk = s.fieldIndex("forks"),
        is = s.fieldIndex("open_issues"), at = s.fieldIndex("observed_at"), width = s.size();
    StructType o = s;
    for (String f : OUT) {
      o = o.add(f, DataTypes.LongType, true);
    }
    Encoder<Row> enc = Encoders.row(o);
    return in.groupByKey((MapFunction<Row, Long>) r -> r.getLong(id), Encoders.LONG())
        .flatMapGroupsWithState(new FlatMapGroupsWithStateFunction<Long, Row, byte[], Row>() {
          @Override
          public Iterator<Row> call(Long key, Iterator<Row> values, GroupState<byte[]> state) {
            List<Row> rows = new ArrayList<>();
            values.forEachRemaining(rows::add);
            rows.sort(Comparator.comparing((Row r) -> ((Timestamp) r.get(at))));
            byte[] old = state.exists() ? state.get() : new byte[0];
            int n = old.length / POINT;
            long[] h = new long[(n + rows.size()) * 4];
            ByteBuffer.wrap(old).asLongBuffer().get(h, 0, n * 4);
            List<Row> out = new ArrayList<>(rows.size());
            for (Row r : rows) {
              long day = Math.floorDiv(((Timestamp) r.get(at)).getTime(), 86_400_000L);
              long[] v = {r.getLong(st), r.isNullAt(fk) ? 0 : r.getLong(fk), r.isNullAt(is) ? 0 : r.getLong(is)};
              Object[] x = new Object[width + 9];
              for (int i = 0; i < width; i++) {
                x[i] = r.get(i);
              }
              fill(x, width, h, n, Long.MAX_VALUE, v);
              fill(x, width + 3, h, n, day - 7, v);
              fill(x, width + 6, h, n, day - 30, v);
              h[n * 4] = day;
              System.arraycopy(v, 0, h, n * 4 + 1, 3);
              n++;
              out.add(RowFactory.create(x));
            }
            int from = Math.max(0, n - KEEP);
            byte[] now = new byte[(n - from) * POINT];
            ByteBuffer.wrap(now).asLongBuffer().put(h, from * 4, (n - from) * 4);
            state.update(now);
            return out.iterator();
          }
        }, OutputMode.Append(), Encoders.BINARY(), enc, GroupStateTimeout.NoTimeout());
  }

  /** Writes the three deltas to the newest point at or before the day. */
  static void fill(Object[] x, int to, long[] h, int n, long day, long[] v) {
    for (int i = n - 1; i >= 0; i--) {
      if (h[i * 4] <= day) {
        for (int k = 0; k < 3; k++) {
          x[to + k] = v[k] - h[i * 4 + 1 + k];
        }
        return;
      }
    }
  }
}
