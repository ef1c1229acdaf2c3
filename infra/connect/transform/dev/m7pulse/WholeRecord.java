package dev.m7pulse;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.data.Timestamp;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Makes a record's value of all that Kafka keeps of it: topic, partition, offset,
 * timestamp, key, value and headers, byte for byte. A sink writes values only, and no
 * published transformation puts all headers and the offset there. Key, value and
 * headers come by ByteArrayConverter; a null stays null.
 */
public final class WholeRecord implements Transformation<SinkRecord> {
  private static final Schema HEADER = SchemaBuilder.struct()
      .field("key", Schema.STRING_SCHEMA)
      .field("value", Schema.OPTIONAL_BYTES_SCHEMA)
      .build();
  private static final Schema RECORD = SchemaBuilder.struct().name("dev.m7pulse.record")
      .field("topic", Schema.STRING_SCHEMA)
      .field("partition", Schema.INT32_SCHEMA)
      .field("offset", Schema.INT64_SCHEMA)
      .field("timestamp", Timestamp.builder().optional().build())
      .field("key", Schema.OPTIONAL_BYTES_SCHEMA)
      .field("value", Schema.OPTIONAL_BYTES_SCHEMA)
      .field("headers", SchemaBuilder.array(HEADER).build())
      .build();

  @Override
  public SinkRecord apply(SinkRecord r) {
    List<Struct> headers = new ArrayList<>();
    for (Header h : r.headers()) { // in their order; a key may come twice
      headers.add(new Struct(HEADER).put("key", h.key()).put("value", bytes(h.value(), "header " + h.key())));
    }
    Struct whole = new Struct(RECORD)
        .put("topic", r.originalTopic())
        .put("partition", r.originalKafkaPartition())
        .put("offset", r.originalKafkaOffset())
        .put("timestamp", r.timestamp() == null ? null : new java.util.Date(r.timestamp()))
        .put("key", bytes(r.key(), "key"))
        .put("value", bytes(r.value(), "value"))
        .put("headers", headers);
    return r.newRecord(r.topic(), r.kafkaPartition(), null, null, RECORD, whole, r.timestamp(), null);
  }

  private static byte[] bytes(Object value, String what) {
    if (value == null || value instanceof byte[]) {
      return (byte[]) value;
    }
    throw new DataException(what + " is a " + value.getClass().getName() + ": want ByteArrayConverter");
  }

  @Override
  public ConfigDef config() {
    return new ConfigDef();
  }

  @Override
  public void configure(Map<String, ?> configs) {}

  @Override
  public void close() {}
}
