package baseline;

import com.clickhouse.client.api.Client;
import com.clickhouse.client.api.insert.InsertSettings;
import com.clickhouse.data.ClickHouseFormat;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.apache.spark.api.java.function.ForeachPartitionFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;

/** Inserts rows of JSON by ClickHouse's own client, compressed, a partition of the data at a time. */
public final class ClickHouseRows {
  /** rows has one column, of JSON; an insert has up to most of them. */
  public static void insert(Dataset<Row> rows, String address, String table, int most) {
    rows.foreachPartition((ForeachPartitionFunction<Row>) part -> {
      try (Client client = new Client.Builder().addEndpoint(address).setUsername("default").setPassword("").compressClientRequest(true)
          .setSocketTimeout(300_000).build()) {
        while (part.hasNext()) {
          ByteArrayOutputStream block = new ByteArrayOutputStream(32 << 20);
          for (int n = 0; n < most && part.hasNext(); n++) {
            block.write(part.next().getString(0).getBytes(StandardCharsets.UTF_8));
            block.write('\n');
          }
          client.insert(table, new ByteArrayInputStream(block.toByteArray()), ClickHouseFormat.JSONEachRow, new InsertSettings()).get(5, TimeUnit.MINUTES).close();
        }
      }
    });
  }
}
